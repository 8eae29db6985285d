"""The pictures of both reports, drawn with the colours of `pictures.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ..files import atomic_write
from ..pictures import COLOURS, FAINT, INK, STYLE, frequency_ticks, show_spectrogram, spectrogram_db

Sound = NDArray[np.floating]
DPI = 110
# title, unit, (low, value, high) a system; without low and high no interval is known
Bars = tuple[str, str, Sequence[tuple[float | None, float, float | None] | None]]


@contextmanager
def page(path: Path, size: tuple[float, float], rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """Axes to draw on, (rows, columns); the PNG appears when the body is done."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            rows, columns, figsize=size, dpi=DPI, squeeze=False, layout="constrained", **options
        )
        try:
            yield axes
            with atomic_write(path) as temporary:
                figure.savefig(temporary, format="png")
        finally:
            pyplot.close(figure)


def spectrograms(path: Path, sounds: Mapping[str, Sound], rate_hz: int) -> None:
    """One above the other, on one time axis and one scale of level."""
    pictures = {name: spectrogram_db(sound, rate_hz) for name, sound in sounds.items()}
    top_db = max(-100.0, max(float(picture.max()) for picture in pictures.values()))
    with page(path, (9, 0.5 + 1.75 * len(sounds)), rows=len(sounds), sharex=True) as axes:
        for axis, (name, picture) in zip(axes[:, 0], pictures.items()):
            show_spectrogram(axis, picture, top_db, sounds[name].shape[1] / rate_hz)
            ticks, labels = frequency_ticks(rate_hz)
            axis.set_yticks(ticks[::2], labels[::2])
            axis.set(title=name)
        axes[-1, 0].set_xlabel("seconds")


def variance(path: Path, curves: Mapping[str, Sequence[float]], fidelities: Sequence[float]) -> None:
    """Cumulative variance against dimensions, and the dimensionality that each fidelity asks for."""
    with page(path, (10, 3.9), columns=2) as axes:
        left, right = axes[0]
        left.set(title="cumulative variance", xlabel="dimensions", ylabel="share of the variance, %", ylim=(0, 103))
        right.set(title="estimated dimensionality", xlabel="fidelity f", ylabel="dimensions")
        for (name, curve), colour in zip(curves.items(), COLOURS):
            percent = 100 * np.asarray(curve)
            left.plot(np.arange(1, len(percent) + 1), percent, color=colour, label=name, linewidth=2)
            asked = np.linspace(0.5, 0.9999, 400)
            right.plot(asked, [dimensions(curve, f) for f in asked], color=colour, linewidth=2, label=name)
            for f in fidelities:
                right.plot([f], [dimensions(curve, f)], "o", color=colour, markersize=5)
        _doubling(left, len(next(iter(curves.values()))))
        right.set_yscale("log", base=2)
        right.yaxis.set_major_formatter("{x:g}")
        left.legend(loc="lower right")


def dimensions(curve: Sequence[float], fidelity: float) -> int:
    return next((n for n, share in enumerate(curve, 1) if share >= fidelity), len(curve))


def errors(
    path: Path, counts: Sequence[int], measured: Mapping[str, tuple[str, Sequence[float]]], against: str
) -> None:
    """Reconstruction error against how much of the latents is heard: {measure: (unit, values)}."""
    with page(path, (10, 3.3), columns=len(measured)) as axes:
        for axis, (name, (unit, values)), colour in zip(axes[0], measured.items(), COLOURS):
            axis.plot(counts, values, "o-", color=colour, linewidth=2, markersize=5)
            axis.set(title=name, xlabel=against, ylabel=unit, ylim=(0, 1.1 * max(values)))
            _doubling(axis, max(counts))


