"""What a listener follows in time: pitch, loudness, brightness, onsets. Sounds are (channels, frames)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from .distances import HOP, WINDOW, Sound, magnitudes
from .extras import librosa, pyloudnorm

Track = NDArray[np.float64]

PITCH_RATE_HZ = 44100  # at half of it a note of 1760 Hz, 12.5 samples a period, is heard an octave lower
PITCH_WINDOW, PITCH_HOP = 4096, 882  # 93 ms every 20 ms
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 32.7, 2093.0  # C1 to C7
# Semitones a state of pYIN: 0.1 is nine times as slow, and `_refined` finds a hundredth in between.
PITCH_STATES = 0.2

SILENT_DB = -60.0  # A-weighted; below it a frame counts as silence
QUIETEST_DB = -70.0  # where levels end, as the absolute gate of BS.1770
ONSET_HOP = 128
ONSET_REACH_S = 0.05  # how far an onset may move and still be the same one


@dataclass(frozen=True)
class Pitch:
    """hz (frames,), NaN where nothing is voiced, every PITCH_HOP / PITCH_RATE_HZ seconds from 0."""

    hz: Track

    @property
    def voiced(self) -> NDArray[np.bool_]:
        return np.isfinite(self.hz)

    @property
    def seconds(self) -> Track:
        return np.arange(len(self.hz), dtype=np.float64) * (PITCH_HOP / PITCH_RATE_HZ)


def pitch(sound: Sound, rate_hz: int) -> Pitch:
    """pYIN (Mauch and Dixon, 2014) of all channels together, its steps of 20 cents refined by autocorrelation."""
    mono = soxr.resample(sound.mean(axis=0, dtype=np.float64), rate_hz, PITCH_RATE_HZ)
    mono = np.pad(mono, (0, max(0, PITCH_WINDOW - len(mono))))
    if np.abs(mono).max() < 1e-5:  # pYIN calls perfect silence voiced
        return Pitch(np.full(1 + len(mono) // PITCH_HOP, np.nan))
    hz, voiced, _ = librosa().pyin(
        mono,
        sr=PITCH_RATE_HZ,
        fmin=LOWEST_PITCH_HZ,
        fmax=HIGHEST_PITCH_HZ,
        frame_length=PITCH_WINDOW,
        hop_length=PITCH_HOP,
        resolution=PITCH_STATES,
        fill_na=np.nan,
    )
    return Pitch(_refined(mono, np.where(voiced, hz, np.nan)))


def _refined(mono: Track, hz: Track) -> Track:
    """Each frame's pitch at the peak of its normalised autocorrelation nearest to as many periods as fit."""
    half = PITCH_WINDOW // 2
    padded = np.pad(mono, half)
    refined = hz.copy()
    for frame in np.flatnonzero(np.isfinite(hz)):
        window = padded[frame * PITCH_HOP : frame * PITCH_HOP + PITCH_WINDOW]
        period = PITCH_RATE_HZ / hz[frame]
        periods = min(40, max(1, int(half / period) - 1))  # of more, a neighbour would come within reach
        reach = max(1, round(0.008 * periods * period))  # 14 cents: half a state and what the grid misses
        middle = round(periods * period)
        lags = np.arange(middle - reach - 1, middle + reach + 2)
        if lags[0] < 1 or lags[-1] >= len(window) - 64:
            continue
        likeness = np.array([_alike(window[:-lag], window[lag:]) for lag in lags])
        best = int(np.argmax(likeness[1:-1])) + 1
        below, top, above = likeness[best - 1 : best + 2]
        bend = below - 2 * top + above
        if below < top > above and bend < 0:
            refined[frame] = periods * PITCH_RATE_HZ / (lags[best] + 0.5 * (below - above) / bend)
    return refined


def _alike(a: Track, b: Track) -> float:
    return float(a @ b) / max(float(a @ a) * float(b @ b), 1e-30) ** 0.5


@dataclass(frozen=True)
class PitchGap:
    """`cents`: median distance where both are voiced; `gross`: share of those over 50 cents; `voicing`: share of all
    frames where both agree on being voiced. None where nothing can be compared."""

    cents: float | None
    gross: float | None
    voicing: float


def pitch_gap(out: Pitch, reference: Pitch) -> PitchGap:
    frames = min(len(out.hz), len(reference.hz))
    a, b = out.hz[:frames], reference.hz[:frames]
    both = np.isfinite(a) & np.isfinite(b)
    voicing = float((np.isfinite(a) == np.isfinite(b)).mean())
    if not both.any():
        return PitchGap(None, None, voicing)
    cents = 1200 * np.abs(np.log2(a[both] / b[both]))
    return PitchGap(float(np.median(cents)), float((cents > 50).mean()), voicing)


