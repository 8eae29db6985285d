"""The libraries of the extra `evaluate`, imported where they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import RavelError


def librosa() -> Any:
    return _extra("librosa")


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