def code_use(path: Path, perplexity: Sequence[float], taken: Sequence[int], codes: int) -> None:
    """Perplexity of every quantiser, within how many of its codes were taken, within all of them."""
    places = np.arange(1, len(taken) + 1)
    with page(path, (9, 3.3)) as axes:
        axis = axes[0, 0]
        axis.bar(places, taken, width=0.8, color=COLOURS[1], alpha=0.45, label="codes taken")
        axis.bar(places, perplexity, width=0.8, color=COLOURS[0], label="perplexity")
        axis.axhline(codes, color=FAINT, linestyle="--", linewidth=1)
        axis.set(title=f"use of {codes} codes", xlabel="quantiser", ylim=(0, 1.08 * codes))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc="lower left", frameon=True, framealpha=0.9)


def collapse(
    path: Path,
    divergence: NDArray[np.float64],
    spread: NDArray[np.float64],
    bits: NDArray[np.float64] | None,
    active: float,
) -> None:
    """KL and variance of the posterior mean of each latent, the busiest first; what is below `active` has collapsed.
    Beside them the bits of the principal components."""
    panels = [("KL to the prior", "nats a frame", divergence), ("variance of the mean", "variance", spread)]
    if bits is not None:
        panels.append(("information of components", "bits a frame", bits))
    with page(path, (10, 3.4), columns=len(panels)) as axes:
        for axis, (title, unit, values) in zip(axes[0], panels):
            ordered = np.maximum(np.sort(values)[::-1], 1e-7)
            colours = [COLOURS[0] if value > active else COLOURS[1] for value in ordered]
            axis.bar(np.arange(1, len(ordered) + 1), ordered, width=1.0, color=colours)
            axis.axhline(active, color=FAINT, linestyle="--", linewidth=1)
            axis.set(title=f"{title}\n{int((ordered > active).sum())} of {len(ordered)} over {active:g}")
            axis.set(xlabel="sorted", ylabel=unit, yscale="log")
            axis.set_ylim(bottom=1e-5)


def correlations(path: Path, tables: Mapping[str, NDArray[np.float64]], columns: Sequence[str]) -> None:
    """(components, features) of rank correlations as heat maps with their numbers."""
    count = len(next(iter(tables.values())))
    with page(path, (1.5 + 3.9 * len(tables), 0.9 + 0.4 * count), columns=len(tables), sharey=True) as axes:
        for axis, (title, table) in zip(axes[0], tables.items()):
            image = axis.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
            for (row, column), value in np.ndenumerate(table):
                dark = np.isfinite(value) and abs(value) > 0.6
                text = f"{value:+.2f}" if np.isfinite(value) else "\N{EN DASH}"
                axis.text(column, row, text, ha="center", va="center", color="white" if dark else INK)
            axis.set_xticks(range(len(columns)), columns)
            axis.set_yticks(range(count), [f"latent {n + 1}" for n in range(count)])
            axis.grid(visible=False)
            axis.set_title(title)
        axes[0, -1].figure.colorbar(image, ax=list(axes[0]), fraction=0.05)


def bars(path: Path, names: Sequence[str], measures: Sequence[Bars]) -> None:
    """Systems beside each other; the whisker is the interval of the mean, or the quartiles."""
    with page(path, (10, 1.5 + 0.28 * len(names)), columns=len(measures), sharey=True) as axes:
        for axis, (title, unit, values) in zip(axes[0], measures):
            for place, value, colour in zip(range(len(names))[::-1], values, COLOURS * len(names)):
                if value is not None:
                    low, middle, high = value
                    axis.barh(place, middle, color=colour, height=0.62)
                    if low is not None and high is not None:
                        axis.plot([low, high], [place, place], color=FAINT, linewidth=1.5)
            axis.set_yticks(range(len(names))[::-1], names)
            axis.set(title=title, xlabel=unit)
            starts = [middle if low is None else low for low, middle, _ in filter(None, values) if middle < 0]
            axis.set_xlim(left=min([0.0, *starts]))


def _doubling(axis: Axes, most: int) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks([2**n for n in range(most.bit_length()) if 2**n <= most])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
