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
LAG_WINDOW, LAG_HOP, LAG_STEPS = 256, 32, 256  # 8192 samples either way: four hops of the slowest preset
LAG_BANDS, LAG_FLOOR = 24, 1e-2


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


def alignment(out: Sound, reference: Sound, rate_hz: int) -> list[float]:
    """Cross-correlation of the band envelopes for lags of -LAG_STEPS to LAG_STEPS times LAG_HOP samples, `out` late for
    positive ones; 1 is alike.

    Envelopes, since a model that makes its own phase has waveforms whose correlation peaks a random number of periods
    away: on saxophone notes from 38 samples before to 2403 after the true place.
    """
    a, b = (_envelopes(x.mean(axis=0, dtype=np.float64), rate_hz) for x in (reference, out))
    energy = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    if energy < 1e-6:  # of one whose envelopes stand still, rounding is left
        return [0.0] * (2 * LAG_STEPS + 1)
    size = 1 << (len(a) + LAG_STEPS).bit_length()
    spectra = np.fft.rfft(b, size, axis=0) * np.conj(np.fft.rfft(a, size, axis=0))
    product = np.fft.irfft(spectra.sum(axis=1), size)
    around = np.concatenate([product[-LAG_STEPS:], product[: LAG_STEPS + 1]]) / energy
    return [round(float(value), 5) for value in around]


def peak(curve: NDArray[np.float64]) -> tuple[float, float]:
    """(samples late, height) of the highest point of an `alignment`, between its steps by a parabola."""
    best = int(np.argmax(curve))
    if not 0 < best < len(curve) - 1:
        return float((best - LAG_STEPS) * LAG_HOP), float(curve[best])
    below, top, above = curve[best - 1 : best + 2]
    bend = below - 2 * top + above
    between = 0.5 * (below - above) / bend if bend < 0 else 0.0
    return float((best - LAG_STEPS + between) * LAG_HOP), float(top)


def _envelopes(mono: Sound, rate_hz: int) -> Spectra:
    """Logarithmic envelopes of bands, (steps, bands), without what stays over a fifth of a second."""
    bank = mel_bank(rate_hz, LAG_WINDOW, LAG_BANDS)
    levels = np.log(magnitudes(mono, LAG_WINDOW, LAG_HOP) @ bank.T + LAG_FLOOR)
    length = min(len(levels), round(0.2 * rate_hz / LAG_HOP))
    running = np.cumsum(np.pad(levels, ((length, length), (0, 0)), mode="edge"), axis=0)
    slow = (running[length:] - running[:-length]) / length
    moves: Spectra = levels - slow[length // 2 : length // 2 + len(levels)]
    return moves


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
