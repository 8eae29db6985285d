"""The engine's figures: against TorchScript, against the roofline, under flat load, and what it weighs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..players import engine_module
from .clocks import alternate
from .contestants import METHODS, Contestant, EngineContestant, ScriptContestant, noise
from .roofline import Roofline, measure

WEIGHTS = ("fp32", "bf16")
# what, at how many times the speed of the plain script: fp32, bf16
SPEEDS = {("v2", "decode"): (9, 20), ("v2", "forward"): (7, 14), ("v2-small", "forward"): (12, 16),
          ("v1", "decode"): (6, 15), ("low", "decode"): (15, 25)}  # fmt: skip
ROOFLINES = (("v2", "decode"), ("v2", "forward"), ("low", "decode"), ("low", "forward"))
ROOFLINE_SHARE = 0.75
PRIORS = {"v2-discrete": 5, "low-discrete": 30}  # % of a decode that a step may cost
FLAT_BLOCK, FLAT_PEAK, FLAT_DEADLINE = 64, 2.5, 0.25
GEMM_SIZE = 1024
ROUNDS = 5  # of a share


@dataclass(frozen=True)
class Figure:
    """One measured number beside its goal."""

    what: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None
    detail: str = ""

    def line(self) -> str:
        verdict = {True: "yes", False: "NO", None: ""}[self.met]
        return f"{self.what:<44}{self.value:10.3g} {self.unit:<16}{self.goal:<7}{verdict:<5}{self.detail}".rstrip()


HEADING = f"{'the engine, one thread':<44}{'measured':>10} {'':<16}{'goal':<7}met"


class Bench:
    """The presets with random weights, written and loaded as they are asked for.

    `deployed(preset, **overrides)` gives a shell and what it was made from; `scripts` turn a shell into the plain
    script and our `.ts`.
    """

    def __init__(
        self, folder: Path, seconds: float, deployed: Callable[..., Any], scripts: Sequence[Callable[[Any], Any]]
    ) -> None:
        self.folder, self.seconds = folder, seconds
        self.native = engine_module()
        self.roof: Roofline = measure(self.native.cpu_features()[-1], 0.2, ())
        self.gemm = matrix_products(self.roof, seconds)
        self._deployed, self._scripts = deployed, scripts
        self._shells: dict[str, Any] = {}
        self._engines: dict[tuple[str, str], EngineContestant] = {}

    def engine(self, name: str, weights: str) -> EngineContestant:
        """`name`: a preset, or preset@rate."""
        from ..streaming import graph

        if (name, weights) not in self._engines:
            shell, about = self._shell(name)
            path = self.folder / f"{name}-{weights}.ravel"
            path.write_bytes(graph.ravel(shell, about, weights))
            self._engines[name, weights] = EngineContestant(path)
        return self._engines[name, weights]

    def floor(self, engine: EngineContestant, method: str, count: int = 1, roof: Roofline | None = None) -> Any:
        """Least seconds of a hop of `count` streams, and the GB/s of walking through its weights."""
        roof, ops = roof or self.roof, engine.engine(method).ops()
        gb_per_s = roof.bandwidth(sum(op["weight_bytes"] for op in ops))
        together = [op | {"flops": count * op["flops"]} for op in ops]
        return float(roof.floors(together, gb_per_s, engine.halved).sum()), gb_per_s

    def scripts(self, name: str) -> list[ScriptContestant]:
        """The plain script and our `.ts`."""
        shell, about = self._shell(name)
        return [ScriptContestant(name, about, partial(script, shell)) for script in self._scripts]

    def _shell(self, name: str) -> Any:
        from ..streaming.deploy import card

        if name not in self._shells:
            preset, _, rate = name.partition("@")
            more = {"with_prior": True} if name in PRIORS else {"sample_rate_hz": int(rate)} if rate else {}
            shell, trained = self._deployed(preset, **more)
            self._shells[name] = shell, card(shell, trained, name)
        return self._shells[name]


def figures(
    seconds: float, presets: Sequence[str] | None, deployed: Callable[..., Any], scripts: Sequence[Callable[[Any], Any]]
) -> Iterator[Figure]:
    """All of them; `presets` leaves the others out."""

    def wanted(name: str) -> bool:
        return not presets or name.partition("@")[0] in presets

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seconds, deployed, scripts)
        yield from peaks(bench)
        for name, method in SPEEDS:
            if wanted(name):
                yield from speeds(bench, name, method)
        for name, method in ROOFLINES:
            if wanted(name):
                for weights in WEIGHTS:
                    yield roofline_share(bench, name, method, weights)
        for name, goal in PRIORS.items():
            if wanted(name):
                yield from prior_shares(bench, name, goal)
        if wanted("v1"):
            yield from real_time(bench)
        if wanted("v2"):
            for weights in WEIGHTS:
                yield from flat_load(bench, weights)
                yield streams(bench, weights)
                yield loading(bench, weights)
        for name in ("v2", "v1", "v2-small", "low"):
            if wanted(name):
                yield from weight(bench, name)
                yield from rounding(bench, name)
        yield size()


def peaks(bench: Bench) -> Iterator[Figure]:
    """What the rooflines stand on: multiply-adds between registers, and the matrix products of torch."""
    roof, gemm = bench.roof, bench.gemm
    yield Figure("peak, fp32", roof.gflops, "GFLOP/s", detail=f"torch.mm {gemm.gflops:.0f}")
    if roof.dot_gflops != roof.gflops:
        yield Figure("peak, bf16 dot", roof.dot_gflops, "GFLOP/s", detail=f"torch.mm {gemm.dot_gflops:.0f}")


def matrix_products(roof: Roofline, seconds: float) -> Roofline:
    """The same machine with the GFLOP/s of torch.mm, at its best moment, as its peaks."""
    import torch

    best = []
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(GEMM_SIZE, GEMM_SIZE).to(dtype)

        def multiply(a: torch.Tensor = a) -> None:
            torch.mm(a, a)

        (times,) = alternate([multiply], seconds)
        best.append(2 * GEMM_SIZE**3 / float(times.min()) / 1e9)
    return Roofline(roof.isa, best[0], max(best) if roof.dot_gflops != roof.gflops else best[0], roof.seconds)


def speeds(bench: Bench, name: str, method: str) -> Iterator[Figure]:
    """Both precisions, our `.ts` and the plain script in one run."""
    contestants: list[Contestant] = [*bench.scripts(name), *(bench.engine(name, weights) for weights in WEIGHTS)]
    times = alternate([c.call(method, 1) for c in contestants], 4 * bench.seconds)
    plain, ts, *ours = (1000 * float(np.median(t)) for t in times)
    hop = bench.engine(name, "fp32").card["hop_samples"]
    for weights, ms, goal in zip(WEIGHTS, ours, SPEEDS[name, method]):
        detail = f"{ms:.3f} ms; plain {plain:.2f} ms; our .ts {ts:.2f} ms, {ts / ms:.1f}x"
        what = f"{name} {method} {hop} samples, {weights}"
        yield Figure(what, plain / ms, "x plain script", f"{goal}", plain / ms >= goal, detail)


def roofline_share(bench: Bench, name: str, method: str, weights: str) -> Figure:
    """Floor over the whole call, the median of rounds that measure peak, bandwidth and calls one after the other.

    Bandwidth is what neighbours on a shared machine change most: figures of different minutes make no share.
    """
    engine = bench.engine(name, weights)
    call = engine.call(method, 1)
    shares, easier, seconds, floors, bandwidths = [], [], [], [], []
    for _ in range(ROUNDS):
        roof = measure(bench.roof.isa, 0.03, ())
        took = float(np.median(alternate([call], bench.seconds / 4)[0]))
        floor, gb_per_s = bench.floor(engine, method, roof=roof)
        gemm = Roofline(roof.isa, bench.gemm.gflops, bench.gemm.dot_gflops, roof.seconds, roof.bandwidths)
        shares.append(100 * floor / took)
        easier.append(100 * bench.floor(engine, method, roof=gemm)[0] / took)
        seconds.append(took)
        floors.append(floor)
        bandwidths.append(gb_per_s)
    middle = [float(np.median(values)) for values in (shares, easier, seconds, floors, bandwidths)]
    detail = f"{min(shares):.0f} to {max(shares):.0f} %; {1000 * middle[2]:.3f} ms, floor {1000 * middle[3]:.3f} ms at "
    detail += f"{middle[4]:.0f} GB/s; {middle[1]:.0f} % with the peak of torch.mm"
    what, goal = f"{name} {method}, {weights}, of the roofline", f"{100 * ROOFLINE_SHARE:.0f} %"
    return Figure(what, middle[0], "%", goal, middle[0] >= 100 * ROOFLINE_SHARE, detail)


def prior_shares(bench: Bench, name: str, goal: int) -> Iterator[Figure]:
    """A step of a prior against the decode of its frame, in turns; and how much longer that takes with it inside."""
    for weights in WEIGHTS:
        model = bench.engine(name, weights)
        calls = [model.call("decode", 1), model.call("prior", 1)]
        model.prior = 1.0
        calls.append(model.call("decode", 1))
        model.prior = 0.0
        decode, step, both = (1000 * float(np.median(t)) for t in alternate(calls, 3 * bench.seconds))
        detail = f"{step:.3f} ms; decode {decode:.3f} ms, with it inside {100 * (both / decode - 1):.0f} % longer"
        share = 100 * step / decode
        yield Figure(f"{name} prior, {weights}, of a decode", share, "%", f"{goal} %", share <= goal, detail)


def real_time(bench: Bench) -> Iterator[Figure]:
    """The paper's headline: all of v1 at 48 kHz; several hops a call use a weight more than once."""
    engine = bench.engine("v1@48000", "fp32")
    counts = (1, 8)
    for hops, times in zip(counts, alternate([engine.call("forward", n) for n in counts], 2 * bench.seconds)):
        speed = hops * engine.card["hop_samples"] / 48000 / float(np.median(times))
        yield Figure(f"v1 forward at 48 kHz, fp32, hops a call: {hops}", speed, "x real time", "20", speed >= 20)


