"""Every measure of one sound against another, by name: what it is, its unit, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .distances import Sound, log_mel_db, log_spectral_db, multi_scale, peak, snr_db
from .tracks import (
    Pitch,
    Track,
    level_dba,
    level_gap,
    loudness_lufs,
    onset_gap,
    onsets_s,
    pitch,
    pitch_gap,
)

Scores = dict[str, float | None]  # None: nothing there to measure
FEWEST = 8  # files that an interval is drawn from: of two it would be 13 standard errors wide either way
SURE = 0.2  # correlation of the envelopes from which on a measured latency means something


@dataclass(frozen=True)
class Measure:
    """How a score is shown."""

    label: str
    unit: str
    better: Literal["low", "high", "near zero"]
    about: str
    median: bool = False  # over the files: one note an octave off would outweigh a hundred that are a cent off


FIDELITY = {
    "distance": Measure("multi-scale spectral distance", "", "low", "relative + log term over five scales, as trained"),
    "relative": Measure("  its relative term", "", "low", "norm of the difference over norm of the reference"),
    "log": Measure("  its log term", "", "low", "mean difference of natural logarithms"),
    "log_mel_db": Measure("log-mel distance", "dB", "low", "mean difference of 80 mel bands"),
    "log_spectral_db": Measure("log-spectral distance", "dB", "low", "root mean square over bins, 2048 samples"),
    "snr_db": Measure("SNR", "dB", "high", "of the waveform: near 0 where the phase is the model's own"),
}
FOLLOWING = {
    "f0_cents": Measure("f0 error, median", "cents", "low", "median where both are voiced, pYIN", median=True),
    "f0_gross": Measure("f0 over 50 cents off", "%", "low", "share of the frames where both are voiced"),
    "voicing": Measure("voicing agrees", "%", "high", "share of all frames"),
    "loudness_lu": Measure("loudness error", "LU", "low", "distance of the integrated loudness, BS.1770"),
    "level_dba": Measure("level error", "dB(A)", "low", "mean over windows that sound, A-weighted"),
    "contour": Measure("loudness contour", "", "high", "correlation of the A-weighted levels over time"),
    "onset_ms": Measure(
        "onset timing error, median", "ms", "low", "median of the onsets found again within 50 ms", median=True
    ),
    "onset_late_ms": Measure(
        "onset shift, median", "ms", "near zero", "the same with its sign, positive for late", median=True
    ),
    "onsets_found": Measure("onsets found again", "%", "high", "F-measure, within 50 ms"),
}
MEASURES = FIDELITY | FOLLOWING
# A rendering of other material is not meant to have the spectrum or the waveform of its input.
TRANSFER = {name: measure for name, measure in FOLLOWING.items() if name not in ("loudness_lu", "level_dba")}


@dataclass
class Heard:
    """A sound with what is tracked in it: a reference is compared with many, and pitch takes the longest."""

    sound: Sound
    rate_hz: int
    pitch: Pitch = field(init=False)
    level: Track = field(init=False)
    onsets: Track = field(init=False)
    lufs: float | None = field(init=False)

    def __post_init__(self) -> None:
        self.pitch = pitch(self.sound, self.rate_hz)
        self.level = level_dba(self.sound, self.rate_hz)
        self.onsets = onsets_s(self.sound, self.rate_hz)
        self.lufs = loudness_lufs(self.sound, self.rate_hz)


def compare(out: Heard, reference: Heard) -> Scores:
    """All measures, by name."""
    relative, log = multi_scale(out.sound, reference.sound)
    pitches = pitch_gap(out.pitch, reference.pitch)
    levels = level_gap(out.level, reference.level)
    onsets = onset_gap(out.onsets, reference.onsets)
    return {
        "distance": relative + log,
        "relative": relative,
        "log": log,
        "log_mel_db": log_mel_db(out.sound, reference.sound, reference.rate_hz),
        "log_spectral_db": log_spectral_db(out.sound, reference.sound),
        "snr_db": snr_db(out.sound, reference.sound),
        "f0_cents": pitches.cents,
        "f0_gross": _percent(pitches.gross),
        "voicing": _percent(pitches.voicing),
        "loudness_lu": None if out.lufs is None or reference.lufs is None else abs(out.lufs - reference.lufs),
        "level_dba": levels.db,
        "contour": levels.contour,
        "onset_ms": onsets.ms,
        "onset_late_ms": onsets.late_ms,
        "onsets_found": _percent(onsets.found),
    }


def over_files(rows: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | None] | None]:
    """Of each measure over the files that have it: {"value", "low", "high", "files"}.

    The mean with its 95 % interval (Student's t), or the median with its quartiles where the measure wants that; low
    and high are None below FEWEST files.
    """
    result: dict[str, dict[str, float | None] | None] = {}
    for name, measure in MEASURES.items():
        values = [value for row in rows if (value := row[name]) is not None]
        if not values:
            result[name] = None
            continue
        if measure.median:
            low, value, high = map(float, np.percentile(values, (25, 50, 75)))
        else:
            value = float(np.mean(values))
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            half = student(len(values) - 1) * deviation / len(values) ** 0.5
            low, high = value - half, value + half
            if measure.better == "low" or measure.unit == "%":
                low = max(0.0, low)
            if measure.unit == "%" or name == "contour":
                high = min(100.0 if measure.unit == "%" else 1.0, high)
        known = len(values) >= FEWEST
        result[name] = {
            "value": value,
            "low": low if known else None,
            "high": high if known else None,
            "files": len(values),
        }
    return result


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t by its expansion in 1 / freedom (Abramowitz and Stegun, 26.7.5), within 0.5 %
    from 7 on."""
    z, n = 1.95996, max(1, freedom)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def measured_lag(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """(samples that the outputs are late, correlation there) where the `alignment` of all files together peaks."""
    return peak(np.mean(np.asarray(curves), axis=0))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
