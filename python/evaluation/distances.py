"""How far two sounds are apart as spectra and as samples; every argument is (channels, frames) at one rate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.floating]
Spectra = NDArray[np.float64]  # magnitudes, (windows, bins)

SCALES = (2048, 1024, 512, 256, 128)
FLOOR = 1e-4  # amplitude of an unnormalised spectrum, as in training/losses.py
WINDOW, HOP = 2048, 512
MEL_BANDS, MEL_LOWEST_HZ = 80, 30.0
LAG_LIMIT = 8192  # samples either way: four hops of the slowest preset


def magnitudes(mono: Sound, window: int = WINDOW, hop: int = HOP) -> Spectra:
    """Of Hann windows, unnormalised; what is shorter than a window is filled up with silence."""
    mono = np.pad(mono, (0, max(0, window - len(mono))))
    slices = np.lib.stride_tricks.sliding_window_view(mono, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return np.abs(np.fft.rfft(slices * hann, axis=1))


def multi_scale(out: Sound, reference: Sound) -> tuple[float, float]:
    """(relative, log): the two terms of the distance that training minimises, a mean over its five scales.

    The first is the norm of the difference over the norm of the reference, the second a mean difference of natural
    logarithms.
    """
    relative, log = [], []
    for window in SCALES:
        pairs = list(_pairs(out, reference, window, window // 4))
        floored = [(np.hypot(a, FLOOR), np.hypot(b, FLOOR)) for a, b in pairs]
        gap = np.sqrt(sum(np.square(a - b).sum() for a, b in floored))
        relative.append(gap / np.sqrt(sum(np.square(b).sum() for _, b in floored)))
        log.append(np.mean([np.abs(np.log(a / b)).mean() for a, b in floored]))
    return float(np.mean(relative)), float(np.mean(log))


def log_mel_db(out: Sound, reference: Sound, rate_hz: int) -> float:
    """Mean difference of 80 mel bands in dB."""
    bank = mel_bank(rate_hz).T
    gaps = [np.abs(_db(a @ bank) - _db(b @ bank)).mean() for a, b in _pairs(out, reference)]
    return float(np.mean(gaps))


def log_spectral_db(out: Sound, reference: Sound) -> float:
    """The log-spectral distance: root mean square over the bins in dB, a mean over the windows."""
    gaps = [np.sqrt(np.square(_db(a) - _db(b)).mean(axis=1)).mean() for a, b in _pairs(out, reference)]
    return float(np.mean(gaps))


def snr_db(out: Sound, reference: Sound) -> float | None:
    """Of the waveform: near 0 or below for a model that keeps the sound and not the phase. None for a silent pair."""
    power = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(np.subtract(out, reference, dtype=np.float64)).sum())
    if power == 0:
        return None
    return float(10 * np.log10(power / max(noise, power * 1e-15)))


def lag(out: Sound, reference: Sound, limit: int = LAG_LIMIT) -> tuple[int, float]:
    """(samples by which `out` is late, correlation there from 0 to 1) where the cross-correlation is highest."""
    a, b = (x.mean(axis=0, dtype=np.float64) for x in (reference, out))
    energy = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    if energy == 0:
        return 0, 0.0
    size = 1 << (len(a) + limit).bit_length()
    product = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    around = np.concatenate([product[-limit:], product[: limit + 1]])
    best = int(np.argmax(around))
    return best - limit, max(0.0, float(around[best]) / energy)


def mel_bank(rate_hz: int, window: int = WINDOW, bands: int = MEL_BANDS) -> NDArray[np.float64]:
    """Triangles of height 1, (bands, bins), equally far apart in mel (2595 log10(1 + f / 700))."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (MEL_LOWEST_HZ, rate_hz / 2))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)[:, None]
    hz = np.fft.rfftfreq(window, 1 / rate_hz)
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    bank: NDArray[np.float64] = np.clip(np.minimum(rising, falling), 0, None)
    return bank


def _pairs(out: Sound, reference: Sound, window: int = WINDOW, hop: int = HOP) -> Iterator[tuple[Spectra, Spectra]]:
    if out.shape != reference.shape:
        raise ValueError(f"a distance between sounds of one shape, not of {out.shape} and {reference.shape}")
    for a, b in zip(out, reference):
        yield magnitudes(a, window, hop), magnitudes(b, window, hop)


def _db(size: Spectra) -> Spectra:
    return 20 * np.log10(size + FLOOR)
