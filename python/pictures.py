"""One PNG that shows what was learnt: spectrograms of input and resynthesis, loss curves, fidelity."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from .files import atomic_write

Entry = dict[str, Any]  # a line of history.jsonl

WINDOW_SAMPLES = 4096  # 93 ms at 44.1 kHz: partials of a low string stay apart
LOWEST_HZ = 50.0
ROWS = 320  # logarithmic frequency rows of a spectrogram
RANGE_DB = 80.0

INK, FAINT, GRID = "#1d2430", "#6b7380", "#e3e6ea"
COLOURS = ("#3b6fb6", "#d1603d", "#4a9b6e", "#8b5fb0", "#b8862b", "#5b9aa9", "#c25b8e", "#7c7c7c")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def spectrogram_db(audio: NDArray[np.floating], sample_rate_hz: int) -> NDArray[np.float64]:
    """(channels, frames) -> (ROWS, columns) dB of full scale, the channels averaged, rows logarithmic in Hz.

    A row is the maximum over its bins where several fall into it, or interpolated where a bin spans several.
    """
    mono = np.pad(audio.mean(axis=0, dtype=np.float64), WINDOW_SAMPLES // 2)
    hop = max(256, -(-len(mono) // 2000))  # more columns than pixels show nothing more
    window = np.hanning(WINDOW_SAMPLES)
    slices = np.lib.stride_tricks.sliding_window_view(mono, WINDOW_SAMPLES)[::hop]
    magnitude = np.abs(np.fft.rfft(slices * window)) * (2 / window.sum())  # a full-scale sine reaches 1
    edges_hz = np.geomspace(LOWEST_HZ, sample_rate_hz / 2, ROWS + 1)
    edges = edges_hz * WINDOW_SAMPLES / sample_rate_hz
    rows = np.empty((ROWS, len(magnitude)))
    for row, (low, high) in enumerate(pairwise(edges)):
        first, last = math.ceil(low), min(math.ceil(high), magnitude.shape[1])
        if last > first:
            rows[row] = magnitude[:, first:last].max(axis=1)
        else:
            below = min(int(low), magnitude.shape[1] - 2)
            share = (low + high) / 2 - below
            rows[row] = (1 - share) * magnitude[:, below] + share * magnitude[:, below + 1]
    return 20 * np.log10(np.maximum(rows, 1e-6))


def frequency_ticks(rate: int) -> tuple[list[float], list[str]]:
    """Places in the rows of a spectrogram, and what stands there."""
    ticks_hz = [hz for hz in (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000) if hz <= rate / 2]
    span = math.log(rate / 2 / LOWEST_HZ)
    places = [ROWS * math.log(hz / LOWEST_HZ) / span for hz in ticks_hz]
    return places, [f"{hz / 1000:g}k" if hz >= 1000 else str(hz) for hz in ticks_hz]


def show_spectrogram(axis: Axes, picture: NDArray[np.floating], top_db: float, seconds: float) -> AxesImage:
    """`picture` of `spectrogram_db`, over the RANGE_DB below `top_db`."""
    axis.grid(visible=False)
    return axis.imshow(
        picture,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top_db - RANGE_DB,
        vmax=top_db,
        extent=(0, seconds, 0, ROWS),
        interpolation="bilinear",
    )


def draw(
    path: str | os.PathLike[str],
    source: NDArray[np.floating],
    resynthesis: NDArray[np.floating],
    sample_rate_hz: int,
    history: Sequence[Entry],
    fidelity_curve: Sequence[float],
    latents: int,
    title: str,
) -> None:
    """Draw the page to `path`, a PNG. Audio is (channels, frames) at one rate; `latents` are exported."""
    with pyplot.rc_context(STYLE):
        figure = pyplot.figure(figsize=(12, 10.2), dpi=120)
        try:
            edges = {"left": 0.075, "right": 0.905}
            sound = figure.add_gridspec(2, 1, **edges, top=0.905, bottom=0.40, hspace=0.19)
            learnt = figure.add_gridspec(1, 2, **edges, top=0.31, bottom=0.065, wspace=0.17)
            figure.suptitle(title, x=0.075, y=0.972, ha="left", fontsize=15, fontweight="bold", color=INK)
            _spectrograms(figure, sound, source, resynthesis, sample_rate_hz)
            _losses(figure.add_subplot(learnt[0]), history)
            _fidelity(figure.add_subplot(learnt[1]), fidelity_curve, latents)
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format="png")
        finally:
            pyplot.close(figure)


def _spectrograms(
    figure: Figure, grid: Any, source: NDArray[np.floating], resynthesis: NDArray[np.floating], rate: int
) -> None:
    pictures = [spectrogram_db(audio, rate) for audio in (source, resynthesis)]
    top_db = max(-100.0, max(float(picture.max()) for picture in pictures))
    axes: list[Axes] = []
    for row, (name, picture, audio) in enumerate(zip(("input", "resynthesis"), pictures, (source, resynthesis))):
        axis = figure.add_subplot(grid[row])
        image = show_spectrogram(axis, picture, top_db, audio.shape[1] / rate)
        axis.set_yticks(*frequency_ticks(rate))
        axis.set(title=name, ylabel="Hz")
        axes.append(axis)
    axes[0].tick_params(labelbottom=False)
    axes[1].set_xlabel("seconds")
    low, high = axes[1].get_position(), axes[0].get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((0.922, low.y0, 0.012, high.y1 - low.y0)))
    bar.set_label("dB of full scale")
    bar.outline.set_visible(False)


def _losses(axis: Axes, history: Iterable[Entry]) -> None:
    """The terms as they are minimised, and the distance of the held-out recordings."""
    axis.set(title="training", xlabel="step")
    curves: dict[str, list[tuple[int, float]]] = {"held-out distance": []}
    second_phase = None
    for entry in history:
        if second_phase is None and entry["phase"] == 2:
            second_phase = entry["step"]
        values = {"held-out distance": entry["validation"]["distance"], **entry["train"]}
        for name, value in values.items():
            if math.isfinite(value) and value > 0:
                curves.setdefault(name, []).append((entry["step"], value))
    for (name, points), colour in zip(curves.items(), COLOURS):
        width = 2.4 if name == "held-out distance" else 1.4
        axis.plot(*zip(*points), color=colour, label=name, linewidth=width, marker="o", markersize=1.6 * width)
    if not curves["held-out distance"]:
        axis.text(0.5, 0.5, "no history", transform=axis.transAxes, ha="center", color=FAINT)
        return
    if second_phase is not None:
        axis.axvline(second_phase, color=FAINT, linewidth=1, linestyle="--")
        axis.annotate(
            "phase 2",
            (second_phase, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -10),
            textcoords="offset points",
            color=FAINT,
        )
    axis.set_yscale("log")
    axis.set_ylim(bottom=max(0.02, axis.get_ylim()[0]))  # a term below a fiftieth moves nothing
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.legend(fontsize=8.5, ncols=2, frameon=True, facecolor="white", edgecolor="none", framealpha=0.8)


def _fidelity(axis: Axes, curve: Sequence[float], latents: int) -> None:
    axis.set(title="fidelity", xlabel="latents", ylabel="share of the variance, %", ylim=(0, 103))
    if not curve:
        axis.text(0.5, 0.5, "phase 1 has not ended", transform=axis.transAxes, ha="center", color=FAINT)
        return
    counts = np.arange(1, len(curve) + 1)
    percent = 100 * np.asarray(curve)
    axis.plot(counts, percent, color=COLOURS[0], linewidth=2.2)
    axis.fill_between(counts, percent, color=COLOURS[0], alpha=0.08, linewidth=0)
    axis.set_xscale("log", base=2)
    axis.set_xticks([2**n for n in range(len(curve).bit_length()) if 2**n <= len(curve)])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlim(1, len(curve))
    axis.plot([latents], [percent[latents - 1]], "o", color=COLOURS[1], markersize=8, clip_on=False, zorder=3)
    axis.annotate(
        f"{latents} exported, {percent[latents - 1]:.1f} %",
        (latents, percent[latents - 1]),
        xytext=(10 if latents < len(curve) / 4 else -10, -18),
        textcoords="offset points",
        ha="left" if latents < len(curve) / 4 else "right",
        color=COLOURS[1],
        fontweight="bold",
    )
