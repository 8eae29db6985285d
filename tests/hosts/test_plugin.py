"""The plugin in real hosts, as VST3, CLAP and LV2 and alone: what it plays, remembers and survives."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

pytest.importorskip("python._native", reason="the engine is not built: pip install -e .")

from python import _native, build
from tests.hosts.conftest import ROOT, MakeModel, audio, needed
from tests.hosts.daw import Bundles, Clap, Played, Vst3, component, ended, pedalboard, state, values_of

LV2_HOST = Path(__file__).with_name("lv2_host.py")
BLOCK = 512
RATES = (22050, 44100, 48000, 96000, 192000)
SWAP_MS = 300  # what a background load and its cross-fade may take on a busy machine, several times over


@pytest.fixture(scope="module")
def violin(bundles: Bundles, make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """What `ravel build` makes: plugins of another name with a model inside."""
    out, work = tmp_path_factory.mktemp("violin"), ROOT / "build" / "hosts"
    model = make_model("low", capacity=6)
    with FileLock(work / ".lock"):
        words = [str(model), "--as", "vst3,clap", "--name", "Violin", "--out", str(out), "--work", str(work)]
        assert build.main([*words, "--jobs", "2"]) == 0
    for form in ("vst3", "clap"):
        (out / form).mkdir()
        for bundle in out.glob(f"*.{form}"):
            bundle.rename(out / form / bundle.name)
    return Bundles(out, bundles.clap_host)


@pytest.fixture
def clap(bundles: Bundles, tmp_path: Path) -> Clap:
    return Clap(bundles, tmp_path)


@pytest.fixture
def vst3(bundles: Bundles, tmp_path: Path) -> Vst3:
    pedalboard()
    return Vst3(bundles, tmp_path)


def engine(
    path: Path, x: np.ndarray, rate: float, block: int = 4096, labels: tuple[float, ...] = (), **controls: float
) -> tuple[np.ndarray, int]:
    """What the player of Python makes of x, without its latency, and the latency; `labels`: their weights."""
    player = _native.Player()
    player.load(path)
    for name, value in controls.items():
        player.set(name, value)
    for label, weight in enumerate(labels):
        player.set_label_weight(label, weight)
    player.prepare(rate, max_block=block, in_channels=len(x), out_channels=2)
    late = player.latency_samples
    return player.process(np.ascontiguousarray(x, np.float32))[:, late:], late


def close(heard: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-6, least: float = 1e-3) -> None:
    """The same to 1e-6 of the peak, as far as both go."""
    frames = min(heard.shape[1], wanted.shape[1])
    assert frames > 1000
    peak = np.abs(wanted).max()
    assert peak > least
    np.testing.assert_allclose(heard[:, :frames], wanted[:, :frames], rtol=0, atol=tolerance * peak)


# ---- what it plays


def test_vst3_plays_what_the_engine_plays(vst3: Vst3, make_model: MakeModel) -> None:
    """At every rate, in blocks of 1 to 4096 that change from call to call, without the latency that it reports."""
    path, x = make_model("low"), audio(2, 20000)
    random = np.random.default_rng(0)
    project = vst3.preset({"it": state({"model": str(path)})})["it"]
    calls = [[4096, 4096], *([int(3 + 800 * random.random()), int(4096 ** random.random())] for _ in range(12)), [7, 1]]
    job: list[list[object]] = []
    to = {rate: vst3.path() for rate in RATES}
    given = vst3.array(x)
    for rate in RATES:
        name = f"at{rate}"
        job += [["open", name, str(vst3.bundles("vst3"))], ["recall", name, project]]
        job += [["play", name, given, rate, calls, to[rate]]]
    latencies = vst3.run(job)[2::3]
    for rate, told in zip(RATES, latencies):
        wanted, late = engine(path, x, rate)
        assert told == late, rate
        heard = np.load(to[rate])
        assert heard.shape[1] == x.shape[1] - late
        close(heard, wanted)


@pytest.mark.parametrize(("preset", "overrides"), [("low", {"channels": 2}), ("v2-small", {})])
def test_clap_plays_what_the_engine_plays(clap: Clap, make_model: MakeModel, preset: str, overrides: dict) -> None:
    """In any blocks; also models of two channels and with hops longer than a block."""
    path, x = make_model(preset, **overrides), audio(2, 30000)
    project = clap.project(path)
    for rate, blocks, most in ((48000, "1 4096", 4096), (44100, "64", 64), (96000, "1 37", 512)):
        played = clap.run(f"load {project}", f"activate {rate} {most}", f"blocks {blocks}", "play 30000", x=x)
        wanted, late = engine(path, x, rate, most)
        assert played.latency == late
        close(played.sound[:, late:], wanted)
        assert played.report["loads"] == [True]


def test_modes_change_the_latency_and_nothing_else(clap: Clap, make_model: MakeModel) -> None:
    path, x = make_model("v2-small"), audio(2, 30000)
    heard = {}
    for mode in (1, 2):
        project = clap.project(path, {"mode": mode})
        heard[mode] = clap.run(f"load {project}", "activate 44100 64", "play 30000", x=x)
    short, flat = heard[1], heard[2]
    assert short.latency < flat.latency
    close(flat.sound[:, flat.latency :], short.sound[:, short.latency :])


def test_what_is_rendered_twice_is_the_same(clap: Clap, make_model: MakeModel) -> None:
    """To the bit: from the first sample on, offline or not, with randomness in the latents."""
    script = [f"load {clap.project(make_model('low'), {'temperature': 1, 'latent_noise': 0.5})}"]
    script += ["activate 44100 256", "blocks 1 256", "@300 set latent1_bias 2", "@500 midi 176 1 90", "play 20000"]
    first, second = (clap.run(*script, x=audio(2, 20000)) for _ in range(2))
    assert np.abs(first.sound).max() > 1e-3
    np.testing.assert_array_equal(first.sound, second.sound)


def test_dry_and_bypass_are_as_late_as_wet(clap: Clap, make_model: MakeModel) -> None:
    path, x = make_model("low"), audio(2, 20000)
    for parameters in ({"dry_wet": 0.0}, {"dpf_bypass": 1.0}):
        script = [f"load {clap.project(path)}", *(f"set {name} {value}" for name, value in parameters.items())]
        played = clap.run(*script, "activate 48000 512", "play 20000", x=x)
        start = 4800 + played.latency  # ramps are over
        close(played.sound[:, start:], x[:, 4800:])


def test_two_instances_play_side_by_side(vst3: Vst3, make_model: MakeModel) -> None:
    """Each its own model and parameters, in turns."""
    one, two, x = make_model("low"), make_model("low", capacity=6), audio(2, 8000)
    projects = vst3.preset({"one": state({"model": str(one)}), "two": state({"model": str(two)})})
    given, names, to = vst3.array(x), ("one", "two"), {name: vst3.path() for name in ("one", "two")}
    job = [["open", name, str(vst3.bundles("vst3"))] for name in names]
    job += [["recall", name, projects[name]] for name in names]
    vst3.run([*job, *(["play", name, given, 48000, [[1000, BLOCK]], to[name]] for name in names)])
    for name, path in (("one", one), ("two", two)):
        close(np.load(to[name]), engine(path, x, 48000)[0])


# ---- plugins of other names


def test_a_built_plugin_has_its_model_inside(violin: Bundles, make_model: MakeModel, tmp_path: Path) -> None:
    """It plays without a file, under ids of its own; and opens others like any."""
    clap, x = Clap(violin, tmp_path, "Violin"), audio(2, 12000)
    played = clap.run("activate 48000 512", "play 12000", x=x)
    assert (played.report["id"], played.report["name"]) == ("ravel.violin", "Violin")
    close(played.sound[:, played.latency :], engine(make_model("low", capacity=6), x, 48000)[0])
    other = make_model("low")
    played = clap.run(f"load {clap.project(other)}", "activate 48000 512", "play 12000", x=x)
    close(played.sound[:, played.latency :], engine(other, x, 48000)[0])


def test_plugins_of_two_names_play_side_by_side(vst3: Vst3, violin: Bundles, make_model: MakeModel) -> None:
    """In one process, in turns: each its own model."""
    model, x = make_model("low"), audio(2, 8000)
    project, given = vst3.preset({"it": state({"model": str(model)})})["it"], vst3.array(x)
    to = {name: vst3.path() for name in ("general", "named")}
    job = [["open", "general", str(vst3.bundles("vst3"))], ["open", "named", str(violin("vst3", "Violin"))]]
    job += [["recall", "general", project]]
    job += [["play", name, given, 48000, [[1000, BLOCK]], to[name]] for name in (*to, *to)]
    about = vst3.run(job)
    assert about[0]["identifier"] != about[1]["identifier"]
    close(np.load(to["general"]), engine(model, x, 48000)[0])
    close(np.load(to["named"]), engine(make_model("low", capacity=6), x, 48000)[0])


# ---- parameters


def test_parameters_have_the_same_names_everywhere(clap: Clap, vst3: Vst3) -> None:
    """One list: CLAP by symbol and range, VST3 by name; and every one can be moved and read back."""
    script = ["activate 48000 512", "play 512", "values"]
    about = clap.run(*script).report["parameters"]
    assert len(about) == 18 + 4 * 16 + 8 + 2
    assert len({one["symbol"] for one in about}) == len({one["name"] for one in about}) == len(about)
    assert [one["id"] for one in about] == list(range(len(about)))
    assert [one["name"] for one in about if one["bypass"]] == ["Bypass"]
    for one in about:
        assert one["minimum"] <= one["default"] <= one["maximum"], one
        assert one["automatable"]
    own = [one for one in about if one["symbol"] != "model"]  # that one follows the folder
    for share in (0.0, 0.3, 1.0):
        wanted = {one["symbol"]: one["minimum"] + share * (one["maximum"] - one["minimum"]) for one in own}
        moves = [f"set {symbol} {value:.9g}" for symbol, value in wanted.items()]
        values = clap.run("activate 48000 512", *moves, "play 512", "values").values()
        for one in own:
            value = round(wanted[one["symbol"]]) if one["stepped"] else wanted[one["symbol"]]
            assert values[one["symbol"]][0] == pytest.approx(value, abs=1e-4), one
    path = str(vst3.bundles("vst3"))
    x = vst3.array(np.zeros((2, 1024), np.float32))
    settle = ["play", "it", x, 48000, [[1024, 512]], vst3.path()]
    job = [["open", "it", path], settle, *(["set", "it", one["name"], 1.0] for one in own), settle, ["values", "it"]]
    values = vst3.run(job)[-1]
    assert list(values) == [one["name"] for one in about]
    assert all(values[one["name"]][0] == pytest.approx(1) for one in own)


def test_parameters_are_heard(clap: Clap, make_model: MakeModel) -> None:
    """Those that the player has act as they do there."""
    path, x = make_model("low"), audio(2, 30000)
    wanted = {
        ("output_gain", -6.0): {"output_gain": -6.0},
        ("input_gain", -12.0): {"input_gain": -12.0},
        ("width", 0.0): {"width": 0.0},
        ("noise", 0.0): {"noise": 0.0},
        ("dry_wet", 50.0): {"drywet": 0.5},
    }
    for (symbol, value), controls in wanted.items():
        project = clap.project(path, {symbol: value})
        played = clap.run(f"load {project}", "activate 44100 512", "play 30000", x=x)
        reference, late = engine(path, x, 44100, BLOCK, **controls)
        start = 20000  # ramps are over, and forgotten
        close(played.sound[:, late + start :], reference[:, start:], 1e-5, 1e-4)


def test_labels_are_blended(clap: Clap, vst3: Vst3, make_model: MakeModel) -> None:
    """Their weights are the player's, in a project too; the text says how much, in CLAP and VST3."""
    path, x = make_model("low", labels=("cello", "flute", "voice")), audio(2, 30000)
    weights, start = (25.0, 0.0, 75.0), 20000  # ramps are over, and forgotten
    values = {f"label{i}": weight for i, weight in enumerate(weights, 1)}
    project, _ = saved(clap, f"load {clap.project(path, values)}", "activate 44100 512", "play 512")
    played = clap.run(f"load {project}", "activate 44100 512", "play 30000", "values", x=x)
    wanted, late = engine(path, x, 44100, BLOCK, tuple(weight / 100 for weight in weights))
    close(played.sound[:, late + start :], wanted[:, start:], 1e-5)
    alone, _ = engine(path, x, 44100, BLOCK)
    assert np.abs(alone[:, start:] - wanted[:, start:]).max() > 0.01 * np.abs(wanted).max(), "labels are not heard"
    assert [played.values()[symbol] for symbol in ("label1", "label3")] == [(25, "25 %"), (75, "75 %")]
    told = vst3.run([["open", "it", str(vst3.bundles("vst3"))], ["set", "it", "Label 2", 0.5], ["values", "it"]])[-1]
    assert told["Label 2"][0] == pytest.approx(0.5)


