"""What this machine can do at most, measured, and the least time an op or a method can take on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..players import engine_module

LADDER = tuple(1 << power for power in (18, 20, 22, 24, 25, 26, 27))  # bytes: 256 kB to 128 MB
HALVED = ("encoder.", "decoder.")  # where --weights bf16 rounds


@dataclass
class Roofline:
    """GFLOP/s of one thread and GB/s by working set; bandwidths are measured as they are asked for."""

    isa: str
    gflops: float
    dot_gflops: float  # of the native bfloat16 dot product, or what fp32 reaches where there is none
    seconds: float
    bandwidths: dict[int, float] = field(default_factory=dict)  # bytes -> GB/s

    def bandwidth(self, working_set: float) -> float:
        """Of walking through so many bytes again and again, at the best moment so far: neighbours come and go."""
        size = max(4096, int(working_set))
        best = max(self.bandwidths.get(size, 0.0), engine_module().read_bandwidth(size, self.seconds))
        self.bandwidths[size] = best
        return best

    def floors(self, ops: Sequence[dict[str, Any]], gb_per_s: float, halved: bool) -> np.ndarray:
        """Least seconds of each op of a method, a hop: its arithmetic at the peak or its weights at the bandwidth.

        A hop walks through all weights of a method, so those of one op come from wherever the whole set has room:
        `gb_per_s` is the bandwidth of that set. `halved`: the weights are bfloat16, which may use the dot product.
        """
        bandwidth = gb_per_s * 1e9
        floors = []
        for op in ops:
            peak = self.dot_gflops if halved and op["name"].startswith(HALVED) else self.gflops
            floors.append(max(op["flops"] / (peak * 1e9), op["weight_bytes"] / bandwidth))
        return np.array(floors)


def rows(op: dict[str, Any], halved: bool) -> int:
    """How many results of a hop use each weight of an op: few are bound by bandwidth, many by arithmetic."""
    bytes_each = 2 if halved and op["name"].startswith((*HALVED, "prior.network.")) else 4
    return round(op["flops"] / 2 / (op["weight_bytes"] / bytes_each)) if op["weight_bytes"] else 0


def measure(isa: str, seconds: float = 0.2, ladder: Sequence[int] = LADDER) -> Roofline:
    """About `seconds` for each of the peaks and each step of the ladder."""
    native = engine_module()
    gflops = native.peak_gflops(seconds, isa)
    dot = native.peak_gflops(seconds, isa, bf16_dot=True) if isa == "avx512_bf16" else gflops
    roofline = Roofline(isa, gflops, dot, seconds)
    for size in ladder:
        roofline.bandwidth(size)
    return roofline
