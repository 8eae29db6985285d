"""Clocks: calls timed in alternating runs, statistics of what they took, caches emptied on purpose."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# A call that is timed as a whole, or one that returns the seconds of the callbacks inside it.
Call = Callable[[], NDArray[np.float64] | None]
Times = NDArray[np.float64]  # seconds

TURN_SECONDS, MOST_A_TURN = 0.03, 64  # of one contestant before the next
PERCENTILES = (50, 90, 99, 99.9)
BINS_A_DECADE = 24


@dataclass(frozen=True)
class Spread:
    """What the callbacks of one kind took, in seconds."""

    count: int
    percentiles: tuple[float, ...]  # PERCENTILES
    largest: float
    first_edge: float  # of the histogram, whose bins grow by 10^(1 / BINS_A_DECADE)
    histogram: tuple[int, ...]

    @property
    def median(self) -> float:
        return self.percentiles[0]


def spread(times: Times) -> Spread:
    """The statistics of at least one time."""
    logs = np.floor(np.log10(np.maximum(times, 1e-9)) * BINS_A_DECADE).astype(int)
    first = int(logs.min())
    histogram = np.bincount(logs - first)
    return Spread(
        len(times),
        tuple(float(p) for p in np.percentile(times, PERCENTILES)),
        float(times.max()),
        10 ** (first / BINS_A_DECADE),
        tuple(int(n) for n in histogram),
    )


def alternate(calls: Sequence[Call], seconds: float, before: Call | None = None) -> list[Times]:
    """Seconds of every callback of each call, (calls, callbacks), in turns for about `seconds` altogether.

    The turns make a ratio sound on a machine whose speed changes. A turn is a run of calls whose first is not counted,
    since it finds the caches full of another's weights; with `before`, which comes untimed before every call, a turn is
    a single call.
    """
    times: list[list[Times]] = [[] for _ in calls]
    with no_garbage():
        runs = [1 if before else int(np.clip(TURN_SECONDS / _quickest(call), 2, MOST_A_TURN)) for call in calls]
        began = time.perf_counter()
        while not times[0] or time.perf_counter() - began < seconds:
            for call, run, record in zip(calls, runs, times):
                if before is None:
                    call()
                for _ in range(run):
                    if before is not None:
                        before()
                    start = time.perf_counter()
                    inside = call()
                    took = time.perf_counter() - start
                    record.append(np.array([took]) if inside is None else inside.copy())
    return [np.stack(record) for record in times]


def _quickest(call: Call) -> float:
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return min(durations)


@contextmanager
def no_garbage() -> Iterator[None]:
    """Without Python's collector, whose passes would be counted as the contestants' own."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def evict() -> Call:
    """A call that fills every cache with something else."""
    junk = np.ones(2 * max(cache_bytes(), 1 << 25) // 8)

    def touch() -> None:
        np.add(junk, 1.0, out=junk)

    return touch


def cache_bytes() -> int:
    """The largest cache that the system tells of, or 0."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        if text[:-1].isdigit() and text[-1:] in units:
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes, default=0)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str]:
    """What every figure depends on."""
    import platform

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    caches = cache_bytes()
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": str(cores()),
        "largest cache": f"{caches / 2**20:g} MB" if caches else "unknown",
    }