def test_a_prior_plays_by_itself(clap: Clap, make_model: MakeModel) -> None:
    """As the player has it, in a project too; the instrument needs no note for it, the effect no input."""
    path, x = make_model("low", prior=True), audio(2, 20000)
    values = {"prior": 100.0, "prior_temperature": 0.5}
    project, before = saved(clap, f"load {clap.project(path, values)}", "activate 44100 512", "play 512")
    assert [before.values()[symbol] for symbol in values] == [(100, "100 %"), (0.5, "0.50")]
    script = [f"load {project}", "activate 44100 512", "play 20000"]
    heard = [clap.run(*script, x=given).sound for given in (x, audio(2, 20000, 1))]
    np.testing.assert_array_equal(*heard)
    wanted, late = engine(path, x, 44100, BLOCK, prior=1, prior_temperature=0.5)
    close(heard[0][:, late:], wanted)
    clap.name = "Ravel Instrument"
    assert np.abs(clap.run(*script).sound[:, 10000:]).max() > 1e-3
    assert not clap.run(f"load {clap.project(path)}", *script[1:]).sound.any()


def test_a_jump_of_a_parameter_does_not_click(clap: Clap, make_model: MakeModel) -> None:
    x = np.full((2, 44100), 0.25, np.float32)
    project = clap.project(make_model("low"), {"dry_wet": 0.0})
    moves = [f"@{4410 * i} set output_gain {-60 if i % 2 else 0}" for i in range(2, 9)]
    moves += ["@40000 set dpf_bypass 1", "@42000 set dpf_bypass 0"]
    played = clap.run(f"load {project}", "activate 44100 512", *moves, "play 44100", x=x)
    assert np.abs(np.diff(played.sound[0, 4410:])).max() < 0.25 / 100  # a ramp of 20 ms has 882 steps
    assert np.ptp(played.sound[0, 4410:]) > 0.2


