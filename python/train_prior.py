"""`ravel train-prior RUN`: teach a run to go on by itself, or go on teaching it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import runs
from .cli import Parser, positive, run_verb
from .errors import RavelError
from .train import duration

if TYPE_CHECKING:
    from torch import Tensor

    from .model.alphabet import Alphabet
    from .model.prior import PriorConfig
    from .training.prior import PriorTrainer, PriorTraining

FREE_ON_RESUME = {"steps", "budget_s", "validate_every"}
FIDELITY = 0.995  # of a continuous model's latents that a prior speaks of
MOST_LATENTS = 16  # of those that are chosen by fidelity
LEVELS = 64  # of each; see the decisions in python/README.md


@dataclass(frozen=True)
class Size:
    """What was asked for of the network, and of what it speaks of; None: as it comes."""

    channels: int | None = None
    latents: int | None = None
    fidelity: float | None = None
    levels: int | None = None


def parser() -> Parser:
    p = Parser(prog="ravel train-prior", description=__doc__)
    p.add_argument("run", nargs="?", help="name or folder of a run (default: the one trained last)")
    p.add_argument("--runs", type=Path, default=runs.RUNS, help="where runs live (default: runs)")
    p.add_argument("--budget", type=duration, help="stop after so long: 10m, 2h (default: by steps)")
    p.add_argument("--steps", type=positive, help="stop after so many steps (default: 20000)")
    p.add_argument("--batch", type=positive, help="items of a step (default: 16)")
    p.add_argument(
        "--rows",
        type=positive,
        help="frames of an item (default: 32); the last tenth of a training has 8 times as many, and fewer items",
    )
    p.add_argument("--channels", type=positive, help="width of the network (default: 64)")
    how_many = p.add_mutually_exclusive_group()
    how_many.add_argument("--latents", type=positive, help="of a continuous model, that it speaks of")
    how_many.add_argument(
        "--fidelity", type=float, help=f"the fewest latents with this share of the variance (default: {FIDELITY})"
    )
    p.add_argument("--levels", type=positive, help=f"steps that each of those latents has (default: {LEVELS})")
    p.add_argument("--seed", type=int, help="of the start and of the order (default: 0)")
    p.add_argument("--validate-every", type=positive, help="steps between looks at the held-out codes (default: 100)")
    p.add_argument("--fresh", action="store_true", help="start anew; the run's old prior is replaced")
    p.add_argument("--recordings", type=Path, help="where the run's recordings are now, if they were moved")
    p.add_argument("--cache", type=Path, help="where decoded recordings are kept (default: beside the run)")
    p.add_argument("--threads", type=positive, help="CPU threads (default: all cores)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    run = runs.find(args.run, args.runs)
    given = {
        "budget_s": args.budget,
        "steps": args.steps,
        "batch": args.batch,
        "rows": args.rows,
        "seed": args.seed,
        "validate_every": args.validate_every,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    size = Size(args.channels, args.latents, args.fidelity, args.levels)
    train_prior(run, overrides, size, args.fresh, args.recordings, args.cache, args.threads)
    return 0


def train_prior(
    run: runs.Run,
    overrides: dict[str, Any],
    size: Size | None = None,
    fresh: bool = False,
    recordings: Path | None = None,
    cache: Path | None = None,
    threads: int | None = None,
) -> None:
    """Train the prior of a run until its steps or budget are used up. Raises RavelError for what the user can mend."""
    import torch

    from .model.prior import PriorConfig
    from .training import checkpoint
    from .training.prior import PriorTrainer, PriorTraining, markov_bits, numbers_of

    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    trained = runs.load(run)
    size = size or Size()
    content, alphabet = runs.read_prior(run, trained) if run.prior.exists() and not fresh else (None, None)
    count = numbers_wanted(trained, size)
    if content:
        config, training = _going_on(run, content, overrides, size, count)
        count = config.quantisers
    folder = recordings or Path(run.read_about()["corpus"])
    learned, unseen = _material(run, trained, folder, cache or run.folder.parent / ".cache", count)
    if not content:
        alphabet = new_alphabet(trained, torch.cat(learned, 1), size.levels or LEVELS)
        config, training = PriorConfig(alphabet.quantisers, alphabet.codes), PriorTraining(**overrides)
        config = dataclasses.replace(config, channels=size.channels or config.channels)
    assert alphabet
    train, held_out = ([numbers_of(alphabet, x) for x in part] for part in (learned, unseen))
    frames = sum(c.shape[1] for c in train)
    if frames < training.rows:
        raise RavelError(
            f"{folder} gives {frames} frames of {trained.net.hop_samples} samples to learn from, an item has "
            f"{training.rows}: add recordings, or choose fewer --rows"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with runs.whole(run) if content else nullcontext():
        trainer = PriorTrainer(config, training, train, held_out, device, content)
    markov = markov_bits(train, trainer.held_out, config.codes)
    _introduce(run, trainer, alphabet, train, markov, bool(content))
    about = {
        "fingerprint": alphabet.bound,
        **alphabet.state(),
        "markov": [float(b) for b in markov],
        "frames": frames,
        "held_out_frames": sum(c.shape[1] for c in trainer.held_out),
    }
    live = sys.stderr.isatty()

    def say(line: str) -> None:
        print(("\r\033[K" if live and line.endswith("\n") else "") + line, end="", file=sys.stderr, flush=True)

    try:
        trainer.fit(lambda t: checkpoint.save(run.prior, t.state() | about), say, live)
    except KeyboardInterrupt:
        say(f"stopped at step {trainer.progress.step}: `ravel train-prior {run.name}` goes on from here\n")
        raise
    p = trainer.progress
    each = " ".join(f"{b:.2f}" for b in p.quantisers)
    chain = " ".join(f"{b:.2f}" for b in markov.tolist())
    less = 100 * (1 - p.best / float(markov.sum()))
    needs = f"{abs(less):.1f} % {'less' if less >= 0 else 'more: train it longer'}"
    print(f"prior of {run.name}: {p.best:.2f} bits a frame held out (step {p.best_step}), by quantiser {each}")
    print(f"Markov chain of order 1: {float(markov.sum()):.2f}, by quantiser {chain}: the prior needs {needs}")


def numbers_wanted(trained: runs.Trained, size: Size) -> int:
    """How many numbers a frame of a new prior has. Raises RavelError for options that this network has no use for."""
    from .streaming.deploy import latents_kept

    if trained.net.latent.discrete:
        for name in ("latents", "fidelity", "levels"):
            if (value := getattr(size, name)) is not None:
                raise RavelError(f"--{name} {value:g}: this model has codes, a prior speaks of all of them")
        return trained.net.latent.kept
    if size.levels == 1:
        raise RavelError("--levels 1: at least 2, or there is nothing to tell")
    if size.latents is not None:
        return latents_kept(trained.principal, None, size.latents)
    fidelity = FIDELITY if size.fidelity is None else size.fidelity
    return min(MOST_LATENTS, latents_kept(trained.principal, fidelity, None))


def new_alphabet(trained: runs.Trained, heard: Tensor, levels: int) -> Alphabet:
    """What a new prior speaks of: codes as they are, latents (channels, frames) in levels that suit them."""
    from .model.alphabet import codes_alphabet, fitted_levels, levels_alphabet
    from .model.quantise import Quantised

    if isinstance(trained.net.latent, Quantised):
        return codes_alphabet(trained.net.latent.codebooks)
    return levels_alphabet(fitted_levels(heard, levels), trained.principal.mean, trained.principal.components)


def _going_on(
    run: runs.Run, content: dict[str, Any], overrides: dict[str, Any], size: Size, count: int
) -> tuple[PriorConfig, PriorTraining]:
    """The network and training that are kept. Raises RavelError for an option that wants another."""
    from .training.prior import PriorTraining

    with runs.whole(run):
        config = runs.prior_config(content)
        before = PriorTraining(**content["prior_training"])
    wanted = {name: value for name, value in overrides.items() if name not in FREE_ON_RESUME}
    chosen = size.latents is not None or size.fidelity is not None
    wanted |= {"latents": count} if chosen else {}
    wanted |= {name: value for name, value in {"channels": size.channels, "levels": size.levels}.items() if value}
    stored = dataclasses.asdict(config) | dataclasses.asdict(before)
    stored |= {"latents": config.quantisers, "levels": config.codes}
    for name, value in wanted.items():
        if stored[name] != value:
            there = f"{name} {stored[name]}, not {value}"
            raise RavelError(f"the prior of run {run.name} has {there}: drop the option, or use --fresh")
    return config, dataclasses.replace(before, **overrides)


def _material(
    run: runs.Run, trained: runs.Trained, folder: Path, cache: Path, count: int
) -> tuple[list[Tensor], list[Tensor]]:
    """The recordings to learn from and those held out, as codes or `count` latents, which the run's folder keeps."""
    from tqdm import tqdm

    from .model.alphabet import fingerprint
    from .model.quantise import Quantised
    from .training import checkpoint
    from .training.corpus import corpus_as_trained
    from .training.prior import encoded

    latent, principal = trained.net.latent, trained.principal
    corpus = corpus_as_trained(folder, cache, trained.config)
    recordings = [*corpus.train, *corpus.validation]
    meaning = latent.codebooks if isinstance(latent, Quantised) else principal.components[:count]
    key = [fingerprint(principal.mean, meaning), *(f"{r.digest} {r.first_frame} {r.frames}" for r in recordings)]
    try:
        found = checkpoint.load(run.codes)
    except RavelError:  # none there, or damaged: they are found again
        found = {}
    if found.get("key") != key:
        bar = tqdm(recordings, "encoding", leave=False, disable=None)
        found = {"key": key, "codes": [encoded(trained.net, principal, count, r) for r in bar]}
        checkpoint.save(run.codes, found)
    return found["codes"][: len(corpus.train)], found["codes"][len(corpus.train) :]


def _introduce(
    run: runs.Run, trainer: PriorTrainer, alphabet: Alphabet, train: list[Tensor], markov: Tensor, resumed: bool
) -> None:
    prior, p = trainer.prior, trainer.progress
    rows = prior.receptive_field
    parameters = sum(v.numel() for v in prior.parameters()) / 1e6
    what = f"goes on from step {p.step}" if resumed else "starts"
    lines = [
        f"prior of {run.name} {what}: {alphabet.words()}, {parameters:.2f} M parameters, "
        f"hears {rows} frames, {trainer.device}",
        f"{sum(c.shape[1] for c in train)} frames to learn from, {sum(c.shape[1] for c in trainer.held_out)} held out; "
        f"a Markov chain of order 1 needs {float(markov.sum()):.2f} bits a frame",
    ]
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_verb("train-prior", main))
