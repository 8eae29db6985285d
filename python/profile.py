"""`ravel profile`: how fast models run here, against the deadline of every block size, and where their time goes."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .benchmarks import roofline
from .benchmarks.clocks import BINS_A_DECADE, Call, Spread, Times, alternate, cores, evict, machine, spread
from .benchmarks.contestants import METHODS, Contestant, EngineContestant, contestant, plain_contestant
from .card import delay_samples, hop_wait_samples
from .cli import Parser, positive, run_verb, seconds
from .errors import RavelError
from .files import atomic_write

BLOCKS = (64, 128, 256, 512, 1024, 2048)
CURVE_BLOCK = 64  # samples of a callback on the latency curve, where the hop is longer
LEAST_INSTANCE_BLOCK = 512  # shorter periods would measure how Python wakes its threads
LEAST_OP = 1e-9  # seconds: a coarse clock sees none pass in a small op, and rates divide by them
LATE_SHARE = 0.01  # of callbacks: more of them late is a broken deadline
BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = 30  # of a histogram on a terminal


@dataclass(frozen=True)
class Row:
    """How one model kept one deadline in one way. Seconds, samples."""

    model: str
    method: str
    block: int
    schedule: str  # whole: hops as they fall due; sliced: a share of every hop in every callback
    caches: str  # hot, or cold: emptied before every call
    deadline: float
    latency_samples: int  # the model's own delay and the wait for a hop
    times: Spread
    x_real_time: float
    ratio: float | None = None  # against the baseline's whole hops


@dataclass(frozen=True)
class OpRow:
    """One op of the engine's schedule, seconds a hop."""

    name: str
    kind: str
    seconds: float
    floor: float
    flops: float
    weight_bytes: float
    rows: int  # that use each weight, 0 without weights


@dataclass(frozen=True)
class OpTable:
    model: str
    method: str
    seconds: float  # a hop, the untimed call
    weight_bytes: float
    history_bytes: int
    gb_per_s: float  # measured at this working set
    ops: list[OpRow]

    @property
    def floor(self) -> float:
        return sum(op.floor for op in self.ops)

    @property
    def share(self) -> float:
        return self.floor / self.seconds


@dataclass(frozen=True)
class CurvePoint:
    """The sliced schedule with its core spread over `core_slices` callbacks."""

    model: str
    block: int
    core_slices: int
    latency_samples: int  # the model's own delay and the wait for a hop included
    largest: float  # of the callbacks' positions in a hop, each the median of its repetitions
    mean: float
    p999: float  # of all callbacks
    deadline: float


@dataclass(frozen=True)
class Crowd:
    """How many instances kept their deadline at once, a thread each."""

    model: str
    block: int
    deadline: float
    kept: int
    limit: int  # not searched beyond
    probes: list[tuple[int, float]]  # instances, 99th percentile of the seconds after the period began


@dataclass
class Profile:
    """Everything measured, as the table, the picture and the JSON show it."""

    about: dict[str, str]
    sample_rate_hz: int
    hop_samples: int
    roof: roofline.Roofline | None = None
    rows: list[Row] = field(default_factory=list)
    ops: list[OpTable] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel profile", description=__doc__)
    p.add_argument("models", nargs="+", type=Path, help=".ravel and .ts files of one hop and rate, side by side")
    p.add_argument("--blocks", nargs="+", type=positive, default=BLOCKS, help="samples of a callback")
    p.add_argument("--method", nargs="+", choices=(*METHODS, "prior"), default=["forward"], help="default: forward")
    p.add_argument(
        "--prior", type=share, default=0.0, help="how much of forward and decode a prior plays, 0 (default) to 1"
    )
    p.add_argument("--seconds", type=seconds, default=1.0, help="of measuring, a model and block (default: 1)")
    p.add_argument("--isa", help="instruction set of the engine (default: the best of this machine)")
    p.add_argument("--against", choices=("plain",), help="also the script that cached convolutions make of the network")
    p.add_argument("--ops", type=int, default=15, metavar="N", help="rows of the table of ops (default: 15)")
    p.add_argument("--instances", type=int, default=64, metavar="N", help="search up to N, 0: do not (default: 64)")
    p.add_argument("--json", type=Path, help="write all figures to this file")
    p.add_argument("--picture", type=Path, help="draw them to this PNG")
    p.add_argument("--quiet", action="store_true", help="no progress")
    return p