# ---- state


def saved(clap: Clap, *script: str) -> tuple[Path, Played]:
    path = clap.folder / f"saved{clap.runs}"
    return path, clap.run(*script, f"save {path}", "values")


def test_a_project_comes_back_whole(clap: Clap, make_model: MakeModel) -> None:
    """Into a plugin that was just made: model, parameters, snapshots; and it plays on like the one that was saved."""
    model, x = make_model("low"), audio(2, 12000)
    moves = ["set latent2_bias 1.25", "set output_gain -3", "set width 150", "set mode 2", "set latent3_override_on 1"]
    project, before = saved(clap, f"load {clap.project(model)}", "activate 48000 256", *moves, "play 4000")
    assert values_of(project.read_bytes())["model"] == str(model)
    after = clap.run(f"load {project}", "activate 48000 256", "values", "play 12000", x=x)
    assert after.values() == before.values()
    again = clap.run(f"load {project}", "activate 48000 256", "play 12000", x=x)
    np.testing.assert_array_equal(after.sound, again.sound)
    assert np.abs(after.sound).max() > 1e-3
    second = clap.folder / "second"
    clap.run(f"load {project}", "activate 48000 256", f"save {second}")
    assert values_of(second.read_bytes())["model"] == str(model)


def test_vst3_state_comes_back(vst3: Vst3, make_model: MakeModel) -> None:
    """As the host's own blob and as a standard preset, into another instance."""
    model, x = make_model("low"), audio(2, 8000)
    named = {"model": str(model)}
    projects = vst3.preset({"first": state(named), "direct": state(named, {"latent1_bias": 0.75})})
    path, given = str(vst3.bundles("vst3")), vst3.array(x)
    raw, preset = vst3.path(".raw"), vst3.path(".vstpreset")
    to = {name: vst3.path() for name in ("first", "direct", "raw", "preset")}

    def play(name: str) -> list[object]:
        return ["play", name, given, 48000, [[1000, BLOCK]], to[name]]

    job: list[list[object]] = [["open", name, path] for name in to]
    job += [["recall", name, projects[name]] for name in projects]
    job += [play("first"), ["set", "first", "Latent 1 bias", (0.75 + 4) / 8], play("first")]
    job += [["raw", "first", raw], ["state", "first", preset], ["recall_raw", "raw", raw], ["recall", "preset", preset]]
    job += [play("direct"), play("raw"), play("preset"), *(["values", name] for name in to)]
    values = vst3.run(job)[-4:]
    assert all(one == values[0] for one in values)
    for name in ("raw", "preset"):
        close(np.load(to[name]), np.load(to["direct"]))
    assert values_of(component(Path(preset).read_bytes()))["model"] == str(model)


