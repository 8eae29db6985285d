"""Shared material: hand-made `.ts` files whose output is known to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

MakeTs = Callable[..., Path]


class PureDelay(torch.nn.Module):
    """A stand-in for an exported model: latent k is sample k of the hop, `decode` is late by `delay` samples.

    Temperature adds itself to the output, so that a test can see that it arrived.
    """

    def __init__(self, hop: int, delay: int, channels: int) -> None:
        super().__init__()
        self.hop = hop
        self.delay = delay
        self.channels = channels
        self.temperature = 0.0
        self.register_buffer("history", torch.zeros(1, channels, delay), persistent=False)

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        b, c, t = x.shape
        return x.reshape(b, c, t // self.hop, self.hop).permute(0, 1, 3, 2).reshape(b, c * self.hop, -1)

    @torch.jit.export
    def decode(self, z: Tensor) -> Tensor:
        b, _, t = z.shape
        y = z.reshape(b, self.channels, self.hop, t).permute(0, 1, 3, 2).reshape(b, self.channels, -1)
        if self.history.shape[0] != b:
            self.history = torch.zeros(b, self.channels, self.delay)
        joined = torch.cat([self.history, y], 2)
        self.history = joined[..., joined.shape[2] - self.delay :].clone()
        return joined[..., : y.shape[2]] + self.temperature

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % self.hop != 0:
            raise ValueError("not whole hops")
        return self.decode(self.encode(x))

    @torch.jit.export
    def reset(self) -> None:
        self.history = torch.zeros(self.history.shape[0], self.channels, self.delay)

    @torch.jit.export
    def set_temperature(self, temperature: float) -> int:
        if temperature < 0:
            return -1
        self.temperature = temperature
        return 0


def card_of(hop: int, delay: int, channels: int, streaming: bool = True, sample_rate_hz: int = 44100) -> dict[str, Any]:
    latents = hop * channels
    return {
        "format": 1,
        "name": "violin",
        "preset": "low",
        "sample_rate_hz": sample_rate_hz,
        "channels": channels,
        "hop_samples": hop,
        "latents": latents,
        "latent_size": 128,
        "streaming": streaming,
        "methods": {
            "forward": {
                "in_channels": channels,
                "in_ratio": 1,
                "out_channels": channels,
                "out_ratio": 1,
                "delay_samples": delay,
            },
            "encode": {
                "in_channels": channels,
                "in_ratio": 1,
                "out_channels": latents,
                "out_ratio": hop,
                "delay_samples": 0,
            },
            "decode": {
                "in_channels": latents,
                "in_ratio": hop,
                "out_channels": channels,
                "out_ratio": 1,
                "delay_samples": delay,
            },
        },
        "attributes": {
            "temperature": {"type": "float", "default": 0.0, "doc": "how far latents stray from their mean"}
        },
        "fidelity_curve": [1 - 0.5 ** (n + 1) for n in range(128)],
        "parameters": 4_000_000,
        "training": {
            "steps": 1200,
            "phase": 1,
            "seconds": 210.0,
            "temperature": 0.5,
            "validation": {"distance": 1.25, "log": 0.75},
            "corpus": {"recordings": 12, "seconds": 180.0, "held_out_seconds": 18.0},
        },
    }


@pytest.fixture
def make_ts(tmp_path: Path) -> MakeTs:
    """make_ts(hop=, delay=, channels=, streaming=, sample_rate_hz=, **card entries to change) -> path."""

    def make(
        hop: int = 16,
        delay: int = 21,
        channels: int = 1,
        streaming: bool = True,
        sample_rate_hz: int = 44100,
        name: str = "violin.ts",
        **changes: Any,
    ) -> Path:
        path = tmp_path / name
        card = card_of(hop, delay, channels, streaming, sample_rate_hz) | changes
        module = torch.jit.script(PureDelay(hop, delay if streaming else 0, channels))
        torch.jit.save(module, str(path), _extra_files={"ravel.json": json.dumps(card)})
        return path

    return make
