"""The libraries of the extra `evaluate`, imported where they are first needed."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RavelError


@cache
def librosa() -> Any:
    """librosa, what it compiles at first use compiled: seconds after an installation, then read from numba's cache.

    One process at a time: of two that compile at once numba keeps a mixture, which crashes whoever reads it.
    """
    from filelock import FileLock

    with FileLock(lock_path()):
        module = _extra("librosa")
        tone = np.sin(np.arange(8192) * 0.1)
        module.pyin(tone, sr=44100, fmin=200, fmax=2000)
        module.onset.onset_detect(y=tone, sr=44100)
        for kind in (np.float32, np.float64):
            module.effects.pitch_shift(tone.astype(kind), sr=44100, n_steps=1)
            module.griffinlim(np.abs(module.stft(tone.astype(kind))), n_iter=1, random_state=0)
    return module


def lock_path() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"ravel-numba-{user}.lock"


def pyloudnorm() -> Any:
    return _extra("pyloudnorm")


def check() -> None:
    """Raises RavelError at once, rather than after minutes of work, where one is missing."""
    librosa()
    pyloudnorm()


def _extra(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise RavelError(f"{name} is missing ({error}): `pip install '.[evaluate]'` in the project brings it") from None
