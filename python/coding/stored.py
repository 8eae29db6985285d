"""What the codec reads of a `.ravel` itself: which one it is, and its prior; no torch is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RavelError
from .integer_prior import Floats, IntegerPrior, Layer, Weights
from .levels import Levels

Node = dict[str, Any]


def content_hash(path: str | Path) -> str:
    """SHA-256 of a `.ravel`'s graph and tensors: equal for equal models, whatever they are called.

    Its prior is left out, since codes that it did not code play without it; its own fingerprint tells priors apart.
    """
    graph, header, data = _opened(path)
    others = {"golden.prior"} | {
        text for node in _flat(graph.pop("prior", {})) for text in node.values() if isinstance(text, str)
    }
    kept = sorted((name for name in header if name not in others), key=lambda name: header[name]["data_offsets"])
    parts = [data[slice(*header[name]["data_offsets"])] for name in kept]
    ends = list(accumulate(map(len, parts)))
    places = {
        name: header[name] | {"data_offsets": [end - len(part), end]} for name, part, end in zip(kept, parts, ends)
    }
    digest = hashlib.sha256(json.dumps([json.dumps(graph), places], sort_keys=True).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True)
class StoredPrior:
    """A prior in whole numbers, and what these stand for in a continuous model; of another they are its codes."""

    network: IntegerPrior
    levels: Levels | None


def prior_in(path: str | Path) -> StoredPrior | None:
    """The prior of a sound `.ravel`, or None where it has none."""
    graph, header, data = _opened(path)

    def tensor(name: str) -> Floats:
        dtype, part = header[name]["dtype"], data[slice(*header[name]["data_offsets"])]
        found = np.frombuffer(part, {"F32": "<u4", "BF16": "<u2"}[dtype]).astype(np.uint32)
        return (found << (0 if dtype == "F32" else 16)).view(np.float32).reshape(header[name]["shape"])

    if "prior" not in graph:
        return None
    try:
        speak = graph["prior"]["speak"]
        levels = Levels(tensor(speak["codebook"]), tensor(speak["offset"])) if speak else None
        return StoredPrior(
            IntegerPrior(_weights(graph["prior"]["network"], tensor), levels.meaning() if levels else b""), levels
        )
    except (KeyError, ValueError, IndexError) as error:
        raise RavelError(
            f"{path}: its prior has a form that the codec does not know ({error}): export it again"
        ) from None


def _opened(path: str | Path) -> tuple[Node, dict[str, Any], memoryview]:
    """The graph, what is said of each tensor, and the bytes of all."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return json.loads(header.pop("__metadata__")["graph"]), header, memoryview(content)[8 + length :]


def _weights(network: Node, tensor: Callable[[str], Floats]) -> Weights:
    """From the one form that a prior's network has: books, a convolution, pairs of them, three at the end."""
    nodes = list(_flat(network))
    books = next(node for node in nodes if node["op"] == "codebook")
    convolutions = [node for node in nodes if node["op"] == "conv1d"]

    def layer(node: Node) -> Layer:
        weight = tensor(node["weight"])
        return weight, tensor(node["bias"]) if node["bias"] else np.zeros(len(weight), np.float32)

    entry, *pairs, hidden, narrow, last = convolutions
    return Weights(
        tensor(books["codebook"]).reshape(books["quantisers"], books["codes"], -1),
        tensor(books["offset"]),
        layer(entry),
        [layer(node) for node in pairs[0::2]],
        [layer(node) for node in pairs[1::2]],
        layer(hidden),
        layer(narrow),
        layer(last),
        [node["dilation"] for node in pairs[0::2]],
    )


def _flat(node: Node) -> Iterator[Node]:
    """A node and all inside it, in order."""
    yield node
    inside = [*node.get("layers", []), *node.get("branches", []), *(v for v in node.values() if isinstance(v, dict))]
    for child in inside:
        yield from _flat(child)
