"""A prior as whole numbers: its distributions are the same on every processor, with every library and thread count.

Products are of whole numbers in float64 whose sums of magnitudes stay below 2^53, so that any order of adding them,
with or without fused operations, gives the one exact result, and the fastest matrix product may be used. All else is a
shift, a comparison, or a look into a table that Python's integers made. The float weights are read by one exact rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import RavelError
from .statistics import TOTAL, Frequencies
from .tables import GATE, LOGIT, MASS, STEP, WIDEST_GATE, mass_table, tanh_table

Floats = NDArray[np.floating]
Layer = tuple[Floats, Floats]  # weight (out, kernel, in / groups) and bias
Whole = NDArray[np.float64]  # whole numbers
Dense = tuple[Whole, Whole]  # weight (in, out) and bias

ACTIVATION, WEIGHT = 10, 16  # bits after the point
PRODUCT = ACTIVATION + WEIGHT
GATED = 2 * GATE + 1  # tanh times the sigmoid, which is (1 + tanh) / 2
EXACT = 1 << 53
LARGEST = 1 << 9  # an activation before the outputs; a trained one is below 30
BLOCK = 64  # rows at once, at most
INVERSE = 34  # bits of a share
CONSTANTS = (ACTIVATION, WEIGHT, STEP, GATE, LOGIT, MASS, WIDEST_GATE, LARGEST, INVERSE, TOTAL)


@dataclass(frozen=True)
class Weights:
    """The parameters of a prior, float32."""

    embedding: Floats  # (quantisers, codes, channels)
    offset: Floats
    entry: Layer
    dilated: Sequence[Layer]
    mixing: Sequence[Layer]
    hidden: Layer
    narrow: Layer
    last: Layer
    dilations: Sequence[int]


class History:
    """A signal (rows, streams, width) some rows late; a row costs the same however late it is."""

    def __init__(self, delay: int, streams: int, width: int) -> None:
        self.delay = self.end = delay
        self.rows: Whole = np.zeros((delay + max(delay, BLOCK), streams, width))

    def through(self, x: Whole) -> Whole:
        """The rows `delay` before these, at most BLOCK of them; zeros before the first."""
        if self.end + len(x) > len(self.rows):
            self.rows[: self.delay] = self.rows[self.end - self.delay : self.end]
            self.end = self.delay
        self.rows[self.end : self.end + len(x)] = x
        past = self.rows[self.end - self.delay : self.end - self.delay + len(x)]
        self.end += len(x)
        return past


class IntegerPrior:
    """Rows of the delay pattern to the frequencies of the next row's codes, as whole numbers."""

    def __init__(self, weights: Weights, meaning: bytes = b"") -> None:
        """`meaning`: what its codes stand for, where the model does not say it."""
        w = weights
        self.quantisers, self.codes, self.channels = w.embedding.shape
        self.dilations = tuple(w.dilations)
        self.rank = w.last[0].shape[2]
        numbers = w.embedding.reshape(-1, self.channels)
        self.embedding = np.vstack([whole(numbers, ACTIVATION), np.zeros((1, self.channels))])  # the last: no code
        self.first = np.arange(self.quantisers) * self.codes
        self.offset = whole(w.offset, ACTIVATION)
        self.entry = dense(w.entry, PRODUCT, PRODUCT - ACTIVATION)
        half = np.repeat([1.0, 0.5], self.channels)  # the sigmoid is a tanh of half its input
        self.dilated = [
            dense((weight * half[:, None, None], bias * half), PRODUCT, PRODUCT - STEP, WIDEST_GATE << STEP)
            for weight, bias in w.dilated
        ]
        self.mixing = [dense(b, GATED + WEIGHT, GATED + WEIGHT - ACTIVATION) for b in w.mixing]
        # five times the leaky ReLU is whole; the weights behind it are divided by 5
        self.hidden, self.narrow = (
            dense((weight.astype(np.float64) / 5, bias), PRODUCT, PRODUCT - ACTIVATION)
            for weight, bias in (w.hidden, w.narrow)
        )
        last, bias = dense(w.last, PRODUCT, PRODUCT - LOGIT)
        self.last = last.reshape(self.rank, self.quantisers, self.codes).transpose(1, 0, 2).copy()
        self.last_bias = bias.reshape(self.quantisers, 1, self.codes)
        self.tanh, self.mass = tanh_table(), mass_table()
        for name, magnitude in self.magnitudes().items():
            if not magnitude < EXACT:
                raise RavelError(f"prior: the weights of {name} are too large to be coded with: train it anew")
        self.fingerprint = self._fingerprint(meaning)

    def magnitudes(self) -> dict[str, int]:
        """By layer the largest sum of magnitudes that a product can come to, whatever is heard."""
        books = np.abs(self.embedding[:-1]).reshape(self.quantisers, -1).max(1)
        row = int(books.sum() + np.abs(self.offset).max())
        found = {"embedding": row, "entry": _peak(self.entry, row)}
        skip, kept = LARGEST << ACTIVATION, found["entry"] >> (PRODUCT - ACTIVATION)
        for i, (dilated, mixing) in enumerate(zip(self.dilated, self.mixing)):
            found[f"dilated.{i}"] = _peak(dilated, kept + 1)
            found[f"mixing.{i}"] = _peak(mixing, 1 << GATED)
            kept += 1 + (_peak(mixing, 1 << GATED) >> (GATED + WEIGHT - ACTIVATION))
        found |= {"hidden": _peak(self.hidden, 5 * skip), "narrow": _peak(self.narrow, 5 * skip)}
        outputs = (np.abs(self.last).sum(1).max(), np.abs(self.last_bias).max())
        return found | {"last": int(outputs[0]) * skip + int(outputs[1])}

    def begin(self, streams: int) -> list[History]:
        return [History(d, streams, self.channels) for d in self.dilations]

    def logits(self, rows: NDArray[np.int32], histories: list[History], tables: int) -> Whole:
        """Rows (n, streams, quantisers), -1 for no code, at most BLOCK, to (n, streams, first tables, codes)."""
        count, streams, _ = rows.shape
        width = self.channels
        numbers = np.where(rows < 0, len(self.embedding) - 1, rows + self.first).reshape(-1, self.quantisers)
        h = through(self.embedding[numbers].sum(1) + self.offset, self.entry, PRODUCT - ACTIVATION)
        for history, dilated, mixing in zip(histories, self.dilated, self.mixing):
            now = h[:, :width]
            past = history.through(now.reshape(count, streams, width)).reshape(-1, width)
            at = (np.hstack([past, now]) @ dilated[0] + dilated[1]) * 2.0 ** (STEP - PRODUCT)
            gates = self.tanh.take(at.astype(np.int64), mode="clip")  # what is below the table lies at 0 either way
            gated = gates[:, :width] * (gates[:, width:] + (1 << GATE))
            h += through(gated, mixing, GATED + WEIGHT - ACTIVATION)
        skip = through(leaky(h[:, width:]), self.hidden, PRODUCT - ACTIVATION)
        narrow = _clipped(through(leaky(skip), self.narrow, PRODUCT - ACTIVATION))
        by_quantiser = narrow.reshape(-1, self.quantisers, self.rank).transpose(1, 0, 2)
        logits: Whole = by_quantiser[:tables] @ self.last[:tables]
        logits += self.last_bias[:tables]
        logits *= 2.0 ** (LOGIT - PRODUCT)
        np.floor(logits, out=logits)
        return logits.transpose(1, 0, 2).reshape(count, streams, tables, self.codes)

    def frequencies(self, logits: Whole) -> Frequencies:
        """Of the codes, by the last axis: whole numbers above 0 with the sum TOTAL; the likeliest gets what is left."""
        best = logits.argmax(-1)[..., None]
        down = np.take_along_axis(logits, best, -1) - logits
        mass = self.mass.take(down.astype(np.int64), mode="clip")
        share = ((TOTAL - self.codes) << INVERSE) // mass.sum(-1, keepdims=True)
        mass *= share
        mass >>= INVERSE
        mass += 1
        left = TOTAL - mass.sum(-1, keepdims=True)
        np.put_along_axis(mass, best, np.take_along_axis(mass, best, -1) + left, -1)
        return mass

    def _fingerprint(self, meaning: bytes) -> str:
        """Of all whole numbers that a distribution depends on."""
        digest = hashlib.sha256(repr((CONSTANTS, self.dilations, self.embedding.shape, self.last.shape)).encode())
        layers = [self.entry, *self.dilated, *self.mixing, self.hidden, self.narrow]
        parts = [self.embedding, self.offset, *(part for layer in layers for part in layer), self.last, self.last_bias]
        for part in [*parts, self.tanh, self.mass.astype(np.float64)]:
            digest.update(np.ascontiguousarray(part, "<f8").tobytes())
        digest.update(meaning)
        return digest.hexdigest()