def loudness_lufs(sound: Sound, rate_hz: int) -> float | None:
    """Integrated loudness (BS.1770, gated); None for silence. Below 0.4 s, one gate's length, of all there is."""
    seconds = sound.shape[1] / rate_hz
    if seconds < 0.01 or not np.any(sound):
        return None
    meter = pyloudnorm().Meter(rate_hz, block_size=min(0.4, 0.99 * seconds))
    with np.errstate(divide="ignore", invalid="ignore"):
        lufs = float(meter.integrated_loudness(np.ascontiguousarray(sound[:5].T, np.float64)))
    return lufs if np.isfinite(lufs) else None


def level_dba(sound: Sound, rate_hz: int, window: int = WINDOW, hop: int = HOP) -> Track:
    """A-weighted level of each window, the channels' power added, in dB of a full-scale square wave; -70 at least."""
    weights = a_weighting(np.fft.rfftfreq(window, 1 / rate_hz)) ** 2
    weights[1:-1] *= 2  # the negative frequencies
    hann_power = 0.375 * window
    power = sum(np.square(magnitudes(channel, window, hop)) @ weights for channel in sound)
    levels: Track = 10 * np.log10(np.maximum(power / (hann_power * window), 10 ** (QUIETEST_DB / 10)))
    return levels


def a_weighting(hz: NDArray[np.floating]) -> Track:
    """Amplitude factor of the A curve (IEC 61672-1), 1 at 1 kHz."""
    f = np.square(np.asarray(hz, np.float64))
    curve = (12194.217**2 * f**2) / (
        (f + 20.598997**2) * np.sqrt((f + 107.65265**2) * (f + 737.86223**2)) * (f + 12194.217**2)
    )
    return curve * 10 ** (2.0 / 20)


@dataclass(frozen=True)
class LevelGap:
    """`db`: mean distance over the frames where either sounds; `contour`: correlation of the two there, which a
    constant gain leaves alone."""

    db: float | None
    contour: float | None


def level_gap(out: Track, reference: Track) -> LevelGap:
    heard = np.maximum(out, reference) > SILENT_DB
    if not heard.any():
        return LevelGap(None, None)
    a, b = out[heard], reference[heard]
    moves = len(a) > 2 and a.std() > 1e-6 and b.std() > 1e-6
    return LevelGap(float(np.abs(a - b).mean()), float(np.corrcoef(a, b)[0, 1]) if moves else None)


def brightness_hz(sound: Sound, rate_hz: int, window: int = WINDOW, hop: int = HOP) -> Track:
    """Spectral centroid of each window, of amplitudes; NaN for silence."""
    size = np.asarray(sum(magnitudes(channel, window, hop) for channel in sound))
    total = size.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        centroid = size @ np.fft.rfftfreq(window, 1 / rate_hz) / total
    return np.where(total > 1e-3, centroid, np.nan)


def onsets_s(sound: Sound, rate_hz: int) -> Track:
    """When notes begin, by spectral flux, in steps of 128 samples."""
    mono = sound.mean(axis=0, dtype=np.float64)
    if len(mono) < WINDOW or np.abs(mono).max() < 1e-4:
        return np.zeros(0)
    found: Track = librosa().onset.onset_detect(y=mono, sr=rate_hz, hop_length=ONSET_HOP, units="time")
    return found


@dataclass(frozen=True)
class OnsetGap:
    """`ms`: median distance of the onsets that were found again; `late_ms`: the same with its sign, positive for late;
    `found`: F-measure of being found again within 50 ms."""

    ms: float | None
    late_ms: float | None
    found: float | None


def onset_gap(out: Track, reference: Track) -> OnsetGap:
    if not len(out) and not len(reference):
        return OnsetGap(None, None, None)
    late = []
    free = list(out)
    for time in reference:
        near = min(free, key=lambda t: abs(t - time), default=None)
        if near is not None and abs(near - time) <= ONSET_REACH_S:
            free.remove(near)
            late.append(1000 * (near - time))
    found = 2 * len(late) / (len(out) + len(reference))
    if not late:
        return OnsetGap(None, None, found)
    return OnsetGap(float(np.median(np.abs(late))), float(np.median(late)), found)
