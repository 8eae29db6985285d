"""A `.rvl` as a file: written whole or not at all, read with a clear word on whatever is wrong with it.

b"RVL1" or b"RVL2", the length of a JSON header (4 bytes, little-endian), the header, the coded numbers (32-bit words of
`constriction`'s range coder) and the CRC-32 of all before. The header has what decoding needs besides the model, which
it names by the hash of its graph and tensors, the prior's left out. Version 2 has more fields; a file that needs none
of them is of version 1.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..card import LARGEST_WEIGHT
from ..errors import RavelError
from ..files import atomic_write

MAGIC = b"RVL"
VERSIONS = (b"1", b"2")
WIDEST = 32767  # steps from 0 that a latent may be
COARSEST = 8.0  # of a latent's steps
MOST_NUMBERS = 1 << 28  # 1 GB in memory; 25 hours of `low-discrete`
LIMITS = {"sample_rate_hz": 1_000_000, "channels": 1024, "frames": 1 << 40, "hops": 1 << 28, "streams": 1024}
LIMITS |= {"tables": 65536, "symbols": 2 * WIDEST + 2}
ADAPTIVE, PRIOR = "adaptive", "prior"


@dataclass(frozen=True)
class Header:
    """What a `.rvl` says of itself."""

    model: str  # name, for a reader
    hash: str
    sample_rate_hz: int  # of the sound that was coded
    channels: int
    frames: int
    hops: int
    streams: int
    tables: int  # quantisers, or latents
    symbols: int  # of a table
    lowest: int  # what symbol 0 stands for
    step: float  # of a latent; 0: codes
    numbers_crc32: int  # of the numbers: whether they were understood
    payload_bytes: int
    # of version 2
    statistics: str = ADAPTIVE  # what the numbers were coded by
    prior: str = ""  # the fingerprint of its whole numbers
    labels: list[float] = field(default_factory=list)  # weights of the model's labels; none: the first plays


OF_2 = {"statistics": ADAPTIVE, "prior": "", "labels": []}


def write(path: Path, header: Header, payload: bytes) -> int:
    """A `.rvl`, whole or not at all; returns its size."""
    about = asdict(header)
    plain = all(about[name] == value for name, value in OF_2.items())
    kept = {name: value for name, value in about.items() if not (plain and name in OF_2)}
    text = json.dumps(kept).encode()
    content = MAGIC + VERSIONS[not plain] + struct.pack("<I", len(text)) + text + payload
    with atomic_write(path) as temporary:
        temporary.write_bytes(content + struct.pack("<I", zlib.crc32(content)))
    return len(content) + 4


def read(path: Path) -> tuple[Header, bytes]:
    """Header and coded numbers. Raises RavelError for what is missing, foreign, newer, cut short or damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RavelError(f"could not read {path}: {error.strerror}") from None
    if content[:3] != MAGIC:
        raise RavelError(f"{path} is not a .rvl file: `ravel codec encode` makes one")
    version = content[3:4]
    if version not in (b"", *VERSIONS):
        raise RavelError(f"{path} is a .rvl of version {version!r}, this Ravel reads 1 and 2: update Ravel")
    cut = RavelError(f"{path} is cut short: copy it again, or encode the sound again")
    damaged = RavelError(f"{path} is damaged (its checksum is wrong): copy it again, or encode the sound again")
    if len(content) < 12:
        raise cut
    (length,) = struct.unpack_from("<I", content, 4)
    whole = zlib.crc32(content[:-4]) == struct.unpack_from("<I", content, len(content) - 4)[0]
    try:
        about = json.loads(content[8 : 8 + length])
        header = Header(**about)
        size = 12 + length + header.payload_bytes
    except (ValueError, TypeError, RecursionError):
        raise cut if 8 + length > len(content) and not whole else damaged from None
    if not whole:
        raise cut if isinstance(size, int) and len(content) < size else damaged
    if len(content) != size or not _is_sound(header) or any((name in about) != (version == b"2") for name in OF_2):
        raise damaged
    return header, content[8 + length : -4]


def _is_sound(header: Header) -> bool:
    """Whether the numbers of a header can be; a checksum is easily made for others."""
    kinds = {"str": (str,), "int": (int,), "float": (int, float), "list[float]": (list,)}
    return (
        all(type(getattr(header, f.name)) in kinds[str(f.type)] for f in fields(header))
        and all(1 <= getattr(header, name) <= most for name, most in LIMITS.items())
        and header.payload_bytes % 4 == 0
        and abs(header.lowest) <= WIDEST
        and 0 <= header.step <= COARSEST
        and header.hops * header.streams * header.tables <= MOST_NUMBERS
        and header.statistics in (ADAPTIVE, PRIOR)
        and (header.statistics == PRIOR) == bool(header.prior)
        and all(type(w) in (int, float) and abs(w) <= LARGEST_WEIGHT for w in header.labels)
    )
