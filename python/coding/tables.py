"""tanh and e^-x as tables of whole numbers, made by Python's integers alone: no machine's own functions are asked."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

STEP, GATE = 9, 12  # bits after the point: of what tanh is taken of, and of tanh
LOGIT, MASS = 8, 24  # likewise of e^-x
WIDEST_GATE = 8  # tanh is 1 beyond, by all bits that count
FINE = 96  # bits that tables are made with


def tanh_table() -> NDArray[np.float64]:
    """tanh((i - middle) / 2^STEP) * 2^GATE for i from 0, where middle / 2^STEP is WIDEST_GATE."""
    one = 1 << FINE
    squares = powers(decay(STEP - 1), (WIDEST_GATE << STEP) + 1)  # e^-2x
    half = [nearest_half(((one - e) << (GATE + 1)) // (one + e)) for e in squares]
    return np.array([-t for t in half[:0:-1]] + half, np.float64)


def mass_table() -> NDArray[np.int64]:
    """e^(-i / 2^LOGIT) * 2^MASS for i from 0 to the first that is 0."""
    table = [nearest_half(e >> (FINE - MASS - 1)) for e in powers(decay(LOGIT), (MASS + 1) << LOGIT)]
    return np.array(table[: table.index(0) + 1], np.int64)


def decay(bits: int) -> int:
    """e^(-2^-bits) * 2^FINE, by its series."""
    term = total = 1 << FINE
    for n in range(1, 40):
        term = -term // (n << bits)
        total += term
    return total


def powers(base: int, count: int) -> list[int]:
    """1, base, base^2... of a number times 2^FINE."""
    return list(accumulate(range(count - 1), lambda power, _: power * base >> FINE, initial=1 << FINE))


def nearest_half(doubled: int) -> int:
    return (doubled + 1) >> 1
