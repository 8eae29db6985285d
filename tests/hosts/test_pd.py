"""`ravel~` in real Pure Data: what it plays, what it answers, what it survives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soxr

pytest.importorskip("python._native", reason="the engine is not built: pip install -e .")

from python._native import Model
from tests.hosts.conftest import ROOT, MakeModel, Object, Patch, Pd, Played, audio, build, engine
from tests.networks import SIZE

BLOCKS = (1, 16, 64, 256, 1000)
PATCHES = ROOT / "externals" / "pd"


def compare(heard: np.ndarray, wanted: np.ndarray, late: int, start: int = 0) -> None:
    """heard is wanted, `late` samples later, to 1e-6 of its peak."""
    frames = min(heard.shape[1] - late, wanted.shape[1])
    peak = np.abs(wanted).max()
    assert peak > 1e-3
    np.testing.assert_allclose(
        heard[:, late + start : late + frames], wanted[:, start:frames], rtol=0, atol=1e-6 * peak
    )


# ---- what it plays


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_plays_what_the_engine_plays_in_blocks_of_any_size(pd: Pd, make_model: MakeModel, rate: int) -> None:
    path, x = make_model("low", sample_rate_hz=rate), audio()
    objects = {
        f"{mode}{block}": Object(f"ravel~ {path} forward -mode {mode} -seed 0", x, block=block)
        for mode in ("inline", "sliced", "automatic")
        for block in BLOCKS
    }
    played = pd.play(objects, rate)
    wanted, delay = engine(path, x), Model(path).methods["forward"]["delay_samples"]
    for name in objects:
        compare(played.sound[name], wanted, played.latency(name) - delay)
    for block in BLOCKS:
        assert played.latency(f"inline{block}") == delay + 128 - np.gcd(128, block)
    assert not played.complaints()


@pytest.mark.parametrize("rate", [44100, 48000])
def test_encode_and_decode_are_signals(pd: Pd, make_model: MakeModel, rate: int) -> None:
    """And patched into each other they are forward, late by the sum of both latencies."""
    path, x, z = make_model("low", sample_rate_hz=rate), audio(frames=49152), 3 * audio(SIZE, seed=1)
    model = Model(path)
    # an object that latents reach a hop later starts from other histories, which take most of a second to fade
    (pd.folder / "both.pd").write_text(both(f"ravel~ {path} encode -noise 0", f"ravel~ {path} decode -noise 0"))
    objects = {}
    for block in (1, 64, 512):
        objects[f"encode{block}"] = Object(f"ravel~ {path} encode", x, SIZE, block)
        objects[f"decode{block}"] = Object(f"ravel~ {path} decode -noise 0", z, 1, block)
        objects[f"both{block}"] = Object("both", x, 1, block)
    played = pd.play(objects, rate)
    latents, sound, forward = (
        engine(path, x, "encode"),
        engine(path, z, "decode", noise=False),
        engine(path, x, noise=False),
    )
    delay = {name: about["delay_samples"] for name, about in model.methods.items()}
    hop = model.hop_samples
    for block in (1, 64, 512):
        late = played.latency(f"encode{block}")
        compare(played.sound[f"encode{block}"], latents, late - delay["encode"])
        also_late = played.latency(f"decode{block}")
        compare(played.sound[f"decode{block}"], sound, also_late + hop - 1 - delay["decode"])
        compare(played.sound[f"both{block}"], forward, late + also_late - delay["forward"], start=32768)


def both(encode: str, decode: str, also: str = "", cords: int = SIZE) -> str:
    """The text of an abstraction: sound through two objects and as many cords as there are latents."""
    patch = Patch()
    first, second = patch.obj(encode), patch.obj(decode)
    patch.cord(patch.obj("inlet~"), 0, first, 0)
    for i in range(cords):
        patch.cord(first, i, second, i)
    patch.cord(second, 0, patch.obj("outlet~"), 0)
    patch.cord(second, 1, patch.obj("outlet"), 0)
    if also:
        start, message = patch.obj("loadbang"), patch.msg(also)
        patch.chain(start, message, second)
    return str(patch)


@pytest.mark.parametrize("preset", ["v2", "v2-small"])
@pytest.mark.parametrize("mode", ["inline", "sliced", "threaded"])
def test_every_mode_plays_the_same(pd: Pd, make_model: MakeModel, preset: str, mode: str) -> None:
    path, x = make_model(preset), audio(frames=24576)
    played = pd.play({"it": Object(f"ravel~ {path} -mode {mode} -offline -seed 0", x)}, 44100)
    delay = Model(path).methods["forward"]["delay_samples"]
    compare(played.sound["it"], engine(path, x), played.latency("it") - delay)


def test_a_stereo_model_and_a_mono_one_on_two_channels(pd: Pd, make_model: MakeModel) -> None:
    mono, stereo, x = make_model("low"), make_model("low", channels=2), audio(2)
    objects = {
        "stereo": Object(f"ravel~ {stereo} -seed 0", x, 2),
        "mono": Object(f"ravel~ {mono} -in 2 -out 2 -seed 0", x, 2),
    }
    played = pd.play(objects, 44100)
    delay = Model(stereo).methods["forward"]["delay_samples"]
    compare(played.sound["stereo"], engine(stereo, x), played.latency("stereo") - delay)
    compare(played.sound["mono"][:1], engine(mono, x[:1]), played.latency("mono") - delay)


def test_a_model_of_another_rate_is_resampled(pd: Pd, make_model: MakeModel) -> None:
    """The same sound at 48 kHz as at 44.1, in the band that both have."""
    path, x = make_model("low", sample_rate_hz=44100), audio(frames=44100)
    soft = soxr.resample(soxr.resample(x[0], 44100, 16000), 16000, 44100)[None, :]
    played = pd.play({"it": Object(f"ravel~ {path} -noise 0", soxr.resample(soft.T, 44100, 48000).T)}, 48000)
    wanted = engine(path, soft, noise=False)[0, Model(path).methods["forward"]["delay_samples"] :]
    heard = soxr.resample(played.sound["it"][0, played.latency("it") :], 48000, 16000)
    wanted = soxr.resample(wanted, 44100, 16000)
    inside = slice(1000, min(len(heard), len(wanted)) - 1000)
    error = heard[inside] - wanted[inside]
    assert np.sqrt(np.mean(error**2)) < 0.01 * np.sqrt(np.mean(wanted[inside] ** 2))


def test_an_impulse_is_heard_within_6_ms(pd: Pd, make_model: MakeModel) -> None:
    """`low` at 48 kHz in blocks of 64: everything that ravel~ adds, as Pd records it."""
    path, at = make_model("low", sample_rate_hz=48000), 4032
    silence = np.zeros((1, 8192), np.float32)
    click = silence.copy()
    click[0, at] = 1
    objects = {
        "wet": Object(f"ravel~ {path} -seed 0", click),
        "silence": Object(f"ravel~ {path} -seed 0", silence),
        "dry": Object(f"ravel~ {path} -drywet 0", click),
    }
    played = pd.play(objects, 48000)
    late = played.latency("wet")
    assert late <= 0.006 * 48000
    np.testing.assert_array_equal(np.flatnonzero(np.abs(played.sound["dry"][0]) > 1e-6), [at + late])
    answer = np.abs(played.sound["wet"] - played.sound["silence"])[0]
    assert not answer[:at].any()
    assert at <= np.argmax(answer > 0.01 * answer.max()) <= at + late  # the filters ring before their middle


# ---- what it answers

# message, then what the last outlet says to the question behind it
ANSWERED = [
    ("drywet 0.5", "get drywet", "drywet 0.5"),
    ("temperature 0.25", "get temperature", "temperature 0.25"),
    ("noise_latent 0.5", "get noise_latent", "noise_latent 0.5"),
    ("fill 1", "get fill", "fill 1"),
    ("width 0.5", "get width", "width 0.5"),
    ("gain -6", "get gain", "gain -6"),
    ("gain out -3", "get output_gain", "output_gain -3"),
    ("gain in 3", "get input_gain", "input_gain 3"),
    ("noise 0", "get noise", "noise 0"),
    ("seed 7", "get seed", "seed 7"),
    ("freeze 1", "get freeze", "freeze 1"),
    ("freeze 0", "get freeze", "freeze 0"),
    ("bypass 1", "get bypass", "bypass 1"),
    ("bypass 0", "get bypass", "bypass 0"),
    ("enable 0", "get enable", "enable 0"),
    ("enable 1", "get enable", "enable 1"),
    ("scale 2 1.5", "get scale 2", "scale 2 1.5"),
    ("bias 2 -0.5", "get bias 2", "bias 2 -0.5"),
    ("latent 1 0.75", "get override 1", "override 1 1"),
    ("latent 1", "get override 1", "override 1 0"),
    ("override 1 1", "get override 1", "override 1 1"),
    ("snapshot store a", "get morphing", "morphing 0"),
    ("morph 0.5", "get morphing", "morphing 1"),
    ("morph off", "get morphing", "morphing 0"),
    ("snapshot recall A", "get freeze", "freeze 1"),
    ("mode sliced", "get mode", "mode sliced"),
    ("mode threaded", "get mode", "mode threaded"),
    ("mode automatic", "get mode", "mode automatic"),
    ("method decode", "get method", "method decode"),
    ("method forward", "get method", "method forward"),
    ("offline 0", "get offline", "offline 0"),
    ("offline", "get offline", "offline 1"),
    ("reset", "get reset", "reset 0"),
    # nn~'s ways
    ("set temperature 0.75", "get temperature", "temperature 0.75"),
    ("set scale 3 2", "get scale 3", "scale 3 2"),
    ("set bias 3 1", "get bias 3", "bias 3 1"),
    ("set noise 1", "get noise", "noise 1"),
    ("set seed 3", "get seed", "seed 3"),
    ("set fill 0.5", "get fill", "fill 0.5"),
    ("set reset 1", "get reset", "reset 0"),
]


def test_every_message_is_heard_and_answered(pd: Pd, make_model: MakeModel) -> None:
    path, x = make_model("low"), audio(frames=44100)
    timeline = []
    for i, (message, question, _) in enumerate(ANSWERED):
        timeline += [(20 + 10 * i, f"; it {message}"), (25 + 10 * i, f"; it {question}")]
    for ms, message in ((600, "info"), (610, "dump"), (620, "meters"), (630, "latency")):
        timeline.append((ms, f"; it {message}"))
    played = pd.play({"it": Object(f"ravel~ {path} -offline", x)}, 44100, timeline)
    rows = [" ".join(row) for row in played.lists("it")]
    answers = iter(rows)
    for message, _, answer in ANSWERED:
        assert answer in answers, f"{message}: {answer} is not in {rows}"  # in this order: `in` moves the iterator on
    assert not played.complaints()
    told = {row.split()[1]: row.split()[2] for row in rows if row.startswith("info ")}
    assert told["preset"] == "low"
    assert told["rate"] == "44100"
    assert told["latents"] == str(SIZE)
    assert told["hop"] == "128"
    assert Path(told["path"]) == path
    assert len(played.list("it", "meters")) == 5
    for attribute in ("temperature", "fill", "noise", "seed", "scale", "bias"):  # those of the .ts
        assert any(row.startswith(attribute + " ") for row in rows), attribute


# message, then words of the one line that it costs
REFUSED = [
    ("louder", "no message 'louder'"),
    ("drywet", "drywet"),
    ("drywet wet", "drywet"),
    ("drywet 2", "from 0 to 1"),
    ("temperature 1 2", "temperature"),
    ("gain up 3", "gain"),
    ("freeze", "freeze"),
    ("enable maybe", "enable"),
    ("latent 8 0", "there are 8, from 0"),
    ("latent -1 0", "there are 8, from 0"),
    ("latent 0.5 0", "there are 8, from 0"),
    ("latent one 0", "latent"),
    ("scale 0", "scale"),
    ("scale 99 1", "there are 8, from 0"),
    ("bias 0 x", "bias"),
    ("override 0", "override"),
    ("snapshot keep a", "snapshot"),
    ("snapshot store c", "snapshot"),
    ("morph halfway", "morph"),
    ("mode fast", "fast"),
    ("mode sliced -1", "mode"),
    ("method dance", "method"),
    ("seed", "seed"),
    ("set", "set"),
    ("set volume 1", "volume"),
    ("set temperature hot", "temperature"),
    ("get volume", "volume"),
    ("get", "get"),
    ("get scale 8", "there are 8, from 0"),
    ("load", "load"),
    ("load no-such-model", "no file no-such-model.ravel"),
    ("reset now please", "reset"),
    ("bang", "bang"),
    ("symbol x", "symbol"),
    ("list 1 2 3", "list"),
]


def test_wrong_messages_cost_a_line_each(pd: Pd, make_model: MakeModel) -> None:
    path, x = make_model("low"), audio(frames=44100)
    timeline = [(20 + 10 * i, f"; it {message}") for i, (message, _) in enumerate(REFUSED)]
    played = pd.play({"it": Object(f"ravel~ {path} -seed 0", x)}, 44100, timeline)
    lines = played.complaints()
    assert len(lines) == len(REFUSED), "\n".join(lines)
    for line, (message, words) in zip(lines, REFUSED):
        assert words in line, f"{message}: {line}"
    assert len([row for row in played.lists("it") if row[0] == "error"]) == len(REFUSED)
    delay = Model(path).methods["forward"]["delay_samples"]
    early = played.sound["it"][:, :800]  # before the first message
    compare(early, engine(path, x), played.latency("it") - delay)
    assert np.isfinite(played.sound["it"]).all()


LABELS = ("flute", "reed", "7")


def test_labels_are_chosen_and_blended(pd: Pd, make_model: MakeModel) -> None:
    """By name, by number where no label is called so, and by weights; from the first sample on and while it plays."""
    path, x = make_model("low", labels=LABELS), audio()
    flags = {
        "": (1.0, 0.0, 0.0),
        "-label reed": (0.0, 1.0, 0.0),
        "-label 1": (0.0, 1.0, 0.0),
        "-label 7": (0.0, 0.0, 1.0),
        "-label flute 0.25 -label 2 -0.5": (0.25, 0.0, -0.5),
    }
    objects = {f"it{i}": Object(f"ravel~ {path} {flag} -seed 0", x) for i, flag in enumerate(flags)}
    objects["late"] = Object(f"ravel~ {path} -seed 0", x)
    played = pd.play(objects, 44100, [(50, "; it4 get label; it4 info"), (50, "; late label reed")])
    delay = Model(path).methods["forward"]["delay_samples"]
    sounds = [engine(path, x, labels=weights) for weights in flags.values()]
    for i, sound in enumerate(sounds):
        compare(played.sound[f"it{i}"], sound, played.latency(f"it{i}") - delay)
    late = played.latency("late") - delay
    compare(played.sound["late"][:, :2205], sounds[0], late)
    turned = [np.abs(played.sound["late"][0, 9000:12000] - sound[0, 9000 - late : 12000 - late]) for sound in sounds]
    assert turned[1].max() < 0.1 * turned[0].max()  # histories fade slowly
    assert np.abs(sounds[0] - sounds[1]).max() > 1e-2 * np.abs(sounds[0]).max()
    assert [row for row in played.lists("it4") if row[0] == "label"] == [
        *(["label", name, weight] for name, weight in zip(LABELS, ("0.25", "0", "-0.5")))
    ]
    assert [row[2] for row in played.lists("it4") if row[:2] == ["info", "label"]] == list(LABELS)
    assert not played.complaints()


@pytest.mark.parametrize(("labels", "known"), [(LABELS, "it has flute, reed, 7"), ((), "it has none")])
def test_wrong_labels_cost_a_line_each(pd: Pd, make_model: MakeModel, labels: tuple[str, ...], known: str) -> None:
    path, x = make_model("low", labels=labels), audio()
    wrong = {name: f"no label '{name}': {known}" for name in ("oboe", "3", "0.5", "-1")}
    wrong |= {"": "expects label LABEL [WEIGHT]", "flute 1 2": "expects label"}
    wrong |= {"flute loud": "expects label"} if labels else {}
    timeline = [(20.0 + 10 * i, f"; it label {text}") for i, text in enumerate(wrong)]
    objects = {"it": Object(f"ravel~ {path} -seed 0", x), "none": Object("ravel~ -label flute", x)}
    played = pd.play(objects, 44100, timeline)
    lines = played.complaints()
    assert len(lines) == 1 + len(wrong), lines
    for line, words in zip(lines, ["label: no model is loaded", *wrong.values()]):
        assert words in line
    delay = Model(path).methods["forward"]["delay_samples"]
    compare(played.sound["it"], engine(path, x), played.latency("it") - delay)


@pytest.mark.parametrize("preset", ["low", "low-discrete"])
def test_a_prior_plays_by_itself_and_along(pd: Pd, make_model: MakeModel, preset: str) -> None:
    """At 1 it hears nothing, below it does; as a method of its own it gives what `decode` takes."""
    path, x, other = make_model(preset, kept=6, prior=True), audio(), audio(seed=1)
    model = Model(path)
    still, cold = np.zeros_like(x), np.full_like(x, -1)
    count = model.methods["prior"]["out_channels"]
    (pd.folder / "both.pd").write_text(both(f"ravel~ {path} prior -seed 0", f"ravel~ {path} decode -seed 0", "", count))
    objects = {
        "alone": Object(f"ravel~ {path} -prior 1 -seed 0", x),
        "deaf": Object(f"ravel~ {path} -prior 1 -seed 0", other),
        "along": Object(f"ravel~ {path} -prior 0.5 -prior_temperature 0.7 -seed 0", x),
        "frames": Object(f"ravel~ {path} prior -seed 0", still, count),
        "likely": Object(f"ravel~ {path} prior -seed 0", cold, count),
        "both": Object("both", still),
    }
    played = pd.play(objects, 44100, [(50, "; alone info; alone get prior; along get prior_temperature")])
    delay = {name: about["delay_samples"] for name, about in model.methods.items()}
    wanted = {
        "alone": engine(path, x, prior=1),
        "deaf": engine(path, x, prior=1),
        "along": engine(path, x, prior=0.5, prior_temperature=0.7),
        "frames": engine(path, still, "prior"),
        "likely": engine(path, still, "prior", prior_temperature=0),
    }
    for name, sound in wanted.items():
        compare(played.sound[name], sound, played.latency(name) - delay[played_method(objects[name])])
    assert np.abs(wanted["frames"] - wanted["likely"]).max() > 0.1
    assert np.abs(wanted["alone"] - wanted["along"]).max() > 0.01 * np.abs(wanted["along"]).max()
    assert np.abs(played.sound["both"]).max() > 1e-3
    rows = [" ".join(row) for row in played.lists("alone")]
    assert "info prior 1" in rows
    assert "prior 1" in rows
    assert ("info quantisers 6" in rows) == (preset == "low-discrete")
    assert played.list("along", "prior_temperature") == ["0.7"]
    assert not played.complaints()


def played_method(one: Object) -> str:
    return "prior" if " prior " in one.text else "forward"


def test_a_model_without_a_prior_costs_a_line(pd: Pd, make_model: MakeModel) -> None:
    """The object is made all the same, and plays what comes later; one that turns to it and back plays again."""
    path, later = make_model("low"), make_model("low", kept=6, prior=True)
    x = audio(frames=44100)
    objects = {
        "it": Object(f"ravel~ {path} prior -out 6 -offline", 0 * x, 6),
        "back": Object(f"ravel~ {path} -offline", x),
    }
    timeline = [(300, f"; it load {later}"), (300, "; back method prior"), (600, "; back method forward")]
    played = pd.play(objects, 44100, timeline)
    assert ["has no method prior" in line for line in played.complaints()] == [True, True]
    for sound in played.sound.values():
        assert sound[:, -1000:].any()
    assert not played.sound["it"][:, :13000].any()
    assert not played.sound["back"][:, 17000:25000].any()


def test_wrong_arguments_cost_a_line_each(pd: Pd, make_model: MakeModel) -> None:
    path = make_model("low")
    wrong = {
        f"ravel~ {path} dance": "no method 'dance'",
        f"ravel~ {path} forward 2048 more": "more",
        f"ravel~ {path} -loud": "no flag '-loud'",
        f"ravel~ {path} -in 0": "-in 0",
        f"ravel~ {path} -in two": "-in two",
    }
    patch = Patch()
    for text in wrong:
        patch.obj(text)
    patch.at(0, "; pd dsp 1")
    patch.at(50, "; pd quit")
    played = pd.run(patch, may_fail=True)
    lines = played.complaints()
    assert len(lines) == len(wrong), played.log
    for line, words in zip(lines, wrong.values()):
        assert words in line
    fine = {
        "none": Object("ravel~", audio()),
        "later": Object("ravel~ encode -out 3", audio(), 3),
        "number": Object(f"ravel~ {path} 4096", audio()),
        "nn": Object(f"ravel~ {path.with_suffix('')} forward 4096", audio()),
        "flags": Object(f"ravel~ {path} -mode sliced -drywet 0.5 -enable 1 -latent 0 1 -offline", audio()),
    }
    played = pd.play(fine)
    assert not played.complaints()
    assert not played.sound["none"].any()
    assert not played.sound["later"].any()
    assert played.sound["number"].any()


def test_what_messages_do_is_heard(pd: Pd, make_model: MakeModel) -> None:
    path, x = make_model("low", sample_rate_hz=48000), audio(frames=24000)
    texts = {
        "off": "-enable 0",
        "dry": "-drywet 0",
        "bypassed": "-bypass 1",
        "half": "-gain -6.0206",
        "silent": "-noise 1",
        "reset": "-noise 1",
    }
    objects = {name: Object(f"ravel~ {path} {flag} -seed 0", x) for name, flag in texts.items()}
    played = pd.play(objects, 48000, [(100, "; silent enable 0"), (300, "; silent enable 1"), (200, "; reset reset")])
    wanted, late = engine(path, x), played.latency("half")
    first = late - Model(path).methods["forward"]["delay_samples"]
    assert not played.sound["off"].any()
    compare(played.sound["dry"], x, late)
    compare(played.sound["bypassed"], x, late)
    compare(2 * played.sound["half"], wanted, first)
    again = played.sound["silent"][0]
    assert not again[6240:14300].any()  # from 20 ms after `enable 0`
    assert again[15400:].any()
    compare(played.sound["reset"][:, :9500], wanted, first)
    assert np.abs(played.sound["reset"][0, 9700:14000] - wanted[0, 9700 - first : 14000 - first]).max() > 1e-6


def test_edits_of_the_patch_are_not_heard(pd: Pd, make_model: MakeModel) -> None:
    """Pd sorts its graph anew at every edit, and stops and starts it; what plays plays on."""
    path, x = make_model("low"), audio(frames=44100)
    (pd.folder / "with-pit.pd").write_text(
        "#N canvas 0 0 400 300 10;\n#X obj 10 10 inlet~;\n#N canvas 0 0 400 300 pit 0;\n#X restore 10 50 pd pit;\n"
        f"#X obj 10 90 ravel~ {path} -seed 0;\n#X obj 10 130 outlet~;\n#X obj 50 130 outlet;\n"
        "#X connect 0 0 2 0;\n#X connect 2 0 3 0;\n#X connect 2 1 4 0;\n"
    )
    edits = [(100.0 + 50 * i, f"; pd-pit obj 10 10 {text}") for i, text in enumerate(("osc~", f"ravel~ {path}"))]
    edits += [(300.0, "; pd-pit clear"), (400.0, "; pd dsp 0; pd dsp 1")]
    played = pd.play({"it": Object("with-pit", x)}, 44100, edits)
    delay = Model(path).methods["forward"]["delay_samples"]
    compare(played.sound["it"], engine(path, x), played.latency("it") - delay)
    assert len([row for row in played.lists("it") if row[0] == "latency"]) == 1


def test_a_storm_of_messages_is_survived(pd: Pd, make_model: MakeModel) -> None:
    """Any word with any arguments, in any order; the console may fill, the sound stays finite."""
    path, x = make_model("low"), audio(frames=44100)
    random = np.random.default_rng(0)
    words = sorted({message.split()[0] for message, _ in [*REFUSED, *((m, q) for m, q, _ in ANSWERED)]} - {"bang"})
    words += ["info", "dump", "latency", "meters", "reload", "morphing"]
    values = [
        "0",
        "1",
        "-1",
        "0.5",
        "1e+30",
        "-1e+30",
        "7",
        "8",
        "a",
        "b",
        "off",
        "store",
        "recall",
        "encode",
        "sliced",
    ]
    values += ["scale", "get", "set", "in", str(path), "-mode", "threaded", "noise"]
    timeline = []
    for ms in range(20, 980, 2):
        storm = [" ".join([random.choice(words), *random.choice(values, random.integers(0, 4))]) for _ in range(4)]
        timeline.append((float(ms), "; it " + "; it ".join(storm)))
    for method, inputs, outputs in (("forward", 1, 1), ("decode", SIZE, 1), ("encode", 1, SIZE)):
        subject = Object(f"ravel~ {path} {method}", np.resize(x, (inputs, 44100)), outputs)
        played = pd.play({"it": subject}, 44100, timeline)
        assert np.isfinite(played.sound["it"]).all()
        assert len(played.complaints()) > 200


# ---- files


def test_missing_and_broken_files_cost_a_line_and_what_plays_plays_on(pd: Pd, make_model: MakeModel) -> None:
    good, x = make_model("low"), audio(frames=44100)
    data = good.read_bytes()
    wrong = {
        "empty.ravel": b"",
        "short.ravel": data[: len(data) // 2],
        "noise.ravel": bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)),
        "header.ravel": b"\xff" * 16,
        "script.ts": b"PK",
    }
    for name, content in wrong.items():
        (pd.folder / name).write_bytes(content)
    (pd.folder / "folder.ravel").mkdir()
    names = [*wrong, "folder.ravel", "nothing", "x" * 900]
    timeline = [(20.0 + 100 * i, f"; it load {name}") for i, name in enumerate(names)]
    objects = {"it": Object(f"ravel~ {good} -seed 0", x)}
    objects |= {f"new{i}": Object(f"ravel~ {name}", x) for i, name in enumerate(names)}
    played = pd.play(objects, 44100, timeline, as_fast_as_possible=False)
    assert len(played.complaints()) == 2 * len(names), "\n".join(played.complaints())
    delay = Model(good).methods["forward"]["delay_samples"]
    compare(played.sound["it"], engine(good, x), played.latency("it") - delay)
    for i in range(len(names)):
        assert not played.sound[f"new{i}"].any()
    assert "script.ts is TorchScript" in played.log


def test_files_change_while_they_play(pd: Pd, make_model: MakeModel) -> None:
    """`load` fades to another model, `reload` to what the file holds by now, and no fade clicks."""
    one, two, x = make_model("low"), make_model("low", capacity=6), audio(frames=3 * 44100)
    for name in ("model", "other"):
        shutil.copy(one, pd.folder / f"{name}.ravel")
    shutil.copy(two, pd.folder / "new.ravel")

    def swap() -> None:
        for _ in range(1000):
            if (pd.folder / "now.wav").exists():
                (pd.folder / "new.ravel").replace(pd.folder / "model.ravel")
                return
            time.sleep(0.01)

    timeline = [
        (300.0, "; it load other"),
        (900.0, "; it load model"),
        (1200.0, "; files write now.wav it-in0"),
        (1900.0, "; it reload"),
    ]
    swapper = threading.Thread(target=swap)
    swapper.start()
    played = pd.play({"it": Object("ravel~ model -seed 0 -noise 0", x)}, 44100, timeline, as_fast_as_possible=False)
    swapper.join()
    assert [Path(row[1]).stem for row in played.lists("it") if row[0] == "load"] == ["model", "other", "model", "model"]
    assert not played.complaints()
    heard, delay = played.sound["it"], Model(one).methods["forward"]["delay_samples"]
    late = played.latency("it") - delay
    before, after = engine(one, x, noise=False), engine(two, x, noise=False)
    compare(heard[:, :13000], before, late)
    end = slice(len(x[0]) - 4096, len(x[0]) - 512)
    assert np.abs(heard[0, end] - before[0, end.start - late : end.stop - late]).max() > 0.1 * np.abs(before).max()
    assert np.isfinite(heard).all()
    steps = max(np.abs(np.diff(sound[0])).max() for sound in (before, after))
    assert np.abs(np.diff(heard[0])).max() < 1.5 * steps


def test_files_are_found_through_the_search_path(pd: Pd, make_model: MakeModel) -> None:
    """Beside the patch, in a declared folder, by a path relative to the patch, with spaces in it."""
    path = make_model("low")
    for place in ("beside.ravel", "declared/inside.ravel", "below/relative.ravel", "with space.ravel"):
        target = pd.folder / place
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    patch = Patch()
    patch.obj("declare -path declared")
    patch.lines.insert(0, "#X declare -path declared;")
    for text in ("ravel~ beside", "ravel~ inside.ravel", "ravel~ below/relative", "ravel~ with\\ space"):
        box = patch.obj(text)
        patch.cord(box, 1, patch.obj("print it"), 0)
    patch.at(10, "; pd quit")
    played = pd.run(patch)
    assert not played.complaints(), played.log
    assert [Path(" ".join(row[1:])).name.replace("\\", "") for row in played.lists("it") if row[0] == "load"] == [
        "beside.ravel",
        "inside.ravel",
        "relative.ravel",
        "with space.ravel",
    ]


# ---- patches


def test_a_patch_for_nn_plays_when_the_object_is_renamed(pd: Pd, make_model: MakeModel) -> None:
    path, x = make_model("low"), audio()
    shutil.copy(path, pd.folder / "violin.ravel")
    made_for_nn = both("nn~ violin.ts encode 2048", "nn~ violin decode 2048", "set scale 0 1.5, set noise 0")
    renamed = made_for_nn.replace("nn~ ", "ravel~ ")
    assert renamed != made_for_nn
    (pd.folder / "moved.pd").write_text(renamed)
    played = pd.play({"moved": Object("moved", x)}, 44100)
    latents = engine(path, x, "encode")
    plain = engine(path, latents, "decode", noise=False)
    scaled = engine(path, latents, "decode", {0: 1.5}, noise=False)
    assert np.abs(scaled - plain).max() > 1e-2 * np.abs(plain).max()
    assert not played.complaints()
    heard = played.sound["moved"]
    lag = int(np.argmax(np.correlate(heard[0], scaled[0, :8192], "valid")))
    compare(heard, scaled, lag, start=4096)


@pytest.mark.parametrize(
    "name", ["ravel~-help", "ravel-labels", "ravel-latents", "ravel-morph", "ravel-prior", "ravel-synth"]
)
def test_the_patches_sound(pd: Pd, make_model: MakeModel, name: str) -> None:
    text = (PATCHES / f"{name}.pd").read_text()
    (pd.folder / f"{name}.pd").write_text(re.sub(r"(?m)^(#X obj .* ravel~.*);$", r"\1 -offline;", text))
    path, other = make_model("low", labels=LABELS), make_model("v2-small")
    names = {"ravel-morph": ["ravel-model-a", "ravel-model-b"]}.get(name, ["ravel-model"])
    loads = [(0.0, f"; {one} symbol {file}") for one, file in zip(names, (path, other))]
    played = pd.play({"it": Object(name, np.zeros((0, 1)), 1, lists=False)}, 44100, loads, seconds=2)
    assert not played.complaints()
    assert "error" not in played.log
    assert np.abs(played.sound["it"]).max() > 1e-5
    assert np.isfinite(played.sound["it"]).all()


# ---- what it costs


def watched(pd: Pd, objects: dict[str, Object], prove: bool = False, **options: object) -> tuple[int, int, str, Played]:
    """How many performs, how many calls of the C library they made, the first of these, and what was played."""
    watcher = pd.external.parent / "libravel_watch_pd.so"
    if not watcher.exists():
        pytest.skip("the watcher is for Linux")
    environment = {"LD_PRELOAD": str(watcher)} | ({"RAVEL_WATCH_PROVE": "1"} if prove else {})
    played = pd.play(objects, environment=environment, **options)  # type: ignore[arg-type]
    told = re.search(r"watch: (\d+) performs, (\d+) calls, first (\w+)", played.log)
    assert told, played.log
    return int(told[1]), int(told[2]), told[3], played


def test_perform_neither_allocates_nor_locks(pd: Pd, make_model: MakeModel) -> None:
    """In any mode and method, while messages turn everything and models come and go."""
    low, other, big = make_model("low"), make_model("low", capacity=6), make_model("v2-small")
    x, dreaming = audio(frames=48000), make_model("low", kept=6, prior=True)
    objects = {
        "dreams": Object(f"ravel~ {dreaming} -prior 0.5", x),
        "dreamt": Object(f"ravel~ {dreaming} prior", x, 6),
        "low": Object(f"ravel~ {low}", x),
        "encode": Object(f"ravel~ {low} encode -temperature 1", x, SIZE),
        "decode": Object(f"ravel~ {low} decode", audio(SIZE, 48000), 1),
        "sliced": Object(f"ravel~ {big} -mode sliced", x, 1, 16),
        "inline": Object(f"ravel~ {big} -mode inline", x, 1, 256),
        "none": Object("ravel~", x),
    }
    messages = [message for message, _, _ in ANSWERED if message != "mode threaded"]
    timeline = [(20.0 + 5 * i, f"; low {message}; decode {message}") for i, message in enumerate(messages)]
    timeline += [(300.0, "; low offline; none offline"), (310.0, f"; low load {other}; none load {other}")]
    timeline += [(400.0, "; dreams prior 1"), (500.0, "; dreams prior 0"), (600.0, "; dreams prior 0.7")]
    timeline += [(700.0, f"; low load {low}"), (720.0, "; sliced reset; encode enable 0"), (780.0, "; encode enable 1")]
    performs, calls, first, played = watched(pd, objects, timeline=timeline)
    assert (calls, first) == (0, "none")
    assert performs > 7 * 750
    assert not played.complaints()
    assert played.sound["none"].any()
    performs, calls, first, _ = watched(pd, {"it": Object(f"ravel~ {low}", x[:, :4800])}, prove=True)
    assert (calls, first) == (2 * performs, "malloc"), "the watcher sees nothing"


def test_a_worker_costs_perform_a_post_a_hop(pd: Pd, make_model: MakeModel) -> None:
    x = audio(frames=48000)
    _, calls, first, _ = watched(pd, {"it": Object(f"ravel~ {make_model('low')} -mode threaded", x)})
    assert 0 < calls <= 48000 / 128 + 20
    assert first == "sem_post"


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_objects_made_and_freed_leak_nothing(pd: Pd, make_model: MakeModel) -> None:
    """200 of them in a playing patch: from the hundredth on, none leaves 10 bytes; kept ones are noticed."""
    path = make_model("low")
    texts = [f"ravel~ {path}", f"ravel~ {path} encode", f"ravel~ {path} decode -mode sliced", "ravel~ nothing"]
    texts.append(f"ravel~ {path} -mode threaded")
    patch = Patch()
    patch.sub("pit", Patch())
    patch.cord(patch.obj("r heap"), 0, patch.obj("heap"), 0)
    patch.at(0, "; pd dsp 1")
    for i in range(10):
        patch.at(10 + 40 * i, "".join(f"; pd-pit obj 10 10 {texts[j % 5]}" for j in range(20)))
        patch.at(35 + 40 * i, "; pd-pit clear")
        patch.at(40 + 40 * i, "; heap bang")
    patch.at(500, f"; pd-pit obj 10 10 {texts[0]}")
    patch.at(510, "; heap bang")
    patch.at(520, "; pd quit")
    # threads that ended leave 272 bytes each with their stack, as many as ever ran at once
    tunables = "glibc.pthread.stack_cache_size=0"
    played = pd.run(patch, environment={"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": tunables})
    assert played.log.count("no file nothing") == 40
    heap = [int(n) for n in re.findall(r"heap: (\d+)", played.log)]
    assert heap[9] - heap[4] < 1000
    assert heap[10] - heap[9] > 10000


def test_the_folder_that_is_installed(pd: Pd, make_model: MakeModel, tmp_path: Path) -> None:
    """`cmake --install` gives what Deken would unpack: one small binary that finds its libraries, and its patches."""
    if os.environ.get("RAVEL_PD_EXTERNAL"):
        pytest.skip("the external was built elsewhere")
    build("ravel_pd", install=("pd", tmp_path / "out"))
    folder = tmp_path / "out" / "pd" / "ravel"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"ravel~-help.pd", "ravel-meta.pd", "README.md", "LICENSE", pd.external.name}
    assert (folder / pd.external.name).stat().st_size < 2e6
    if sys.platform == "linux":
        needs = subprocess.run(["ldd", folder / pd.external.name], capture_output=True, text=True).stdout
        assert "libstdc++" not in needs
    played = pd.play({"it": Object(f"ravel~ {make_model('low')}", audio())}, folder=folder)
    assert played.sound["it"].any()


def test_signals_of_several_channels(pd: Pd, make_model: MakeModel) -> None:
    path, x = make_model("low"), audio(2)
    if not pd.has("snake~ in 2"):
        played = pd.play({"it": Object(f"ravel~ {path} -mc -seed 0", x[:1])}, 44100)
        (line,) = played.complaints()
        assert "-mc needs Pd 0.54" in line
        pytest.skip("this Pd has no signals of several channels: 0.54 and newer do")
    delay = {name: about["delay_samples"] for name, about in Model(path).methods.items()}
    (pd.folder / "mc.pd").write_text(bundled(f"ravel~ {path} -mc -seed 0", 2, 2))
    (pd.folder / "latents.pd").write_text(bundled(f"ravel~ {path} encode -mc -seed 0", 1, SIZE))
    (pd.folder / "back.pd").write_text(bundled(f"ravel~ {path} decode -mc -noise 0", SIZE, 1))
    z = 3 * audio(SIZE, seed=1)
    objects = {"mc": Object("mc", x, 2), "latents": Object("latents", x[:1], SIZE), "back": Object("back", z, 1)}
    played = pd.play(objects, 44100)
    compare(played.sound["mc"][:1], engine(path, x[:1]), played.latency("mc") - delay["forward"])
    assert played.sound["mc"][1].any()
    compare(played.sound["latents"], engine(path, x[:1], "encode"), played.latency("latents") - delay["encode"])
    wanted = engine(path, z, "decode", noise=False)
    compare(played.sound["back"], wanted, played.latency("back") + 127 - delay["decode"])


def bundled(text: str, inputs: int, outputs: int) -> str:
    """The text of an abstraction with plain signals around an object with one cord of several channels each way."""
    patch = Patch()
    pack, unpack, subject = patch.obj(f"snake~ in {inputs}"), patch.obj(f"snake~ out {outputs}"), patch.obj(text)
    patch.chain(pack, subject, unpack)
    for i in range(inputs):
        patch.cord(patch.obj("inlet~"), 0, pack, i)
    for i in range(outputs):
        patch.cord(unpack, i, patch.obj("outlet~"), 0)
    patch.cord(subject, 1, patch.obj("outlet"), 0)
    return str(patch)
