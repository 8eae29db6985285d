"""What ravel~ costs in real Pure Data: `python -m tests.hosts.bench_pd EXTERNAL`, the path of ravel~.pd_linux.

Random weights of full size, 8 latents. Perform is timed by the processor time of its thread, so that others count less.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from python.model.config import preset
from python.streaming import deploy, graph
from tests.hosts.conftest import Object, Patch, Pd, audio
from tests.networks import SIZE, trained

BLOCK = 64


def model(folder: Path, name: str, weights: str = "fp32", rate: int = 48000) -> Path:
    path = folder / f"{name}-{weights}.ravel"
    if not path.exists():
        source = trained(name, sample_rate_hz=rate, capacity=preset(name).model.capacity)
        shell = deploy.deploy(source, SIZE, True)
        path.write_bytes(graph.ravel(shell, deploy.card(shell, source, name), weights))
    return path


def performs(pd: Pd, label: str, text: str, rate: int, seconds: float, count: int = 1) -> None:
    """Times every perform of `count` equal objects, summed over a tick."""
    times = pd.folder / "times"
    environment = {"LD_PRELOAD": str(pd.external.parent / "libravel_watch_pd.so"), "RAVEL_WATCH_TIMES": str(times)}
    x = audio(1, int(seconds * rate))
    played = pd.play({f"it{i}": Object(text, x) for i in range(count)}, rate, timeout=600, environment=environment)
    ticks = np.fromfile(times, np.float32).reshape(-1, count).sum(1)[50:]  # the first ones meet cold caches
    print(summary(label, ticks, rate, played.latency("it0")), flush=True)


def summary(label: str, times_us: np.ndarray, rate: int, latency: int) -> str:
    """A line: callbacks of BLOCK samples against their deadline."""
    deadline = 1e6 * BLOCK / rate
    mean, largest = times_us.mean(), times_us.max()
    p50, p99, p999 = np.percentile(times_us, [50, 99, 99.9])
    return (
        f"{label:32s} mean {mean:5.0f} p50 {p50:5.0f} p99 {p99:5.0f} p99.9 {p999:5.0f} max {largest:5.0f} us;"
        f" p99.9 {100 * p999 / deadline:3.0f} % of the deadline, max {largest / mean:.1f} x mean;"
        f" latency {1000 * latency / rate:.2f} ms"
    )


def creation(pd: Pd, label: str, path: Path, rate: int) -> None:
    """Milliseconds that Pd stands still for an object made while it plays, and for a second one over the same file."""
    patch = Patch()
    patch.sub("pit", Patch())
    clock = patch.obj("realtime")
    patch.cord(patch.obj("r begin"), 0, clock, 0)
    patch.cord(patch.obj("r end"), 0, clock, 1)
    patch.cord(clock, 0, patch.obj("print ms"), 0)
    patch.at(0, "; pd dsp 1")
    for ms in (20, 60):
        patch.at(ms, f"; begin bang; pd-pit obj 10 10 ravel~ {path}; end bang")
    patch.at(100, "; pd quit")
    taken = [float(line.split()[1]) for line in pd.run(patch, rate).log.splitlines() if line.startswith("ms: ")]
    print(f"{label:28s} created in {taken[0]:.0f} ms, a second one in {taken[1]:.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("external", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd = Pd("pd", arguments.external.resolve(), folder)
        print(f"{pd.external.name}: {pd.external.stat().st_size / 1e6:.2f} MB")
        low, small, v2 = model(folder, "low"), model(folder, "low", "bf16"), model(folder, "v2", rate=44100)
        for _ in range(3):  # the first one may still wait for the disk
            creation(pd, "v2", v2, 44100)
        for mode in ("inline", "sliced"):
            performs(pd, f"low {mode}", f"ravel~ {low} -mode {mode}", 48000, arguments.seconds)
            performs(pd, f"low bf16 {mode}", f"ravel~ {small} -mode {mode}", 48000, arguments.seconds)
        performs(pd, "v2 sliced", f"ravel~ {v2} -mode sliced", 44100, arguments.seconds)
        for mode in ("inline", "sliced"):
            performs(pd, f"10 low bf16 {mode}", f"ravel~ {small} -mode {mode}", 48000, arguments.seconds, 10)


if __name__ == "__main__":
    main()
