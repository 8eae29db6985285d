"""Latents as the numbers that the prior of a continuous model hears, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]  # (streams, channels, hops)


class Levels:
    """Books (tables, codes, latents), each for what those before it left, and where latents rest without any."""

    def __init__(self, books: NDArray[np.floating], rest: NDArray[np.floating]) -> None:
        self.books, self.rest = books.astype(np.float32), rest.astype(np.float32)
        self.tables, self.codes = books.shape[:2]

    def numbers(self, latents: Block) -> Block:
        """The nearest of each book, the first of equals."""
        left, found = latents.transpose(0, 2, 1), []
        for book in self.books:
            number = (left @ book.T - 0.5 * np.square(book).sum(1)).argmax(2)
            left = left - book[number]
            found.append(number)
        return np.stack(found, 1).astype(np.float32)

    def latents(self, numbers: Block) -> Block:
        """Of numbers from any tables on -1: none."""
        which = numbers.astype(np.int64)
        z = np.broadcast_to(self.rest, (*which[:, 0].shape, len(self.rest)))
        for i, book in enumerate(self.books):
            z = z + np.where(which[:, i, :, None] < 0, np.float32(0), book[which[:, i]])
        return np.ascontiguousarray(z.transpose(0, 2, 1))

    def meaning(self) -> bytes:
        """What the numbers depend on, for a fingerprint."""
        return self.books.astype("<f4").tobytes() + self.rest.astype("<f4").tobytes()
