"""Real Pure Data in batch mode: patches that tests write, played faster than time, what they said and sounded like."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock

from python.streaming import deploy, graph
from tests.hosts.daw import Bundles
from tests.networks import SIZE, prior_of, trained

ROOT = Path(__file__).parents[2]
PLUGIN_FORMATS = ("vst3", "clap", "lv2", "standalone")
MakeModel = Callable[..., Path]


class Patch:
    """The text of a patch: boxes by number, cords between them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.boxes = 0

    def add(self, kind: str, text: str) -> int:
        escaped = re.sub(r"([,;])", r"\\\1", text) if kind == "obj" else text
        place = 10 + 30 * self.boxes  # outlets are counted from left to right
        self.lines.append(f"#X {kind} {place} {place} {escaped};")
        self.boxes += 1
        return self.boxes - 1

    def obj(self, text: str) -> int:
        return self.add("obj", text)

    def msg(self, text: str) -> int:
        """`;` begins a message to a receiver, as in Pd."""
        return self.add("msg", re.sub(r"([,;$])", r" \\\1", text))

    def sub(self, name: str, inner: Patch) -> int:
        self.lines += [f"#N canvas 0 0 400 300 {name} 0;", *inner.lines, f"#X restore 10 10 pd {name};"]
        self.boxes += 1
        return self.boxes - 1

    def cord(self, source: int, outlet: int, target: int, inlet: int) -> None:
        self.lines.append(f"#X connect {source} {outlet} {target} {inlet};")

    def chain(self, *boxes: int) -> None:
        for source, target in itertools.pairwise(boxes):
            self.cord(source, 0, target, 0)

    def at(self, ms: float, text: str) -> None:
        """Sends a message box's text at a time after loading."""
        self.chain(self.obj("loadbang"), self.obj(f"del {ms}"), self.msg(text))

    def __str__(self) -> str:
        return "\n".join(["#N canvas 0 0 600 400 10;", *self.lines, ""])


@dataclass
class Object:
    """One `ravel~` on a stage: its text, what it hears, how many signals it gives, the size of its blocks."""

    text: str
    heard: np.ndarray  # (inputs, frames)
    outputs: int = 1
    block: int = 64
    lists: bool = True  # the outlet behind the signals sends lists

    def patch(self, name: str) -> Patch:
        """Hears and records from `start` on; messages to NAME reach it, its lists print as NAME."""
        inner = Patch()
        inner.obj(f"block~ {self.block}")
        subject = inner.obj(self.text)
        start = inner.obj("r start")
        for i in range(len(self.heard)):
            player = inner.obj(f"tabplay~ {name}-in{i}")
            inner.cord(start, 0, player, 0)
            inner.cord(player, 0, subject, i)
        for i in range(self.outputs):
            recorder = inner.obj(f"tabwrite~ {name}-out{i}")
            inner.cord(start, 0, recorder, 0)
            inner.cord(subject, i, recorder, 0)
        if self.lists:
            inner.cord(inner.obj(f"r {name}"), 0, subject, 0)
            inner.cord(subject, self.outputs, inner.obj(f"print {name}"), 0)
        return inner


@dataclass
class Played:
    """What a patch left behind."""

    log: str
    sound: dict[str, np.ndarray] = field(default_factory=dict)  # by object: (outputs, frames)

    def lists(self, name: str) -> list[list[str]]:
        """What an object sent out of its last outlet, in order."""
        return [line.split()[1:] for line in self.log.splitlines() if line.startswith(f"{name}: ")]

    def list(self, name: str, word: str) -> list[str]:
        """The last list that began with a word, without it."""
        return [row[1:] for row in self.lists(name) if row[:1] == [word]][-1]

    def latency(self, name: str) -> int:
        return int(float(self.list(name, "latency")[0]))

    def complaints(self) -> list[str]:
        """Lines of the console that ravel~ wrote as errors of an object, which "Find last error" finds."""
        return [line for line in self.log.splitlines() if line.startswith("error: ravel~: ")]


