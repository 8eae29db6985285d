"""What is evaluated, side by side: models from files or runs, and baselines that need no network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio import Audio, resample
from ..card import Card, delay_samples, label_weights
from ..errors import RavelError
from ..render import Instrument
from .clips import Clip
from .distances import Spectra
from .extras import librosa
from .subspace import pca

SPEED_SECONDS, SPEED_ROUNDS = 2.0, 3
PCA_WINDOW = 1024
PCA_FLOOR = 1e-4  # amplitude, as in the distances
PCA_LATENTS = 8  # where no model says how many
PHASE_ROUNDS = 24  # of Griffin-Lim


class System(Protocol):
    """Something that plays a sound as it understands it."""

    name: str
    card: Card | None

    def identity(self) -> str:
        """Changes when its output would."""

    def play(self, clip: Clip) -> Audio:
        """As long and wide as the clip, aligned as the system itself claims."""

    def facts(self) -> dict[str, Any]:
        """What is known without listening: latents, latency_samples, bit_rate_kbps, x_real_time, plays_as (a
        label); None where unknown."""


class Model:
    """An exported file, played as a host plays it, its reported latency removed.

    One with labels plays as `label`, or a blend, else every clip as the label that it was learnt as, else as its first.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.instrument = Instrument(path)
        self.card: Card | None = self.instrument.card
        self.labels: list[str] = self.instrument.card.get("labels", [])
        self.label = ""

    def identity(self) -> str:
        return hashlib.blake2b(self.path.read_bytes(), digest_size=16).hexdigest() + self.label

    def play(self, clip: Clip) -> Audio:
        if self.labels:
            own = clip.label if clip.label in self.labels else self.labels[0]
            self.instrument.player.set_labels(label_weights(self.instrument.card, self.label or own))
        own_rate = self.instrument.sample_rate_hz
        at_own = np.ascontiguousarray(resample(clip.sound, clip.rate_hz, own_rate), np.float32)
        played = np.concatenate(list(self.instrument.play(iter([at_own]), at_own.shape[1])), axis=1)
        return fitted(resample(played, own_rate, clip.rate_hz), clip.sound.shape[1])

    def facts(self) -> dict[str, Any]:
        card = self.instrument.card
        rate, hop = int(card["sample_rate_hz"]), int(card["hop_samples"])
        return {
            "kind": f"{card['preset']}, {rate / 1000:g} kHz, {'stereo' if card['channels'] == 2 else 'mono'}",
            "latents": int(card["latents"]),
            "latent_rate_hz": rate / hop,
            "latency_samples": delay_samples(card, "forward") if card["streaming"] else None,
            "latency_rate_hz": rate,
            "bit_rate_kbps": bit_rate_kbps(card),
            "x_real_time": self._times_real_time(),
            "parameters": card["parameters"],
            "plays_as": (self.label or "each file as its own label, others as the first") if self.labels else None,
        }

    def _times_real_time(self) -> float:
        """The best of some rounds: on a shared machine the others measure the neighbours."""
        rate, channels = self.instrument.sample_rate_hz, self.instrument.channels
        noise = np.random.default_rng(0).standard_normal((channels, round(SPEED_SECONDS * rate))).astype(np.float32)
        best = min(self._seconds(0.1 * noise) for _ in range(SPEED_ROUNDS))
        return SPEED_SECONDS / best

    def _seconds(self, sound: Audio) -> float:
        start = time.perf_counter()
        for _ in self.instrument.play(iter([sound]), sound.shape[1]):
            pass
        return time.perf_counter() - start


def bit_rate_kbps(card: Card) -> float | None:
    """Of the codes, before any entropy coding; None for continuous latents, which have no bit rate."""
    return card["codes"]["bits_per_second"] / 1000 if card.get("codes") else None


def codes(card: Card) -> int | None:
    """How many codes a discrete latent chooses from; None for a continuous one."""
    return int(card["codes"]["codes"]) if card.get("codes") else None


class SpectralPca:
    """Principal components of log-magnitude spectra, the phase found by Griffin-Lim: what `latents` numbers a frame can
    do without learning anything but a rotation."""

    card: Card | None = None

    def __init__(self, name: str, latents: int, hop_samples: int, rate_hz: int, material: Sequence[Clip]) -> None:
        self.name, self.latents, self.hop, self.rate_hz = name, latents, hop_samples, rate_hz
        self.window = max(PCA_WINDOW, 4 * hop_samples)
        if latents > self.window // 2 + 1:
            raise RavelError(f"--baselines {name}: spectra here have {self.window // 2 + 1} bins, ask for fewer")
        rows = np.concatenate([self._log(channel, clip.rate_hz) for clip in material for channel in clip.sound])
        self.mean, self.components, _ = pca(rows)
        self.components = self.components[:latents]

    def identity(self) -> str:
        about = f"{self.latents} {self.hop} {self.window} {self.rate_hz} {PHASE_ROUNDS} "
        return about + hashlib.blake2b(self.mean.tobytes(), digest_size=16).hexdigest()

    def play(self, clip: Clip) -> Audio:
        return np.stack([self._play(channel, clip.rate_hz) for channel in clip.sound])

    def _play(self, channel: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        rows = self._log(channel, rate_hz)
        kept = (rows - self.mean) @ self.components.T @ self.components + self.mean
        frames = round(len(channel) * self.rate_hz / rate_hz)
        played = librosa().griffinlim(
            np.exp(kept.T),
            n_iter=PHASE_ROUNDS,
            hop_length=self.hop,
            win_length=self.window,
            random_state=0,
            length=frames,
        )
        return fitted(resample(played[None].astype(np.float32), self.rate_hz, rate_hz), len(channel))[0]

    def _log(self, channel: NDArray[np.float32], rate_hz: int) -> Spectra:
        at_own = resample(channel[None], rate_hz, self.rate_hz)[0]
        spectra = librosa().stft(at_own, n_fft=self.window, hop_length=self.hop)
        return np.log(np.abs(spectra).T.astype(np.float64) + PCA_FLOOR)

    def facts(self) -> dict[str, Any]:
        return {
            "kind": f"PCA of log spectra, windows of {self.window}, phase by Griffin-Lim",
            "latents": self.latents,
            "latent_rate_hz": self.rate_hz / self.hop,
            "latency_samples": None,
            "latency_rate_hz": self.rate_hz,
            "bit_rate_kbps": None,
            "x_real_time": None,
            "parameters": self.components.size + self.mean.size,
            "plays_as": None,
        }


def fitted(sound: Audio, frames: int) -> Audio:
    """Cut, or filled up with silence: resampling there and back may be a sample off."""
    return np.pad(sound[:, :frames], ((0, 0), (0, max(0, frames - sound.shape[1])))).astype(np.float32)


def baselines(names: Sequence[str], like: Card | None, rate_hz: int, material: Sequence[Clip]) -> list[System]:
    """`pca` has as many latents, as often, as the model whose card is `like`; `pca:8` has 8."""
    made: list[System] = []
    for name in names:
        kind, _, count = name.partition(":")
        if kind != "pca":
            raise RavelError(
                f"--baselines {name}: there is pca and pca:N; an autoencoder without KL or phase 2 is a model to "
                "train (`--beta 0`, `--phase-1 1`) and to give beside the others"
            )
        if count and not (count.isdecimal() and int(count)):
            raise RavelError(f"--baselines {name}: pca:N with N a count of components")
        latents = int(count) if count else int(like["latents"]) if like else PCA_LATENTS
        hop = int(like["hop_samples"]) if like else 512
        made.append(SpectralPca(name, latents, hop, rate_hz, material))
    return made
