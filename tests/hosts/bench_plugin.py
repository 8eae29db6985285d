"""What the plugin costs in a host: `python -m tests.hosts.bench_plugin BUNDLES HOST`, the folder that `cmake --install`
made and the CLAP host of the tests.

Random weights of full size, 8 latents. Callbacks are timed by the processor time of their thread, so that other
programs count less; loading by the clock.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from python.build import size
from tests.hosts.bench_pd import BLOCK, model, summary
from tests.hosts.conftest import audio
from tests.hosts.daw import Bundles, Clap, Played

RUNS = 5
MODES = ("automatic", "lowest latency", "flattest load")


def sizes(bundles: Bundles) -> None:
    for form in ("vst3", "clap", "lv2", "bin"):
        each = [f"{path.name} {size(path) / 1e6:.2f} MB" for path in sorted((bundles.folder / form).iterdir())]
        print(f"{form:5s} {', '.join(each)}")


def scans(clap: Clap) -> None:
    for name in ("Ravel", "Ravel Instrument"):
        taken = sorted(clap.run("", name=name).report["scan_ms"] for _ in range(RUNS))
        print(f"scan {name}: {taken[len(taken) // 2]:.1f} ms, the slowest of {RUNS} {taken[-1]:.1f}", flush=True)


def opens(clap: Clap, label: str, path: Path, rate: int) -> None:
    """From the creation of the plugin, over the project's state and the first activation, to a sample that is not 0."""
    script = (f"load {clap.project(path)}", f"activate {rate} {BLOCK}", f"play {rate}")
    runs = [clap.run(*script, x=audio(2, rate)).report for _ in range(RUNS)]
    late = runs[0]["latency"]
    clock, processor = (sorted(run[name] for run in runs) for name in ("first_sound_ms", "first_sound_cpu_ms"))
    print(
        f"{label}: first sound {clock[RUNS // 2]:.0f} ms after creation, the quickest of {RUNS} {clock[0]:.0f}, by the"
        f" processor's time {processor[RUNS // 2]:.0f}; latency {late} samples, {1000 * late / rate:.1f} ms",
        flush=True,
    )


def callbacks(clap: Clap, label: str, path: Path, rate: int, seconds: float, channels: int, mode: int) -> None:
    """`channels`: 1 plays the mean of both sides, as the parameter Stereo has it."""
    project = clap.project(path, {"mode": mode, "stereo": 2 if channels == 1 else 0})
    frames = int(seconds * rate)
    script = (f"load {project}", f"activate {rate} {BLOCK}", f"play {frames}")
    told(f"{label}, {MODES[mode]}", clap.run(*script, x=audio(2, frames), timeout=600), rate)


def told(label: str, played: Played, rate: int) -> None:
    times = played.times[50:]  # the first ones meet cold caches
    calls = f"{played.report['calls_a_block']} ({played.report['first_call']})"
    print(f"{summary(label, times, rate, played.latency)}; calls of the C library a block {calls}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path)
    parser.add_argument("host", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clap = Clap(Bundles(arguments.bundles.resolve(), arguments.host.resolve()), folder)
        sizes(clap.bundles)
        scans(clap)
        low, small, v2 = model(folder, "low"), model(folder, "low", "bf16"), model(folder, "v2", rate=44100)
        opens(clap, "low", low, 48000)
        opens(clap, "v2", v2, 44100)
        for mode in (1, 2):
            callbacks(clap, "low, mono", low, 48000, arguments.seconds, 1, mode)
            callbacks(clap, "low, stereo", low, 48000, arguments.seconds, 2, mode)
            callbacks(clap, "low in bf16, mono", small, 48000, arguments.seconds, 1, mode)
        callbacks(clap, "v2, mono", v2, 44100, arguments.seconds, 1, 2)


if __name__ == "__main__":
    main()
