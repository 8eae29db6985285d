"""What plays a model file: a `.ts` through torch, a `.ravel` through the engine, behind the same few words."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from .audio import Audio
from .card import Card, delay_samples, read_card
from .errors import RavelError

HOPS_A_PASS = 8  # that the player takes at once: `v2` is 1.9 times as fast as hop by hop, with 32 it would be 2.1 times


class Player(Protocol):
    """Plays (channels, frames) float32 of whole hops; the model's channels need not be the sound's."""

    card: Card

    def set_temperature(self, value: float) -> bool:
        """For every later `start`. False: the file does not take it."""

    def set_labels(self, weights: list[float]) -> None:
        """Of each label of the card, for every later `start`."""

    def set_prior(self, amount: float, temperature: float) -> None:
        """How much of what plays is the prior's, 0 to 1, and how freely. Raises RavelError where there is none."""

    def start(self, channels: int, latents: int | None = None) -> int:
        """Begin from silence; by how many samples `play` is late. `latents`: that are heard, the rest at its mean."""

    def play(self, x: Audio) -> Audio:
        """What the model makes of x, after all that came since `start`."""


def player(path: str | Path) -> Player:
    """The one for this file, by its suffix. Raises RavelError when the file is no sound model."""
    return EnginePlayer(path) if Path(path).suffix == ".ravel" else ScriptPlayer(path)


class ScriptPlayer:
    """A `.ts`, streaming or offline, on the CPU. A mono model plays every channel, a stereo one plays mono twice."""

    def __init__(self, path: str | Path) -> None:
        self.card = read_card(path)
        self.module = load_module(path)
        self._latents: int | None = None

    def set_temperature(self, value: float) -> bool:
        setter = getattr(self.module, "set_temperature", None)
        return setter is not None and setter(value) == 0

    def set_labels(self, weights: list[float]) -> None:
        for label, weight in zip(self.card["labels"], weights, strict=True):
            self.module.set_label_weight(label, weight)

    def set_prior(self, amount: float, temperature: float) -> None:
        raise RavelError("a .ts plays its prior by itself (`ravel generate`): for --prior give the .ravel beside it")

    def start(self, channels: int, latents: int | None = None) -> int:
        self._latents = latents
        if not self.card["streaming"]:
            return 0
        self.module.reset()
        methods = ("forward",) if latents is None else ("encode", "decode")
        return delay_samples(self.card, *methods)

    def play(self, x: Audio) -> Audio:
        import torch

        channels, mono = len(x), self.card["channels"] == 1
        if channels < self.card["channels"]:
            x = np.repeat(x, 2, axis=0)
        with torch.no_grad():
            # (streams, model channels, frames)
            y: Audio = self._run(torch.from_numpy(x[:, None] if mono else x[None])).numpy()
        if mono:
            return y[:, 0]
        return y[0].mean(axis=0, keepdims=True) if channels == 1 else y[0]

    def _run(self, x: Any) -> Any:
        if self._latents is None:
            return self.module.forward(x)
        z = self.module.encode(x)  # (streams, latents, frames)
        z[:, self._latents :] = 0.0
        return self.module.decode(z)


class EnginePlayer:
    """A `.ravel` in the C++ player, at the model's own rate; no torch is needed."""

    def __init__(self, path: str | Path) -> None:
        self.card = read_card(path)
        self.model = load_model(path)
        self.temperature = float(self.model.temperature)
        self.labels: list[float] = []
        self.prior, self.prior_temperature = 0.0, 1.0
        self._player: Any = None

    def set_temperature(self, value: float) -> bool:
        if not 0 <= value <= (0 if "codes" in self.card else 10):  # what a .ts takes
            return False
        self.temperature = value
        return True

    def set_labels(self, weights: list[float]) -> None:
        self.labels = weights

    def set_prior(self, amount: float, temperature: float) -> None:
        if "prior" not in self.card["methods"]:
            raise RavelError(f"{self.card['name']} has no prior: `ravel train-prior` teaches its run one; export again")
        self.prior, self.prior_temperature = amount, temperature

    def start(self, channels: int, latents: int | None = None) -> int:
        model, player = self.model, engine_module().Player()
        player.load(model)
        player.set_mode("inline")
        player.set("temperature", self.temperature)
        player.set("prior", self.prior)
        player.set("prior_temperature", self.prior_temperature)
        for label, weight in enumerate(self.labels):
            player.set_label_weight(label, weight)
        for latent in range(model.latents if latents is None else latents, model.latents):
            player.set_latent(latent, override=0.0)
        block = HOPS_A_PASS * model.hop_samples
        player.prepare(model.sample_rate_hz, block, in_channels=channels, out_channels=channels, offline=True)
        self._player = player
        return int(player.latency_samples)

    def play(self, x: Audio) -> Audio:
        y: Audio = self._player.process(x)
        return y


def load_module(path: str | Path) -> Any:
    """The TorchScript module of a `.ts`, on the CPU. Raises RavelError when torch cannot read it."""
    import torch

    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise RavelError(f"{path} does not load ({reason}): export it again") from None


def load_model(path: str | Path, isa: str | None = None) -> Any:
    """The engine's model of a `.ravel`. Raises RavelError for what the engine refuses."""
    native = engine_module()
    try:
        return native.Model(path, isa)
    except native.Error as error:
        raise RavelError(str(error)) from None


def engine_module() -> ModuleType:
    """`python._native`. Raises RavelError where it is not built."""
    try:
        return import_module("._native", __package__)
    except ImportError as error:
        raise RavelError(f"the engine is not built here ({error}): `pip install .` in the project builds it") from None
