"""What plays a model file: a `.ts` through torch, a `.ravel` through the engine, behind the same few words."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from .audio import Audio
from .card import Card, read_card
from .errors import RavelError

HOPS_A_PASS = 8  # of a long block: `v2` is 1.9 times as fast as hop by hop, with 32 it would be 2.1 times


class Player(Protocol):
    """Plays blocks of whole hops, (streams, channels or latents, frames) float32, each method with its own past."""

    card: Card

    def set_temperature(self, value: float) -> bool: ...

    def reset(self) -> None: ...

    def play(self, method: str, x: Audio) -> Audio: ...


def player(path: str | Path) -> Player:
    """The one for this file, by its suffix. Raises RavelError when the file is no sound model."""
    return EnginePlayer(path) if Path(path).suffix == ".ravel" else ScriptPlayer(path)


class ScriptPlayer:
    """A `.ts`, streaming or offline, on the CPU."""

    def __init__(self, path: str | Path) -> None:
        self.card = read_card(path)
        self.module = load_module(path)

    def set_temperature(self, value: float) -> bool:
        setter = getattr(self.module, "set_temperature", None)
        return setter is not None and setter(value) == 0

    def reset(self) -> None:
        if self.card["streaming"]:
            self.module.reset()

    def play(self, method: str, x: Audio) -> Audio:
        import torch

        with torch.no_grad():
            y: Audio = getattr(self.module, method)(torch.from_numpy(x)).numpy()
        return y


class EnginePlayer:
    """A `.ravel` in the C++ engine; no torch is needed. Engines are made as methods and stream counts come."""

    def __init__(self, path: str | Path) -> None:
        self.card = read_card(path)
        self.model = load_model(path)
        self.temperature = float(self.model.temperature)
        self._engines: dict[tuple[str, int], Any] = {}

    def set_temperature(self, value: float) -> bool:
        if not 0 <= value <= 10:  # what a .ts takes
            return False
        self.temperature = value
        for engine in self._engines.values():
            engine.temperature = value
        return True

    def reset(self) -> None:
        for engine in self._engines.values():
            engine.reset()

    def play(self, method: str, x: Audio) -> Audio:
        key = (method, len(x))
        if key not in self._engines:
            engine = engine_module().Engine(self.model, method, streams=len(x), max_hops=HOPS_A_PASS)
            engine.temperature = self.temperature
            self._engines[key] = engine
        y: Audio = self._engines[key].process(x)
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
