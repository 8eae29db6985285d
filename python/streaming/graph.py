"""The `.ravel` writer: a deployed network as a safetensors file of named tensors and a graph, all the engine needs.

The graph is the `spec()` of four parts and of a prior, each node with a readable name; tensors are fields of a node, by
name.
"""

from __future__ import annotations

import copy
import json
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor

from ..card import Card
from ..model.layers import Spec
from ..model.quantise import Quantised
from .nn_tilde import PriorShell, Shell

GOLDEN_SAMPLES = 16384  # beyond the delay: the widest layer (v1's first of the decoder) looks back 12288
MARGIN, ATTEMPTS = 3e-5, 64  # of the largest frame: rounding moves frames by some 1e-6 of it
GOLDEN_FRAMES = 32  # whole ones of what a prior plays in the golden pair, at most
OPS_OF_2 = {"quantise", "codebook", "sphere", "condition"}  # that engines of version 1 do not know
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
    """The parts of a deployed network as JSON, and the tensors that it names."""
    tensors: Tensors = {}
    parts = {
        "front": placed(shell.front.spec(), "front", tensors, ["analysis", "encoder"]),
        "latent": placed(shell.latent.spec(), "latent", tensors),
        "completion": placed(shell.completion.spec(), "completion", tensors),
        "back": placed(shell.back.spec(), "back", tensors, ["decoder", "synthesis"]),
    }
    if isinstance(shell, PriorShell):
        parts["prior"] = prior(shell, tensors)
    return parts, tensors


def prior(shell: PriorShell, tensors: Tensors) -> Spec:
    """The node of a prior, and of what its numbers stand for."""
    net, ends = shell.prior_net, {"listen": shell.alphabet.ear(), "speak": shell.alphabet.mouth()}
    node: Spec = {"op": "prior", "name": "prior", "in": 1, "out": net.quantisers}
    node |= {"quantisers": net.quantisers, "codes": net.codes, "noise_node": net.node}
    node["network"] = placed(net.spec(), "prior.network", tensors)
    for key, spec in ends.items():
        node[key] = spec and placed(spec, f"prior.{key}", tensors)
    return node


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


def stored(shell: Shell, weights: str) -> tuple[dict[str, Spec], Tensors]:
    """The graph and its tensors as the file holds them: with bf16, weights of encoder, decoder and prior are rounded.

    Not those of a discrete model's encoder.
    """
    parts, tensors = graph(shell)
    if weights == "bf16":
        # rounding an encoder would change which codes it takes
        rooms = ("decoder.", "prior.") if shell.discrete else ("encoder.", "decoder.", "prior.")
        halved = [n for n in tensors if n.startswith(rooms) and n.endswith(".weight")]
        tensors.update({name: tensors[name].bfloat16() for name in halved})
    return parts, tensors


def with_weights(shell: Shell, weights: str) -> Shell:
    """A copy of the shell that plays the weights of the file: with bf16, the nearest, ties to even."""
    shell = copy.deepcopy(shell)
    played, kept = graph(shell)[1], stored(shell, weights)[1]
    for name, tensor in played.items():  # views of the copy's own tensors
        tensor.copy_(kept[name])
    return shell


@torch.no_grad()
def golden(shell: Shell) -> Tensors:
    """A pair to test any machine with: noise, its latents and its sound from reset, filtered noise on, latents mean.

    Also what a prior plays.
    """
    frames = -(-(shell.delay + GOLDEN_SAMPLES) // shell.hop_samples)
    audio = sounding(shell, 1, frames * shell.hop_samples, 0)
    player = copy.deepcopy(shell)
    player.set_temperature(0.0)
    latents = player.encode(audio)
    pair = {"golden.audio": audio[0], "golden.latents": latents[0], "golden.output": player.decode(latents)[0]}
    return pair | ({"golden.prior": alone(player)[0]} if isinstance(player, PriorShell) else {})


@torch.no_grad()
def alone(shell: PriorShell) -> Tensor:
    """What a prior plays from reset at temperature 0, up to where two numbers are so near to each other that another
    machine may find the other one likelier."""
    net = shell.prior_net
    state = net.begin(torch.zeros(1, 1, 1))
    frames: list[Tensor] = []
    for _ in range(net.quantisers - 1 + GOLDEN_FRAMES):
        logits = net.logits(net.frame(state))
        first, second = logits.topk(2, 2).values.unbind(2)
        if frames and float((first - second).min()) <= MARGIN * float(logits.abs().max()):
            break
        state = net.follow(logits.argmax(2).to(logits.dtype), state)
        frames.append(net.heard(state))
    return shell.alphabet.speak(torch.stack(frames, 2))


@torch.no_grad()
def sounding(shell: Shell, streams: int, samples: int, seed: int) -> Tensor:
    """Noise (streams, channels, samples); for a discrete model one whose frames keep away from where codes change, so
    that sums in another order give the same codes."""
    best, widest = torch.zeros(0), -1.0
    for attempt in range(ATTEMPTS if shell.discrete else 1):
        generator = torch.Generator().manual_seed(seed + 100 * attempt)
        x = 0.3 * torch.randn(streams, shell.channels, samples, generator=generator)
        if not shell.discrete:
            return x
        margin = cast(Quantised, shell.latent).margin(shell.front(x))
        if margin > widest:
            best, widest = x, margin
        if widest > MARGIN:
            break
    return best


def version(parts: dict[str, Spec]) -> int:
    """The lowest that holds these ops, so that older engines play what they can."""

    def ops(node: Spec) -> set[str]:
        inside = [*node.get("layers", []), *node.get("branches", [])]
        return {node["op"]}.union(*map(ops, inside))

    if "prior" in parts:
        return 3
    return 2 if any(ops(part) & OPS_OF_2 for part in parts.values()) else 1


def ravel(shell: Shell, about: Card, weights: str) -> bytes:
    """The bytes of a `.ravel`."""
    parts, tensors = stored(shell, weights)
    tensors |= golden(with_weights(shell, weights))
    metadata = {
        "format": "ravel",
        "version": str(version(parts)),
        "graph": json.dumps(parts),
        "card": json.dumps(about | {"weights": weights}),
    }
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