def flat_load(bench: Bench, weights: str) -> Iterator[Figure]:
    """v2 in small callbacks, fully sliced. A position in the hop counts by its median: the schedule, not the noise."""
    engine = bench.engine("v2", weights)
    slices = engine.card["hop_samples"] // FLAT_BLOCK
    (times,) = alternate([engine.sliced("forward", slices, slices)], 2 * bench.seconds)
    positions = np.median(times, axis=0)
    deadline = FLAT_BLOCK / engine.card["sample_rate_hz"]
    peak, load = float(positions.max() / positions.mean()), float(positions.max() / deadline)
    detail = f"largest {1000 * positions.max():.3f} ms, mean {1000 * positions.mean():.3f} ms, {slices} slices"
    what = f"v2 forward sliced by {FLAT_BLOCK}, {weights}"
    yield Figure(f"{what}: largest / mean", peak, "", f"{FLAT_PEAK}", peak <= FLAT_PEAK, detail)
    raw = 100 * np.percentile(times, (50, 99, 99.9)) / deadline
    detail = f"every callback: p50 {raw[0]:.0f} %, p99 {raw[1]:.0f} %, p99.9 {raw[2]:.0f} %"
    goal = FLAT_DEADLINE if weights == "fp32" else None
    met = None if goal is None else load <= goal
    yield Figure(f"{what}: of the deadline", 100 * load, "%", f"{100 * goal:.0f} %" if goal else "", met, detail)


