"""`ravel~`, `mc.ravel~` and `mcs.ravel~` as Max would run them: the external's own source in a host that is not Max.

The host (max_mock/host.cpp) speaks the documented calls of the SDK and reports as a `fault` whatever would harm a real
one: memory or locks while audio is computed, lists from other threads, clocks that outlive their object.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from python._native import Engine, Model
from tests.hosts.conftest import ROOT, MakeModel, build

PACKAGE = ROOT / "externals" / "max" / "package"
BLOCKS = (1, 16, 64, 256, 1000)


class Said:
    """What a script's commands brought, line by line."""

    def __init__(self, text: str) -> None:
        self.lines = [line for line in text.splitlines() if not line.startswith("> ")]

    def of(self, *start: str) -> list[str]:
        """The rest of every line that begins with these words."""
        head = " ".join(start) + " "
        return [line[len(head) :] for line in self.lines if (line + " ").startswith(head)]

    def one(self, *start: str) -> str:
        found = self.of(*start)
        assert len(found) == 1, f"{' '.join(start)}: {found}\n" + "\n".join(self.lines)
        return found[0].strip()

    def lists(self, name: str, word: str) -> list[list[str]]:
        """Lists that an object sent out of its last outlet."""
        return [line.split()[2:] for line in self.of("out", name) if line.split()[1] == word]

    def latency(self, name: str) -> int:
        return int(self.lists(name, "latency")[-1][0])


