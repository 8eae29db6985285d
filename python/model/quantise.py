"""Discrete latents: every latent frame is a sum of code vectors, and what travels is their numbers."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig, TrainingConfig
from .latent import Completion, Latent
from .layers import Conv1d, Spec, State
from .noise import hashed

KMEANS_ROUNDS = 10


class Quantised(Latent):
    """Residual vector quantisation (Zeghidour et al., arXiv 2107.03312); with one quantiser that of the VQ-VAE.

    Each quantiser takes the code nearest to what those before it left over: the first of the largest x.c - |c|^2 / 2.
    Training passes the gradient straight through and pays `commitment` * |h - sg(code)|^2. Codebooks begin as the
    k-means of the first batch and follow the mean of their frames (decay `code_decay`); a code used less than
    `code_revival` of its even share becomes a frame of the batch. A share `quantiser_dropout` of the items hears only
    its first so many quantisers, which makes that number a dial.
    """

    heads = 1
    discrete = True
    temperatures = (0.0,)
    learned = False  # whether codebooks are learned by gradient; else they are averages
    halves: Tensor
    usage: Tensor
    sums: Tensor
    fresh: Tensor
    batches: Tensor
    state_shapes: list[list[int]]

    def __init__(self, size: int, quantisers: int, codes: int) -> None:
        super().__init__(size, size)
        self.size, self.codes, self.kept = size, codes, quantisers
        self.begun = False
        self.coding = False  # deployed: codes come out instead of vectors
        self.temperature = 0.0
        self.commitment, self.decay, self.revival, self.dropout = 0.25, 0.99, 0.5, 0.5
        # parameters, so that the averaged network averages them too
        self.codebooks = nn.Parameter(torch.randn(quantisers, codes, size) / size**0.5, requires_grad=self.learned)
        self.register_buffer("halves", torch.zeros(quantisers, codes), persistent=False)  # |c|^2 / 2, when deployed
        self.register_buffer("usage", torch.zeros(quantisers, codes))  # frames a batch, averaged; 0: not yet begun
        self.register_buffer("sums", torch.zeros(quantisers, codes, size))  # of those frames
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("fresh", torch.zeros(quantisers, codes, dtype=torch.bool), persistent=False)

    @classmethod
    def of(cls, config: ModelConfig) -> "Quantised":
        return cls(config.latent, config.quantisers, config.codes)

    @torch.jit.unused
    def learn_with(self, training: TrainingConfig) -> None:
        self.commitment, self.decay = training.commitment, training.code_decay
        self.revival, self.dropout = training.code_revival, training.quantiser_dropout

    # -- playing ------------------------------------------------------------------------------------------------

    def codes_of(self, h: Tensor) -> Tensor:
        """(B, size, T) to the numbers of the codes (B, kept, T), int64."""
        rest = h.float().transpose(1, 2)
        found: list[Tensor] = []
        for i in range(self.kept):
            book = self.codebooks[i]
            half = self.halves[i] if self.coding else 0.5 * book.square().sum(1)
            index = (torch.matmul(rest, book.t()) - half).argmax(2)
            rest = rest - F.embedding(index, book)
            found.append(index)
        return torch.stack(found, 1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Code numbers (B, n, T) to the sums of their vectors (B, size, T)."""
        total = F.embedding(codes[:, 0], self.codebooks[0])
        for i in range(1, codes.size(1)):
            total = total + F.embedding(codes[:, i], self.codebooks[i])
        return total.transpose(1, 2)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        codes = self.codes_of(x)
        return codes.float() if self.coding else self.vectors(codes), self.advanced(state[0], x.size(2))

    @torch.jit.unused
    def centre(self, h: Tensor) -> Tensor:
        return self.vectors(self.codes_of(h))

    # -- learning -----------------------------------------------------------------------------------------------

    @torch.jit.unused
    def draw(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """`eps` decides how many quantisers an item hears. In training mode the codebooks learn from the call."""
        with torch.autocast(h.device.type, enabled=False):
            x = h.float()
            rest = x.transpose(1, 2)  # (B, T, size)
            begins = self.training and not self._has_begun()
            if begins:
                self._begin(rest.detach())
            heard = self._heard(eps)
            frames = rest.shape[0] * rest.shape[1]
            total, cost = torch.zeros_like(rest), x.new_zeros(self.size)
            rests: list[Tensor] = []
            found: list[Tensor] = []
            for i in range(self.kept):
                on = (heard > i).float()[:, None, None]
                index = _nearest(rest.detach(), self.codebooks[i].detach())
                code = F.embedding(index, self.codebooks[i])
                rests.append(rest.detach())
                found.append(index)
                wrong = self.commitment * (rest - code.detach()).square()
                if self.learned:
                    wrong = wrong + (rest.detach() - code).square()
                cost = cost + (wrong * on).sum((0, 1)) / (frames * self.size)
                total = total + code.detach() * on
                rest = rest - code.detach()
            if self.training and not begins:
                self._learn(rests, found, heard)
        return x + (total.transpose(1, 2) - x).detach(), cost

    def _heard(self, eps: Tensor) -> Tensor:
        """How many quantisers each item hears (B,), from one Gaussian of it."""
        share = torch.special.ndtr(eps[:, 0, 0].float())
        few = (share / max(self.dropout, 1e-9) * self.kept).long() + 1
        return torch.where(share < self.dropout, few.clamp_max(self.kept), self.kept)

    def _has_begun(self) -> bool:
        self.begun = self.begun or bool(self.usage.any())  # looked at once: it waits for the device
        return self.begun

    @torch.no_grad()
    def _begin(self, x: Tensor) -> None:
        """k-means of all processes' frames, quantiser by quantiser."""
        rest = _gathered(x).flatten(0, 1)
        for i in range(self.kept):
            book = kmeans(rest, self.codes, i)
            self.codebooks[i].copy_(book)
            rest = rest - book[_nearest(rest, book)]
        if _processes() > 1:
            dist.broadcast(self.codebooks.data, 0)
        even = _processes() * x.shape[0] * x.shape[1] / self.codes
        self.usage.fill_(even)
        self.sums.copy_(self.codebooks * even)
        self.fresh.fill_(True)

    @torch.no_grad()
    def _learn(self, rests: list[Tensor], found: list[Tensor], heard: Tensor) -> None:
        """The averages move on by one batch, that of all processes; codes that are hardly used are replaced."""
        local, rank = rests[0].shape[0] * rests[0].shape[1], dist.get_rank() if _processes() > 1 else 0
        frames = local * _processes()
        # frames that could become codes: the same choice in every process, each gives those that it has
        place = torch.stack([torch.zeros_like(self.batches), self.batches, torch.ones_like(self.batches)])
        chosen = hashed(place, self.node, 1, self.kept, 0, self.codes)[0] % frames - rank * local  # (kept, codes)
        mine = ((chosen >= 0) & (chosen < local))[..., None]
        rows: list[Tensor] = []
        for i, (rest, index) in enumerate(zip(rests, found)):
            flat, on = rest.flatten(0, 1), (heard > i).float()[:, None].expand_as(index).flatten()
            member = F.one_hot(index.flatten(), self.codes).float() * on[:, None]  # (frames, codes)
            spare = flat[chosen[i].clamp(0, local - 1)] * mine[i]
            rows.append(torch.cat([member.sum(0)[:, None], member.t() @ flat, spare], 1))
        batch = torch.stack(rows)  # (kept, codes, 1 + size + size)
        if _processes() > 1:
            dist.all_reduce(batch)
        counts, sums, spare = batch[..., 0], batch[..., 1 : 1 + self.size], batch[..., 1 + self.size :]
        self.usage.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        even = self.usage.mean(1, keepdim=True)
        self.fresh.copy_(self.usage < self.revival * even)
        self.usage.copy_(torch.where(self.fresh, even, self.usage))
        self.sums.copy_(torch.where(self.fresh[..., None], spare * even[..., None], self.sums))
        followed = self.fresh[..., None] if self.learned else torch.ones_like(self.fresh[..., None])
        mean = self.sums / self.usage.clamp_min(1e-9)[..., None]
        self.codebooks.copy_(torch.where(followed & (self.usage > 1e-9)[..., None], mean, self.codebooks))
        self.batches += 1

    @torch.jit.unused
    @torch.no_grad()
    def adopt(self, newer: Latent) -> None:
        """In an averaged copy: codes that were replaced in this step are taken as they are."""
        assert isinstance(newer, Quantised)
        self.codebooks.copy_(torch.where(newer.fresh[..., None], newer.codebooks, self.codebooks))

    @torch.jit.unused
    def measures(self) -> dict[str, Tensor]:
        return {"perplexity": perplexity(self.usage).mean()}

    @torch.jit.unused
    def counts(self, h: Tensor) -> Tensor:
        return torch.stack([torch.bincount(c.flatten(), minlength=self.codes) for c in self.codes_of(h).unbind(1)])

    # -- leaving ------------------------------------------------------------------------------------------------

    @torch.jit.unused
    @torch.no_grad()
    def margin(self, h: Tensor) -> float:
        """How far, of the largest |h|, any frame of h is from taking another code: rounding beyond it changes codes."""
        rest = h.float().transpose(1, 2)
        largest, least = rest.norm(dim=2).max(), torch.tensor(torch.inf)
        for book in self.codebooks[: self.kept]:
            best, which = (rest @ book.t() - 0.5 * book.square().sum(1)).topk(2, dim=2)
            apart = (book[which[..., 0]] - book[which[..., 1]]).norm(dim=2).clamp_min(1e-12)
            least = torch.minimum(least, ((best[..., 0] - best[..., 1]) / apart).min())
            rest = rest - book[which[..., 0]]
        return float(least / largest.clamp_min(1e-12))

    @torch.jit.unused
    @torch.no_grad()
    def encoded(self, h: Tensor, mean: Tensor, components: Tensor) -> Tensor:
        return self.codes_of(h).float()

    @torch.jit.unused
    @torch.no_grad()
    def limited(self, h: Tensor, mean: Tensor, components: Tensor, kept: int) -> Tensor:
        return self.vectors(self.codes_of(h)[:, :kept])

    @torch.jit.unused
    @torch.no_grad()
    def deployed(self, into: Conv1d, out_of: Conv1d, mean: Tensor, components: Tensor, kept: int) -> "Codebooks":
        """Codes of the `kept` first quantisers come out; the returned layer makes them vectors again, turned to their
        principal components, so that a performer moves the most telling directions and zero is the mean."""
        at_mean = (out_of.weight @ mean).sum(1)
        out_of.bias = nn.Parameter(at_mean if out_of.bias is None else out_of.bias + at_mean)
        out_of.weight.copy_(out_of.weight @ components.T)
        self.codebooks = nn.Parameter(self.codebooks[:kept].detach().clone(), requires_grad=False)
        self.halves = 0.5 * self.codebooks.square().sum(2)
        self.coding, self.kept, self.out_channels = True, kept, kept
        return Codebooks(self.codebooks @ components.T, -(components @ mean))

    def spec(self) -> Spec:
        return self.describe("quantise", quantisers=self.kept, codes=self.codes, codebook=self.codebooks)


class VectorQuantised(Quantised):
    """The VQ-VAE as published (van den Oord et al., arXiv 1711.00937, equation 3): the codebook learns by gradient,
    from |sg(h) - code|^2. Start and revival are those of the residual kind."""

    learned = True
    state_shapes: list[list[int]]


class Codebooks(Completion):
    """Code numbers (B, quantisers, T) as floats to latents (B, size, T): offset + the sum of their vectors.

    A number is rounded, half to even, and kept within -1 and the last code; -1 stands for no code at all, NaN for 0.
    Draws nothing; it counts frames like the layer that it stands in for.
    """

    books: Tensor
    offset: Tensor
    state_shapes: list[list[int]]

    def __init__(self, books: Tensor, offset: Tensor) -> None:
        super().__init__(books.shape[0], books.shape[2])
        self.quantisers, self.codes = books.shape[0], books.shape[1]
        self.fill = 0.0
        self.register_buffer("books", books.contiguous())
        self.register_buffer("offset", offset)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        numbers = torch.nan_to_num(x.float(), 0.0).clamp(-1.0, float(self.codes - 1)).round().long()
        total = self.offset.expand(x.size(0), x.size(2), -1)
        for i in range(self.quantisers):
            heard = (numbers[:, i] >= 0).to(self.books.dtype).unsqueeze(2)
            total = total + F.embedding(numbers[:, i].clamp(min=0), self.books[i]) * heard
        return total.transpose(1, 2), self.advanced(state[0], x.size(2))

    def spec(self) -> Spec:
        return self.describe(
            "codebook", quantisers=self.quantisers, codes=self.codes, codebook=self.books, offset=self.offset
        )


def _nearest(x: Tensor, book: Tensor) -> Tensor:
    """Of vectors (..., size), the number of the nearest code each."""
    return (x @ book.t() - 0.5 * book.square().sum(1)).argmax(-1)


def kmeans(x: Tensor, count: int, seed: int = 0) -> Tensor:
    """`count` centres of vectors (n, size), by Lloyd's rounds from drawn vectors; repeated where n is smaller."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    centres = x[order.repeat(-(-count // len(x)))[:count]].clone()
    for _ in range(KMEANS_ROUNDS):
        member = F.one_hot(_nearest(x, centres), count).to(x.dtype)
        size = member.sum(0)[:, None]
        centres = torch.where(size > 0, member.t() @ x / size.clamp_min(1), centres)
    return centres


def perplexity(counts: Tensor) -> Tensor:
    """e to the entropy of (..., codes) counts: how many codes, evenly used, would be as varied."""
    share = counts.double() / counts.double().sum(-1, keepdim=True).clamp_min(1e-12)
    return torch.exp(-torch.special.xlogy(share, share).sum(-1)).float()


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _gathered(x: Tensor) -> Tensor:
    """The batch of all processes, in their order."""
    if _processes() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(_processes())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
