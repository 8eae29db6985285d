"""Encoding to latents and decoding from them, apart, with every delay removed: for looking inside a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..audio import Audio
from ..card import Card, delay_samples, read_card
from ..model.latent import Variational
from ..players import engine_module, load_model, load_module
from ..runs import Trained

Latents = NDArray[np.float32]  # (latents, frames), strongest first, 0 = their mean


class Coder(Protocol):
    """Latent k of frame t belongs to the hop of sound that begins at sample t * hop."""

    card: Card

    def encode(self, sound: Audio, temperature: float = 0.0) -> Latents:
        """(channels, frames) -> latents of the whole hops in it, from silence."""

    def decode(self, z: Latents) -> Audio:
        """Latents -> (channels, frames * hop)."""


def coder(path: Path) -> Coder:
    return EngineCoder(path) if path.suffix == ".ravel" else ScriptCoder(load_module(path), read_card(path))


class ScriptCoder:
    """A `.ts`, or the shell that would become one."""

    def __init__(self, module: Any, card: Card) -> None:
        self.module, self.card = module, card
        self.hop = int(card["hop_samples"])

    def encode(self, sound: Audio, temperature: float = 0.0) -> Latents:
        late = delay_samples(self.card, "encode") // self.hop
        before = self.module.get_temperature() if hasattr(self.module, "get_temperature") else 0.0
        if temperature != before:
            self.module.set_temperature(temperature)
        try:
            return self._run("encode", _whole(sound, self.hop, late))[:, late:]
        finally:
            if temperature != before:
                self.module.set_temperature(before)

    def decode(self, z: Latents) -> Audio:
        late = delay_samples(self.card, "decode")
        longer = np.pad(z, ((0, 0), (0, -(-late // self.hop))))
        return self._run("decode", longer)[:, late : late + z.shape[1] * self.hop]

    @torch.no_grad()
    def _run(self, method: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.card["streaming"]:
            self.module.reset()
        y: NDArray[np.float32] = getattr(self.module, method)(torch.from_numpy(np.ascontiguousarray(x)[None])).numpy()[
            0
        ]
        return y


class EngineCoder:
    """A `.ravel`."""

    def __init__(self, path: Path) -> None:
        self.card = read_card(path)
        self.model = load_model(path)
        self.hop = int(self.card["hop_samples"])

    def encode(self, sound: Audio, temperature: float = 0.0) -> Latents:
        late = delay_samples(self.card, "encode") // self.hop
        return self._run("encode", _whole(sound, self.hop, late), temperature)[:, late:]

    def decode(self, z: Latents) -> Audio:
        late = delay_samples(self.card, "decode")
        longer = np.pad(z, ((0, 0), (0, -(-late // self.hop))))
        return self._run("decode", longer, 0.0)[:, late : late + z.shape[1] * self.hop]

    def _run(self, method: str, x: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
        engine = engine_module().Engine(self.model, method, streams=1, max_hops=8)
        engine.temperature = temperature
        y: NDArray[np.float32] = engine.process(np.ascontiguousarray(x, np.float32)[None])[0]
        return y


def run_coder(trained: Trained, name: str) -> ScriptCoder:
    """All principal components of a run."""
    from ..streaming import deploy

    shell = deploy.deploy(trained, len(trained.principal.variances), streaming=True)
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
