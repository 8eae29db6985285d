"""Hosts that play the plugin for tests: our own for CLAP, pedalboard for VST3; and the state that a project holds."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

VST3_HOST = Path(__file__).with_name("vst3_host.py")


@dataclass(frozen=True)
class Bundles:
    """The plugin in every format, as installed: NAME.vst3 and so on."""

    folder: Path
    clap_host: Path

    def __call__(self, form: str, name: str = "Ravel") -> Path:
        if form == "standalone":
            return self.folder / "bin" / name.lower().replace(" ", "-")
        return self.folder / form / f"{name}.{form}"


def state(values: Mapping[str, str], parameters: Mapping[str, float] | None = None) -> bytes:
    """What DPF writes into a project: keys and values, then parameters by symbol."""
    words = ["__dpf_state_begin__", *(word for pair in values.items() for word in pair), "__dpf_state_end__"]
    if parameters:
        pairs = [word for symbol, value in parameters.items() for word in (symbol, f"{value:.9g}")]
        words += ["__dpf_parameters_begin__", *pairs, "__dpf_parameters_end__"]
    return "\0".join(words).encode() + b"\0\xfe\0"


def values_of(saved: bytes) -> dict[str, str]:
    """The keys and values that a project holds."""
    words = saved.decode(errors="replace").split("\0")
    words = words[words.index("__dpf_state_begin__") + 1 : words.index("__dpf_state_end__")]
    return dict(zip(words[::2], words[1::2]))


def component(preset: bytes) -> bytes:
    """The plugin's own part of a .vstpreset: a header of 48 bytes, the parts, a list of where they are."""
    start, length = _part(preset)
    return preset[start : start + length]


def with_component(preset: bytes, new: bytes) -> bytes:
    """The preset with nothing but another state in it."""
    start, at = 48, 48 + len(new)
    entry = b"Comp" + struct.pack("<qq", start, len(new))
    return preset[:40] + struct.pack("<q", at) + new + b"List" + struct.pack("<i", 1) + entry


def _part(preset: bytes) -> tuple[int, int]:
    (at,) = struct.unpack_from("<q", preset, 40)
    (count,) = struct.unpack_from("<i", preset, at + 4)
    for i in range(count):
        name, start, length = struct.unpack_from("<4sqq", preset, at + 8 + 20 * i)
        if name == b"Comp":
            return start, length
    raise AssertionError("a preset without a component")


@dataclass
class Played:
    """What the CLAP host reported, what it heard as (channels, frames), and each block's time in microseconds."""

    report: dict[str, Any]
    sound: np.ndarray
    times: np.ndarray

    @property
    def latency(self) -> int:
        return int(self.report["activations"][-1]["latency"])

    def values(self, which: int = -1) -> dict[str, tuple[float, str]]:
        return {symbol: (value, text) for symbol, (value, text) in self.report["values"][which].items()}


class Clap:
    """Runs scripts of the CLAP host, each in a process of its own."""

    def __init__(self, bundles: Bundles, folder: Path, name: str = "Ravel") -> None:
        self.bundles, self.folder, self.name = bundles, folder, name
        self.runs = 0

    def project(self, model: Path | str, parameters: Mapping[str, float] | None = None, **values: str) -> Path:
        """A file of the state that a project with this model has."""
        self.runs += 1
        path = self.folder / f"project{self.runs}"
        path.write_bytes(state({"model": str(model), **values}, parameters))
        return path

    def run(
        self,
        *script: str,
        x: np.ndarray | None = None,
        name: str | None = None,
        prove: bool = False,
        environment: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> Played:
        """x: (channels, frames)."""
        self.runs += 1
        base = self.folder / f"run{self.runs}"
        base.with_suffix(".txt").write_text("\n".join(script))
        words = [str(self.bundles.clap_host), str(self.bundles("clap", name or self.name)), str(base) + ".txt"]
        words += ["--out", f"{base}.out", "--times", f"{base}.times"]
        if x is not None:
            Path(f"{base}.in").write_bytes(np.ascontiguousarray(x.T, np.float32).tobytes())
            words += ["--in", f"{base}.in"]
        done = subprocess.run(
            words + ["--prove"] * prove,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
        )
        assert done.returncode == 0, ended(done)
        report = json.loads(done.stdout)
        sound = np.fromfile(f"{base}.out", np.float32).reshape(-1, sum(report["outputs"])).T
        return Played(report, sound, np.fromfile(f"{base}.times", np.float32))


class Vst3:
    """Jobs for pedalboard, each in a process of its own."""

    def __init__(self, bundles: Bundles, folder: Path) -> None:
        self.bundles, self.folder = bundles, folder
        self.names = 0

    def path(self, suffix: str = ".npy") -> str:
        self.names += 1
        return str(self.folder / f"vst{self.names}{suffix}")

    def array(self, x: np.ndarray) -> str:
        path = self.path()
        np.save(path, x)
        return path

    def run(self, job: Sequence[Sequence[object]], timeout: float = 120) -> list[Any]:
        done = subprocess.run(
            [sys.executable, str(VST3_HOST)], input=json.dumps(job), capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, ended(done)
        return list(json.loads(done.stdout.splitlines()[-1]))

    def preset(self, given: Mapping[str, bytes], name: str = "Ravel") -> dict[str, str]:
        """Files that pedalboard can recall, by name, of these states: the preset's head is the plugin's own."""
        own = self.path(".vstpreset")
        self.run([("open", "it", str(self.bundles("vst3", name))), ("state", "it", own)])
        head = Path(own).read_bytes()
        paths = {}
        for key, content in given.items():
            paths[key] = self.path(".vstpreset")
            Path(paths[key]).write_bytes(with_component(head, content))
        return paths


def ended(done: subprocess.CompletedProcess[str]) -> str:
    """Why a process ended, and its last words."""
    how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"status {done.returncode}"
    return f"{how}\n{(done.stdout + done.stderr)[-4000:]}"


def pedalboard() -> None:
    """Skips where it is not installed; nothing of it is imported into this process."""
    import importlib.util

    if importlib.util.find_spec("pedalboard") is None:
        pytest.skip("pedalboard is not installed: pip install 'ravel-audio[test]'")
