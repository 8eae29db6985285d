"""What the training material sounds like, in the few numbers that other material can be brought to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RavelError
from ..files import atomic_write
from .clips import Clip
from .tracks import loudness_lufs, pitch

FILE = "material.json"  # in a run's folder; `runs.load` hands it to the card


def measured(clips: Sequence[Clip]) -> dict[str, Any]:
    """loudness_lufs, of all clips in a row; pitch_hz, its 5th, 50th and 95th percentile over voiced frames, or None."""
    tracks = [pitch(clip.sound, clip.rate_hz) for clip in clips]
    voiced = np.concatenate([track.hz[track.voiced] for track in tracks])
    joined = np.concatenate([clip.sound.mean(axis=0, keepdims=True) for clip in clips], axis=1)
    return {
        "seconds": round(sum(clip.seconds for clip in clips), 1),
        "loudness_lufs": loudness_lufs(joined, clips[0].rate_hz),
        "pitch_hz": [round(float(hz), 2) for hz in np.percentile(voiced, (5, 50, 95))] if len(voiced) else None,
        "voiced_share": round(len(voiced) / max(1, sum(len(track.hz) for track in tracks)), 3),
    }


def write(run_folder: Path, about: dict[str, Any]) -> None:
    with atomic_write(run_folder / FILE) as temporary:
        temporary.write_text(json.dumps(about, indent=2))


def of_card(card: dict[str, Any]) -> dict[str, Any]:
    """Raises RavelError where the card does not say."""
    about = card.get("training", {}).get("material")
    if not isinstance(about, dict):
        raise RavelError(
            f"{card.get('name')} does not say what its material sounds like: --like RECORDINGS measures it, or "
            "`ravel analyze RUN` writes it down, before you export again"
        )
    return about