class Pd:
    """A Pure Data with the external in its path; every run has a folder of its own."""

    def __init__(self, program: str, external: Path, folder: Path) -> None:
        self.program, self.external, self.folder = program, external, folder
        self.runs = 0

    def has(self, text: str) -> bool:
        """Whether this Pd can create an object."""
        patch = Patch()
        patch.obj(text)
        patch.at(0, "; pd quit")
        return "couldn't create" not in self.run(patch, may_fail=True).log

    def run(
        self,
        patch: Patch,
        rate: int = 48000,
        under: list[str] | None = None,
        timeout: float = 60,
        environment: dict[str, str] | None = None,
        may_fail: bool = False,
        as_fast_as_possible: bool = True,
        folder: Path | None = None,
    ) -> Played:
        """Plays a patch that ends itself; `under`: a program that Pd runs under; `may_fail`: to create objects;
        `folder`: of the external, where it is not the built one.

        As fast as possible nothing has time to happen in the background.
        """
        self.runs += 1
        path = self.folder / f"patch{self.runs}.pd"
        path.write_text(str(patch))
        command = [*(under or []), self.program, "-nogui", "-noprefs", "-noaudio", "-stderr"]
        command += ["-batch"] if as_fast_as_possible else []
        command += ["-r", str(rate), "-path", str(folder or self.external.parent), "-open", str(path)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
        )
        log = done.stdout + done.stderr
        assert done.returncode == 0, log
        assert may_fail or "couldn't create" not in log, log
        return Played(log)

    def play(
        self,
        objects: dict[str, Object],
        rate: int = 48000,
        timeline: list[tuple[float, str]] | None = None,
        seconds: float | None = None,
        **options: object,
    ) -> Played:
        """Every object hears its input from the first block on, in one Pd; the timeline holds (ms, message)."""
        patch = Patch()
        frames = max(one.heard.shape[1] for one in objects.values()) if seconds is None else int(seconds * rate)
        reads, writes = [], []
        for name, one in objects.items():
            if len(one.heard):
                soundfile.write(self.folder / f"{name}-in.wav", one.heard.T, rate, subtype="FLOAT")
                tables = [f"{name}-in{i}" for i in range(len(one.heard))]
                reads.append(f"read -resize {name}-in.wav {' '.join(tables)}")
                for table in tables:
                    patch.obj(f"table {table} {frames}")
            tables = [f"{name}-out{i}" for i in range(one.outputs)]
            writes.append(f"write -wave -bytes 4 {name}-out.wav {' '.join(tables)}")
            for table in tables:
                patch.obj(f"table {table} {frames}")
            patch.sub(name, one.patch(name))
        files = patch.obj("soundfiler")
        begin, end = patch.obj("r begin"), patch.obj("r end")
        patch.cord(patch.obj("r files"), 0, files, 0)
        for source, lines in ((begin, reads), (end, writes)):
            for line in lines:
                message = patch.msg(line)
                patch.cord(source, 0, message, 0)
                patch.cord(message, 0, files, 0)
        last = 1000 * frames / rate + 50
        patch.at(0, "; begin bang; pd dsp 1; start bang")
        for ms, text in timeline or []:
            patch.at(ms, text)
        patch.at(last, "; end bang; pd quit")
        played = self.run(patch, rate, **options)  # type: ignore[arg-type]
        for name in objects:
            played.sound[name] = soundfile.read(self.folder / f"{name}-out.wav", dtype="float32", always_2d=True)[0].T
        return played