def test_a_model_that_moved_is_found_again(clap: Clap, make_model: MakeModel) -> None:
    """By its content under another name, in a folder of models."""
    here, there = clap.folder / "here", clap.folder / "there"
    here.mkdir(), there.mkdir()
    model = Path(shutil.copy(make_model("low"), here / "violin.ravel"))
    project, _ = saved(clap, f"load {clap.project(model)}", "activate 48000 512", "play 512")
    model.rename(there / "renamed.ravel")
    shutil.copy(make_model("low", capacity=6), there / "violin.ravel")  # the old name, another content
    x = audio(2, 12000)
    played = clap.run(
        f"load {project}", "activate 48000 512", "play 12000", x=x, environment={"RAVEL_MODELS": str(there)}
    )
    close(played.sound[:, played.latency :], engine(there / "renamed.ravel", x, 48000)[0])


def test_a_missing_model_passes_the_sound_as_late_as_it_was(clap: Clap, make_model: MakeModel) -> None:
    model = Path(shutil.copy(make_model("low"), clap.folder / "gone.ravel"))
    project, before = saved(clap, f"load {clap.project(model)}", "activate 48000 512", "play 512")
    model.unlink()
    x = audio(2, 12000)
    played = clap.run(f"load {project}", "activate 48000 512", "play 12000", f"save {project}2", x=x)
    assert played.latency == before.latency > 0
    close(played.sound[:, played.latency + 2400 :], x[:, 2400:])
    assert values_of(Path(f"{project}2").read_bytes())["model"] == str(model), "what is missing is not forgotten"


