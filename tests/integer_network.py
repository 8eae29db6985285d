"""A prior whose weights are whole arithmetic, alike everywhere; as a program, digests of what kernels make of it."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
from numpy.typing import NDArray

from python.coding.integer_prior import IntegerPrior, Weights


def hashed(count: int, seed: int) -> NDArray[np.float64]:
    """Numbers from -1 to 1 with 16 bits after the point."""
    words = (np.arange(count, dtype=np.uint64) + np.uint64(seed << 20)) * np.uint64(0x9E3779B97F4A7C15)
    return (words >> np.uint64(47)).astype(np.float64) / 65536 - 1


def weights(
    quantisers: int = 3, codes: int = 7, channels: int = 4, skip: int = 5, rank: int = 2,
    dilations: tuple[int, ...] = (1, 2, 4), loudness: float = 1.0,
) -> Weights:  # fmt: skip
    """Of a network whose gates, outputs and clipping are all at work."""
    seeds = iter(range(1, 1000))

    def drawn(scale: float, *shape: int) -> NDArray[np.float32]:
        return (loudness * scale * hashed(int(np.prod(shape)), next(seeds))).reshape(shape).astype(np.float32)

    def layer(out: int, kernel: int, into: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return drawn(2.5 / (kernel * into) ** 0.5, out, kernel, into), drawn(0.5, out)

    wide = channels + skip
    return Weights(
        drawn(1.0, quantisers, codes, channels),
        drawn(1.0, channels),
        layer(wide, 1, channels),
        [layer(2 * channels, 2, channels) for _ in dilations],
        [layer(wide, 1, channels) for _ in dilations],
        layer(skip, 1, skip),
        layer(quantisers * rank, 1, skip),
        layer(quantisers * codes, 1, rank),
        dilations,
    )


def rows(count: int, streams: int, quantisers: int, codes: int, seed: int = 0) -> NDArray[np.int32]:
    """Codes, and none in one of eight places."""
    numbers = ((hashed(count * streams * quantisers, 1000 + seed) + 1) * 65536 / 2).astype(np.int32)
    return np.where(numbers % 8 == 0, -1, numbers % codes).reshape(count, streams, quantisers)


def main() -> None:
    """The digest of a network's frequencies, that of its fingerprint, and that of a product which rounds."""
    prior = IntegerPrior(weights(4, 200, 48, 80, 24, (1, 2, 4, 8)))
    heard, histories = rows(96, 2, 4, 200), prior.begin(2)
    found = [prior.frequencies(prior.logits(block, histories, 4)) for block in np.split(heard, [32, 33, 34, 80])]
    digest = hashlib.sha256(np.concatenate(found).astype("<i8").tobytes()).hexdigest()
    rounding = hashed(300 * 500, 1).reshape(300, 500) / 3 @ (hashed(500 * 200, 2).reshape(500, 200) / 7)
    print(digest[:32], prior.fingerprint[:32], hashlib.sha256(rounding.tobytes()).hexdigest()[:32])


if __name__ == "__main__":
    sys.exit(main())
