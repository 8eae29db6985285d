"""Other material brought to where a model learnt: its loudness, and the octave of its pitch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..audio import Audio, read_audio
from ..errors import RavelError
from . import extras, material
from .clips import from_files
from .tracks import Pitch, loudness_lufs, pitch

LIKE_EACH_S, LIKE_TOTAL_S = 10.0, 60.0
HEARD_S = 300.0  # of a file, from its start: what its loudness and its pitch are found from
MOST_GAIN_DB = 40.0  # more would only lift a noise floor
MOST_OCTAVES = 3
PITCH_WINDOW = 2048  # of the phase vocoder


@dataclass(frozen=True)
class Matching:
    """What is done to a sound before the model hears it. `about`: its material, as `material.measured` says it."""

    about: Mapping[str, Any]
    level: bool
    transpose: float | Literal["auto"]

    def prepared(self, source: Path, rate_hz: int) -> tuple[Audio, str]:
        """The whole file at `rate_hz`, matched, and in words what was done to it."""
        return self.matched(read_audio(source, rate_hz)[0], rate_hz)

    def matched(self, sound: Audio, rate_hz: int) -> tuple[Audio, str]:
        """The sound as the material would have it, and in words what was done to it. Duration and place stay."""
        heard = sound[:, : round(HEARD_S * rate_hz)]
        done = []
        semitones = self._octaves(pitch(heard, rate_hz)) if self.transpose == "auto" else self.transpose
        if semitones is None:
            done.append("no pitch found, not transposed")
        elif semitones:
            sound = transposed(sound, rate_hz, semitones)
            done.append(f"{semitones:+g} semitones")
        elif self.transpose == "auto":
            done.append("in the range as it is")
        if self.level:
            gain_db = self._gain_db(sound[:, : round(HEARD_S * rate_hz)], rate_hz)
            if gain_db is None:
                done.append("silent, level as it is")
            else:
                sound = (10 ** (gain_db / 20) * sound).astype(np.float32)
                done.append(f"{gain_db:+.1f} dB")
        return sound, ", ".join(done)

    def _gain_db(self, sound: Audio, rate_hz: int) -> float | None:
        lufs = loudness_lufs(sound.mean(axis=0, keepdims=True), rate_hz)  # as the material was measured
        if lufs is None:
            return None
        return float(np.clip(self.about["loudness_lufs"] - lufs, -MOST_GAIN_DB, MOST_GAIN_DB))

    def _octaves(self, found: Pitch) -> float | None:
        """The octaves, in semitones, that bring most of what is voiced between the material's 5th and 95th percentile;
        the fewest of several."""
        hz = found.hz[found.voiced]
        if not len(hz):
            return None
        low, _, high = self.about["pitch_hz"]
        edge = 2 ** (0.5 / 12)
        shifts = sorted(range(-MOST_OCTAVES, MOST_OCTAVES + 1), key=abs)
        inside = [((hz * 2.0**k >= low / edge) & (hz * 2.0**k <= high * edge)).mean() for k in shifts]
        return 12.0 * shifts[int(np.argmax(inside))]


def transposed(sound: Audio, rate_hz: int, semitones: float) -> Audio:
    """The phase vocoder of librosa: as long as before; onsets stay within 3 ms and lose some of their edge."""
    frames = sound.shape[1]
    longer = np.pad(sound, ((0, 0), (0, max(0, 2 * PITCH_WINDOW - frames))))
    shifted = extras.librosa().effects.pitch_shift(longer, sr=rate_hz, n_steps=semitones, n_fft=PITCH_WINDOW)
    return np.asarray(shifted[:, :frames], np.float32)


def matching(
    card: dict[str, Any], level: bool, transpose: float | Literal["auto"], like: Sequence[Path]
) -> Matching | None:
    """What was asked for, or None when nothing was.

    Raises RavelError where the material is not known, silent, or has no pitch.
    """
    if not level and transpose == 0:
        if like:
            raise RavelError("--like is for --match-level or --transpose auto: add one of them")
        return None
    extras.check()
    about: Mapping[str, Any] = {}
    if level or transpose == "auto":
        if like:
            clips, _ = from_files(like, int(card["sample_rate_hz"]), 1, LIKE_EACH_S, LIKE_TOTAL_S)
            about = material.measured(clips)
        else:
            about = material.of_card(card)
    if level and about["loudness_lufs"] is None:
        raise RavelError("the material is silent, there is no level to match: leave --match-level out")
    if transpose == "auto" and about["pitch_hz"] is None:
        raise RavelError("the material has no pitch, there is no range to match: give --transpose SEMITONES")
    return Matching(about, level, transpose)
