"""A prior over codes: causal dilated gated convolutions (WaveNet, van den Oord et al., arXiv 1609.03499) that go on by
themselves, one step a frame.

Residual codes follow a delay pattern: row t of the pattern holds code q of frame t - q, so that one step gives a code
of each quantiser, and each code has heard those before it in its own frame, and all that earlier rows hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RavelError
from .layers import Conv1d, Layer, LeakyReLU, Spec, State, silence
from .noise import hashed

NODE = 4096  # of the noise that codes are drawn by: the sources of an autoencoder count from 0
NO_CODE = -1.0  # in the pattern


if TYPE_CHECKING:  # what TorchScript sees stays a plain ModuleList

    class Convolutions(nn.ModuleList):
        """A ModuleList that is known to hold convolutions."""

        def __iter__(self) -> Iterator[Conv1d]: ...

else:
    Convolutions = nn.ModuleList


@dataclass(frozen=True)
class PriorConfig:
    """What a prior is made of; kernel 2, so that its receptive field is 1 + the sum of the dilations."""

    quantisers: int
    codes: int
    channels: int = 64  # of the residual path and of the gates
    skip: int = 128
    rank: int = 32  # of each quantiser's output: all features to all codes would be most of the network
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        for name in ("quantisers", "codes", "channels", "skip", "rank"):
            if getattr(self, name) < 1:
                raise RavelError(f"prior: {name} must be at least 1, got {getattr(self, name)}")
        if not self.dilations or min(self.dilations) < 1:
            raise RavelError(f"prior: dilations must be at least 1, got {self.dilations}")


class Prior(Layer):
    """Rows of the delay pattern (B, quantisers, T), numbers, to logits (B, quantisers * codes, T) of the next row.

    `step` takes any block, as training does. `frame` takes one row and keeps rings instead of histories, so that a row
    costs the same whatever the receptive field. -1 stands for no code, before and after a sound.
    """

    embedding: Tensor
    first: Tensor
    state_shapes: list[list[int]]

    def __init__(self, config: PriorConfig) -> None:
        super().__init__(config.quantisers, config.quantisers * config.codes)
        self.config = config
        self.quantisers, self.codes = config.quantisers, config.codes
        self.node, self.rank = NODE, config.rank
        self.channels = width = config.channels
        wide = width + config.skip
        self.embedding = nn.Parameter(torch.randn(self.quantisers, self.codes, width) / self.quantisers**0.5)
        self.register_buffer("first", torch.arange(self.quantisers) * self.codes, persistent=False)
        self.offset = nn.Parameter(torch.zeros(width))
        self.entry = Conv1d(width, wide, 1, bias=True)
        self.dilated = Convolutions([Conv1d(width, 2 * width, 2, dilation=d, bias=True) for d in config.dilations])
        self.mixing = Convolutions([Conv1d(width, wide, 1, bias=True) for _ in config.dilations])
        self.hidden = Conv1d(config.skip, config.skip, 1, bias=True)
        self.narrow = Conv1d(config.skip, self.quantisers * config.rank, 1)
        self.last = Conv1d(self.quantisers * config.rank, self.out_channels, 1, groups=self.quantisers, bias=True)
        self.state_shapes = [[width, d] for d in config.dilations]
        self.receptive_field = 1 + sum(config.dilations)  # rows that a row of logits can see

    @torch.jit.unused
    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        return first - self.receptive_field + 1, last

    def embed(self, rows: Tensor) -> Tensor:
        """Rows (B, T, quantisers) of float numbers to (B, T, channels)."""
        numbers = rows.long()
        heard = (numbers >= 0).to(self.embedding.dtype).unsqueeze(2)  # (B, T, 1, quantisers)
        vectors = F.embedding(numbers.clamp(0, self.codes - 1) + self.first, self.embedding.flatten(0, 1))
        return torch.matmul(heard, vectors).squeeze(2) + self.offset

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = dense(self.embed(x.transpose(1, 2)), self.entry.weight, self.entry.bias)  # (B, T, channels + skip)
        new: list[Tensor] = []
        for dilated, mixing in zip(self.dilated, self.mixing):
            rows = torch.cat([state[len(new)], h[:, :, : self.channels]], 1)
            both = torch.cat([rows[:, : h.size(1)], h[:, :, : self.channels]], 2)
            h = h + dense(gated(dense(both, dilated.weight, dilated.bias)), mixing.weight, mixing.bias)
            new.append(rows[:, h.size(1) :])
        logits = self.logits(h.flatten(0, 1)).reshape(h.size(0), h.size(1), self.out_channels)
        return logits.transpose(1, 2), new

    # -- one row at a time --------------------------------------------------------------------------------------

    def begin(self, x: Tensor) -> State:
        """The state of `frame`: the last rows of the pattern, a ring a layer, and the noise triple."""
        rows = silence(x, self.quantisers, self.quantisers) - 1.0
        state = [rows]
        for shape in self.state_shapes:
            state.append(silence(x, shape[0], shape[1]))
        state.append(torch.tensor([0, 0, 1], dtype=torch.int64, device=x.device))
        return state

    def frame(self, state: State) -> Tensor:
        """Features (B, channels + skip) after the newest row. Writes the rings in place."""
        row = self.embed(state[0][:, self.quantisers - 1 :]).squeeze(1)
        h = dense(row, self.entry.weight, self.entry.bias)
        position = int(state[len(state) - 1][1])
        i = 1
        for dilated, mixing in zip(self.dilated, self.mixing):
            ring, now = state[i], h[:, : self.channels]
            at = position % ring.size(1)
            both = torch.cat([ring[:, at], now], 1)
            ring[:, at] = now
            h = h + dense(gated(dense(both, dilated.weight, dilated.bias)), mixing.weight, mixing.bias)
            i += 1
        return h

    def logits(self, h: Tensor) -> Tensor:
        """Features of rows (n, channels + skip) to the logits of the next ones (n, quantisers, codes)."""
        skip = dense(F.leaky_relu(h[:, self.channels :], 0.2), self.hidden.weight, self.hidden.bias)
        narrow = dense(F.leaky_relu(skip, 0.2), self.narrow.weight, None).view(-1, self.quantisers, self.rank)
        bias, weight = self.last.bias, self.last.weight.view(self.quantisers, self.codes, self.rank)
        assert bias is not None
        y = torch.baddbmm(bias.view(-1, 1, self.codes), narrow.transpose(0, 1), weight.transpose(1, 2))
        return y.transpose(0, 1)

    def follow(self, row: Tensor, state: State) -> State:
        """The state after a row (B, quantisers) of the pattern."""
        rows = torch.cat([state[0][:, 1:], row.unsqueeze(1)], 1)
        noise = state[len(state) - 1]
        new = state[1 : len(state) - 1]
        new.insert(0, rows)
        new.append(torch.stack([noise[0], noise[1] + 1, noise[2]]))
        return new

    def heard(self, state: State) -> Tensor:
        """The newest frame whose codes are all known (B, quantisers): that of quantisers - 1 rows ago."""
        return torch.diagonal(state[0], 0, 1, 2)

    def generate(self, temperature: Tensor, state: State) -> tuple[Tensor, State]:
        """Draws rows at temperatures (B, T); gives frames (B, quantisers, T), late by quantisers - 1 of them."""
        frames: list[Tensor] = []
        count = temperature.size(1)
        bits = hashed(state[len(state) - 1], self.node, temperature.size(0), self.quantisers, 0, count)
        for t in range(count):
            logits = self.logits(self.frame(state))
            state = self.follow(draw(logits, temperature[:, t], bits[:, :, t]).to(logits.dtype), state)
            frames.append(self.heard(state))
        return torch.stack(frames, 2), state

    def prime(self, codes: Tensor, state: State) -> State:
        """Hears frames (B, quantisers, T) as if they had been drawn.

        The codes of the last frames that belong to rows after the last frame are drawn again.
        """
        rows = delayed(codes)[:, :, : codes.size(2)]
        for t in range(rows.size(2)):
            self.frame(state)
            state = self.follow(rows[:, :, t], state)
        return state

    # -- leaving ------------------------------------------------------------------------------------------------

    @torch.jit.unused
    def spec(self) -> Spec:
        width, wide = self.channels, self.channels + self.config.skip

        def part(first: int, count: int) -> Spec:
            return {"op": "part", "in": wide, "out": count, "first": first}

        numbers = {"quantisers": self.quantisers, "codes": self.codes}
        books = {"codebook": self.embedding, "offset": self.offset}
        layers = [
            {"op": "codebook", "in": self.quantisers, "out": width, **numbers, **books},
            self.entry.spec(),
        ]
        for dilated, mixing in zip(self.dilated, self.mixing, strict=True):
            gate = {"op": "gated_tanh", "in": 2 * width, "out": width}
            body = [part(0, width), dilated.spec(), gate, mixing.spec()]
            branches = [
                {"op": "delay", "in": wide, "out": wide, "frames": 0},
                {"op": "serial", "in": wide, "out": wide, "layers": body},
            ]
            layers.append({"op": "sum", "in": wide, "out": wide, "branches": branches, "waits": [0, 0]})
        act = LeakyReLU(self.config.skip).spec()
        layers += [part(width, wide - width), act, self.hidden.spec(), act]
        layers += [self.narrow.spec(), self.last.spec()]
        return self.describe("serial", layers=layers)


def gated(x: Tensor) -> Tensor:
    """tanh of the first half of the channels times the sigmoid of the second (equation 2 of the paper)."""
    a, b = x.chunk(2, -1)
    return torch.tanh(a) * torch.sigmoid(b)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution whose window is one row (B, kernel * in)."""
    return F.linear(x, weight.flatten(1), bias)