def audio(channels: int = 1, frames: int = 12288, seed: int = 0) -> np.ndarray:
    return (0.3 * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def engine(
    path: Path,
    x: np.ndarray,
    method: str = "forward",
    scale: dict[int, float] | None = None,
    noise: bool = True,
    labels: tuple[float, ...] = (),
    prior: float = 0,
    prior_temperature: float = 1,
) -> np.ndarray:
    """What the Python engine makes of x, late by the method's delay; latents held for their hop, as signals are."""
    from python._native import Engine, Model  # tests skip where it is not built

    model = Model(path)
    one = Engine(model, method)
    one.noise = noise
    for latent, factor in (scale or {}).items():
        one.set_scale(latent, factor)
    for label, weight in enumerate(labels):
        one.set_label_weight(label, weight)
    hop = model.hop_samples
    whole = x[:, : x.shape[1] // hop * hop]
    one.prior = prior
    one.prior_temperature = prior_temperature
    if method in ("decode", "prior"):
        whole = whole[:, hop - 1 :: hop]
    y = one.process(np.ascontiguousarray(whole[None]))[0]
    return np.repeat(y, hop, axis=1) if method in ("encode", "prior") else y


def needed(program: str, why: str) -> str:
    found = shutil.which(program)
    if not found:
        pytest.skip(f"{program} is not installed: {why}")
    return found


def plugin_lacks() -> str:
    """What the plugin's build wants and this computer has not; CMake would fetch DPF, tests do not."""
    if sys.platform != "linux":
        return "Linux"
    sources = Path(os.environ.get("DPF_DIR", "/usr/share/dpf"))
    lacks = [] if (sources / "distrho").is_dir() else ["dpf-source"]
    packages = {"x11": "libx11-dev", "xext": "libxext-dev", "xrandr": "libxrandr-dev", "gl": "libgl1-mesa-dev"}
    if not shutil.which("pkg-config"):
        return ", ".join([*lacks, "pkg-config"])
    found = {name: subprocess.run(["pkg-config", "--exists", name]).returncode == 0 for name in packages}
    return ", ".join([*lacks, *(packages[name] for name in packages if not found[name])])


def build(
    *targets: str,
    folder: str = "hosts",
    options: list[str] | None = None,
    install: tuple[str, Path] | None = None,
) -> Path:
    """Makes targets of the objects' build in build/FOLDER and returns that folder.

    `options`: of another build. `install`: a component, and where to.
    """
    cmake = needed("cmake", "it builds the objects")
    place = ROOT / "build" / folder
    options = options or [
        "-DRAVEL_PD=ON",
        "-DRAVEL_MAX=ON",
        f"-DRAVEL_PLUGIN={'OFF' if plugin_lacks() else 'ON'}",
        "-DRAVEL_TESTS=ON",
        "-DRAVEL_PYTHON=OFF",
        "-DRAVEL_NAME=",
        "-DRAVEL_MODEL=",
        "-DRAVEL_PLUGIN_FORMATS=vst3;clap;lv2;standalone",
        "-DRAVEL_SYSTEM_SAMPLERATE=ON",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    options += ["-G", "Ninja"] if shutil.which("ninja") else []
    place.mkdir(parents=True, exist_ok=True)
    commands = [
        [cmake, "-S", ROOT, "-B", place, *options],
        [cmake, "--build", place, "--parallel", "2", "--target", *targets],
    ]
    if install:
        commands.append([cmake, "--install", place, "--component", install[0], "--prefix", install[1]])
    with FileLock(place / ".lock"):  # tests run in several processes, and `ravel build` works here too
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if lacking := re.search(r"Build step for (\w+) failed|Failed to clone repository: '([^']+)'", done.stderr):
                what = lacking[1] or lacking[2]
                pytest.skip(f"{what} could not be fetched, and is not installed: see .ci/packages")
            assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="session")
def external(pd_program: str) -> Path:
    """ravel~ of this tree for Pd; RAVEL_PD_EXTERNAL names one that is built already."""
    if given := os.environ.get("RAVEL_PD_EXTERNAL"):
        return Path(given)
    watching = ["ravel_watch_pd", "ravel_heap_pd"] if sys.platform == "linux" else []
    return next((build("ravel_pd", *watching) / "pd").glob("ravel~.*"))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """The plugin of this tree, installed; RAVEL_BUNDLES names a folder that holds it already, and the CLAP host."""
    if given := os.environ.get("RAVEL_BUNDLES"):
        return Bundles(Path(given), Path(given) / "ravel_clap_host")
    if lacks := plugin_lacks():
        pytest.skip(f"the plugin needs {lacks}: see .ci/packages")
    plugins = [f"ravel_plugin_{name}_{form}" for name in ("ravel", "ravel_instrument") for form in PLUGIN_FORMATS]
    out = tmp_path_factory.mktemp("bundles")
    folder = build("ravel_clap_host", *plugins, install=("plugin", out))
    return Bundles(out, folder / "plugin" / "ravel_clap_host")


@pytest.fixture(scope="session")
def pd_program() -> str:
    return needed("pd", "apt-get install puredata-core puredata-dev")


@pytest.fixture
def pd(pd_program: str, external: Path, tmp_path: Path) -> Pd:
    return Pd(pd_program, external, tmp_path)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """make_model("low", sample_rate_hz=, channels=, ...) -> a `.ravel` of random weights, made once.

    `prior`: it can play by itself.
    """
    folder = tmp_path_factory.mktemp("models")

    def make(
        preset: str = "low", weights: str = "fp32", kept: int = SIZE, prior: bool = False, **overrides: object
    ) -> Path:
        about = [preset, weights, str(kept), *["prior"] * prior, *(f"{k}{v}" for k, v in sorted(overrides.items()))]
        name = "-".join(about)
        path = folder / f"{re.sub(r'[^a-zA-Z0-9.]+', '-', name)}.ravel"  # a word of a patch
        if not path.exists():
            torch.set_num_threads(1)
            source = trained(preset, **overrides)
            going_on = prior_of(source) if prior else None
            shell = deploy.deploy(source, kept, True, going_on)
            path.write_bytes(graph.ravel(shell, deploy.card(shell, source, preset, going_on), weights))
        return path

    return make