def share(text: str) -> float:
    """An argument from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch 2.13 deprecates TorchScript
    models = contestants(args.models, args.isa, args.against, args.prior)
    for model in models:
        for method in args.method:
            if method not in model.methods:
                raise RavelError(f"{model.label} has no method {method}: it has {', '.join(model.methods)}")
    if any(not isinstance(model, EngineContestant) for model in models):
        import torch

        torch.set_num_threads(1)
    profile = Profile(machine(), models[0].card["sample_rate_hz"], models[0].card["hop_samples"])
    print(", ".join(f"{key} {value}" for key, value in profile.about.items()))
    for paragraph in measured(profile, models, args):
        tqdm.write(f"\n{paragraph}")  # above a bar that is still there
    if args.json:
        with atomic_write(args.json) as temporary:
            temporary.write_text(json.dumps(asdict(profile), indent=1))
    if args.picture:
        from .benchmarks.picture import draw

        draw(args.picture, profile)
    return 0


def contestants(paths: Sequence[Path], isa: str | None, against: str | None, prior: float = 0.0) -> list[Contestant]:
    """The loaded models, which must have one hop, rate and channel count; the baseline of ratios is the last."""
    models = [contestant(path, isa, prior) for path in paths]
    for model in models[1:]:
        for key in ("hop_samples", "sample_rate_hz", "channels"):
            first, other = models[0].card[key], model.card[key]
            if first != other:
                raise RavelError(f"{paths[0]} has {key} {first}, {model.label} has {other}: profile them one by one")
    models.sort(key=lambda model: not isinstance(model, EngineContestant))
    if against == "plain":
        source = next((path for path in paths if path.suffix == ".ravel"), None)
        if source is None:
            raise RavelError("--against plain is made from a .ravel: give one")
        models.append(plain_contestant(source))
    return models


def measured(profile: Profile, models: Sequence[Contestant], args: argparse.Namespace) -> Iterator[str]:
    """Fills the profile part by part; each part comes as text when it is done."""
    engines = [model for model in models if isinstance(model, EngineContestant)]
    hop, seconds = profile.hop_samples, args.seconds

    def bar(what: str, steps: Sequence[Any]) -> Iterator[Any]:
        return iter(tqdm(steps, what, disable=True if args.quiet else None, leave=False))

    if engines:
        for engine in bar("roofline", engines[:1]):
            profile.roof = roofline.measure(engine.model.isa, min(0.2, seconds / 5))
            yield roof_text(profile.roof)
    for caches in ("hot", "cold"):
        for method, hops in bar(f"{caches} caches", rounds(args.method, args.blocks, hop)):
            profile.rows += timed(profile, models, method, hops, args.blocks, seconds, caches)
        rows = [row for row in profile.rows if row.caches == caches]
        yield deadlines_text(rows, caches)
    for engine, method in bar("ops", [(engine, method) for engine in engines for method in args.method]):
        profile.ops.append(op_table(engine, method, profile.roof, seconds))
        yield ops_text(profile.ops[-1], args.ops)
    if "forward" in args.method and hop > CURVE_BLOCK:
        for engine in bar("latency against peak", engines):
            profile.curve += curve(engine, hop, seconds)
        if engines:
            yield curve_text(profile.curve, profile.sample_rate_hz)
    if args.instances > 0:
        for model in bar("instances", models):
            profile.crowds.append(crowd(model, profile, args.instances, seconds))
        yield crowds_text(profile.crowds)


# -- deadlines ----------------------------------------------------------------------------------------------


def rounds(methods: Sequence[str], blocks: Sequence[int], hop: int) -> list[tuple[str, int]]:
    """(method, whole hops in a call): blocks below a hop are served by one."""
    hops = sorted({max(1, -(-block // hop)) for block in blocks})
    return [(method, count) for method in methods for count in hops]


def timed(
    profile: Profile,
    models: Sequence[Contestant],
    method: str,
    hops: int,
    blocks: Sequence[int],
    seconds: float,
    caches: str,
) -> list[Row]:
    """Rows for every block that calls of so many hops serve, all models in turns in one run."""
    hop, rate = profile.hop_samples, profile.sample_rate_hz
    served = sorted(block for block in set(blocks) if max(1, -(-block // hop)) == hops)
    runs = [Run(model, "whole", served, model.call(method, hops)) for model in models]
    before = None
    if caches == "cold":
        # only whole hops: a slice finds the caches as the slices before it left them
        runs = [Run(run.model, run.schedule, served[-1:], run.call) for run in runs]
        before, seconds = evict(), seconds / 2
    else:
        engines = [model for model in models if isinstance(model, EngineContestant)]
        for block in served:
            if block < hop and hop % block == 0:
                slices = hop // block
                runs += [Run(engine, "sliced", [block], engine.sliced(method, slices, slices)) for engine in engines]
    times = alternate([run.call for run in runs], seconds * len(runs), before)
    totals = [float(np.median(record.sum(axis=1))) for record in times]  # seconds of a call
    baseline = totals[len(models) - 1] if len(models) > 1 else None
    rows = []
    for run, record, total in zip(runs, times, totals):
        for block in run.blocks:
            row = Row(
                run.model.label,
                method,
                block,
                run.schedule,
                caches,
                block / rate,
                latency(run.model, method, block, run.schedule),
                spread(record.ravel()),
                hops * hop / rate / total,
                None if baseline is None else baseline / total,
            )
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Run:
    """What is timed in one go, and the blocks that it tells of."""

    model: Contestant
    schedule: str
    blocks: list[int]
    call: Call


def latency(model: Contestant, method: str, block: int, schedule: str) -> int:
    """Samples from input to output in a host with this block: the delay and the wait for a hop, and for its slices."""
    hop, delay = int(model.card["hop_samples"]), delay_samples(model.card, method)
    at_once = method in ("decode", "prior")  # have their frame, the others wait for the last of the hop
    if schedule == "sliced":
        return delay + (hop - block) * (1 if at_once else 2)  # then the core takes a hop
    return delay + (0 if at_once else hop_wait_samples(hop, block))


# -- ops ----------------------------------------------------------------------------------------------------


def op_table(model: EngineContestant, method: str, roof: roofline.Roofline | None, seconds: float) -> OpTable:
    """Medians of the ops of one hop, and of the whole call without clocks inside, in turns."""
    assert roof is not None
    engine = model.engine(method)
    x = model.input(method)
    whole = model.call(method, 1)
    before = roof.bandwidth(sum(op["weight_bytes"] for op in engine.ops()))
    each, calls = alternate([lambda: engine.process_timed(x)[1], whole], seconds)
    ops, times = engine.ops(), np.median(each, axis=0)
    total = sum(op["weight_bytes"] for op in ops)
    gb_per_s = max(before, roof.bandwidth(total))
    floors = roof.floors(ops, gb_per_s, model.halved)
    return OpTable(
        model.label,
        method,
        float(np.median(calls)),
        total,
        engine.history_bytes,
        gb_per_s,
        [
            OpRow(
                op["name"],
                op["kind"],
                max(float(took), LEAST_OP),
                float(floor),
                op["flops"],
                op["weight_bytes"],
                roofline.rows(op, model.halved),
            )
            for op, took, floor in zip(ops, times, floors)
        ],
    )


# -- latency against peak -----------------------------------------------------------------------------------


def curve(model: EngineContestant, hop: int, seconds: float, block: int = CURVE_BLOCK) -> list[CurvePoint]:
    """The engine at every doubling of the callbacks that share its core, the choices in turns."""
    slices = hop // block
    choices = sorted({min(2**n, slices) for n in range(slices.bit_length() + 1)})
    records = alternate([model.sliced("forward", slices, n) for n in choices], seconds * len(choices) / 2)
    points = []
    for n, record in zip(choices, records):
        positions = np.median(record, axis=0)
        engine = model.engine("forward", slices=slices, core_slices=n)
        points.append(
            CurvePoint(
                model.label,
                block,
                n,
                engine.delay + engine.sliced_delay,
                float(positions.max()),
                float(positions.mean()),
                float(np.percentile(record, 99.9)),
                block / model.card["sample_rate_hz"],
            )
        )
    return points


# -- instances ----------------------------------------------------------------------------------------------


def crowd(model: Contestant, profile: Profile, limit: int, seconds: float) -> Crowd:
    """Doubles the instances until the deadline breaks, then halves the interval."""
    hops = max(1, LEAST_INSTANCE_BLOCK // profile.hop_samples)
    block = hops * profile.hop_samples
    period = block / profile.sample_rate_hz
    calls: list[Call] = []
    probes: list[tuple[int, float]] = []

    def holds(count: int) -> bool:
        while len(calls) < count:
            calls.append(model.instance("forward", hops))
        p99 = at_once(calls[:count], period, max(10, int(seconds / period)))
        probes.append((count, p99))
        return p99 <= period

    kept, broken = 0, limit + 1
    while kept + 1 < broken:
        count = min(max(1, 2 * kept), limit) if broken > limit else (kept + broken) // 2
        if holds(count):
            kept = count
        else:
            broken = count
    return Crowd(model.label, block, period, kept, limit, sorted(probes))


def at_once(calls: Sequence[Call], period: float, callbacks: int) -> float:
    """All calls once a period, a thread each, in real time: the 99th percentile of when a call is done in its period.

    A call that is late delays the next, as in a host.
    """
    done = np.zeros((len(calls), callbacks))
    start = time.perf_counter() + 0.02 + 0.001 * len(calls)
    stopped = threading.Event()

    def run(call: Call, record: Times) -> None:
        for k in range(callbacks):
            begin = start + k * period
            while (left := begin - time.perf_counter()) > 0:
                time.sleep(left)
            if stopped.is_set():
                return
            call()
            record[k] = time.perf_counter() - begin

    workers = [threading.Thread(target=run, args=pair, daemon=True) for pair in zip(calls, done)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        stopped.set()  # Ctrl-C waits for one period, not for all
    return float(np.percentile(done[:, 1:], 100 * (1 - LATE_SHARE)))


# -- text ---------------------------------------------------------------------------------------------------


def roof_text(roof: roofline.Roofline) -> str:
    reads = ", ".join(f"{size / 2**20:g} MB {gb:.0f}" for size, gb in sorted(roof.bandwidths.items()))
    dot = f", bf16 dot {roof.dot_gflops:.0f}" if roof.dot_gflops != roof.gflops else ""
    return f"one thread, {roof.isa}: {roof.gflops:.0f} GFLOP/s{dot}; GB/s of reading {reads}"


def deadlines_text(rows: Sequence[Row], caches: str) -> str:
    """A table for every method: callbacks in ms, the worst as a share of the deadline, which is │ in the histogram."""
    what = "hot caches" if caches == "hot" else "cold caches: emptied before every call"
    width = max(len(row.model) for row in rows)
    lines = []
    for method, group in groupby(rows, lambda row: row.method):
        lines.append(
            f"{f'{method}, {what}':<{width + 15}}{'latency':>9}{'calls':>7}{'p50':>8}{'p90':>8}{'p99':>8}{'p99.9':>8}"
            f"{'max':>8} ms{'max of deadline':>17}{'x real time':>13}{'ratio':>7}  histogram, │ the deadline"
        )
        for block, same in groupby(sorted(group, key=lambda row: row.block), lambda row: row.block):
            neighbours = list(same)
            low = min(row.times.first_edge for row in neighbours)
            high = max(row.deadline for row in neighbours) * 2
            for row in neighbours:
                lines.append(_deadline_line(row, width, block, low, max(high, row.times.largest)))
    return "\n".join(lines)


def _deadline_line(row: Row, width: int, block: int, low: float, high: float) -> str:
    numbers = "".join(f"{1000 * value:8.3f}" for value in (*row.times.percentiles, row.times.largest))
    ratio = "" if row.ratio is None else f"{row.ratio:.1f}x"
    mark = "!" if row.times.largest > row.deadline else " "
    return (
        f"{block:>6} {row.model:<{width}} {row.schedule:<7}{row.latency_samples:>9}{row.times.count:>7}{numbers}   "
        f"{100 * row.times.largest / row.deadline:15.0f} %{mark}{row.x_real_time:12.1f}{ratio:>7}  "
        f"{sparkline(row.times, row.deadline, low, high)}"
    )


def sparkline(times: Spread, deadline: float, low: float, high: float) -> str:
    """The histogram over log time from `low` to `high`, heights by log count so that a single late call is seen."""
    edges = np.log(times.first_edge) + np.arange(len(times.histogram)) * np.log(10) / BINS_A_DECADE

    def column(position: float) -> int:
        return int(np.clip((position - np.log(low)) / (np.log(high) - np.log(low)) * COLUMNS, 0, COLUMNS - 1))

    counts = np.zeros(COLUMNS)
    for edge, count in zip(edges, times.histogram):
        counts[column(edge)] += count
    heights = np.ceil(np.log1p(counts) / np.log1p(counts.max()) * (len(BARS) - 1)).astype(int)
    text = [BARS[height] for height in heights]
    at = column(float(np.log(deadline)))
    if counts[at] == 0:
        text[at] = "│"
    return "".join(text).rstrip()


def ops_text(table: OpTable, most: int) -> str:
    """The costly ops, then the rest in one row, then the sum."""
    title = f"{table.model} {table.method}, a hop"
    width = max(24, len(title), *(len(op.name) for op in table.ops))
    lines = [f"{title:<{width}} {'kind':<11}{'us':>9}{'share':>8}{'GFLOP/s':>9}{'GB/s':>8}{'of the roofline':>17}"]
    ordered = sorted(table.ops, key=lambda op: -op.seconds)
    total = sum(op.seconds for op in ordered)
    rest = ordered[most:]
    if rest:
        ordered = [*ordered[:most], summed(f"{len(rest)} more", "", rest)]
    lines += [_op_line(op, width, total) for op in ordered]
    lines.append(f"{'by rows a hop':<{width}}")
    by_rows: dict[tuple[str, int], list[OpRow]] = {}
    for op in table.ops:
        by_rows.setdefault((op.kind, op.rows), []).append(op)
    groups = [
        summed(f"{len(ops):>4} of {rows} rows" if rows else f"{len(ops):>4} without weights", kind, ops)
        for (kind, rows), ops in by_rows.items()
    ]
    groups = [op for op in groups if op.seconds > total / 200]
    lines += [_op_line(op, width, total) for op in sorted(groups, key=lambda op: -op.seconds)]
    lines.append(
        f"{'the whole call':<{width}} {'':<11}{1e6 * table.seconds:9.1f}{'':8}"
        f"{sum(op.flops for op in table.ops) / table.seconds / 1e9:9.1f}{table.weight_bytes / table.seconds / 1e9:8.1f}"
        f"{100 * table.share:15.0f} %"
    )
    lines.append(
        f"weights {table.weight_bytes / 1e6:.1f} MB, read at {table.gb_per_s:.0f} GB/s at most; "
        f"histories {table.history_bytes / 1e6:.2f} MB"
    )
    return "\n".join(lines)


def summed(name: str, kind: str, ops: Sequence[OpRow]) -> OpRow:
    """Their sum as one row."""
    seconds, floor, flops, weight_bytes = (
        sum(getattr(op, key) for op in ops) for key in ("seconds", "floor", "flops", "weight_bytes")
    )
    return OpRow(name, kind, seconds, floor, flops, weight_bytes, ops[0].rows)


def _op_line(op: OpRow, width: int, total: float) -> str:
    return (
        f"{op.name:<{width}} {op.kind:<11}{1e6 * op.seconds:9.1f}{100 * op.seconds / total:6.1f} %"
        f"{op.flops / op.seconds / 1e9:9.1f}{op.weight_bytes / op.seconds / 1e9:8.1f}"
        f"{100 * op.floor / op.seconds:15.0f} %"
    )


def curve_text(points: Sequence[CurvePoint], rate: int) -> str:
    width = max(len(point.model) for point in points)
    lines = [
        f"{f'sliced, callbacks of {points[0].block}':<{max(width, 26)}} {'core over':>10}{'latency':>20}"
        f"{'largest':>10}{'mean':>9}{'largest / mean':>16}{'of deadline':>13}{'p99.9':>8}"
    ]
    for point in points:
        ms = 1000 * point.latency_samples / rate
        lines.append(
            f"{point.model:<{max(width, 26)}} {point.core_slices:>10}{point.latency_samples:>8} = {ms:6.1f} ms"
            f"{1000 * point.largest:7.3f} ms{1000 * point.mean:6.3f} ms{point.largest / point.mean:16.2f}"
            f"{100 * point.largest / point.deadline:11.0f} %{100 * point.p999 / point.deadline:6.0f} %"
        )
    return "\n".join(lines)


def crowds_text(crowds: Sequence[Crowd]) -> str:
    width = max(len(c.model) for c in crowds)
    lines = [f"instances at once, a thread each, {cores()} cores, blocks of {crowds[0].block}"]
    for c in crowds:
        more = " or more" if c.kept == c.limit else ""
        tried = ", ".join(f"{count}: {100 * p99 / c.deadline:.0f} %" for count, p99 in c.probes)
        lines.append(f"{c.model:<{width}} {c.kept:>4}{more}   (p99 of the deadline with {tried})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_verb("profile", main))
