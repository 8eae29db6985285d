"""`ravel train-prior RUN`: teach a run with codes to go on by itself, or go on teaching it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import runs
from .cli import Parser, positive, run_verb
from .errors import RavelError
from .train import duration

if TYPE_CHECKING:
    from torch import Tensor

    from .training.corpus import Corpus
    from .training.prior import PriorTrainer

FREE_ON_RESUME = {"steps", "budget_s", "validate_every"}


def parser() -> Parser:
    p = Parser(prog="ravel train-prior", description=__doc__)
    p.add_argument("run", nargs="?", help="name or folder of a run with codes (default: the one trained last)")
    p.add_argument("--runs", type=Path, default=runs.RUNS, help="where runs live (default: runs)")
    p.add_argument("--budget", type=duration, help="stop after so long: 10m, 2h (default: by steps)")
    p.add_argument("--steps", type=positive, help="stop after so many steps (default: 20000)")
    p.add_argument("--batch", type=positive, help="items of a step (default: 4)")
    p.add_argument("--rows", type=positive, help="frames of an item (default: 128)")
    p.add_argument("--channels", type=positive, help="width of the network (default: 64)")
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
    train_prior(run, overrides, args.channels, args.fresh, args.recordings, args.cache, args.threads)
    return 0


def train_prior(
    run: runs.Run,
    overrides: dict[str, Any],
    channels: int | None = None,
    fresh: bool = False,
    recordings: Path | None = None,
    cache: Path | None = None,
    threads: int | None = None,
) -> None:
    """Train the prior of a run until its steps or budget are used up. Raises RavelError for what the user can mend."""
    import torch

    from .model.prior import PriorConfig, fingerprint
    from .model.quantise import Quantised
    from .training import checkpoint
    from .training.corpus import build_corpus
    from .training.prior import PriorTrainer, PriorTraining, markov_bits

    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    trained = runs.load(run)
    latent = trained.net.latent
    if not isinstance(latent, Quantised):
        raise RavelError(
            f"run {run.name} has no codes ({trained.config.model.preset}): a prior speaks of codes, "
            "train with --preset low-discrete or v2-discrete"
        )
    books = fingerprint(latent.codebooks)
    resume = _resumed(run, books) if run.prior.exists() and not fresh else None
    config = PriorConfig(latent.kept, latent.codes)
    if channels:
        config = dataclasses.replace(config, channels=channels)
    training = PriorTraining(**overrides)
    if resume:
        kept = PriorConfig(**resume["prior_config"] | {"dilations": tuple(resume["prior_config"]["dilations"])})
        before = PriorTraining(**resume["prior_training"])
        stored = dataclasses.asdict(kept) | dataclasses.asdict(before)
        for name, value in {**overrides, **({"channels": channels} if channels else {})}.items():
            if name not in FREE_ON_RESUME and stored[name] != value:
                there = f"{name} {stored[name]}, not {value}"
                raise RavelError(f"the prior of run {run.name} has {there}: drop the option, or use --fresh")
        config, training = kept, dataclasses.replace(before, **overrides)
    folder = recordings or Path(run.read_about()["corpus"])
    model = trained.config.model
    corpus = build_corpus(
        folder,
        cache or run.folder.parent / ".cache",
        model.sample_rate_hz,
        model.channels,
        seed=trained.config.training.seed,
    )
    train, held_out = _codes(run, trained, corpus, books)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = PriorTrainer(config, training, train, held_out, device, resume)
    markov = markov_bits(train, trainer.held_out, config.codes)
    _introduce(run, trainer, train, markov, bool(resume))
    about = {
        "fingerprint": books,
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


def _resumed(run: runs.Run, books: str) -> dict[str, Any]:
    from .training import checkpoint

    content = checkpoint.load(run.prior)
    if content.get("fingerprint") != books:
        raise RavelError(
            f"{run.prior} speaks of other codes than run {run.name} has now (it was trained further, or is another "
            "run's): teach it anew with --fresh"
        )
    return content


def _codes(run: runs.Run, trained: runs.Trained, corpus: Corpus, books: str) -> tuple[list[Tensor], list[Tensor]]:
    """The codes of the corpus, from the run's folder if they were found before."""
    import torch

    from .training import checkpoint
    from .training.prior import codes_of

    recordings = [*corpus.train, *corpus.validation]
    key = [books, *(f"{r.digest} {r.first_frame} {r.frames}" for r in recordings)]
    if run.codes.exists():
        found = checkpoint.load(run.codes)
        if found.get("key") == key:
            codes = [c.long() for c in found["codes"]]
            return codes[: len(corpus.train)], codes[len(corpus.train) :]
    from tqdm import tqdm

    codes = [codes_of(trained.net, r) for r in tqdm(recordings, "encoding", leave=False, disable=None)]
    checkpoint.save(run.codes, {"key": key, "codes": [c.to(torch.int32) for c in codes]})
    return codes[: len(corpus.train)], codes[len(corpus.train) :]


def _introduce(run: runs.Run, trainer: PriorTrainer, train: list[Tensor], markov: Tensor, resumed: bool) -> None:
    prior, p = trainer.prior, trainer.progress
    rows = prior.receptive_field
    parameters = sum(v.numel() for v in prior.parameters()) / 1e6
    what = f"goes on from step {p.step}" if resumed else "starts"
    lines = [
        f"prior of {run.name} {what}: {prior.quantisers} x {prior.codes} codes, {parameters:.2f} M parameters, "
        f"hears {rows} frames, {trainer.device}",
        f"{sum(c.shape[1] for c in train)} frames to learn from, {sum(c.shape[1] for c in trainer.held_out)} held out; "
        f"a Markov chain of order 1 needs {float(markov.sum()):.2f} bits a frame",
    ]
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_verb("train-prior", main))
