"""A `.ravel` read back as the plain network: what a TorchScript export with cached `conv1d` makes of the same model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..model.layers import Amplitude, GatedHalf, LeakyReLU, Repeat, Snake, Spec, Tanh
from ..model.noise import FilteredNoise
from .plain import Branches, History, PlainConv, PlainShell, PlainUpsample, Unchanged

Tensors = dict[str, Tensor]


def plain_script(path: str | Path) -> Any:
    """The scripted plain form of a `.ravel`, for one stream."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    graph, card = json.loads(metadata["graph"]), json.loads(metadata["card"])
    front, back = plain(graph["front"], tensors), plain(graph["back"], tensors)
    shell = PlainShell(front, back, card["latents"], graph["completion"]["out"])
    return torch.jit.script(shell.eval().requires_grad_(False))


def plain(node: Spec, tensors: Tensors) -> nn.Module:
    """One node of the graph with everything in it."""
    op, numbers = node["op"], _numbers(node, tensors)
    if op == "serial":
        return nn.Sequential(*(plain(child, tensors) for child in node["layers"]))
    if op in ("sum", "product"):
        waits = [History(node["out"], frames, frames, True) for frames in node["waits"]]
        branches = [nn.Sequential(plain(b, tensors), w) for b, w in zip(node["branches"], waits, strict=True)]
        return Branches(branches, op == "product")
    if op == "delay":
        return History(node["in"], node["frames"], node["frames"], True)
    if op == "conv1d":
        numbers.history = (node["kernel"] - 1) * node["dilation"] + 1 - node["stride"] + node["hold"]
        return PlainConv(numbers, True)
    if op == "upsample":
        numbers.history = node["taps"] - 1
        return PlainUpsample(numbers, True)
    return Unchanged(_pointwise(node, tensors), True)


def _numbers(node: Spec, tensors: Tensors) -> Any:
    """The fields of a node as the attributes that the plain layers read."""
    fields = {key: tensors.get(value, value) if isinstance(value, str) else value for key, value in node.items()}
    return SimpleNamespace(**fields, in_channels=node["in"], out_channels=node["out"])


def _pointwise(node: Spec, tensors: Tensors) -> Any:
    op, channels = node["op"], node["in"]
    if op == "leaky_relu":
        leaky = LeakyReLU(channels)
        leaky.slope = node["slope"]
        return leaky
    if op == "snake":
        snake = Snake(channels)
        snake.alpha = nn.Parameter(tensors[node["alpha"]])
        return snake
    if op == "filtered_noise":
        noise = FilteredNoise(node["bands"], node["noise_bands"], node["ratio"])
        noise.node, noise.response = node["node"], tensors[node["response"]]
        return noise
    simple = {
        "tanh": lambda: Tanh(channels),
        "amplitude": lambda: Amplitude(channels, node["offset"]),
        "gated_half": lambda: GatedHalf(node["out"]),
        "repeat": lambda: Repeat(channels, node["times"]),
    }
    return simple[op]()
