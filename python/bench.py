"""`ravel bench`: exports and training steps against the same networks the plain way, in one run."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .benchmarks.clocks import machine
from .benchmarks.engine import HEADING, Figure, figures
from .cli import Parser, run_verb
from .errors import RavelError
from .files import atomic_write

if TYPE_CHECKING:
    import torch

    from .model.autoencoder import Autoencoder
    from .runs import Trained, TrainedPrior
    from .streaming.nn_tilde import Shell
    from .training.loop import Trainer

LARGEST_BLOCK = 16384
GOALS = {"v2 decode": 2.5, "low decode": 3.5, "low phase 1": 1.5, "v2 phase 1": 1.5, "v2 phase 2": 4.0}
CROPS = {"low": {"crop_samples": 65536}}  # as RAVE's own code was measured on this network


@dataclass(frozen=True)
class Row:
    """One measurement, the median over the rounds; `plain_ms` None where there is nothing to compare with."""

    part: str
    what: str
    ours_ms: float
    plain_ms: float | None = None
    goal: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.plain_ms is None else self.plain_ms / self.ours_ms

    def line(self) -> str:
        plain = "" if self.plain_ms is None else f"{self.plain_ms:11.2f}{self.plain_ms / self.ours_ms:9.2f}x"
        return f"{self.what:<44}{self.ours_ms:11.2f}{plain:21}  {self.goal}".rstrip()


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel bench", description=__doc__)
    p.add_argument("--only", choices=tuple(PARTS), help="one part")
    p.add_argument("--preset", action="append", help="one preset; may be repeated (default: all of the part)")
    p.add_argument("--batch", type=int, default=8, help="crops in a training step (default: 8)")
    p.add_argument("--rounds", type=int, default=3, help="training steps of each kind after the first (default: 3)")
    p.add_argument("--seconds", type=float, default=0.5, help="spent on each pair of streaming calls (default: 0.5)")
    p.add_argument("--json", type=Path, help="also write the figures to this file")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch 2.13 deprecates TorchScript
    warnings.filterwarnings("ignore", module="lightning_fabric")
    about = about_machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    rows: list[Row | Figure] = []
    for part in [args.only] if args.only else PARTS:
        heading, measure = PARTS[part]
        print(f"\n{heading}")
        for row in measure(args):
            print(row.line(), flush=True)
            rows.append(row)
    if args.json:
        with atomic_write(args.json) as temporary:
            found = [asdict(row) | ({"ratio": row.ratio} if isinstance(row, Row) else {}) for row in rows]
            temporary.write_text(json.dumps({"machine": about, "rows": found}, indent=2))
    return 0


def about_machine() -> dict[str, str]:
    """What the figures depend on."""
    import torch

    return machine() | {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": "yes" if torch.cpu._is_avx512_bf16_supported() else "no",
        "torch": torch.__version__,
        "training threads": str(torch.get_num_threads()),
        "streaming threads": "1",
    }


# -- streaming ----------------------------------------------------------------------------------------------


def streaming(args: argparse.Namespace) -> Iterator[Row]:
    """Every method of a `.ts` at blocks from one hop up against cached `conv1d` in TorchScript."""
    import torch

    for name in args.preset or ("v2", "low", "v2-small", "v1"):
        shell = deployed(name)
        ours = loaded_export(shell)
        for method in ("decode", "encode", "forward"):
            plain = loaded(plain_script(shell))
            for block in blocks(shell.hop_samples):
                x = (
                    torch.randn(1, shell.latents, block // shell.hop_samples)
                    if method == "decode"
                    else 0.1 * torch.randn(1, shell.channels, block)
                )
                calls = [bound(module, method, x) for module in (ours, plain)]
                with threads(1), torch.inference_mode():
                    if block == shell.hop_samples:
                        check_agreement(f"{name} {method}", calls, ours)
                    first, second = alternate(calls, args.seconds)
                goal = GOALS.get(f"{name} {method}", 1.0) if block == shell.hop_samples else 1.0
                yield Row("streaming", f"{name} {method} {block} samples", first, second, f">= {goal:g}x")


def first_calls(args: argparse.Namespace) -> Iterator[Row]:
    """What the first two calls of a freshly loaded `.ts` cost, which a host feels as a stall."""
    import torch

    for name in args.preset or ("v2", "low"):
        shell = deployed(name)
        x = torch.zeros(1, shell.channels, max(2048, shell.hop_samples))
        with threads(1), torch.inference_mode():
            costs = []
            for module in (loaded_export(shell), loaded(plain_script(shell))):
                call = bound(module, "forward", x)
                costs.append([milliseconds(call) for _ in range(12)])
        for label, pick in (("first", 0), ("second", 1)):
            yield Row("first-calls", f"{name} forward, {label} call", costs[0][pick], costs[1][pick])
        steady = [statistics.median(c[4:]) for c in costs]
        yield Row("first-calls", f"{name} forward, from then on", steady[0], steady[1])


def engine(args: argparse.Namespace) -> Iterator[Figure]:
    """The table of the engine."""
    with threads(1):
        scripts = [lambda shell: loaded(plain_script(shell)), loaded_export]
        yield from figures(args.seconds, args.preset, deployed_from, scripts)


def deployed(name: str, **overrides: Any) -> Shell:
    """The streaming shell of a preset with random weights and all its latents."""
    return deployed_from(name, **overrides)[0]


def deployed_from(name: str, with_prior: bool = False, **overrides: Any) -> tuple[Shell, Trained]:
    import torch

    from .model.autoencoder import Autoencoder
    from .model.config import preset
    from .runs import Trained
    from .streaming.deploy import deploy
    from .training.pca import Principal

    torch.manual_seed(0)
    config = preset(name, **overrides)
    net = Autoencoder(config.model).eval()
    size = config.model.latent
    principal = Principal(torch.zeros(size), torch.eye(size), torch.ones(size))
    trained = Trained(net, config, principal, {})
    prior = untaught_prior(net) if with_prior else None
    return deploy(trained, net.latent.kept if net.latent.discrete else size, streaming=True, prior=prior), trained


def untaught_prior(net: Autoencoder) -> TrainedPrior:
    """A prior over the codes of a network, with random weights."""
    from .model.alphabet import codes_alphabet
    from .model.prior import Prior, PriorConfig
    from .model.quantise import Quantised
    from .runs import TrainedPrior

    assert isinstance(net.latent, Quantised)
    alphabet = codes_alphabet(net.latent.codebooks)
    prior = Prior(PriorConfig(alphabet.quantisers, alphabet.codes)).eval().requires_grad_(False)
    return TrainedPrior(prior, alphabet, {})


def loaded_export(shell: Shell) -> Any:
    """The shell as a host gets it: scripted and settled as export does, saved, loaded."""
    import torch

    from .streaming.deploy import _settled

    return loaded(_settled(torch.jit.script(shell)))


def plain_script(shell: Shell) -> Any:
    import torch

    from .benchmarks.plain import plain_shell

    return torch.jit.script(plain_shell(shell))


def loaded(scripted: Any) -> Any:
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.ts")
        torch.jit.save(scripted, path)
        return torch.jit.load(path)


def bound(module: Any, method: str, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    call = module.forward if method == "forward" else getattr(module, method)
    return lambda: call(x)


def blocks(hop: int) -> Iterator[int]:
    """One hop, then by doubling to the largest block a host sends."""
    block = hop
    while block <= LARGEST_BLOCK:
        yield block
        block *= 2


def check_agreement(what: str, calls: Sequence[Callable[[], torch.Tensor]], ours: Any) -> None:
    """Both start from silence: several blocks in a row must agree, or the comparison would mean nothing."""
    ours.reset()
    for _ in range(4):
        a, b = (call() for call in calls)
        error, peak = float((a - b).abs().max()), float(b.abs().max())
        if not error <= 1e-4 * peak:
            raise RavelError(f"bench: {what} and its plain form differ by {error:.2g} at a peak of {peak:.2g}")


# -- training -----------------------------------------------------------------------------------------------


def training(args: argparse.Namespace) -> Iterator[Row]:
    for name in args.preset or ("low", "v2"):
        yield from training_steps(name, args.batch, args.rounds)


def training_steps(name: str, batch: int, rounds: int) -> Iterator[Row]:
    """One step of each kind as the trainer takes it, against fp32 eager of the same network."""
    import torch

    from .benchmarks.plain_training import PlainTraining

    with trainer_for(name, batch, **CROPS.get(name, {})) as trainer:
        config, net = trainer.config.training, trainer.net
        plain = PlainTraining(net, trainer.discriminator, config)
        x = 0.1 * torch.randn(batch, trainer.config.model.channels, config.crop_samples)
        eps = torch.randn(batch, net.latent.size, config.crop_samples // net.hop_samples)
        check_training(name, trainer, plain, x[:1], eps[:1])

        def row(kind: str, step: int, other: Callable[[torch.Tensor, torch.Tensor], None], goal: str) -> Row:
            def ours() -> None:
                trainer.progress.step = step  # in phase 2 its remainder decides who learns
                trainer.train_step(x)

            times = alternate([ours, lambda: other(x, eps)], 0.0, rounds)
            what = f"{name} {kind}, {batch} x {config.crop_samples}"
            goal_of = GOALS.get(f"{name} {goal}")
            return Row("training", what, times[0], times[1], f">= {goal_of:g}x" if goal_of else "")

        yield row("phase 1", 0, plain.phase_1, "phase 1")
        trainer._begin_phase_2()
        yield row("phase 2 generator", 1, plain.generator, "phase 2")
        yield row("phase 2 discriminator", 0, plain.discriminator, "phase 2")


def overhead(args: argparse.Namespace) -> Iterator[Row]:
    for name in args.preset or ("low",):
        yield from step_overhead(name, args.batch, args.rounds)


def step_overhead(name: str, batch: int, rounds: int) -> Iterator[Row]:
    """What a step spends besides arithmetic; crops are made in parallel, so theirs is an upper bound."""
    from .training.loop import LOG_EVERY
    from .training.report import Report

    with trainer_for(name, batch, **CROPS.get(name, {})) as trainer:
        x = trainer.crops.batch(0, batch)
        means = {key: float(value) for key, value in trainer.train_step(x).items()}
        with Report(trainer.run, trainer.config, True) as report:
            step, load, log = alternate(
                [
                    lambda: trainer.train_step(x),
                    lambda: trainer.crops.batch(batch, batch),
                    lambda: report.step(0, 1, 0.0, means, 0.1, 1e-3),
                ],
                0.0,
                max(rounds, 5),
            )
        yield Row("overhead", f"{name} phase 1 step, {batch} x {trainer.config.training.crop_samples}", step)
        for what, cost in (("loading, a step", load), ("logging, a step", log / LOG_EVERY)):
            yield Row("overhead", f"{name} {what}: {cost / step:.2%}", cost, None, "< 3 %")


@contextmanager
def trainer_for(name: str, batch: int, **overrides: Any) -> Iterator[Trainer]:
    """A real trainer on a corpus of noise, on the CPU, in a folder that goes away."""
    import numpy as np
    import torch
    from lightning_fabric import Fabric

    from . import runs
    from .audio import write_wav
    from .model.config import preset
    from .training.corpus import build_corpus
    from .training.loop import Trainer

    torch.set_flush_denormal(True)  # as `ravel train`
    config = preset(name, batch=batch, discriminator_every=2, **overrides)
    rate = config.model.sample_rate_hz
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "recordings").mkdir()
        noise = np.random.default_rng(0)
        for i in range(3):
            sound = 0.1 * noise.standard_normal((config.model.channels, 10 * rate))
            write_wav(folder / "recordings" / f"{i}.wav", sound.astype(np.float32), rate)
        corpus = build_corpus(folder / "recordings", folder / "cache", rate, config.model.channels, quiet=True)
        run = runs.Run(folder / "run")
        run.folder.mkdir()
        yield Trainer(Fabric(accelerator="cpu", devices=1), run, config, corpus, None)


def check_training(name: str, trainer: Trainer, plain: Any, x: torch.Tensor, eps: torch.Tensor) -> None:
    """Both networks and discriminators compute the same in fp32."""
    import torch

    net = trainer.net
    with torch.no_grad():
        z, _ = net.latent.draw(net.encoder(net.analysis(x)), eps)
        ours = [net.synthesis(net.decoder(z)), *(f[-1].flatten() for f in trainer.discriminator(x))]
        y, _, _ = plain.reconstruct(x, eps, False)
        theirs = [y, *(f[-1].flatten() for f in plain.judge(x))]
    for a, b in zip(ours, theirs, strict=True):
        # sorted: a period discriminator has its phases in another order
        error = float((a.sort().values - b.sort().values).abs().max())
        peak = float(b.abs().max())
        if not error <= 1e-3 * peak:
            raise RavelError(f"bench: {name} and its plain form differ by {error:.2g} at a peak of {peak:.2g}")


# -- clocks -------------------------------------------------------------------------------------------------


def milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def alternate(calls: Sequence[Callable[[], Any]], seconds: float, rounds: int = 3) -> list[float]:
    """Median milliseconds of each call, in turns, so that a busy machine slows all of them alike."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    began = time.perf_counter()
    while len(times[0]) < rounds or time.perf_counter() - began < seconds:
        for call, record in zip(calls, times, strict=True):
            record.append(milliseconds(call))
    return [statistics.median(record) for record in times]


@contextmanager
def threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def columns(heading: str) -> str:
    return f"{heading:<44}{'ours, ms':>11}{'plain, ms':>11}{'ratio':>10}  goal"


PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], Iterator[Row | Figure]]]] = {
    "engine": (HEADING, engine),
    "streaming": (columns(".ts against cached conv1d, one thread"), streaming),
    "first-calls": (columns("first calls of a loaded .ts, one thread"), first_calls),
    "training": (columns("training steps against plain fp32"), training),
    "overhead": (columns("what is not arithmetic in a step"), overhead),
}

if __name__ == "__main__":
    sys.exit(run_verb("bench", main))