class Max:
    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.files = itertools.count()

    def run(self, *lines: str, faults: bool = False) -> Said:
        """Carries out a script; a fault fails the test unless it is what the test is about."""
        done = subprocess.run(
            [self.program],
            input="\n".join([f"path {self.folder}", *lines]),
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = Said(done.stdout)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert faults or not said.of("fault"), done.stdout[-3000:]
        return said

    def signal(self, x: np.ndarray) -> Path:
        """(channels, frames) as a file of the host."""
        path = self.folder / f"in{next(self.files)}.f64"
        x.astype(np.float64).tofile(path)
        return path

    def sound(self, name: str, channels: int) -> np.ndarray:
        return np.fromfile(self.folder / name).reshape(channels, -1)

    def play(
        self, new: str, x: np.ndarray, block: int = 64, rate: int = 44100, channels: tuple[int, ...] = (), *send: str
    ) -> tuple[np.ndarray, Said]:
        """What one object makes of x; `channels` of every inlet, messages before it plays."""
        said = self.run(
            f"new x {new}",
            *(f"send x {text}" for text in send),
            f"start x {rate} {block} {' '.join(map(str, channels))}",
            "idle",
            f"play x {self.signal(x)} {self.folder / 'out.f64'}",
        )
        return self.sound("out.f64", sum(map(int, said.one("started", "x").split()))), said


@pytest.fixture(scope="session")
def program() -> Path:
    """The host with the external in it, built in build/hosts unless RAVEL_MAX_HOST names one."""
    if given := os.environ.get("RAVEL_MAX_HOST"):
        return Path(given)
    return build("ravel_max_mock") / "max" / "ravel_max_mock"


@pytest.fixture
def host(program: Path, tmp_path: Path) -> Max:
    return Max(program, tmp_path)


@pytest.fixture
def low(make_model: MakeModel, tmp_path: Path) -> Path:
    """A small model in the host's search path."""
    path = tmp_path / "violin.ravel"
    path.symlink_to(make_model("low", sample_rate_hz=44100))
    return path


def audio(channels: int = 1, frames: int = 12288, seed: int = 0) -> np.ndarray:
    return (0.3 * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def engine(path: Path, x: np.ndarray, method: str = "forward") -> np.ndarray:
    """What the engine makes of x, a stream a channel, by its stream and channel: latents held for their hop."""
    model = Model(path)
    y = Engine(model, method, streams=len(x)).process(x[:, None, : x.shape[1] // model.hop_samples * model.hop_samples])
    y = y.reshape(-1, y.shape[-1])
    return np.repeat(y, model.hop_samples, axis=1) if method == "encode" else y


def equal(heard: np.ndarray, late: int, wanted: np.ndarray, delay: int) -> bool:
    """Heard is the wanted sound, which is `delay` late, at a latency, to 1e-6 of its peak."""
    count = min(heard.shape[-1] - late, wanted.shape[-1] - delay)
    assert count > 1000
    peak = np.abs(wanted).max()
    assert peak > 1e-3
    silent = np.abs(heard[..., : max(0, late - delay)]).max(initial=0) <= 1e-6 * peak
    return silent and np.abs(heard[..., late : late + count] - wanted[..., delay : delay + count]).max() <= 1e-6 * peak


def delay_of(path: Path, method: str = "forward") -> int:
    return Model(path).methods[method]["delay_samples"]


# ---- what it plays


@pytest.mark.parametrize("block", BLOCKS)
def test_plays_what_the_engine_plays(host: Max, low: Path, block: int) -> None:
    x = audio()
    heard, said = host.play("ravel~ violin", x, block)
    wanted, delay = engine(low, x), delay_of(low)
    assert equal(heard, said.latency("x"), wanted, delay)
    assert not equal(heard, said.latency("x") + 1, wanted, delay)  # the test can fail


def test_latents_cross_as_signals(host: Max, low: Path) -> None:
    x = audio(frames=8192)
    latents, said = host.play("ravel~ violin encode 4096", x)
    assert said.one("made", "x").split() == ["1"] + ["signal"] * len(latents) + ["list"]
    first = said.latency("x")
    assert equal(latents, first, engine(low, x, "encode"), delay_of(low, "encode"))
    heard, said = host.play("ravel~ violin decode", latents)
    both = first + said.latency("x")
    assert equal(heard, both, engine(low, x), delay_of(low))


def test_cords_of_voices(host: Max, low: Path) -> None:
    x = audio(3, 8192)
    heard, said = host.play("mc.ravel~ violin", x, 64, 44100, (3,))
    assert said.one("made", "x").split() == ["1", "mc", "multichannelsignal", "list"]
    assert equal(heard, said.latency("x"), engine(low, x), delay_of(low))
    latents, said = host.play("mc.ravel~ violin encode", x[:2], 64, 44100, (2,))
    count = Model(low).latents
    assert said.one("started", "x").split() == ["2"] * count  # each cord: one latent of both voices
    by_latent = engine(low, x[:2], "encode").reshape(2, count, -1).transpose(1, 0, 2).reshape(2 * count, -1)
    assert equal(latents, said.latency("x"), by_latent, delay_of(low, "encode"))
    _, said = host.play("mc.ravel~ violin decode", latents, 64, 44100, (2,) * count)
    assert said.one("started", "x") == "2"


@pytest.mark.parametrize("name", ["mcs.ravel~ violin", "ravel~ violin -mc"])
def test_one_cord_for_everything(host: Max, low: Path, name: str) -> None:
    x = audio(2, 8192)
    count = Model(low).latents
    parts = name.split()
    latents, said = host.play(" ".join([*parts[:2], "encode", *parts[2:]]), x, 64, 44100, (2,))
    assert said.one("made", "x").split() == ["1", "mc", "multichannelsignal", "list"]
    assert latents.shape[0] == 2 * count
    assert equal(latents, said.latency("x"), engine(low, x, "encode"), delay_of(low, "encode"))
    heard, _ = host.play(" ".join([*parts[:2], "decode", *parts[2:]]), latents, 64, 44100, (2 * count,))
    assert heard.shape[0] == 2


def test_vector_sizes_change(host: Max, low: Path) -> None:
    """By a new chain, and without one, which Max does not do: both go on playing."""
    x = audio(frames=16384)
    source, wanted, delay = host.signal(x), engine(low, x), delay_of(low)
    said = host.run(
        "new x ravel~ violin",
        *(line for block in (64, 256) for line in (f"start x 44100 {block}", "idle")),
        f"play x {source} {host.folder / 'a'}",
        f"play x {source} {host.folder / 'b'} 64 17 128",
        "idle",
        "send x reset",
        f"play x {source} {host.folder / 'c'} 64 17 128",
    )
    latencies = [int(row[0]) for row in said.lists("x", "latency")]
    assert len(latencies) == 3
    assert equal(host.sound("a", 1), latencies[1], wanted, delay)
    assert np.isfinite(host.sound("b", 1)).all()
    assert equal(host.sound("c", 1), latencies[2], wanted, delay)


# ---- what it says


def test_assist(host: Max, low: Path) -> None:
    said = host.run(
        "new x ravel~ violin encode",
        "new y mc.ravel~ violin",
        "new z mcs.ravel~ violin decode",
        *(f"assist {name} {side} {i}" for name in "xyz" for side in ("in", "out") for i in (0, 1)),
    )
    count = Model(low).latents
    assert said.one("assist x in 0") == "(signal) audio in, messages"
    assert said.one("assist x out 1") == "(signal) latent 1"
    assert said.one("assist y out 0") == "(multichannelsignal) audio out"
    assert said.one("assist y out 1").startswith("lists:")
    assert said.one("assist z in 0") == f"(multichannelsignal) {count} x latent, messages"


def test_attributes(host: Max, low: Path) -> None:
    said = host.run(
        "classes",
        "new x ravel~ violin forward @drywet 0.25 @mode sliced @nonsense 3",
        "attr x drywet",
        "attr x mode",
        "attr x method",
        "send x set drywet 0.5",
        "schedule x mode inline",  # prepares: only the main thread may
        "attr x mode",
        "idle",
        "attr x mode",
        "attr x drywet",
        "attr x seed",
        "send x output_gain 99",
        "attr x output_gain",
    )
    assert said.one("attribute ravel~ mode") == (
        "symbol enumvals=automatic inline sliced threaded label=Mode style=enum"
    )
    assert said.one("attribute mc.ravel~ input_gain") == "float64 label=Input Gain (dB)"
    assert said.one("attribute ravel~ freeze") == "long label=Freeze Latents style=onoff"
    assert said.of("attr", "x", "mode") == ["sliced", "sliced", "inline"]
    assert [float(value) for value in said.of("attr", "x", "drywet")] == [0.25, 0.5]
    assert said.one("attr", "x", "method") == "forward"
    assert said.one("attr", "x", "seed") == "0"
    assert said.one("attr", "x", "output_gain") == "24"
    assert any("nonsense" in line for line in said.of("error", "x"))
    assert any("24" in line and "99" in line for line in said.of("error", "x"))


def test_answers(host: Max, low: Path) -> None:
    model = Model(low)
    said = host.run(
        "new x ravel~ violin",
        "start x 44100 64",
        "idle",
        "send x info",
        "send x scale 1 2.5",
        "send x bias 2 -1",
        "send x latent 3 0.75",
        "send x get scale 1",
        "send x get bias",
        "send x get override 3",
        "send x latent 3",
        "send x get override 3",
        "send x meters",
        "send x morph 0.25",
        "send x get morph",
        "send x get morphing",
        "send x dump",
        "idle",
    )
    info = {row[0]: row[1:] for row in said.lists("x", "info")}
    assert info["name"] == ["low"]
    assert info["rate"] == ["44100"]
    assert info["hop"] == [str(model.hop_samples)]
    assert info["latents"] == [str(model.latents)]
    assert Path(info["path"][0]).name == "violin.ravel"
    assert int(info["latency"][0]) == said.latency("x")
    assert said.lists("x", "load") == [[info["path"][0]]]
    assert said.lists("x", "scale")[0] == ["1", "2.5"]
    assert said.lists("x", "bias")[:3] == [["0", "0"], ["1", "0"], ["2", "-1"]]
    assert said.lists("x", "override")[:2] == [["3", "1"], ["3", "0"]]
    assert len(said.lists("x", "meters")[0]) == 5
    assert said.lists("x", "morph")[0] == ["0.25"]
    assert said.lists("x", "morphing")[0] == ["1"]
    for word in ("drywet", "temperature", "mode", "method", "seed", "freeze", "enable"):
        assert said.lists("x", word), word
    assert all(line.split()[0] == "1" for line in said.of("out", "x"))  # the last outlet
    assert not said.of("error", "x")


def test_labels_are_chosen_and_blended(host: Max, make_model: MakeModel) -> None:
    """By name, by number, by weights; what is wrong costs a line and changes nothing."""
    path, x = make_model("low", labels=("flute", "reed")), audio(frames=8192)
    wrong = {"oboe": "no label 'oboe': it has flute, reed", "2": "no label '2'", "reed loud": "label LABEL [WEIGHT]"}
    sounds = []
    for weights, *messages in (((1.0, 0.0),), ((0.0, 1.0), "label reed"), ((0.0, 1.0), "label 1")):
        messages += [f"label {text}" for text in wrong] + ["get label"]
        heard, said = host.play(f"ravel~ {path}", x, 64, 44100, (), *messages)
        one = Engine(Model(path))
        for label, weight in enumerate(weights):
            one.set_label_weight(label, weight)
        wanted = one.process(x[None, :, : len(x[0]) // 128 * 128])[0]
        assert equal(heard, said.latency("x"), wanted, delay_of(path))
        assert said.lists("x", "label") == [[name, f"{weight:g}"] for name, weight in zip(("flute", "reed"), weights)]
        errors = said.of("error", "x")
        assert [words in line for line, words in zip(errors, wrong.values(), strict=True)] == [True] * len(wrong)
        sounds.append(heard)
    assert np.abs(sounds[0] - sounds[1]).max() > 1e-2 * np.abs(sounds[0]).max()
    _, said = host.play(f"ravel~ {path}", x, 64, 44100, (), "label flute 0.25", "label reed 0.75", "get label")
    assert said.lists("x", "label") == [["flute", "0.25"], ["reed", "0.75"]]
    assert not said.of("error", "x")


def test_a_prior_plays_by_itself(host: Max, make_model: MakeModel) -> None:
    """By its fader, which is an attribute too, and as a method that gives what decode takes."""
    path, x = make_model("low", kept=6, prior=True), audio(frames=8192)
    one = Engine(Model(path))
    one.prior = 1.0
    heard, said = host.play(f"ravel~ {path} @prior 1", x)
    assert equal(heard, said.latency("x"), one.process(x[None])[0], delay_of(path))
    still = np.zeros((1, 64), np.float32)
    frames = np.repeat(Engine(Model(path), "prior").process(still[None])[0], 128, axis=1)
    heard, said = host.play(f"ravel~ {path} prior", np.zeros_like(x))
    assert said.one("made", "x").split() == ["1"] + ["signal"] * 6 + ["list"]
    assert equal(heard, said.latency("x"), frames, delay_of(path, "prior"))
    said = host.run(f"new x ravel~ {path} prior", "assist x in 0", "assist x out 1", "attr x method")
    assert said.one("assist x in 0") == "(signal) added to prior_temperature, messages"
    assert said.one("assist x out 1") == "(signal) latent 1"
    assert said.one("attr", "x", "method") == "prior"


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("scale 0", "scale LATENT FACTOR"),
        ("scale x 2", "scale LATENT FACTOR"),
        ("bias 900 1", "no latent 900"),
        ("latent 0.5 1", "no latent 0.5"),
        ("freeze on", "freeze 0|1"),
        ("drywet", None),
        ("drywet loud", "drywet VALUE"),
        ("drywet 3", "plays at 1"),
        ("mode fast", "threaded"),
        ("method sing", "forward|encode|decode"),
        ("set", "set ATTRIBUTE VALUES"),
        ("set volume 3", "no attribute 'volume'"),
        ("set set drywet 1", "no attribute 'set'"),
        ("get volume", "no attribute 'volume'"),
        ("snapshot keep a", "store|recall"),
        ("snapshot store 7", "store|recall"),
        ("load", None),  # a dialog, cancelled
        ("load nothing", "no file nothing.ravel or nothing.ts"),
        ("load broken", "broken.ravel"),
        ("reload 1", "reload alone"),
        ("latency now", "latency alone"),
        ("gain sideways 3", "gain [in|out]"),
        ("sing", "doesn't understand sing"),
    ],
)
def test_wrong_messages_are_said_and_change_nothing(host: Max, low: Path, message: str, complaint: str | None) -> None:
    (host.folder / "broken.ravel").write_bytes(low.read_bytes()[:5000])
    x = host.signal(audio(frames=4096))
    said = host.run(
        *("new x ravel~ violin", "start x 44100 64", "idle", f"send x {message}", "idle"),
        f"play x {x} {host.folder / 'out'}",
    )
    errors = said.of("error", "x")
    assert [complaint in line for line in errors] == [True] if complaint else not errors, errors
    if complaint and "understand" not in complaint:
        assert len(said.lists("x", "error")) == 1
    assert np.abs(host.sound("out", 1)).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("violin sing", "no method 'sing'"),
        ("violin forward 4096 8192", "'8192' is one argument too many"),
        ("violin -nonsense 3", "no flag '-nonsense'"),
        ("violin -in 0", "-in 0: expects a number of signals"),
    ],
)
def test_wrong_arguments_make_nothing(host: Max, low: Path, arguments: str, complaint: str) -> None:
    said = host.run(f"new x ravel~ {arguments}")
    assert said.of("none") == ["x"]
    assert any(complaint in line for line in said.of("error"))


def test_an_object_without_its_file_waits_for_it(host: Max, low: Path) -> None:
    x = audio(frames=8192)
    low.rename(host.folder / "later.ravel")
    said = host.run(
        "new x ravel~ violin",
        "new y ravel~ encode -out 5",
        "start x 44100 64",
        "idle",
        f"play x {host.signal(x)} {host.folder / 'before'}",
        f"dialog {host.folder / 'later.ravel'}",
        "send x load",
        "idle",
        f"play x {host.signal(np.zeros((1, 44100)))} {host.folder / 'swap'}",
        "send x reset",
        f"play x {host.signal(x)} {host.folder / 'after'}",
    )
    assert "no file violin.ravel or violin.ts" in said.one("error", "x")
    assert said.one("made", "y").split() == ["1"] + ["signal"] * 5 + ["list"]
    assert not host.sound("before", 1).any()
    path = host.folder / "later.ravel"
    assert equal(host.sound("after", 1), said.latency("x"), engine(path, x), delay_of(path))


def test_a_ts_plays_the_ravel_of_its_export(host: Max, low: Path) -> None:
    said = host.run("new x ravel~ violin.ts forward 4096")
    assert "violin.ravel" in said.one("post", "x")
    (host.folder / "old.ts").write_bytes(b"zip")
    said = host.run("new x ravel~ old forward")
    assert "TorchScript" in said.one("error", "x")


# ---- what it survives


def test_loads_while_audio_runs(host: Max, low: Path, make_model: MakeModel) -> None:
    """Lists leave from the main thread, audio neither waits nor allocates, whatever is loaded meanwhile."""
    (host.folder / "cello.ravel").symlink_to(make_model("low", kept=5, sample_rate_hz=44100))
    (host.folder / "broken.ravel").write_bytes(b"no model")
    loads = [line for name in ("cello", "broken", "violin") * 2 for line in (f"send x load {name}", "idle 0.1")]
    said = host.run(
        "new x ravel~ violin",
        "start x 44100 64",
        "idle",
        "spin x",
        *loads,
        *(f"schedule x {word}" for word in ("mode sliced", "mode inline", "method encode", "method forward", "reload")),
        *("send x enable 0", "idle 0.05", "send x enable 1", "idle 0.05"),
        "idle",
        "halt x",
    )
    loaded = [Path(row[0]).stem for row in said.lists("x", "load")]
    assert loaded == ["violin", "cello", "violin", "cello", "violin", "violin"]
    assert len([line for line in said.of("error", "x") if "broken" in line]) == 2


@pytest.mark.parametrize("change", ["load later", "mode sliced", "method encode"])
def test_changes_of_latency_fade(host: Max, low: Path, make_model: MakeModel, change: str) -> None:
    """What has to be prepared anew fades out and comes back; the new latency is told when it holds."""
    (host.folder / "later.ravel").symlink_to(make_model("v1", sample_rate_hz=44100))
    parts = [host.signal(part) for part in np.split(audio(frames=60 * 441), 60, axis=1)]

    def run(change: str) -> tuple[np.ndarray, Said]:
        lines = ["new x ravel~ violin", "start x 44100 21", "idle"]
        for i, part in enumerate(parts):
            lines += [f"send x {change}", "idle 0.1"] * (i == 20)
            lines += [f"play x {part} {host.folder / f'out{i}'}", "idle 0.012"]
        said = host.run(*lines)
        return np.concatenate([host.sound(f"out{i}", 1)[0] for i in range(60)]), said

    undisturbed, _ = run("drywet 1")
    heard, said = run(change)
    start = int(np.argmax(heard != undisturbed))
    fade = int(0.02 * 44100)
    assert 20 * 441 <= start < 30 * 441
    ramp = 1 - np.arange(1, fade + 1) / fade
    np.testing.assert_allclose(heard[start : start + fade], ramp * undisturbed[start : start + fade], atol=1e-4)
    assert not heard[start + fade : start + fade + 200].any()
    assert np.abs(heard[-441:]).max() > 1e-3
    latencies = [int(row[0]) for row in said.lists("x", "latency")]
    assert len(latencies) == 2
    assert latencies[0] != latencies[1]
    assert not said.of("error", "x")


def test_freed_at_any_time(host: Max, low: Path) -> None:
    lines = []
    for i in range(20):
        lines += [f"new x{i} {('ravel~', 'mc.ravel~', 'mcs.ravel~')[i % 3]} violin", f"start x{i} 44100 64"]
        lines += [f"spin x{i}"] * (i % 2)
        lines += [f"send x{i} load violin", f"schedule x{i} mode sliced", f"free x{i}"]
    host.run(*lines, "idle")


def test_setting_allocates_nothing(host: Max, low: Path) -> None:
    """The scheduler may run in the audio thread. That the host notices is shown by an answer, which it prints."""
    host_lines = ["new x ravel~ violin", "start x 44100 64", "idle", "send x drywet 1"]
    setters = ["drywet 0.5", "temperature 1", "scale 0 2", "bias 1 3", "latent 2 1", "latent 2", "freeze 1"]
    setters += ["set drywet 0.25", "reset", "seed 3", "snapshot store a", "morph 0.5", "morph off", "gain in -6"]
    host.run(*host_lines, *(f"audio x {line}" for line in setters), "idle")
    noticed = host.run(*host_lines, "audio x latency", faults=True).of("fault")
    assert noticed == ["x latency calls malloc"] or host.run("watched").one("watched") == "no"


# ---- what it comes with


def known_words(host: Max) -> tuple[set[str], set[str]]:
    """Messages and attributes of ravel~."""
    said = host.run("classes")
    methods = {line.split()[0] for line in said.of("method", "ravel~") if "hidden" not in line}
    return methods, {line.split()[0] for line in said.of("attribute", "ravel~")}


def test_the_reference_page_tells_everything(host: Max) -> None:
    methods, attributes = known_words(host)
    page = ET.parse(PACKAGE / "docs" / "ravel~.maxref.xml").getroot()
    assert page.get("name") == "ravel~"
    assert {one.get("name") for one in page.iter("method")} == methods
    assert {one.get("name") for one in page.iter("attribute") if one.get("get") is not None} == attributes
    for one in itertools.chain(page.iter("method"), page.iter("attribute")):
        if one.find("digest") is not None:
            assert one.findtext("digest", "").strip(), one.get("name")


@pytest.mark.parametrize("patch", sorted((PACKAGE / "help").glob("*.maxhelp")), ids=lambda path: path.name)
def test_help_patchers_hold_together(host: Max, patch: Path) -> None:
    """Cords join boxes that exist, at inlets and outlets that exist; messages are ones that the object knows."""
    methods, attributes = known_words(host)
    patcher = json.loads(patch.read_text())["patcher"]
    boxes = {one["box"]["id"]: one["box"] for one in patcher["boxes"]}
    assert len(boxes) == len(patcher["boxes"])
    into = {}
    for line in patcher["lines"]:
        (source, outlet), (target, inlet) = line["patchline"]["source"], line["patchline"]["destination"]
        assert outlet < boxes[source]["numoutlets"], boxes[source]
        assert inlet < boxes[target]["numinlets"], boxes[target]
        into.setdefault(source, []).append(boxes[target].get("text", ""))
    subjects = [box for box in boxes.values() if re.match(r"(mc\.|mcs\.)?ravel~", box.get("text", ""))]
    assert subjects
    told = set()
    for name, box in boxes.items():
        if box["maxclass"] == "message" and any("ravel~" in text for text in into.get(name, [])):
            for text in box["text"].split(","):
                word = text.split()[0]
                assert word in methods | attributes, box["text"]
                told.add(word)
    assert told


def test_package() -> None:
    about = json.loads((PACKAGE.parent / "package-info.json.in").read_text())
    assert about["name"] == "Ravel"
    init = (PACKAGE / "init" / "ravel-objects.txt").read_text()
    assert {line.split()[2] for line in init.splitlines()} == {"mc.ravel~", "mcs.ravel~"}