def test_a_broken_model_or_project_changes_nothing(clap: Clap, make_model: MakeModel) -> None:
    good, x = make_model("low"), audio(2, 12000)
    content = good.read_bytes()
    files = {"empty": b"", "short": content[: len(content) // 2], "noise": np.random.default_rng(0).bytes(5000)}
    script = [f"load {clap.project(good)}", "activate 48000 512"]
    for name, data in files.items():
        path = clap.folder / f"{name}.ravel"
        path.write_bytes(data)
        script.append(f"load {clap.project(path)}")
    for project in ("{", "[]", '{"model": 3}', "x" * 100000, '{"model":{"path":"/none","embedded":"????"}}'):
        script.append(f"load {clap.project('', project=project)}")
    for name, data in (("nothing", b""), ("words", b"a\0b\0c"), ("binary", np.random.default_rng(1).bytes(999))):
        path = clap.folder / name
        path.write_bytes(data)
        script.append(f"load {path}")
    played = clap.run(*script, "play 12000", x=x)
    wanted, late = engine(good, x, 48000)
    close(played.sound[:, late + 2400 :], wanted[:, 2400:])
    first = clap.run(f"load {clap.project(clap.folder / 'short.ravel')}", "activate 48000 512", "play 12000", x=x)
    close(first.sound[:, first.latency + 2400 :], x[:, 2400:])


# ---- changes while it plays


def test_models_are_exchanged_without_a_click(clap: Clap, make_model: MakeModel) -> None:
    """By state while the sound goes on: no step is larger than those of either model."""
    one, two, x = make_model("low"), make_model("low", capacity=6), audio(2, 60000)
    first, second = clap.project(one, {"noise": 0}), clap.project(two, {"noise": 0})
    script = [f"load {first}", "activate 44100 256", "play 20000"]
    script += [f"load {second}", f"wait {SWAP_MS}", "play 20000", f"load {first}", f"wait {SWAP_MS}", "play 20000"]
    played = clap.run(*script, x=x)
    sounds = [engine(path, x, 44100, noise=0)[0] for path in (one, two)]
    steps = max(np.abs(np.diff(sound)).max() for sound in sounds)
    assert np.abs(np.diff(played.sound)).max() < 1.5 * steps
    at = slice(30000, 39000)
    late = played.latency
    assert (
        np.abs(played.sound[:, at] - sounds[0][:, at.start - late : at.stop - late]).max()
        > 0.1 * np.abs(sounds[0]).max()
    )
    assert played.report["finite"]


def test_a_later_model_is_told_to_the_host(clap: Clap, make_model: MakeModel) -> None:
    """The latency changes while it plays, CLAP is asked to restart, and after it everything is exact."""
    one, two, x = make_model("low"), make_model("v2-small"), audio(2, 40000)
    script = [f"load {clap.project(one)}", "activate 44100 256", "play 8000", f"load {clap.project(two)}"]
    played = clap.run(*script, f"wait {SWAP_MS}", "play 8000", "activate 44100 256", "play 24000", x=x)
    before, after = (one["latency"] for one in played.report["activations"])
    assert before < after == engine(two, x, 44100, 256)[1]
    assert played.report["restarts"] >= 1
    close(played.sound[:, 16000 + after :], engine(two, x[:, 16000:], 44100)[0])
    assert np.abs(np.diff(played.sound[:, :16000])).max() < 1


# ---- the instrument


def test_the_instrument_sounds_while_a_note_does(clap: Clap, make_model: MakeModel) -> None:
    """And is silent otherwise; whatever the block, a note begins at its frame."""
    clap.name = "Ravel Instrument"
    project = clap.project(make_model("low"), {"release": 50})
    about = clap.run(f"load {project}", "activate 44100 512", "play 512").report
    assert (about["inputs"], about["outputs"], about["note_inputs"]) == ([], [2], 1)
    assert "instrument" in about["features"]
    script = [f"load {project}", "activate 44100 512"]
    notes = ["@8001 note 60 0.8", "@24000 note 60 0", "play 66150"]
    heard = {blocks: clap.run(*script, f"blocks {blocks}", *notes).sound for blocks in ("512", "64", "1 512")}
    sound = heard["512"]
    assert not sound[:, :8001].any()
    assert np.abs(sound[:, 12000:24000]).max() > 1e-3
    assert np.abs(sound[:, 60000:]).max() < 1e-4 * np.abs(sound).max()
    for other in heard.values():
        assert np.argmax(other[0] != 0) == np.argmax(sound[0] != 0)


def test_the_instrument_is_an_instrument_in_vst3(vst3: Vst3, make_model: MakeModel) -> None:
    project = vst3.preset({"it": state({"model": str(make_model("low"))})}, "Ravel Instrument")["it"]
    path, to = str(vst3.bundles("vst3", "Ravel Instrument")), vst3.path()
    notes = [[[0x90, 60, 100], 0.2], [[0x80, 60, 0], 0.8]]
    about, _, _ = vst3.run([["open", "it", path], ["recall", "it", project], ["notes", "it", notes, 2, 44100, 512, to]])
    assert about["instrument"]
    sound = np.load(to)  # pedalboard plays a note of its own before
    assert not sound[:, 8200:8800].any()
    assert np.abs(sound[:, 15000:30000]).max() > 1e-3


# ---- what it costs


def test_process_neither_allocates_nor_locks(clap: Clap, make_model: MakeModel) -> None:
    """While parameters, notes, states and models come and go; and the watcher sees what is put in."""
    one = make_model("low", labels=("cello", "flute"), prior=True)
    two, x = make_model("low", capacity=6), audio(2, 48000)
    first, second = clap.project(one), clap.project(two)
    moves = [f"@{97 * i} set {symbol} {i % 3}" for i, symbol in enumerate(symbols(clap))]
    moves += [f"@{500 * i} note {40 + i} {i % 2}" for i in range(40)]
    moves += [f"@{311 * i} midi {status} {i} {3 * i}" for i, status in enumerate((176, 224, 208, 144, 128, 248) * 5)]
    for name in ("Ravel", "Ravel Instrument"):
        script = [f"load {first}", "activate 48000 512", "blocks 1 512", *moves, "play 20000"]
        script += [f"load {second}", "play 2000", "wait 100", "play 10000", f"save {clap.folder / 's'}", "play 5000"]
        script += [
            "set mode 2",
            "play 2000",
            "wait 200",
            "play 9000",
            f"load {clap.project('/none.ravel')}",
            "play 4000",
        ]
        played = clap.run(*script, x=x, name=name)
        harmless(played)
    proof = clap.run(f"load {first}", "activate 48000 512", "play 5120", prove=True)
    assert (proof.report["first_call"], proof.report["calls_a_block"]) == ("malloc", 2), "the watcher sees nothing"


def harmless(played: Played) -> None:
    """Finite, and not one call of the C library that takes memory, a lock or a file, sleeps or prints."""
    report = played.report
    assert (report["calls"], report["first_call"]) == (0, "none")
    assert report["finite"]


def symbols(clap: Clap) -> list[str]:
    return [one["symbol"] for one in clap.run("activate 48000 512").report["parameters"]]


def test_threads_at_once(clap: Clap, make_model: MakeModel) -> None:
    """States on the main thread, parameters on another, audio on a third: finite, and over."""
    for name in ("Ravel", "Ravel Instrument"):
        script = [f"load {clap.project(make_model('low'))}", "activate 48000 256", "blocks 1 256", "threads 1"]
        played = clap.run(*script, name=name)
        assert played.report["finite"]
        assert played.report["states"] > 8
        assert played.report["blocks"] > 100


def storm(clap: Clap, models: list[Path], seconds: float, seed: int) -> None:
    """Sound under random parameters, blocks, rates, bypass, states and swaps is finite, bounded, allocation-free."""
    random = np.random.default_rng(seed)
    names = [name for name in symbols(clap) if not name.endswith("gain")]
    about = {one["symbol"]: one for one in clap.run("activate 48000 512").report["parameters"]}
    script = [f"seed {seed}", f"load {clap.project(models[0])}"]
    left, saves = seconds, [clap.project(model) for model in models]
    while left > 0:
        rate = float(random.choice([22050, 44100, 48000, 96000, 192000]))
        most = int(2 ** random.integers(5, 13))
        script += [f"activate {rate} {most}", f"blocks 1 {most}" if random.random() < 0.7 else f"blocks {most}"]
        for _ in range(int(random.integers(1, 6))):
            length = float(random.uniform(0.05, 0.6))
            frames = int(length * rate)
            for _ in range(int(random.integers(0, 8))):
                one = about[str(random.choice(names))]
                value = random.uniform(one["minimum"], one["maximum"])
                script.append(f"@{random.integers(frames)} set {one['symbol']} {value:.6g}")
            for _ in range(int(random.integers(0, 4))):
                script.append(f"@{random.integers(frames)} note {random.integers(128)} {random.choice([0, 0.5, 1])}")
                script.append(f"@{random.integers(frames)} midi 176 {random.integers(128)} {random.integers(128)}")
            script.append(f"play {frames}")
            left -= length
            what = random.random()
            if what < 0.15:
                saves.append(clap.folder / f"state{len(saves)}")
                script.append(f"save {saves[-1]}")
            elif what < 0.5:
                script.append(f"load {saves[int(random.integers(len(saves)))]}")
            script += ["wait 30"] * (what > 0.9)
    x = 0.25 * np.sin(np.arange(int(192000 * min(seconds, 20))) / 50).astype(np.float32)
    played = clap.run(*script, x=np.stack([x, -x]), timeout=60 + 20 * seconds)
    harmless(played)
    assert 1e-3 < np.abs(played.sound).max() < 50


@pytest.mark.parametrize("name", ["Ravel", "Ravel Instrument"])
def test_a_storm_is_survived(clap: Clap, make_model: MakeModel, name: str) -> None:
    clap.name = name
    several = make_model("low", labels=("cello", "flute"), prior=True)
    storm(clap, [make_model("low"), make_model("low", capacity=6), several, make_model("v2-small")], 8, 0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 31))
def test_ten_minutes_of_storm_are_survived(clap: Clap, make_model: MakeModel, seed: int) -> None:
    clap.name = "Ravel Instrument" if seed % 3 == 0 else "Ravel"
    several = make_model("low", labels=("cello", "flute"), prior=True)
    storm(clap, [make_model("low"), several, make_model("v2-small", channels=2)], 20, seed)


# ---- other formats and hosts


def test_lv2_plays_what_the_engine_plays(bundles: Bundles, make_model: MakeModel, tmp_path: Path) -> None:
    path, x = make_model("low"), audio(2, 20000)
    heard, report = lv2(bundles("lv2") / "ravel.so", path, x, tmp_path)
    wanted, late = engine(path, x, 44100, BLOCK)
    assert report["lv2_latency"] == late
    close(heard[:, late:], wanted)


def lv2(library: Path, model: Path, x: np.ndarray, folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    """What a plugin without a host but this process makes of x."""
    np.save(folder / "in.npy", x)
    words = [sys.executable, str(LV2_HOST), str(library), str(folder / "in.npy"), str(folder / "out.npy"), "44100"]
    done = subprocess.run(
        [*words, str(BLOCK)], env={**os.environ, "RAVEL_MODEL": str(model)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, ended(done)
    return np.load(folder / "out.npy"), json.loads(done.stdout)


def test_hosts_read_the_lv2_bundles(bundles: Bundles) -> None:
    lv2info = needed("lv2info", "apt-get install lilv-utils")
    environment = {**os.environ, "LV2_PATH": str(bundles.folder / "lv2")}
    uris = subprocess.run(["lv2ls"], env=environment, capture_output=True, text=True).stdout.split()
    assert sorted(uris) == ["urn:ravel:ravel", "urn:ravel:ravel-instrument"]
    for uri in uris:
        told = subprocess.run([lv2info, uri], env=environment, capture_output=True, text=True)
        assert told.returncode == 0
        assert "error" not in (told.stdout + told.stderr).lower()
        assert told.stdout.count("input_gain") == 1


def test_lv2_data_says_what_the_standard_allows(bundles: Bundles) -> None:
    sord_validate = needed("sord_validate", "apt-get install sordi")
    schemas = [*Path("/usr/lib/lv2").rglob("*.ttl"), *Path("/usr/share/lv2").rglob("*.ttl")]
    if not schemas:
        pytest.skip("LV2's own data is not installed: lv2-dev")
    own = sorted((bundles.folder / "lv2").rglob("*.ttl"))
    done = subprocess.run([sord_validate, *map(str, [*schemas, *own])], capture_output=True, text=True)
    # DPF adds two words of another vendor, which the standard's data cannot know
    errors = [line for line in done.stderr.splitlines() if line.startswith("error") and "moddevices" not in line]
    assert set(errors) <= {"error: Use of undefined property"}
    properties = set(re.findall(r"https?://[^>\s]+", done.stderr))
    assert properties <= {"http://moddevices.com/ns/mod#brand", "http://moddevices.com/ns/mod#label"}


def test_automation_is_rendered_as_if_it_was_played(
    bundles: Bundles, clap: Clap, make_model: MakeModel, tmp_path: Path
) -> None:
    """dawdreamer draws a curve into VST3; moved by hand in CLAP, block by block, it sounds the same."""
    if importlib.util.find_spec("dawdreamer") is None:
        pytest.skip("dawdreamer is not installed: pip install dawdreamer")
    path, x, block = make_model("low"), audio(2, 24576), 256
    curve = np.sin(np.arange(x.shape[1] // block) / 9).astype(np.float32)  # of latent 1's bias, by block
    np.save(tmp_path / "in.npy", x)
    np.save(tmp_path / "curve.npy", np.repeat((curve + 4) / 8, block))
    words = [sys.executable, "-c", DAWDREAMER, str(bundles("vst3")), str(tmp_path), str(block), "Latent 1 bias"]
    done = subprocess.run(
        words, env={**os.environ, "RAVEL_MODEL": str(path)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, ended(done)
    heard, late = np.load(tmp_path / "out.npy"), int(done.stdout.split()[-1])
    moves = [f"@{block * i} set latent1_bias {value:.7g}" for i, value in enumerate(curve)]
    script = [f"load {clap.project(path)}", f"activate 44100 {block}", *moves, "play 24576"]
    played = clap.run(*script, x=x)
    assert late == played.latency
    close(heard[:, :24576], played.sound, 1e-4)
    still = clap.run(script[0], script[1], "play 24576", x=x)
    assert np.abs(still.sound - played.sound).max() > 0.01 * np.abs(still.sound).max()


DAWDREAMER = """
import sys
import dawdreamer, numpy as np
plugin, folder, block, name = sys.argv[1:]
x = np.load(folder + "/in.npy")
engine = dawdreamer.RenderEngine(44100, int(block))
track = engine.make_playback_processor("track", x)
ravel = engine.make_plugin_processor("ravel", plugin)
index = [one["name"] for one in ravel.get_parameters_description()].index(name)
ravel.set_automation(index, np.load(folder + "/curve.npy"))
engine.load_graph([(track, []), (ravel, ["track"])])
engine.render(x.shape[1] / 44100)
np.save(folder + "/out.npy", engine.get_audio())
print(ravel.get_latency_samples())
"""


def test_bundles_are_small_and_need_no_runtime(bundles: Bundles) -> None:
    for form in ("vst3", "clap", "lv2"):
        for path in (bundles.folder / form).iterdir():
            assert build.size(path) < 4e6, path
    binary = next((bundles.folder / "vst3" / "Ravel.vst3").rglob("*.so"))
    needs = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    assert "libstdc++" not in needs


def test_a_host_scans_it(bundles: Bundles) -> None:
    """qtractor's scanner, where it is installed (Debian's knows CLAP, not VST3)."""
    scan = shutil.which("qtractor_plugin_scan") or shutil.which(
        "qtractor_plugin_scan", path="/usr/lib/qtractor:/usr/libexec/qtractor:/usr/lib/x86_64-linux-gnu/qtractor"
    )
    if scan is None:
        pytest.skip("qtractor_plugin_scan is not installed: apt-get install qtractor")
    given = f"CLAP:{bundles('clap')}\n"
    done = subprocess.run([scan], input=given, capture_output=True, text=True, timeout=60)
    kind, name, channels = done.stdout.split("|")[:3]
    assert (kind, name, channels) == ("CLAP", "Ravel", "2:2"), done.stderr
