"""One PNG of a profile: callbacks against their deadlines, ops against the roofline, latency against peak."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from ..files import atomic_write
from ..pictures import COLOURS, FAINT, GRID, INK, STYLE
from .clocks import BINS_A_DECADE

if TYPE_CHECKING:
    from ..profile import CurvePoint, OpTable, Profile, Row

MOST_OPS = 18
LATE = "#c0392b"


def draw(path: str | os.PathLike[str], profile: Profile) -> None:
    """Draw what was measured to `path`; parts that were not measured say so."""
    rows = [row for row in profile.rows if row.caches == "hot" and row.method == profile.rows[0].method]
    colours = dict(zip(dict.fromkeys(row.model for row in rows), COLOURS))
    height = 2.2 + 0.36 * len(rows)
    with pyplot.rc_context(STYLE):
        figure = pyplot.figure(figsize=(13, height + 6.2), dpi=120)
        try:
            total = height + 6.2
            top = figure.add_gridspec(1, 1, left=0.2, right=0.97, top=1 - 1.05 / total, bottom=1 - height / total)
            low = figure.add_gridspec(
                1, 2, left=0.2, right=0.97, top=1 - (height + 0.95) / total, bottom=0.6 / total, wspace=0.22
            )
            about = profile.about
            figure.text(0.02, 1 - 0.4 / total, "ravel profile", fontsize=15, fontweight="bold", color=INK)
            figure.text(
                0.02,
                1 - 0.66 / total,
                f"{about['cpu']}, {about['cores']} cores, one thread a model; hop {profile.hop_samples} samples at "
                f"{profile.sample_rate_hz / 1000:g} kHz",
                color=FAINT,
            )
            _deadlines(figure.add_subplot(top[0]), rows, colours)
            _ops(figure.add_subplot(low[0]), profile.ops)
            _curve(figure.add_subplot(low[1]), profile.curve, profile.sample_rate_hz, colours)
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format="png")
        finally:
            pyplot.close(figure)


def _deadlines(axis: Axes, rows: list[Row], colours: dict[str, str]) -> None:
    """A ridge of the histogram for each row over log time, its deadline a line, its longest callback a dot."""
    ordered = sorted(rows, key=lambda row: (row.block, row.schedule, list(colours).index(row.model)))
    axis.set(title=f"{rows[0].method}: what callbacks take, against the deadline", xlabel="ms")
    for at, row in enumerate(ordered):
        base, times = len(ordered) - 1 - at, row.times
        edges = times.first_edge * 10 ** (np.arange(len(times.histogram) + 1) / BINS_A_DECADE)
        heights = np.log1p(times.histogram) / np.log1p(max(times.histogram)) * 0.8
        axis.stairs(base + heights, 1000 * edges, baseline=base, fill=True, color=colours[row.model], alpha=0.85)
        late = times.largest > row.deadline
        worst = LATE if late else INK
        axis.plot([1000 * times.largest], [base + 0.12], "o", color=worst, markersize=3.5, clip_on=False)
        axis.plot(2 * [1000 * row.deadline], [base - 0.08, base + 0.85], color=LATE, linewidth=2)
        if at and ordered[at - 1].block != row.block:
            axis.axhline(base + 0.93, color=FAINT, linewidth=0.6)
    axis.set_yticks(
        [len(ordered) - 1 - i + 0.3 for i in range(len(ordered))],
        [f"{row.model}, {row.schedule}  {row.block:>5}" for row in ordered],
        fontsize=8.5,
    )
    axis.set(xscale="log", ylim=(-0.15, len(ordered)))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    _plain_log_ticks(axis)
    axis.text(
        1, 1.012, "red line: deadline    dot: longest callback    height: log count",
        transform=axis.transAxes, ha="right", color=FAINT, fontsize=8.5,
    )  # fmt: skip


def _ops(axis: Axes, tables: list[OpTable]) -> None:
    """The costly ops of the first table; the dark part of a bar is what the roofline allows."""
    if not tables:
        axis.set(title="ops")
        _absent(axis, "only the engine knows its ops: profile a .ravel")
        return
    table = tables[0]
    ops = sorted(table.ops, key=lambda op: -op.seconds)
    shown, rest = ops[:MOST_OPS], ops[MOST_OPS:]
    names = [op.name for op in shown]
    seconds, floors = [op.seconds for op in shown], [op.floor for op in shown]
    if rest:
        names.append(f"{len(rest)} more")
        seconds.append(sum(op.seconds for op in rest))
        floors.append(sum(op.floor for op in rest))
    places = np.arange(len(names))[::-1]
    axis.barh(places, 1e6 * np.array(seconds), color=COLOURS[0], alpha=0.35, height=0.72, label="measured")
    axis.barh(places, 1e6 * np.array(floors), color=COLOURS[0], height=0.72, label="roofline")
    for place, took, floor in zip(places, seconds, floors):
        axis.annotate(
            f"{100 * floor / took:.0f} %",
            (1e6 * max(took, floor), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=FAINT,
        )
    axis.set_yticks(places, names, fontsize=8.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    title = (
        f"{table.model} {table.method}: {1000 * table.seconds:.2f} ms a hop, {100 * table.share:.0f} % of the roofline"
    )
    axis.set(title=title, xlabel="µs")
    axis.legend(loc="center right", fontsize=8.5)
    axis.margins(x=0.1)


def _curve(axis: Axes, points: list[CurvePoint], rate: int, colours: dict[str, str]) -> None:
    """Peak load over latency, both as the choice of core_slices makes them."""
    axis.set(title="sliced: latency against peak")
    if not points:
        _absent(axis, "the hop is too short to slice, or no engine was profiled")
        return
    for which, model in enumerate(dict.fromkeys(point.model for point in points)):
        place = ((6, 4), "left") if which == 0 else ((-6, -11), "right")  # labels of two curves keep apart
        own = [point for point in points if point.model == model]
        ms = [1000 * point.latency_samples / rate for point in own]
        share = [100 * point.largest / point.deadline for point in own]
        mean = 100 * own[-1].mean / own[-1].deadline
        axis.plot(ms, share, "o-", color=colours.get(model, INK), linewidth=2, markersize=5, label=model)
        axis.axhline(mean, color=colours.get(model, INK), linewidth=1, linestyle=":")
        axis.annotate("mean", (max(ms), mean), xytext=(0, 3), textcoords="offset points", ha="right", color=FAINT)
        for point, x, y in zip(own, ms, share):
            axis.annotate(
                f"{point.core_slices}: {point.largest / point.mean:.1f}x",
                (x, y),
                xytext=place[0],
                ha=place[1],
                textcoords="offset points",
                fontsize=8,
                color=FAINT,
            )
    axis.axhline(100, color=LATE, linewidth=1)
    axis.margins(x=0.12)
    axis.set(
        xlabel=f"latency, ms, in callbacks of {points[0].block} samples",
        ylabel="largest callback, % of its deadline",
        yscale="log",
    )
    _plain_log_ticks(axis, horizontal=False)
    axis.text(
        1, 1.012, "label: core_slices, largest / mean", transform=axis.transAxes, ha="right", color=FAINT, fontsize=8.5
    )
    axis.legend(loc="upper right", fontsize=8.5, bbox_to_anchor=(1, 0.97))


def _plain_log_ticks(axis: Axes, horizontal: bool = True) -> None:
    """1, 2, 5, 10, ... in plain numbers, as many as are in sight."""
    which = axis.xaxis if horizontal else axis.yaxis
    low, high = axis.get_xlim() if horizontal else axis.get_ylim()
    ticks = [step * 10.0**power for power in range(-4, 6) for step in (1, 2, 5) if low <= step * 10.0**power <= high]
    which.set_major_locator(FixedLocator(ticks))
    which.set_major_formatter("{x:g}")
    which.set_minor_locator(NullLocator())
    which.set_minor_formatter(NullFormatter())


def _absent(axis: Axes, why: str) -> None:
    axis.text(0.5, 0.5, why, transform=axis.transAxes, ha="center", color=FAINT)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color(GRID)
