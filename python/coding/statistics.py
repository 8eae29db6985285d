"""Order-0 statistics that adapt, and the numbers coded by them, as whole numbers: streams decode anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RavelError

Numbers = NDArray[np.int32]  # (tables, frames, streams)
Frequencies = NDArray[np.int64]

TOTAL = 1 << 20  # of the frequencies of a table: float32 holds every sum of their shares exactly
SHORTEST, LONGEST = 16, 512  # frames between two updates of the statistics


class Statistics:
    """How often each symbol of each table came, as integers, the same on every machine.

    `shares` are dyadic numbers, exact in binary floating point; nothing is rounded differently elsewhere.
    """

    def __init__(self, tables: int, symbols: int) -> None:
        self.counts: Frequencies = np.ones((tables, symbols), np.int64)

    def frequencies(self, table: int) -> Frequencies:
        """Whole numbers above 0 with the sum TOTAL; what division leaves over goes to the most frequent symbol."""
        counts = self.counts[table]
        shared: Frequencies = 1 + counts * (TOTAL - len(counts)) // counts.sum()
        shared[counts.argmax()] += TOTAL - shared.sum()
        return shared

    def shares(self, table: int) -> NDArray[np.float64]:
        return self.frequencies(table) / TOTAL

    def update(self, table: int, symbols: Numbers) -> None:
        self.counts[table] += np.bincount(symbols.ravel(), minlength=self.counts.shape[1])


def blocks(hops: int) -> Iterator[tuple[int, int]]:
    """First and last frame between updates: short at first, when every frame teaches most."""
    first = 0
    while first < hops:
        last = min(hops, first + min(LONGEST, max(SHORTEST, first // 8)))
        yield first, last
        first = last


class Adaptive:
    """Numbers coded by statistics of their own, a table each, that both sides learn as they go."""

    def __init__(self, symbols: int) -> None:
        self.symbols = symbols

    def estimate(self, numbers: Numbers) -> NDArray[np.float64]:
        """Bits of each table (tables, hops, streams): the entropy that a perfect coder would reach."""
        statistics, bits = Statistics(len(numbers), self.symbols), np.zeros(len(numbers))
        for first, last in blocks(numbers.shape[1]):
            for table, row in enumerate(numbers[:, first:last]):
                bits[table] -= np.log2(statistics.shares(table)[row.ravel()]).sum()
                statistics.update(table, row)
        return bits

    def coded(self, numbers: Numbers) -> bytes:
        """Numbers 0 to symbols - 1 as bytes."""
        stream = entropy_coder().stream
        coder, statistics = stream.queue.RangeEncoder(), Statistics(len(numbers), self.symbols)
        for first, last in blocks(numbers.shape[1]):
            for table, row in enumerate(numbers[:, first:last]):
                model = stream.model.Categorical(statistics.shares(table), perfect=False)
                coder.encode(np.ascontiguousarray(row.ravel(), np.int32), model)
                statistics.update(table, row)
        return as_bytes(coder)

    def decoded(self, data: bytes, tables: int, hops: int, streams: int) -> Numbers:
        """The numbers that `coded` was given."""
        stream, coder = entropy_coder().stream, from_bytes(data)
        statistics = Statistics(tables, self.symbols)
        numbers: Numbers = np.zeros((tables, hops, streams), np.int32)
        for first, last in blocks(hops):
            for table in range(tables):
                model = stream.model.Categorical(statistics.shares(table), perfect=False)
                numbers[table, first:last] = coder.decode(model, (last - first) * streams).reshape(-1, streams)
                statistics.update(table, numbers[table, first:last])
        return numbers


def as_bytes(coder: Any) -> bytes:
    """What a range encoder has written."""
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def from_bytes(data: bytes) -> Any:
    """A range decoder, which reads zeros beyond the end."""
    return entropy_coder().stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))


def entropy_coder() -> ModuleType:
    try:
        import constriction
    except ImportError:
        raise RavelError("the codec needs constriction: pip install 'ravel-audio[codec]'") from None
    return constriction
