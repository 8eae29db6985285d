"""Pseudo-QMF: a near-perfect split of audio into equal bands (Nguyen, IEEE Trans. Signal Processing 42, 1994)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from .layers import Conv1d, Upsample


@lru_cache
def prototype(attenuation_db: float, bands: int) -> NDArray[np.float64]:
    """The Kaiser-windowed low-pass whose overlap is flattest, an odd number of taps, in float64.

    40 dB gives 123 taps for 16 bands, 70 dB 249, 100 dB 377. The cut-off minimises the largest autocorrelation at
    multiples of 2 * bands, which is the amplitude ripple of the whole bank (Creusere & Mitra, 1995).
    """
    beta = _kaiser_beta(attenuation_db)

    def low_pass(cutoff: float) -> NDArray[np.float64]:
        # Kaiser's length formula with a transition band as wide as the cut-off itself
        taps = int(np.ceil((attenuation_db - 7.95) / (2.285 * cutoff))) + 1
        taps = 2 * (taps // 2) + 1
        n = np.arange(taps) - taps // 2
        return np.sinc(n * cutoff / np.pi) * cutoff / np.pi * np.kaiser(taps, beta)

    def ripple(cutoff: float) -> float:
        h = low_pass(cutoff)
        overlap = np.correlate(h, h, "full")[len(h) - 1 :: 2 * bands]
        return float(np.abs(overlap[1:]).max() / overlap[0])

    centre = np.pi / (2 * bands)
    grid = np.linspace(0.9 * centre, 1.4 * centre, 201)
    best = grid[np.argmin([ripple(c) for c in grid])]
    for step in (grid[1] - grid[0]) * 0.1 ** np.arange(1, 5):
        around = best + step * np.arange(-10, 11)
        best = around[np.argmin([ripple(c) for c in around])]
    h = low_pass(float(best))
    return h * np.sqrt(2 / (bands * (h**2).sum()))  # unit gain from analysis to synthesis


def _kaiser_beta(attenuation_db: float) -> float:
    """Kaiser's empirical beta for a stop-band attenuation above 21 dB."""
    if attenuation_db > 50:
        return 0.1102 * (attenuation_db - 8.7)
    return float(0.5842 * (attenuation_db - 21) ** 0.4 + 0.07886 * (attenuation_db - 21))


def filters(attenuation_db: float, bands: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Analysis and synthesis impulse responses, (bands, taps) each; their cascade delays by taps - 1 samples."""
    h = prototype(attenuation_db, bands)
    n = np.arange(len(h)) - (len(h) - 1) / 2
    k = np.arange(bands)[:, None]
    carrier = (2 * k + 1) * np.pi / (2 * bands) * n
    phase = (-1.0) ** k * np.pi / 4
    gain = np.sqrt(bands) * h
    return gain * np.cos(carrier + phase), gain * np.cos(carrier - phase)


def _analysis_lookahead(taps: int, bands: int) -> int:
    """The analysis share of the cascade's taps - 1 samples: about half, and a whole number of band frames late."""
    return bands - 1 + bands * round(((taps - 1) / 2 - (bands - 1)) / bands)


class Analysis(Conv1d):
    """Audio (B, channels, T) to bands (B, channels * bands, T / bands); channel c has rows c * bands onwards."""

    def __init__(self, attenuation_db: float, bands: int, channels: int) -> None:
        analysis, _ = filters(attenuation_db, bands)
        taps = analysis.shape[1]
        super().__init__(
            channels, channels * bands, taps, stride=bands, lookahead=_analysis_lookahead(taps, bands), groups=channels
        )
        rows = torch.from_numpy(analysis[:, ::-1].copy()).float()[:, :, None]  # correlation: newest tap last
        self.weight = torch.nn.Parameter(rows.repeat(channels, 1, 1), requires_grad=False)


class Synthesis(Upsample):
    """Bands (B, channels * bands, T) to audio (B, channels, T * bands)."""

    def __init__(self, attenuation_db: float, bands: int, channels: int) -> None:
        _, synthesis = filters(attenuation_db, bands)
        taps = synthesis.shape[1]
        blocks = -(-taps // bands)
        lookahead = taps - 1 - _analysis_lookahead(taps, bands)
        super().__init__(channels * bands, channels, bands, taps=blocks, lookahead=lookahead)
        padded = np.zeros((bands, blocks * bands))
        padded[:, :taps] = synthesis
        kernel = torch.from_numpy(padded).float().view(bands, blocks, bands)  # (band, block, phase)
        rows = kernel.permute(2, 1, 0).flip(1)  # (phase, oldest block first, band)
        weight = torch.zeros(bands, channels, blocks, channels, bands)
        for c in range(channels):  # a channel is made of its own bands only
            weight[:, c, :, c] = rows
        self.weight = torch.nn.Parameter(weight.view(bands * channels, blocks, channels * bands), requires_grad=False)
