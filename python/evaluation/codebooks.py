"""How the codes of a discrete model are used, and how the vectors behind them lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from .coders import Books, Latents
from .subspace import pca

NONE = -1.0  # the number that stands for no code at all


def use(numbers: Latents, codes: int) -> dict[str, Any]:
    """Of numbers of codes (quantisers, frames): `taken`, how many of the codes, `entropy_bits` a number and
    `perplexity`, how many codes, evenly used, would be as varied; each of every quantiser."""
    counts = np.stack([np.bincount(row.astype(int), minlength=codes) for row in numbers])
    shares = counts / counts.sum(axis=1, keepdims=True)
    bits = [-float((share[share > 0] * np.log2(share[share > 0])).sum()) for share in shares]
    return {
        "codes": codes,
        "frames": numbers.shape[1],
        "taken": [int(row) for row in (counts > 0).sum(axis=1)],
        "entropy_bits": [max(0.0, b) for b in bits],  # a lone code has -0
        "perplexity": [2.0**b for b in bits],
    }


def dial(quantisers: int) -> list[int]:
    """Counts of quantisers worth hearing: 1, 2, 3, 4, 6, 8, 12, 16, ... and all."""
    steps = [n for n in range(1, quantisers) if n & (n - 1) == 0 or (n % 3 == 0 and (n // 3) & (n // 3 - 1) == 0)]
    return [*steps, quantisers]


def spread(books: Books) -> tuple[list[list[float]], list[float]]:
    """Of every codebook: the share of its variance in its first 1, 2, ... principal components, and that variance."""
    curves, total = [], []
    for book in books.codebooks:
        variances = pca(book)[2]
        total.append(float(variances.sum()))
        curves.append([float(share) for share in np.cumsum(variances) / max(total[-1], 1e-12)])
    return curves, total
