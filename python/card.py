"""The model card inside a `.ts`: read without torch, checked once, spoken of in the same words everywhere."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

from .errors import RavelError

FORMAT = 1
RAVEL_FORMAT = 1
ENTRY = "ravel.json"

Card = dict[str, Any]


def read_card(path: str | Path) -> Card:
    """The card of a `.ts`. Raises RavelError if it is missing, damaged, another program's or newer."""
    path = Path(path)
    if path.is_dir():
        raise RavelError(f"{path} is a folder: give the .ts itself, or the name of a run")
    if not path.exists():
        raise RavelError(f"there is no {path}: `ravel export` makes a .ts from a run")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [name for name in archive.namelist() if name.endswith(f"/extra/{ENTRY}")]
            text = archive.read(entries[0]) if entries else None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise RavelError(f"{path} is not a TorchScript file, or is cut short ({error}): export it again") from None
    if text is None:
        raise RavelError(f"{path} has no Ravel card: it was not exported by `ravel export`")
    try:
        card = json.loads(text)
        version = card["format"]
    except (ValueError, KeyError, TypeError):
        raise RavelError(f"{path} has a damaged card: export it again") from None
    if version != FORMAT:
        raise RavelError(f"{path} has card format {version}, this Ravel reads {FORMAT}: update Ravel or export again")
    return card


def delay_samples(card: Card, *methods: str) -> int:
    """Samples by which these methods in a row are late, the wait for a whole hop not included."""
    return sum(int(card["methods"][method]["delay_samples"]) for method in methods)


def hop_wait_samples(hop_samples: int, block: int) -> int:
    """Samples a host with a fixed block of `block` samples waits until a hop is full: H - gcd(H, b)."""
    return hop_samples - math.gcd(hop_samples, block)


def latents_for_fidelity(curve: list[float], fidelity: float) -> int:
    """Fewest latents whose cumulative share of the variance reaches `fidelity`, 0 to 1."""
    if not curve:
        raise RavelError("the model has no fidelity curve (phase 1 did not end): choose a count with --latents")
    return next((n for n, share in enumerate(curve, 1) if share >= fidelity), len(curve))
