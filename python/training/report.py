"""What a person sees of a run: the live line with its estimate, TensorBoard curves, pictures and sound."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch.utils.tensorboard import SummaryWriter

from ..model.config import Config
from ..runs import Run
from .pca import Principal
from .validation import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACTIVE_NATS = 0.01  # a latent dimension whose KL stays below is counted as collapsed


class Report:
    """Prints and logs; silent in every process but the first."""

    def __init__(self, run: Run, config: Config, enabled: bool) -> None:
        self.enabled, self.rate = enabled, config.model.sample_rate_hz
        self.writer = SummaryWriter(str(run.folder)) if enabled else None
        self.live = sys.stderr.isatty()
        self.latest: dict[str, float] = {}
        self.began = time.monotonic()
        self.first: tuple[float, float] | None = None  # (share, time) of the first line, for the estimate
        self.heard_input = False

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live and self.enabled:
            print(file=sys.stderr)
        if self.writer:
            self.writer.flush()

    def say(self, line: str) -> None:
        if self.enabled:
            print(("\r\033[K" if self.live else "") + line, file=sys.stderr, flush=True)

    def step(self, step: int, phase: int, seconds: float, means: dict[str, float], share: float, rate: float) -> None:
        """One line that replaces itself: losses as minimised, speed, and how long it will take."""
        self.latest = {name: round(value, 5) for name, value in means.items()}
        now = time.monotonic()
        self.first = self.first or (share, now)
        done, spent = share - self.first[0], now - self.first[1]
        left = _clock(spent / done * (1 - share)) if done > 0 else "?"
        if self.writer:
            for name, value in means.items():
                self.writer.add_scalar(f"train/{name}", value, step)
            self.writer.add_scalar("train/learning rate", rate, step)
        if self.enabled and self.live:
            losses = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
            line = f"phase {phase}  step {step}  {100 * share:.1f} %  {losses}  {_clock(seconds)} spent, {left} left"
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def validation(self, step: int, phase: int, seconds: float, result: Result, principal: Principal) -> None:
        """Curves, the fidelity curve, KL per dimension, a picture and a sound of one held-out stretch."""
        scores = result.scores
        active = int((result.divergence > ACTIVE_NATS).sum())
        curve = principal.fidelity_curve
        half = 1 + sum(v < 0.95 for v in curve)
        if "perplexity" in scores:
            latent = f"; code perplexity {scores['perplexity']:.0f}"
        else:
            latent = f" at temperature {result.temperature:g}; {active} active latents"
        self.say(
            f"phase {phase}  step {step}  {_clock(seconds)}  held out: distance {scores['distance']:.3f} "
            f"(log {scores['log']:.3f}, relative {scores['relative']:.3f}){latent}, "
            f"{min(half, len(curve))} hold 95 % of the variance"
        )
        if not self.writer:
            return
        for name, value in scores.items():
            self.writer.add_scalar(f"held out/{name}", value, step)
        if "perplexity" not in scores:
            self.writer.add_scalar("latent/active units", active, step)
            self.writer.add_scalar("latent/KL, nats", float(result.divergence.sum()), step)
            self.writer.add_histogram("latent/KL per dimension", result.divergence, step)
        self.writer.add_figure("latent/fidelity curve", _curve(curve), step)
        for name, sound in (("input", result.real), ("output", result.fake)):
            if name == "output" or not self.heard_input:
                self.writer.add_audio(f"held out/{name}", sound.mean(0).clamp(-1, 1), step, self.rate)
        self.heard_input = True
        self.writer.add_figure("held out/spectrograms", _spectrograms(result, self.rate), step)


def _clock(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


def _figure(rows: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    # the object interface: pyplot would keep every figure and want a display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    return figure, list(figure.subplots(rows, 1, squeeze=False)[:, 0])


def _curve(curve: list[float]) -> Figure:
    figure, (axis,) = _figure(1, 4)
    axis.plot(range(1, len(curve) + 1), curve)
    axis.set(xlabel="latent dimensions", ylabel="share of the variance", ylim=(0, 1.02), xscale="log")
    axis.grid(alpha=0.3)
    return figure


def _spectrograms(result: Result, rate: int) -> Figure:
    figure, axes = _figure(2, 6)
    for axis, sound, title in zip(axes, (result.real, result.fake), ("input", "output"), strict=True):
        spectrum = torch.stft(sound.mean(0), 1024, 256, window=torch.hann_window(1024), return_complex=True).abs()
        level_db = 20 * torch.log10(spectrum + 1e-4)
        axis.imshow(
            level_db.numpy(),
            origin="lower",
            aspect="auto",
            vmin=-60,
            vmax=40,
            extent=(0, sound.shape[-1] / rate, 0, rate / 2000),
        )
        axis.set(title=title, ylabel="kHz")
    axes[-1].set_xlabel("s")
    return figure
