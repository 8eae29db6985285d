"""The `.ravel` writer: a deployed network as named tensors and a graph in a safetensors file, all that the engine needs.

The graph is the `spec()` of four parts, each node with a readable name; tensors are fields of a node, by name.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..card import RAVEL_FORMAT, Card
from ..model.layers import Conv1d, Spec, Upsample
from .nn_tilde import Shell

WEIGHTS = ("fp32", "bf16")
GOLDEN_SAMPLES = 8192  # at least: enough for the deepest dilated layers of `low` to hear their past
# what a branch of a sum or product is for, by the op that it ends with
ROLES = {
    "delay": "skip",
    "product": "tone",
    "tanh": "waveform",
    "gated_half": "waveform",
    "repeat": "envelope",
    "filtered_noise": "noise",
}

Tensors = dict[str, Tensor]


def graph(shell: Shell) -> tuple[dict[str, Spec], Tensors]:
    """The four parts of a deployed network as JSON, and the tensors that it names."""
    tensors: Tensors = {}
    parts = {
        "front": placed(shell.front.spec(), "front", tensors, ["analysis", "encoder"]),
        "latent": placed(shell.latent.spec(), "latent", tensors),
        "completion": placed(shell.completion.spec(), "completion", tensors),
        "back": placed(shell.back.spec(), "back", tensors, ["decoder", "synthesis"]),
    }
    return parts, tensors


def placed(spec: Spec, name: str, tensors: Tensors, inside: list[str] | None = None) -> Spec:
    """The same node with names: its own, those of the nodes `inside` it, and of its tensors, moved into `tensors`."""
    node: dict[str, Any] = {"op": spec["op"], "name": name}
    for key, value in spec.items():
        if isinstance(value, Tensor):
            node[key] = f"{name}.{key}"
            tensors[node[key]] = value.detach()
        elif key in ("layers", "branches"):
            names = inside or [f"{name}.{part}" for part in _parts(value, key)]
            node[key] = [placed(child, at, tensors) for child, at in zip(value, names, strict=True)]
        else:
            node[key] = value
    return node


def _parts(children: list[Spec], key: str) -> list[str]:
    """Numbers for layers, roles for branches."""
    numbers = [str(i) for i in range(len(children))]
    if key == "layers":
        return numbers
    ends = [child["layers"][-1]["op"] if child["op"] == "serial" else child["op"] for child in children]
    roles = [ROLES.get(end, "body") for end in ends]
    return roles if len(set(roles)) == len(roles) else numbers


def rounded(shell: Shell) -> Shell:
    """A copy whose encoder and decoder have weights that bfloat16 holds, the nearest, ties to even; biases stay."""
    shell = copy.deepcopy(shell)
    for part in (shell.front.layers[1], shell.back.layers[0]):
        for layer in part.modules():
            if isinstance(layer, (Conv1d, Upsample)):
                layer.weight.data = layer.weight.bfloat16().float()
    return shell


@torch.no_grad()
def golden(shell: Shell) -> Tensors:
    """A pair to test any machine with: noise, its latents and its sound, from reset with the noise on and the mean."""
    frames = max(-(-shell.delay // shell.hop_samples) + 2, -(-GOLDEN_SAMPLES // shell.hop_samples))
    generator = torch.Generator().manual_seed(0)
    audio = 0.3 * torch.randn(1, shell.channels, frames * shell.hop_samples, generator=generator)
    player = copy.deepcopy(shell)
    player.set_temperature(0.0)
    latents = player.encode(audio)
    return {"golden.audio": audio[0], "golden.latents": latents[0], "golden.output": player.decode(latents)[0]}


def ravel(shell: Shell, about: Card, weights: str) -> bytes:
    """The bytes of a `.ravel`. With `weights` bf16 the shell must be a `rounded` one."""
    parts, tensors = graph(shell)
    if weights == "bf16":
        halved = [n for n in tensors if n.startswith(("encoder.", "decoder.")) and n.endswith(".weight")]
        tensors.update({name: tensors[name].bfloat16() for name in halved})
    tensors.update(golden(shell))
    metadata = {
        "format": "ravel",
        "version": str(RAVEL_FORMAT),
        "graph": json.dumps(parts),
        "card": json.dumps(about | {"weights": weights}),
    }
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
