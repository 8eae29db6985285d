"""From what an encoder gave to a payload and back: what of it fits a bit rate, and which statistics are cheaper."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import RavelError
from .container import ADAPTIVE, PRIOR, WIDEST, Header
from .integer_prior import IntegerPrior
from .predicted import Predicted
from .statistics import Adaptive, Numbers

Values = NDArray[np.float32]  # (tables, hops, streams)

STEP = 0.25  # of continuous latents, which have about unit variance
STEPS = [2.0 ** (n / 2) for n in range(-10, 7)]  # that --kbps chooses from
END_BITS = 64  # that a stream may have beyond its entropy


class Coder(Protocol):
    """Numbers (tables, hops, streams) to bytes and back, by distributions that both sides know."""

    def estimate(self, numbers: Numbers) -> NDArray[np.float64]:
        """Bits of each table: the entropy that a perfect coder would reach."""

    def coded(self, numbers: Numbers) -> bytes: ...

    def decoded(self, data: bytes, tables: int, hops: int, streams: int) -> Numbers: ...


@dataclass(frozen=True)
class Coded:
    """What became of a file."""

    header: Header
    payload: bytes
    entropy_bits: float  # of the statistics
    adaptive_bits: float  # of those without a prior

    @property
    def seconds(self) -> float:
        return self.header.frames / self.header.sample_rate_hz

    @property
    def kbps(self) -> float:
        return self.kbps_of(8 * len(self.payload))

    def kbps_of(self, bits: float) -> float:
        return bits / self.seconds / 1000


@dataclass(frozen=True)
class Choice:
    """Numbers that fit, or of which not even these do, and how they are coded."""

    coder: Coder
    numbers: Numbers
    symbols: int
    bits: float
    fits: bool
    lowest: int = 0
    step: float = 0.0


def compress(
    values: Values,
    header: Header,
    kbps: float | None = None,
    quantisers: int | None = None,
    prior: IntegerPrior | None = None,
) -> Coded:
    """Entropy-code what `Codec.encode` gave; with `kbps` as much of it as fits, with a prior where that is cheaper, or
    where the header already says so."""
    discrete = header.symbols > 0
    if quantisers is not None and not (discrete and quantisers <= header.tables):
        what = (
            f"this model has 1 to {header.tables}" if discrete else "this model has no codes; --kbps chooses its steps"
        )
        raise RavelError(f"--quantisers {quantisers}: {what}")
    room = np.inf if kbps is None else kbps * 1000 * header.frames / header.sample_rate_hz - END_BITS
    if discrete:
        numbers = values.astype(np.int32)[:quantisers]
        coders: list[Coder] = [] if header.statistics == PRIOR else [Adaptive(header.symbols)]
        coders += [Predicted(prior)] if prior else []
        choices = [codes_within(room, numbers, header.symbols, coder) for coder in coders]
        choice = max(choices, key=lambda c: (c.fits * len(c.numbers), -c.bits))
    else:
        choice = steps_within(room, values, [STEP] if kbps is None else STEPS)
    if not choice.fits:
        rate = (choice.bits + END_BITS) * header.sample_rate_hz / header.frames / 1000
        raise RavelError(f"--kbps {kbps:g}: too little for this model and sound, {rate:.2f} is the least")
    coder, numbers = choice.coder, choice.numbers
    payload = coder.coded(numbers)
    fingerprint = coder.prior.fingerprint if isinstance(coder, Predicted) else ""
    about = replace(
        header, tables=len(numbers), symbols=choice.symbols, lowest=choice.lowest, step=choice.step,
        numbers_crc32=checksum(numbers), payload_bytes=len(payload),
        statistics=PRIOR if fingerprint else ADAPTIVE, prior=fingerprint,
    )  # fmt: skip
    without = float(Adaptive(choice.symbols).estimate(numbers).sum()) if fingerprint else choice.bits
    return Coded(about, payload, choice.bits, without)


def codes_within(room: float, numbers: Numbers, symbols: int, coder: Coder) -> Choice:
    """As many of the first tables as fit, found by halving; else the first."""
    fitting, too_many = 0, len(numbers) + 1
    tables, bits = len(numbers), {}
    while too_many - fitting > 1:
        bits[tables] = float(coder.estimate(numbers[:tables]).sum())
        if bits[tables] <= room:
            fitting = tables
        else:
            too_many = tables
        tables = (fitting + too_many) // 2
    kept = max(1, fitting)
    return Choice(coder, numbers[:kept], symbols, bits[kept], fitting > 0)


def steps_within(room: float, values: Values, steps: Sequence[float]) -> Choice:
    """The first of the steps that fits, else the last."""
    for step in steps:
        numbers, lowest, symbols = stepped(values, step)
        coder = Adaptive(symbols)
        bits = float(coder.estimate(numbers).sum())
        if bits <= room:
            break
    return Choice(coder, numbers, symbols, bits, bits <= room, lowest, step)


def stepped(values: Values, step: float) -> tuple[Numbers, int, int]:
    """Latents as whole steps above the lowest, that one, and how many steps there are."""
    steps = np.clip(np.rint(values / step), -WIDEST, WIDEST).astype(np.int32)
    lowest = int(steps.min())
    return steps - lowest, lowest, max(2, int(steps.max()) - lowest + 1)


def expand(header: Header, payload: bytes, path: str | Path = "the file", prior: IntegerPrior | None = None) -> Values:
    """(tables, hops, streams) as `Codec.decode` takes them; `prior`: that the header names."""
    coder: Coder = Predicted(prior) if prior else Adaptive(header.symbols)
    try:
        numbers = coder.decoded(payload, header.tables, header.hops, header.streams)
    except AssertionError:  # constriction's word for bits that no numbers have
        numbers = np.zeros((0, 0, 0), np.int32)
    if checksum(numbers) != header.numbers_crc32:
        raise RavelError(
            f"{path} is not understood, other numbers went into it: encode the sound again with this Ravel"
        )
    values = (numbers + header.lowest).astype(np.float32)
    return values if header.step == 0 else values * np.float32(header.step)


def checksum(numbers: Numbers) -> int:
    """Of numbers, whatever coded them."""
    return zlib.crc32(np.ascontiguousarray(numbers, "<i4").tobytes())
