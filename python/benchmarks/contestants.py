"""Who is timed: the engine, a `.ts`, and the plain script of the same network, each as calls on blocks of sound."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..card import Card, read_card
from ..errors import RavelError
from ..players import engine_module, load_model, load_module
from .clocks import Call

METHODS = ("forward", "encode", "decode")


class Contestant(Protocol):
    """A model that makes calls; those of `instance` may run at once."""

    label: str
    card: Card

    @property
    def methods(self) -> list[str]: ...

    def call(self, method: str, hops: int) -> Call: ...

    def instance(self, method: str, hops: int) -> Call: ...


class EngineContestant:
    """A `.ravel` in the engine."""

    def __init__(self, path: str | Path, isa: str | None = None, label: str | None = None, prior: float = 0.0) -> None:
        self.card = read_card(path)
        self.model = load_model(path, isa)
        self.prior = prior if "prior" in self.card["methods"] else 0.0  # how much of what plays is the prior's
        self.label = label or Path(path).name
        self.halved = self.model.weights == "bf16"

    @property
    def methods(self) -> list[str]:
        return list(self.model.methods)

    def call(self, method: str, hops: int, streams: int = 1) -> Call:
        engine = self.engine(method, streams=streams, max_hops=hops)
        x = self.input(method, hops, streams)
        out = engine.process(x)

        def call() -> None:
            engine.process(x, out)

        return call

    def instance(self, method: str, hops: int) -> Call:
        return self.call(method, hops)

    def sliced(self, method: str, slices: int, core_slices: int) -> Call:
        """A call of one hop that answers with the seconds of its slices."""
        engine = self.engine(method, slices=slices, core_slices=core_slices)
        x = self.input(method)
        out, seconds = engine.process_sliced(x), np.zeros(slices)

        def call() -> np.ndarray:
            engine.process_sliced(x, out, seconds)
            return seconds

        return call

    def input(self, method: str, hops: int = 1, streams: int = 1) -> np.ndarray:
        return noise(self.card, method, hops, streams)

    def engine(self, method: str, **settings: int) -> Any:
        native = engine_module()
        try:
            engine = native.Engine(self.model, method, **settings)
        except native.Error as error:
            raise RavelError(str(error)) from None
        engine.prior = self.prior
        return engine


class ScriptContestant:
    """A TorchScript module with the methods of the protocol; `load` gives one with histories of its own."""

    def __init__(self, label: str, card: Card, load: Callable[[], Any], methods: Sequence[str] = METHODS) -> None:
        self.label, self.card, self.load, self.methods = label, card, load, list(methods)
        self._calls: dict[tuple[str, int], Call] = {}

    def call(self, method: str, hops: int) -> Call:
        if (method, hops) not in self._calls:  # compiling is what takes long
            self._calls[method, hops] = self.instance(method, hops)
        return self._calls[method, hops]

    def instance(self, method: str, hops: int) -> Call:
        import torch

        play = getattr(self.load(), method)
        x = torch.from_numpy(noise(self.card, method, hops))

        def call() -> None:
            with torch.inference_mode():
                play(x)

        for _ in range(3):  # the first calls compile
            call()
        return call


def contestant(path: str | Path, isa: str | None = None, prior: float = 0.0) -> Contestant:
    """By suffix."""
    if Path(path).suffix == ".ravel":
        return EngineContestant(path, isa, prior=prior)
    card = read_card(path)
    if not card["streaming"]:
        raise RavelError(f"{path} is an offline export, which plays no blocks: export it with --streaming")
    return ScriptContestant(Path(path).name, card, lambda: load_module(path), list(card["methods"]))


def plain_contestant(path: str | Path) -> ScriptContestant:
    """The plain script of a `.ravel`: what cached convolutions in TorchScript cost."""
    import torch

    from .reread import plain_script

    buffer = io.BytesIO()
    torch.jit.save(plain_script(path), buffer)
    return ScriptContestant("plain script", read_card(path), lambda: torch.jit.load(io.BytesIO(buffer.getvalue())))


def noise(card: Card, method: str, hops: int, streams: int = 1) -> np.ndarray:
    """Input for a method: quiet white noise, normal latents or any codes, nothing to add to a prior's temperature."""
    random = np.random.default_rng(0)
    draw = random.standard_normal
    if method == "prior":
        return np.zeros((streams, 1, hops), np.float32)
    if method == "decode" and "codes" in card:
        numbers = random.integers(0, card["codes"]["codes"], (streams, card["codes"]["quantisers"], hops))
        return numbers.astype(np.float32)
    if method == "decode":
        return draw((streams, card["latents"], hops)).astype(np.float32)
    return (0.1 * draw((streams, card["channels"], hops * card["hop_samples"]))).astype(np.float32)
