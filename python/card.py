"""The model card inside a `.ts` or `.ravel`: read without torch, checked once, spoken of in one way everywhere."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

from .errors import RavelError

SUFFIXES = (".ts", ".ravel")
FORMAT = 1
ENTRY = "ravel.json"
RAVEL_FORMATS = (1, 2, 3)  # of the `.ravel`, whose card is one of its parts; 2: codes, spheres, labels; 3: a prior
LARGEST_WEIGHT = 10.0  # of a label, either sign
HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library

Card = dict[str, Any]


def is_model_file(model: str) -> bool:
    """Whether a command's word means a file; any other is a run."""
    return Path(model).suffix in SUFFIXES or Path(model).is_file()


def read_card(path: str | Path) -> Card:
    """The card of a `.ts` or `.ravel`. Raises RavelError if it is missing, damaged, another program's or newer."""
    path = Path(path)
    suffix = ".ravel" if path.suffix == ".ravel" else ".ts"
    if path.is_dir():
        raise RavelError(f"{path} is a folder: give the {suffix} itself, or the name of a run")
    if not path.exists():
        raise RavelError(f"there is no {path}: `ravel export` makes a {suffix} from a run")
    text = _in_ravel(path) if suffix == ".ravel" else _in_script(path)
    try:
        card = json.loads(text)
        version = card["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RavelError(f"{path} has a damaged card: export it again") from None
    if version != FORMAT:
        raise RavelError(f"{path} has card format {version}, this Ravel reads {FORMAT}: update Ravel or export again")
    return card


def _in_script(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [name for name in archive.namelist() if name.endswith(f"/extra/{ENTRY}")]
            text = archive.read(entries[0]) if entries else None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise RavelError(f"{path} is not a TorchScript file, or is cut short ({error}): export it again") from None
    if text is None:
        raise RavelError(f"{path} has no Ravel card: it was not exported by `ravel export`")
    return text


def _in_ravel(path: Path) -> str:
    """From the header alone: 8 bytes of length, then JSON; the tensors that follow are only counted."""
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= min(size - 8, HEADER_LIMIT) else b""
    except OSError as error:
        raise RavelError(f"could not read {path}: {error.strerror}") from None
    if not text:
        raise RavelError(f"{path} is not a .ravel file, or is cut short: export it again")
    try:
        header = json.loads(text)
        about = header.pop("__metadata__", {})
        data = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        known, version, card = about.get("format") == "ravel", about.get("version"), about.get("card")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise RavelError(f"{path} is not a .ravel file, or has a damaged header: export it again") from None
    if not known:
        raise RavelError(f"{path} has no Ravel card: it was not exported by `ravel export`")
    if version not in map(str, RAVEL_FORMATS):
        read = f"{RAVEL_FORMATS[0]} to {RAVEL_FORMATS[-1]}"
        raise RavelError(f"{path} has version {version}, this Ravel reads {read}: update Ravel or export again")
    if data != size - 8 - length:
        raise RavelError(f"{path} is cut short or has bytes too many: export it again")
    return str(card)


def label_weights(card: Card, text: str) -> list[float]:
    """The weights of a model's labels from `cello`, or a blend like `cello:0.3,voice:0.7`; labels by name or number."""
    labels: list[str] = card.get("labels", [])
    if not labels:
        raise RavelError(f"--label {text}: {card['name']} has no labels, it was trained on one instrument")
    weights = [0.0] * len(labels)
    for part in text.split(","):
        label, colon, amount = (word.strip() for word in part.partition(":"))
        number = labels.index(label) if label in labels else int(label) if label.isdecimal() else len(labels)
        if number >= len(labels):
            raise RavelError(f"--label {text}: no label {label!r}; {card['name']} has {', '.join(labels)}")
        try:
            weight = float(amount) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not abs(weight) <= LARGEST_WEIGHT:
            raise RavelError(f"--label {text}: a weight is a number from -10 to 10, got {amount!r}")
        weights[number] += weight
    return weights


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
