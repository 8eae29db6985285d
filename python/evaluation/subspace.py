"""Linear algebra of latents: principal components, angles between subspaces, rank correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating]


def pca(rows: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(mean, components one a row and strongest first, variances) of observations, one a row."""
    rows = np.asarray(rows, np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    return mean, vectors[:, ::-1].T, np.maximum(variances[::-1], 0)


def angles_degrees(a: Matrix, b: Matrix) -> NDArray[np.float64]:
    """Principal angles between the spaces that the rows of a and of b span, smallest first (Björck and Golub, 1973).

    By sines where they are small: the arc cosine of a number near 1 has half its digits.
    """
    first, second = (np.linalg.qr(np.asarray(m, np.float64).T)[0] for m in (a, b))
    cosines = np.linalg.svd(first.T @ second, compute_uv=False)
    rest = second - first @ (first.T @ second)
    sines = np.linalg.svd(rest, compute_uv=False)[::-1][: len(cosines)]
    return np.degrees(np.where(cosines**2 > 0.5, np.arcsin(np.clip(sines, 0, 1)), np.arccos(np.clip(cosines, 0, 1))))


def rank_correlation(a: Matrix, b: Matrix) -> float:
    """Spearman's; NaN where one does not move, or too little is there."""
    if len(a) < 8:
        return float("nan")
    first, second = _ranks(a), _ranks(b)
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Matrix) -> NDArray[np.float64]:
    """Equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[inverse]
