"""Codes coded by what a prior expects of them, row by row of its delay pattern."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .integer_prior import BLOCK, IntegerPrior
from .statistics import TOTAL, Frequencies, Numbers, as_bytes, entropy_coder, from_bytes

Rows = NDArray[np.int32]  # (rows, streams, quantisers), -1: no code


class Predicted:
    """The codes of a prior's first quantisers; of the others it hears none, as in training some are dropped."""

    def __init__(self, prior: IntegerPrior) -> None:
        self.prior = prior

    def estimate(self, numbers: Numbers) -> NDArray[np.float64]:
        """Bits of each table (tables, hops, streams): the entropy that a perfect coder would reach."""
        bits = np.zeros(len(numbers))
        for wanted, frequencies in self._expected(numbers):
            found = np.take_along_axis(frequencies, np.maximum(wanted, 0)[..., None], -1)[..., 0]
            bits -= np.where(wanted < 0, 0.0, np.log2(found / TOTAL)).sum((0, 1))
        return bits

    def coded(self, numbers: Numbers) -> bytes:
        """Codes (tables, hops, streams) as bytes: by rows, in a row by streams."""
        stream = entropy_coder().stream
        coder, family = stream.queue.RangeEncoder(), stream.model.Categorical(perfect=False)
        for wanted, frequencies in self._expected(numbers):
            there = wanted >= 0
            coder.encode(wanted[there], family, shares(frequencies[there]))
        return as_bytes(coder)

    def decoded(self, data: bytes, tables: int, hops: int, streams: int) -> Numbers:
        """The codes that `coded` was given."""
        coder, family = from_bytes(data), entropy_coder().stream.model.Categorical(perfect=False)
        rows, histories = self._silence(hops + tables, streams), self.prior.begin(streams)
        for t in tqdm(range(hops + tables - 1), "decoding", unit="frame", leave=False, disable=None):
            first, last = max(0, t - hops + 1), min(tables, t + 1)  # the quantisers that have a frame in this row
            frequencies = self.prior.frequencies(
                self.prior.logits(rows[t : t + 1], histories, tables)[0, :, first:last]
            )
            symbols = coder.decode(family, shares(frequencies.reshape(-1, self.prior.codes)))
            rows[t + 1, :, first:last] = symbols.reshape(streams, -1)
        return np.stack([rows[1 + q : 1 + q + hops, :, q] for q in range(tables)])

    def _expected(self, numbers: Numbers) -> Iterator[tuple[Rows, Frequencies]]:
        """Rows (n, streams, tables) and the frequencies of what could have been there, in blocks."""
        tables, hops, streams = numbers.shape
        rows, histories = self._silence(hops + tables, streams), self.prior.begin(streams)
        for q in range(tables):
            rows[1 + q : 1 + q + hops, :, q] = numbers[q]
        for first in tqdm(range(0, len(rows) - 1, BLOCK), "expecting", unit="block", leave=False, disable=None):
            wanted = rows[first + 1 : first + 1 + BLOCK, :, :tables]
            logits = self.prior.logits(rows[first : first + len(wanted)], histories, tables)
            yield wanted, self.prior.frequencies(logits)

    def _silence(self, rows: int, streams: int) -> Rows:
        return np.full((rows, streams, self.prior.quantisers), -1, np.int32)


def shares(frequencies: Frequencies) -> NDArray[np.float32]:
    """Dyadic numbers, exact as their sums are."""
    return frequencies.astype(np.float32) * np.float32(1 / TOTAL)
