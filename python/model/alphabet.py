"""What the numbers that a prior hears and draws stand for: codes of the model, or levels of its latents."""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Spec

ROUNDS = 10  # of Lloyd; 30 gain 0.3 dB


class Alphabet(nn.Module):
    """Between what a model encodes to and decodes, and numbers (B, quantisers, T), which are floats; -1 is none.

    quantisers, codes   numbers of a frame, and how many each of them can be
    heard               channels that `listen` takes: those of a whole export, and of a smaller one if they suffice
    played              channels that `speak` gives, what `decode` takes
    bound               fingerprint of what the numbers mean: a prior speaks of that and of nothing else
    """

    def __init__(self, quantisers: int, codes: int, played: int, bound: str) -> None:
        super().__init__()
        self.quantisers, self.codes = quantisers, codes
        self.played, self.heard = played, max(played, quantisers)
        self.bound = bound

    @torch.jit.unused
    def playing(self, count: int) -> "Alphabet":
        """The same for an export of so many latents or quantisers."""
        raise NotImplementedError

    @torch.jit.unused
    def words(self) -> str:
        return f"{self.quantisers} x {self.codes} codes"

    @torch.jit.unused
    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs besides the model to have it again."""
        return {}

    def listen(self, x: Tensor) -> Tensor:
        """What `encode` gives (B, heard, T), to numbers."""
        raise NotImplementedError

    def speak(self, numbers: Tensor) -> Tensor:
        """Numbers to what `decode` takes (B, played, T)."""
        raise NotImplementedError

    @torch.jit.unused
    def ear(self) -> Spec | None:
        """`listen` as an op of the engine; None where it does nothing. Of an export that plays too few latents it gives
        the numbers of those there are."""
        return None

    @torch.jit.unused
    def mouth(self) -> Spec | None:
        """`speak` as an op of the engine; None where it does nothing."""
        return None


class Codes(Alphabet):
    """The codes of a discrete model, as they are."""

    @torch.jit.unused
    def playing(self, count: int) -> Alphabet:
        return Codes(self.quantisers, self.codes, count, self.bound)

    def listen(self, x: Tensor) -> Tensor:
        return x

    def speak(self, numbers: Tensor) -> Tensor:
        return numbers[:, : self.played]


class Levels(Alphabet):
    """Levels (quantisers, codes) of the strongest principal components, each quantised by itself to the nearest.

    This is residual quantisation whose i-th codebook lies on axis i. The other latents rest at their mean, and so does
    one without a number.
    """

    levels: Tensor
    halves: Tensor
    first: Tensor

    def __init__(self, levels: Tensor, played: int, bound: str) -> None:
        super().__init__(levels.size(0), levels.size(1), played, bound)
        self.register_buffer("levels", levels.contiguous())
        self.register_buffer("halves", 0.5 * levels.square(), persistent=False)
        self.register_buffer("first", torch.arange(self.quantisers) * self.codes, persistent=False)

    @torch.jit.unused
    def playing(self, count: int) -> Alphabet:
        return Levels(self.levels, count, self.bound)

    @torch.jit.unused
    def words(self) -> str:
        return f"{self.quantisers} latents in {self.codes} levels"

    @torch.jit.unused
    def state(self) -> dict[str, Tensor]:
        return {"levels": self.levels}

    def listen(self, x: Tensor) -> Tensor:
        frames = x[:, : self.quantisers].float().transpose(1, 2).unsqueeze(3)
        return (frames * self.levels - self.halves).argmax(3).transpose(1, 2).to(x.dtype)

    def speak(self, numbers: Tensor) -> Tensor:
        which = numbers[:, : self.played].transpose(1, 2)
        index = which.clamp(0, self.codes - 1).long() + self.first[: which.size(2)]
        z = F.embedding(index, self.levels.view(-1, 1)).squeeze(3) * (which >= 0).to(self.levels.dtype)
        return F.pad(z, [0, self.played - which.size(2)]).transpose(1, 2)

    @torch.jit.unused
    def books(self) -> Tensor:
        """Codebooks (quantisers, codes, played) of which each lies on its own axis; of the latents that are played."""
        there = min(self.quantisers, self.played)
        return torch.eye(there, self.played)[:, None] * self.levels[:there, :, None].cpu()

    @torch.jit.unused
    def ear(self) -> Spec:
        books = self.books()
        numbers = {"quantisers": len(books), "codes": self.codes}
        return {"op": "quantise", "in": self.played, "out": len(books), **numbers, "codebook": books}

    @torch.jit.unused
    def mouth(self) -> Spec:
        books = self.books()
        numbers = {"quantisers": len(books), "codes": self.codes}
        tensors = {"codebook": books, "offset": torch.zeros(self.played)}
        return {"op": "codebook", "in": len(books), "out": self.played, **numbers, **tensors}


def fitted_levels(latents: Tensor, count: int) -> Tensor:
    """`count` ascending levels for each row of latents (quantisers, frames).

    Half of them start where the latents mostly are, half at even distances over all their range: silence is one point
    and has to stay silent, and attacks are rare and far away. Lloyd's rounds move each to the mean of its frames.
    """
    return torch.stack([_fitted(row.double().sort().values, count) for row in latents])


def _fitted(x: Tensor, count: int) -> Tensor:
    often = torch.arange(count // 2) * 2 + 1  # in halves of a share
    frequent = x[often * len(x) // (2 * max(1, len(often)))]
    even = torch.linspace(float(x[0]), float(x[-1]), count - len(often), dtype=x.dtype)
    levels, sums = torch.cat([frequent, even]).sort().values, F.pad(x.cumsum(0), (1, 0))
    for _ in range(ROUNDS):
        inner = torch.searchsorted(x, (levels[1:] + levels[:-1]) / 2)
        ends = F.pad(F.pad(inner, (1, 0)), (0, 1), value=len(x))
        frames = ends.diff()
        levels = torch.where(frames > 0, sums[ends].diff() / frames.clamp_min(1), levels)
    return levels.float()


def codes_alphabet(codebooks: Tensor) -> Codes:
    """For the codebooks (quantisers, codes, size) of a discrete model, all of them played."""
    quantisers, codes, _ = codebooks.shape
    return Codes(quantisers, codes, quantisers, fingerprint(codebooks))


def levels_alphabet(levels: Tensor, mean: Tensor, components: Tensor) -> Levels:
    """For a continuous model with these principal components, all of them played."""
    return Levels(levels, len(components), fingerprint(mean, components[: len(levels)], levels))


def fingerprint(*tensors: Tensor) -> str:
    """What tells tensors apart from any others."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
