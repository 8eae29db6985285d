"""Encoding to latents and decoding from them, apart, with every delay removed: for looking inside a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from ..audio import Audio
from ..card import Card, delay_samples, label_weights, read_card
from ..model.latent import Variational
from ..players import engine_module, load_model, load_module
from ..runs import Trained

Latents = NDArray[np.float32]  # (latents, frames), strongest first, 0 = their mean; or numbers of codes, -1 = none
SWEEP_STEPS = 64  # from one end to the other, as a hand at a fader takes them


@dataclass(frozen=True)
class Books:
    """codebooks (quantisers, codes, latents) and offset (latents,) of a discrete model, turned to its components."""

    codebooks: NDArray[np.float32]
    offset: NDArray[np.float32]

    def vectors(self, numbers: Latents) -> Latents:
        """Numbers of codes (quantisers, frames) -> offset + the sum of their vectors, (latents, frames)."""
        rows = [book[row.astype(int)] * (row >= 0)[:, None] for book, row in zip(self.codebooks, numbers)]
        total: Latents = self.offset + np.sum(rows, axis=0, dtype=np.float32)
        return total.T


class Coder:
    """Latent k of frame t belongs to the hop of sound that begins at sample t * hop.

    Of a discrete model (`books`) `encode` gives, and `decode` takes, numbers of codes, a row a quantiser; its latents
    are the components of the vectors that these stand for.
    """

    def __init__(self, card: Card, books: Books | None) -> None:
        self.card, self.books = card, books
        self.hop = int(card["hop_samples"])

    def begin(self, method: str, temperature: float = 0.0) -> None:
        """From silence."""
        raise NotImplementedError

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The method that was begun; a streaming one goes on where the call before ended."""
        raise NotImplementedError

    def bias(self, latent: int, value: float) -> None:
        """Added to a latent from the next `run` on."""
        raise NotImplementedError

    def play_as(self, label: str) -> None:
        """From the next `begin` on, as this label or blend (card.label_weights)."""
        raise NotImplementedError

    def encode(self, sound: Audio, temperature: float = 0.0) -> Latents:
        """(channels, frames) -> latents, or numbers of codes, of the whole hops in it, from silence."""
        late = delay_samples(self.card, "encode") // self.hop
        self.begin("encode", temperature)
        return self.run(_whole(sound, self.hop, late))[:, late:]

    def latents(self, z: Latents) -> Latents:
        """What `encode` gives, as latents."""
        return z if self.books is None else self.books.vectors(z)

    def decode(self, z: Latents) -> Audio:
        """What `encode` gives -> (channels, frames * hop)."""
        self.begin("decode")
        return self._in_place(self.run(self._prolonged(z)), z)

    def swept(self, z: Latents, latent: int, reach: float) -> Audio:
        """`decode` while a latent is pushed from `reach` below where it stands to as much above."""
        if self.books is None:
            pushed = z.copy()
            pushed[latent] += np.linspace(-reach, reach, z.shape[1], dtype=np.float32)
            return self.decode(pushed)
        self.begin("decode")
        steps = min(SWEEP_STEPS, z.shape[1])
        played = []
        for push, part in zip(np.linspace(-reach, reach, steps), np.array_split(self._prolonged(z), steps, axis=1)):
            self.bias(latent, float(push))
            played.append(self.run(part))
        self.bias(latent, 0.0)
        return self._in_place(np.concatenate(played, axis=1), z)

    def _prolonged(self, z: Latents) -> Latents:
        return np.pad(z, ((0, 0), (0, -(-delay_samples(self.card, "decode") // self.hop))))

    def _in_place(self, sound: Audio, z: Latents) -> Audio:
        late = delay_samples(self.card, "decode")
        return sound[:, late : late + z.shape[1] * self.hop]


def coder(path: Path) -> Coder:
    return EngineCoder(path) if path.suffix == ".ravel" else ScriptCoder(load_module(path), read_card(path))


class ScriptCoder(Coder):
    """A `.ts`, or the shell that would become one."""

    def __init__(self, module: Any, card: Card) -> None:
        self.module, self.method = module, ""
        of = getattr(module, "completion", None) if card.get("codes") else None
        super().__init__(card, of and Books(of.books.numpy(), of.offset.numpy()))

    def begin(self, method: str, temperature: float = 0.0) -> None:
        self.method = method
        if self.card["streaming"]:
            self.module.reset()
        if hasattr(self.module, "set_temperature"):
            self.module.set_temperature(temperature)

    @torch.no_grad()
    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = getattr(self.module, self.method)(torch.from_numpy(np.ascontiguousarray(x)[None]))
        played: NDArray[np.float32] = y.numpy()[0]
        return played

    def bias(self, latent: int, value: float) -> None:
        self.module.set_bias(latent, value)

    def play_as(self, label: str) -> None:
        for name, weight in zip(self.card["labels"], label_weights(self.card, label)):
            self.module.set_label_weight(name, weight)


class EngineCoder(Coder):
    """A `.ravel`."""

    def __init__(self, path: Path) -> None:
        super().__init__(read_card(path), _books(path))
        self.model = load_model(path)
        self.weights: list[float] = []  # of the labels
        self.engine: Any = None

    def begin(self, method: str, temperature: float = 0.0) -> None:
        self.engine = engine_module().Engine(self.model, method, streams=1, max_hops=8)
        self.engine.temperature = temperature
        for label, weight in enumerate(self.weights):
            self.engine.set_label_weight(label, weight)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y: NDArray[np.float32] = self.engine.process(np.ascontiguousarray(x, np.float32)[None])[0]
        return y

    def bias(self, latent: int, value: float) -> None:
        self.engine.set_bias(latent, value)

    def play_as(self, label: str) -> None:
        self.weights = label_weights(self.card, label)


def _books(path: Path) -> Books | None:
    """Those in a `.ravel`."""
    with safe_open(path, "np") as file:
        node = json.loads(file.metadata()["graph"])["completion"]
        return Books(file.get_tensor(node["codebook"]), file.get_tensor(node["offset"])) if "codebook" in node else None


def run_coder(trained: Trained, name: str) -> ScriptCoder:
    """All principal components of a run, or all of its quantisers."""
    from ..streaming import deploy

    shell = deploy.deploy(trained, deploy.kept(trained, None, None, None), streaming=True)
    return ScriptCoder(shell, deploy.card(shell, trained, name))


@dataclass(frozen=True)
class Divergence:
    """Of each latent before the rotation: `cost`, KL to the prior in nats a frame, and `spread`, the variance of the
    posterior mean. Of each principal component: `bits` a frame that the posterior's noise lets through, if it has any.
    """

    cost: NDArray[np.float64]
    spread: NDArray[np.float64]
    bits: NDArray[np.float64] | None


@torch.no_grad()
def divergence(trained: Trained, sounds: list[Audio]) -> Divergence:
    net = trained.net
    total, squares, means, noise = (np.zeros(net.latent.size) for _ in range(4))
    frames = 0
    for sound in sounds:
        x = torch.from_numpy(_whole(sound, net.hop_samples, 0))[None]
        h = net.encoder(net.analysis(x))
        centre = net.latent.centre(h)
        _, cost = net.latent.draw(h, torch.zeros_like(centre))
        count = centre.shape[2]
        frames += count
        total += count * cost.double().numpy()
        means += centre.double().sum((0, 2)).numpy()
        squares += centre.double().square().sum((0, 2)).numpy()
        if isinstance(net.latent, Variational):
            noise += net.latent.spread(h).double().square().sum((0, 2)).numpy()
    bits = None
    if isinstance(net.latent, Variational):
        through = np.square(trained.principal.components.double().numpy()) @ (noise / frames)
        bits = 0.5 * np.log2(1 + trained.principal.variances.double().numpy() / np.maximum(through, 1e-12))
    return Divergence(total / frames, squares / frames - np.square(means / frames), bits)


def _whole(sound: Audio, hop: int, late_hops: int) -> Audio:
    frames = -(-sound.shape[1] // hop) * hop + late_hops * hop
    return np.pad(sound, ((0, 0), (0, frames - sound.shape[1]))).astype(np.float32)