def draw(logits: Tensor, temperature: Tensor, bits: Tensor) -> Tensor:
    """One code of each quantiser: logits (B, quantisers, codes), temperature (B,), 32-bit integers (B, quantisers).

    The first code whose cumulated probability exceeds a uniform number; at temperature 0 the likeliest.
    """
    top = logits.amax(2, True)
    mass = torch.exp((logits - top) / temperature.clamp(min=1e-3).view(-1, 1, 1)).cumsum(2)
    share = (bits >> 8).to(logits.dtype).unsqueeze(2) * (2.0**-24)
    drawn = (mass <= share * mass[:, :, -1:]).sum(2).clamp(max=logits.size(2) - 1)
    return torch.where(temperature.view(-1, 1) > 0.0, drawn, logits.argmax(2))


def delayed(codes: Tensor) -> Tensor:
    """Frames (B, quantisers, T) to rows of their pattern (B, quantisers, T + quantisers - 1), no code at the ends."""
    count = codes.size(1)
    return torch.stack([F.pad(codes[:, q], [q, count - 1 - q], value=-1.0) for q in range(count)], 1)


def undelayed(rows: Tensor) -> Tensor:
    """The frames that a pattern stands for."""
    count = rows.size(1)
    frames = rows.size(2) - count + 1
    return torch.stack([rows[:, q, q : q + frames] for q in range(count)], 1)


__all__ = ["NODE", "Prior", "PriorConfig", "delayed", "draw", "undelayed"]