def whole(x: Floats, bits: int) -> Whole:
    """The nearest whole numbers, ties to even, of x * 2^bits, which is exact; never -0."""
    if not np.isfinite(x).all():
        raise RavelError("prior: it has weights that are no numbers: train it anew")
    return np.rint(x.astype(np.float64) * 2.0**bits) + 0.0


def dense(layer: Layer, bits: int, shift: int, offset: int = 0) -> Dense:
    """A layer whose products have so many bits after the point; half of what `shift` drops is in its bias."""
    weight, bias = layer
    half = float(1 << (shift - 1))
    return whole(weight.reshape(len(weight), -1).T, WEIGHT).copy(), whole(bias, bits) + half + float(offset << shift)


def through(x: Whole, layer: Dense, shift: int) -> Whole:
    """A layer's output without the last `shift` bits."""
    y = x @ layer[0]
    y += layer[1]
    y *= 2.0**-shift
    return np.floor(y, out=y)


def leaky(x: Whole) -> Whole:
    """Five times the leaky ReLU of slope 1/5."""
    x = _clipped(x)
    return np.maximum(5.0 * x, x)


def _clipped(x: Whole) -> Whole:
    largest = float(LARGEST << ACTIVATION)
    return np.minimum(np.maximum(x, -largest), largest)


def _peak(layer: Dense, largest: int) -> int:
    return int(np.abs(layer[0]).sum(0).max()) * largest + int(np.abs(layer[1]).max())