def streams(bench: Bench, weights: str) -> Figure:
    """Four streams of v2 over the same weights against one."""
    engine = bench.engine("v2", weights)
    calls = [engine.call(method, 1, count) for count in (1, 4) for method in ("encode", "decode")]
    times = [float(np.median(t)) for t in alternate(calls, 4 * bench.seconds)]
    one, four = sum(times[:2]), sum(times[2:])
    floors = [sum(bench.floor(engine, method, count)[0] for method in ("encode", "decode")) for count in (1, 4)]
    detail = f"{1000 * one:.3f} ms, {1000 * four:.3f} ms; floors {1000 * floors[0]:.3f} ms, {1000 * floors[1]:.3f} ms"
    return Figure(f"v2 encode + decode, {weights}, 4 streams / 1", four / one, "", "2", four <= 2 * one, detail)


def loading(bench: Bench, weights: str) -> Figure:
    """A model that was read before, so that the disk is not what is measured, until its first hop can be played."""
    path = bench.folder / f"v2-{weights}.ravel"
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        bench.native.Engine(bench.native.Model(path), "forward")
        seconds.append(time.perf_counter() - start)
    took = float(np.median(seconds))
    return Figure(f"v2 load and prepare, {weights}", took, "s", "0.3", took < 0.3)


def weight(bench: Bench, name: str) -> Iterator[Figure]:
    """Memory of a model that plays one stream."""
    for weights in WEIGHTS:
        engine = bench.engine(name, weights)
        packed = engine.model.weight_bytes / 1e6
        histories = {method: engine.engine(method).history_bytes / 1e6 for method in METHODS}
        detail = "histories " + ", ".join(f"{method} {mb:.2f}" for method, mb in histories.items())
        yield Figure(f"{name} memory, {weights}", packed + histories["forward"], "MB", detail=detail)


def rounding(bench: Bench, name: str) -> Iterator[Figure]:
    """What bfloat16 costs: its output beside that of the unrounded weights."""
    for method in METHODS:
        exact, rounded = (_played(bench.engine(name, weights), method) for weights in WEIGHTS)
        snr = 10 * np.log10(np.square(exact).sum() / np.square(rounded - exact).sum())
        yield Figure(f"{name} {method}, bf16 against fp32", float(snr), "dB", "40", bool(snr >= 40))


def _played(engine: EngineContestant, method: str) -> np.ndarray:
    hops = max(16, 32768 // engine.card["hop_samples"])
    played = engine.engine(method, max_hops=4)
    played.temperature = 0.0
    y: np.ndarray = played.process(noise(engine.card, method, hops))
    return y[..., y.shape[2] // 2 :].astype(np.float64)


def size() -> Figure:
    bytes_on_disk = Path(str(engine_module().__file__)).stat().st_size
    return Figure("python._native", bytes_on_disk / 1e6, "MB", "1", bytes_on_disk < 1e6)
