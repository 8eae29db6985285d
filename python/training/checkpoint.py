"""Checkpoints: one file that appears whole, and the memory of what the run was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import RavelError
from ..files import atomic_write

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary name, then rename: a kill at any moment leaves the old checkpoint or the new one."""
    with atomic_write(path) as temporary:
        torch.save({"format": FORMAT, **content}, temporary)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Raises RavelError for what is missing, broken or of another format."""
    path = Path(path)
    if not path.is_file():
        raise RavelError(f"{path}: no checkpoint there; train first, or name another run")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RavelError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); restore it or train with --fresh"
        ) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise RavelError(f"{path}: checkpoint format {found}, this Ravel reads {FORMAT}; use the Ravel that wrote it")
    return dict(content)
