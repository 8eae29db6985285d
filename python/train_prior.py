"""`ravel train-prior RUN`: teach a run to go on by itself, or go on teaching it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
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
    from .training.corpus import Corpus
    from .training.prior import PriorTrainer, PriorTraining

FREE_ON_RESUME = {"steps", "budget_s", "validate_every"}
FIDELITY = 0.99  # of a continuous model's latents that a prior speaks of
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
    p.add_argument("--batch", type=positive, help="items of a step (default: 4)")
    p.add_argument("--rows", type=positive, help="frames of an item (default: 128)")
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
    from .training.corpus import build_corpus
    from .training.prior import PriorTrainer, PriorTraining, markov_bits

    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    trained = runs.load(run)
    size = size or Size()
    content, alphabet = runs.read_prior(run, trained) if run.prior.exists() and not fresh else (None, None)
    alphabet = alphabet or alphabet_of(trained, size)
    training = PriorTraining(**overrides)
    config = PriorConfig(alphabet.quantisers, alphabet.codes)
    if size.channels:
        config = dataclasses.replace(config, channels=size.channels)
    if content:
        config, training = _going_on(run, trained, content, overrides, size)
    folder = recordings or Path(run.read_about()["corpus"])
    model = trained.config.model
    corpus = build_corpus(
        folder,
        cache or run.folder.parent / ".cache",
        model.sample_rate_hz,
        model.channels,
        seed=trained.config.training.seed,
    )
    train, held_out = _codes(run, trained, corpus, alphabet)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with runs.whole(run):
        trainer = PriorTrainer(config, training, train, held_out, device, content)
    if trainer.pattern.shape[1] <= training.rows:
        raise RavelError(
            f"{folder} gives {sum(c.shape[1] for c in train)} frames of {trained.net.hop_samples} samples to learn "
            f"from, an item has {training.rows}: add recordings, or choose fewer --rows"
        )
    markov = markov_bits(train, trainer.held_out, config.codes)
    _introduce(run, trainer, alphabet, train, markov, bool(content))
    about = {
        "fingerprint": alphabet.bound,
        **alphabet.state(),
        "markov": [float(b) for b in markov],
        "frames": sum(c.shape[1] for c in train),
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
    print(f"prior of {run.name}: {p.best:.2f} bits a frame held out (step {p.best_step}), by quantiser {each}")
    print(
        f"Markov chain of order 1: {float(markov.sum()):.2f}, by quantiser {chain}: the prior needs {less:.1f} % less"
    )


def alphabet_of(trained: runs.Trained, size: Size) -> Alphabet:
    """What a new prior of this network speaks of."""
    from .model.alphabet import codes_alphabet, even_levels, levels_alphabet
    from .model.quantise import Quantised
    from .streaming.deploy import latents_kept

    latent, principal = trained.net.latent, trained.principal
    if isinstance(latent, Quantised):
        for name in ("latents", "fidelity", "levels"):
            if (value := getattr(size, name)) is not None:
                raise RavelError(f"--{name} {value:g}: this model has codes, a prior speaks of all of them")
        return codes_alphabet(latent.codebooks)
    if (size.levels or LEVELS) < 2:
        raise RavelError(f"--levels {size.levels}: at least 2, or there is nothing to tell")
    if size.latents is None:
        count = latents_kept(principal, FIDELITY if size.fidelity is None else size.fidelity, None)
        count = min(count, MOST_LATENTS)
    else:
        count = latents_kept(principal, None, size.latents)
    levels = even_levels(principal.variances[:count].sqrt(), size.levels or LEVELS)
    return levels_alphabet(levels, principal.mean, principal.components)


def _going_on(
    run: runs.Run, trained: runs.Trained, content: dict[str, Any], overrides: dict[str, Any], size: Size
) -> tuple[PriorConfig, PriorTraining]:
    """The network and training that are kept. Raises RavelError for an option that wants another."""
    from .training.prior import PriorTraining

    with runs.whole(run):
        config = runs.prior_config(content)
        before = PriorTraining(**content["prior_training"])
    wanted = {name: value for name, value in overrides.items() if name not in FREE_ON_RESUME}
    if size.channels:
        wanted["channels"] = size.channels
    if size.latents is not None or size.fidelity is not None or size.levels is not None:
        alphabet = alphabet_of(trained, dataclasses.replace(size, levels=size.levels or config.codes))
        wanted |= {"latents": alphabet.quantisers, "levels": alphabet.codes}
    stored = dataclasses.asdict(config) | dataclasses.asdict(before)
    stored |= {"latents": config.quantisers, "levels": config.codes}
    for name, value in wanted.items():
        if stored[name] != value:
            there = f"{name} {stored[name]}, not {value}"
            raise RavelError(f"the prior of run {run.name} has {there}: drop the option, or use --fresh")
    return config, dataclasses.replace(before, **overrides)


def _codes(
    run: runs.Run, trained: runs.Trained, corpus: Corpus, alphabet: Alphabet
) -> tuple[list[Tensor], list[Tensor]]:
    """The corpus in numbers of the alphabet, from the run's folder if they were found before."""
    import torch

    from .training import checkpoint
    from .training.prior import codes_of

    recordings = [*corpus.train, *corpus.validation]
    key = [alphabet.bound, *(f"{r.digest} {r.first_frame} {r.frames}" for r in recordings)]
    if run.codes.exists():
        found = checkpoint.load(run.codes)
        if found.get("key") == key:
            codes = [c.long() for c in found["codes"]]
            return codes[: len(corpus.train)], codes[len(corpus.train) :]
    from tqdm import tqdm

    codes = [
        codes_of(trained.net, trained.principal, alphabet, r)
        for r in tqdm(recordings, "encoding", leave=False, disable=None)
    ]
    checkpoint.save(run.codes, {"key": key, "codes": [c.to(torch.int32) for c in codes]})
    return codes[: len(corpus.train)], codes[len(corpus.train) :]


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
