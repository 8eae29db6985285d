"""Laws: a model that only delays is at no distance; a report appears whole or not at all; a listening test is blind."""

from __future__ import annotations

import base64
import inspect
import io
import json
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

pytest.importorskip("librosa")
pytest.importorskip("pyloudnorm")

from python import evaluate, render
from python.audio import write_wav
from python.cli import FAILED, INTERRUPTED, run_verb
from python.errors import RavelError
from python.evaluation import comparison, extras, listening, matching, material, systems
from python.evaluation.clips import Clip, from_files
from python.evaluation.tracks import loudness_lufs, pitch

MakeTs = Callable[..., Path]
Sound = NDArray[np.float32]
RATE = 44100


def melody(seconds: float = 1.2, hz: float = 220.0, seed: int = 0) -> Sound:
    """Notes of falling loudness, a little noise: pitch, onsets and dynamics to be measured."""
    time = np.arange(round(seconds * RATE)) / RATE
    note = (time / 0.4).astype(int)
    phase = 2 * np.pi * np.cumsum(hz * 2 ** (note * 4 / 12)) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 8)) * np.exp(-4 * (time % 0.4)) * 0.2
    hiss = 1e-3 * np.random.default_rng(seed).standard_normal(len(time))
    return (tone + hiss)[None].astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_wav(tmp_path / "sounds" / "first.wav", melody(), RATE)
    write_wav(tmp_path / "sounds" / "second.wav", melody(hz=330, seed=1), RATE)
    return tmp_path / "sounds"


def run(*words: object) -> int:
    return run_verb("evaluate", evaluate.main, [str(word) for word in words] + ["--quiet"])


def report(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "report.json").read_text()))


class Links(HTMLParser):
    """What a page needs from elsewhere, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_pure_delay_is_at_no_distance_and_its_report_is_whole(
    make_ts: MakeTs, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = make_ts(delay=21), tmp_path / "out"
    assert run(model, "--on", folder, "--out", out, "--card", "--examples", 1) == 0
    (system,) = report(out)["systems"]
    for name in ("distance", "log_mel_db", "log_spectral_db", "f0_cents", "loudness_lu", "level_dba", "onset_ms"):
        assert system["figures"][name]["value"] == 0, name
    assert system["figures"]["voicing"]["value"] == 100
    assert system["latency"]["off_by_ms"] == pytest.approx(0, abs=0.02)
    assert system["usage"]["latents"] == 16
    page = Links((out / "index.html").read_text())
    assert page.open == []
    assert len(page.links) == 3  # the input, the model, their picture
    assert all((out / link).stat().st_size > 1000 for link in page.links)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert "2 files: too few for an interval" in (out / "index.html").read_text()
    card = model.with_suffix(".md").read_text()
    assert "log-mel distance" in card
    assert "too few for an interval" in card
    assert card == (out / "cards" / "violin.md").read_text()
    assert not list(tmp_path.glob("*.partial"))
    assert "log-mel distance 0" in capsys.readouterr().out


def test_a_card_that_lies_about_its_latency_is_caught(make_ts: MakeTs, folder: Path, tmp_path: Path) -> None:
    """The proof that the law above can fail."""
    late = {"in_channels": 1, "in_ratio": 1, "out_channels": 1, "out_ratio": 1, "delay_samples": 0}
    honest = make_ts(delay=441)
    methods = {**json.loads(read_card(honest))["methods"], "forward": late}
    model = make_ts(delay=441, methods=methods, name="liar.ts")
    out = tmp_path / "out"
    assert run(model, "--on", folder, "--out", out, "--examples", 0) == 0
    (system,) = report(out)["systems"]
    assert system["latency"]["off_by_ms"] == pytest.approx(10, abs=0.3)
    assert system["figures"]["onset_late_ms"]["value"] == pytest.approx(10, abs=3)
    assert system["figures"]["log_mel_db"]["value"] > 1


def read_card(path: Path) -> str:
    from python.card import _in_script

    return _in_script(path).decode()


def test_an_interrupted_report_goes_on_and_never_looks_whole(
    make_ts: MakeTs, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = make_ts(), tmp_path / "out"
    words = (model, "--on", folder, "--out", out, "--examples", 2)
    compared: list[str] = []
    compare = comparison.compare

    def stopped_at_the_second(*sounds: Any) -> Any:
        compared.append("one")
        if len(compared) == 2:
            raise KeyboardInterrupt
        return compare(*sounds)

    monkeypatch.setattr(comparison, "compare", stopped_at_the_second)
    assert run(*words) == INTERRUPTED
    assert not out.exists()
    partial = tmp_path / "out.partial"
    assert not (partial / "report.json").exists()
    assert not (partial / "index.html").exists()
    assert run(*words) == 0
    assert len(compared) == 3  # the first file was not compared again
    assert "resumed" in capsys.readouterr().err
    resumed = report(out)
    assert run(*words) == FAILED  # it is there
    assert run(*words, "--force") == 0
    again = report(out)
    for found in (resumed, again):
        found["about"].pop("made")
        found["systems"][0]["facts"].pop("x_real_time")
    assert resumed == again


def test_work_on_another_model_is_not_taken_up(make_ts: MakeTs, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    partial = tmp_path / "out.partial" / "cache"
    partial.mkdir(parents=True)
    (partial / "key.json").write_text("{}")
    (partial / "stale.json").write_text("{}")
    assert run(make_ts(), "--on", folder / "first.wav", "--out", out, "--examples", 0) == 0
    assert sorted(path.name for path in out.iterdir()) == ["cards", "index.html", "report.json"]


def test_models_stand_side_by_side_with_a_baseline(make_ts: MakeTs, folder: Path, tmp_path: Path) -> None:
    models = [make_ts(name="good.ts", hop=256), make_ts(name="late.ts", hop=256, delay=300)]
    out = tmp_path / "out"
    words = ["--on", folder / "first.wav", "--out", out, "--examples", 1, "--like", folder]
    assert run(*models, *words, "--baselines", "pca:2,pca:64") == 0
    found = {system["name"]: system for system in report(out)["systems"]}
    assert list(found) == ["good", "late", "pca:2", "pca:64"]
    near, far = (found[name]["figures"]["log_mel_db"]["value"] for name in ("pca:64", "pca:2"))
    assert 0 < near < far
    assert found["pca:2"]["facts"]["latents"] == 2
    assert (out / "pictures" / "bars.png").is_file()


def test_transfer_asks_what_is_kept_and_not_how_alike_it_is(make_ts: MakeTs, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = make_ts()
    assert run(model, "--on", folder / "first.wav", "--out", out, "--transfer", "--examples", 0) == 0
    page = (out / "index.html").read_text()
    assert "loudness contour" in page
    assert "log-mel" not in page
    assert report(out)["systems"][0]["figures"]["contour"]["value"] == pytest.approx(1)


def test_transfer_is_measured_against_the_matched_input(make_ts: MakeTs, folder: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_ts(training={"material": about(loudness=-30.0, hz=(430.0, 500.0, 900.0))})
    words = (model, "--on", folder / "first.wav", "--out", out, "--transfer", "--examples", 1)
    assert run(*words, "--match-level", "--transpose", "auto") == 0
    found = report(out)
    assert "+12 semitones" in found["clips"][0]["matched"]
    assert found["systems"][0]["figures"]["f0_cents"]["value"] == pytest.approx(0, abs=0.1)
    heard, rate = soundfile.read(out / "audio" / "0-input.flac", dtype="float32", always_2d=True)
    assert loudness_lufs(heard.T, rate) == pytest.approx(-30, abs=0.1)
    assert np.nanmedian(pitch(heard.T, rate).hz) > 430
    assert "+12 semitones" in (out / "index.html").read_text()


class Chosen(torch.nn.Module):
    """As loud as the weights of its labels, of which each counts twice as much as the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.zeros(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (self.gain[0] + 2 * self.gain[1])

    @torch.jit.export
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], 16, -1)

    @torch.jit.export
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.forward(z.reshape(z.shape[0], 1, -1))

    @torch.jit.export
    def reset(self) -> None:
        pass

    @torch.jit.export
    def set_label_weight(self, label: str, weight: float) -> int:
        self.gain[0 if label == "flute" else 1] = weight
        return 0


@pytest.fixture
def duo(make_ts: MakeTs, tmp_path: Path) -> Path:
    card = json.loads(read_card(make_ts(delay=0, name="plain.ts")))
    path = tmp_path / "duo.ts"
    files = {"ravel.json": json.dumps(card | {"name": "duo", "labels": ["flute", "reed"]})}
    torch.jit.save(torch.jit.script(Chosen()), str(path), _extra_files=files)
    return path


def test_a_model_with_labels_plays_as_the_one_that_is_meant(duo: Path) -> None:
    model = systems.Model(duo, "duo")
    clips = {label: Clip("one", melody(0.1), RATE, label) for label in ("flute", "reed", "", "tuba")}

    def loudness() -> dict[str, float]:
        return {label: float(np.abs(model.play(clip) / clip.sound).mean()) for label, clip in clips.items()}

    assert loudness() == pytest.approx({"flute": 1, "reed": 2, "": 1, "tuba": 1}, rel=1e-4)
    before, model.label = model.identity(), "flute:0.5,reed:0.25"
    assert loudness() == pytest.approx(dict.fromkeys(clips, 1.0), rel=1e-4)
    assert model.identity() != before


def test_transfer_with_labels_asks_which(duo: Path, make_ts: MakeTs, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--on", folder / "first.wav", "--out", out, "--transfer", "--examples", 0)
    assert run(make_ts(delay=0), duo, *words, "--label", "reed") == 0
    plain, labelled = report(out)["systems"]
    assert (plain["facts"]["plays_as"], labelled["facts"]["plays_as"]) == (None, "reed")
    assert labelled["clips"][0]["loudness_lu"] == pytest.approx(6.02, abs=0.05)
    assert "plays as" in (out / "index.html").read_text()


def test_other_rates_channels_and_lengths_are_measured(make_ts: MakeTs, tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "stereo.wav", np.repeat(melody(0.5), 2, axis=0), 48000)
    write_wav(tmp_path / "in" / "short.wav", melody(0.08), 22050)
    write_wav(tmp_path / "in" / "silent.wav", np.zeros((1, 9000), np.float32), RATE)
    out = tmp_path / "out"
    assert run(make_ts(sample_rate_hz=48000), "--on", tmp_path / "in", "--out", out, "--examples", 3) == 0
    assert len(report(out)["clips"]) == 3


BAD = {
    "no model": ([], "which model"),
    "no sound": (["{model}"], "give --on FILES, or the run"),
    "missing sound": (["{model}", "--on", "{tmp}/nothing.wav"], "there is no"),
    "empty folder": (["{model}", "--on", "{tmp}/empty"], "no sound file"),
    "no audio in it": (["{model}", "--on", "{tmp}/text.wav"], "not a readable sound file"),
    "too short": (["{model}", "--on", "{tmp}/click.wav"], "shorter than 50 ms"),
    "transfer of nothing": (["{model}", "--transfer"], "--transfer needs --on"),
    "a transfer as nobody": (["{duo}", "--on", "{tmp}/good.wav", "--transfer"], "labels flute, reed: say with --label"),
    "a label of another": (
        ["{duo}", "--on", "{tmp}/good.wav", "--label", "tuba"],
        "duo has flute, reed",
    ),
    "a label of none": (["{model}", "--on", "{tmp}/good.wav", "--label", "reed"], "violin has no labels"),
    "matching of held-out sound": (["{model}", "--on", "{tmp}/good.wav", "--match-level"], "are for --transfer"),
    "matching to what nobody knows": (
        ["{model}", "--on", "{tmp}/good.wav", "--transfer", "--match-level"],
        "--like RECORDINGS measures it",
    ),
    "a baseline without material": (["{model}", "--on", "{tmp}/good.wav", "--baselines", "pca"], "--like"),
    "an unknown baseline": (
        ["{model}", "--on", "{tmp}/good.wav", "--like", "{tmp}/good.wav", "--baselines", "vae"],
        "pca and pca:N",
    ),
    "too many components": (
        ["{model}", "--on", "{tmp}/good.wav", "--like", "{tmp}/good.wav", "--baselines", "pca:9999"],
        "ask for fewer",
    ),
    "the same model twice": (["{model}", "{model}", "--on", "{tmp}/good.wav"], "twice"),
    "a place that is no report": (["{model}", "--on", "{tmp}/good.wav", "--out", "{tmp}/mine"], "is not a report"),
    "results without a key": (["--listening-results", "{tmp}/text.wav"], "--key"),
}


@pytest.mark.parametrize(("words", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    make_ts: MakeTs, duo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], says: str
) -> None:
    model = make_ts()
    write_wav(tmp_path / "good.wav", melody(0.3), RATE)
    write_wav(tmp_path / "click.wav", melody(0.01), RATE)
    (tmp_path / "text.wav").write_text("not sound")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("mine")
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert run(*[word.format(model=model, duo=duo, tmp=tmp_path) for word in words], *out) == FAILED
    error = capsys.readouterr().err
    assert says in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine" / "diary.txt").read_text() == "mine"


def test_a_model_that_makes_nan_is_named(make_ts: MakeTs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tmp_path / "good.wav", melody(0.3), RATE)

    class Broken(systems.Model):
        def play(self, clip: Clip) -> Sound:
            return clip.sound * np.nan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.Opened, "play", Broken.play)
        assert run(make_ts(), "--on", tmp_path / "good.wav", "--out", tmp_path / "out") == FAILED
    assert "violin makes NaN" in capsys.readouterr().err


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras, "import_module", missing)
    extras.librosa.cache_clear()
    with pytest.raises(RavelError, match=re.escape("pip install '.[evaluate]'")):
        extras.check()


def test_what_librosa_compiles_is_compiled_by_one_process_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All that is called of it, the first time in a process, is called under a lock."""
    real, lock = import_module("librosa"), FileLock(tmp_path / "lock")
    called = []

    class Watched:
        def __init__(self, of: Any) -> None:
            self.of = of

        def __getattr__(self, name: str) -> Any:
            with pytest.raises(Timeout):
                lock.acquire(timeout=0)
            called.append(name)
            one = getattr(self.of, name)
            return Watched(one) if inspect.ismodule(one) else one

    monkeypatch.setattr(extras, "lock_path", lambda: Path(lock.lock_file))
    monkeypatch.setattr(extras, "import_module", lambda name: Watched(real))
    extras.librosa.cache_clear()
    extras.librosa()
    extras.librosa.cache_clear()
    assert {"pyin", "onset_detect", "pitch_shift", "griffinlim"} <= set(called)
    lock.acquire(timeout=0)
    lock.release()


def test_the_bit_rate_is_that_of_the_codes() -> None:
    assert systems.bit_rate_kbps({}) is None
    assert systems.codes({}) is None
    card = {"codes": {"kind": "rvq", "quantisers": 4, "codes": 1024, "bits_per_frame": 40, "bits_per_second": 861.3}}
    assert systems.bit_rate_kbps(card) == pytest.approx(0.8613)
    assert systems.codes(card) == 1024


def test_the_perplexity_of_codes_is_that_of_their_shares(make_ts: MakeTs) -> None:
    """The stand-in's latents are samples: here whole numbers, each of four codes as often as the others."""
    model = systems.Model(make_ts(hop=2, codes={"codes": 8, "bits_per_second": 0.0}), "coded")
    numbers = np.repeat(np.arange(4), 50)[np.random.default_rng(0).permutation(200)].astype(np.float32)
    used = comparison.usage(model, [Clip("numbers", np.repeat(numbers, 2)[None], RATE)])
    assert used == {"codes": 8, "perplexity": [pytest.approx(4), pytest.approx(4)]}


# -- listening test -----------------------------------------------------------------------------------------


class Plain:
    """A system without a model."""

    card = None

    def __init__(self, name: str, gain: float) -> None:
        self.name, self.gain = name, gain

    def identity(self) -> str:
        return self.name

    def play(self, clip: Clip) -> Sound:
        return self.gain * clip.sound

    def facts(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def test() -> listening.ListeningTest:
    clips = [Clip("one", melody(0.5), RATE), Clip("two", melody(0.5, 330), RATE)]
    return listening.make([Plain("loud-model", 1.0), Plain("soft-model", 0.5)], clips, seed=3, listeners=6)


def shown(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="test" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def decoded(text: str) -> Sound:
    sound: Sound = soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="float32", always_2d=True)[0].T
    return sound


def test_a_listener_gets_one_page_that_gives_nothing_away(test: listening.ListeningTest) -> None:
    page = Links(test.page)
    assert page.open == []
    assert page.links == []  # it needs nothing from elsewhere
    assert not re.search(r"https?://", test.page)
    assert not [name for name in ("loud-model", "soft-model", "anchor", listening.REFERENCE) if name in test.page]
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"listener", "begin", "reference", "stop", "next", "download", "answers"} <= ids
    asked = set(re.findall(r'\$\("(\w+)"\)', test.page))
    assert asked <= ids  # the script looks for nothing that is not there
    assert 'addEventListener("keydown"' in test.page


def test_every_listener_has_an_order_of_their_own(test: listening.ListeningTest) -> None:
    data = shown(test.page)
    assert len(data["orders"]) == 6
    for order in data["orders"]:
        assert sorted(item for item, _ in order) == [0, 1]
        for item, stimuli in order:
            assert sorted(stimuli) == sorted(data["items"][item]["stimuli"])
    assert len({json.dumps(order) for order in data["orders"]}) == 6
    assert listening.order(3, 1, data["items"]) == data["orders"][0]  # the seed says it all
    assert [listening.order(4, n, data["items"]) for n in range(1, 7)] != data["orders"]
    first = [order[0][1][0] for order in data["orders"]]
    assert len({test.key["stimuli"][stimulus]["condition"] for stimulus in first}) > 1


def test_the_hidden_reference_is_the_reference_and_gains_are_kept(test: listening.ListeningTest) -> None:
    data, meaning = shown(test.page), test.key["stimuli"]
    assert len(meaning) == 2 * 4
    for item in data["items"]:
        versions = {meaning[s]["condition"]: decoded(data["sounds"][s]) for s in item["stimuli"]}
        assert set(versions) == {listening.REFERENCE, listening.ANCHOR, "loud-model", "soft-model"}
        reference = decoded(item["reference"])
        assert np.array_equal(versions[listening.REFERENCE], reference)
        assert np.abs(versions["soft-model"] - 0.5 * reference).max() < 2**-14
        assert loudness_lufs(reference, RATE) == pytest.approx(listening.COMFORT_LUFS, abs=0.2)


def test_the_anchor_ends_at_three_and_a_half_kilohertz() -> None:
    sound = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32)
    size = (
        np.abs(np.fft.rfft(listening.low_pass(sound, RATE)[0]))[: RATE // 2]
        / np.abs(np.fft.rfft(sound[0]))[: RATE // 2]
    )
    assert np.abs(20 * np.log10(size[100:3400])).max() < 1  # the ends of the noise are not periodic
    assert 20 * np.log10(np.median(size[4500:])) < -50
    steady = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)[None].astype(np.float32)
    assert np.abs(listening.low_pass(steady, RATE) - steady)[:, 2000:-2000].max() < 0.02  # in place, in level
    assert np.array_equal(listening.low_pass(steady, 6000), steady)  # nothing there to remove


def answers(test: listening.ListeningTest, listener: int, scores: dict[str, int]) -> dict[str, Any]:
    data = shown(test.page)
    ratings = [
        {"item": item, "scores": {s: scores[test.key["stimuli"][s]["condition"]] for s in stimuli}, "seconds": 30}
        for item, stimuli in data["orders"][listener - 1]
    ]
    return {"format": 1, "test": data["test"], "listener": listener, "ratings": ratings}


def test_answers_become_means_and_careless_listeners_are_left_out(
    test: listening.ListeningTest, tmp_path: Path
) -> None:
    heard = {listening.REFERENCE: 100, listening.ANCHOR: 20, "loud-model": 80, "soft-model": 60}
    given = [heard, {**heard, "loud-model": 90}, {**heard, listening.REFERENCE: 50}]
    paths = []
    for n, scores in enumerate(given, 1):
        paths.append(tmp_path / f"{n}.json")
        paths[-1].write_text(json.dumps(answers(test, n, scores)))
    key = tmp_path / "key.json"
    key.write_text(json.dumps(test.key))
    found = listening.results(paths, key)
    assert found["left_out"] == [3]
    assert found["conditions"]["loud-model"]["mean"] == 85
    assert next(iter(found["conditions"])) == listening.REFERENCE
    assert "85.0" in listening.results_text(found)
    key.write_text(json.dumps({**test.key, "test": "another"}))
    with pytest.raises(RavelError, match="another test"):
        listening.results(paths, key)
    with pytest.raises(RavelError, match="not the answers"):
        listening.results([key], key)
    key.write_text(json.dumps(test.key))
    with pytest.raises(RavelError, match="answered already"):
        listening.results([paths[0], paths[0]], key)


def test_the_command_writes_page_and_key_apart(make_ts: MakeTs, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "test"
    model = make_ts()
    assert run(model, "--listening-test", folder / "first.wav", "--out", out, "--listeners", 2) == 0
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "key.json", "report.json"]
    assert len(shown((out / "index.html").read_text())["orders"]) == 2
    assert "violin" not in (out / "index.html").read_text()
    assert "violin" in (out / "key.json").read_text()


# -- matching of other material -----------------------------------------------------------------------------


def about(loudness: float = -20.0, hz: tuple[float, float, float] | None = (400.0, 500.0, 900.0)) -> dict[str, Any]:
    return {"loudness_lufs": loudness, "pitch_hz": hz, "seconds": 60.0, "voiced_share": 0.9}


@pytest.mark.parametrize(("hz", "octaves"), [(110, 2), (220, 1), (440, 0), (1760, -1)])
def test_material_is_brought_to_level_and_octave(tmp_path: Path, hz: float, octaves: int) -> None:
    source = tmp_path / "in.wav"
    steady = melody(0.399, hz)  # one note
    write_wav(source, steady, RATE)
    sound, said = matching.Matching(about(), level=True, transpose="auto").prepared(source, RATE)
    assert sound.shape == steady.shape
    assert loudness_lufs(sound, RATE) == pytest.approx(-20, abs=0.1)
    found = pitch(sound, RATE).hz
    assert np.nanmedian(found) == pytest.approx(hz * 2**octaves, rel=0.005)
    assert ("range as it is" in said) == (octaves == 0)
    untouched, _ = matching.Matching(about(), level=False, transpose=0.0).prepared(source, RATE)
    assert np.array_equal(untouched, steady)


def test_what_has_no_pitch_or_no_sound_is_left_where_it_is(tmp_path: Path) -> None:
    write_wav(tmp_path / "silent.wav", np.zeros((2, 30000), np.float32), RATE)
    sound, said = matching.Matching(about(), level=True, transpose="auto").prepared(tmp_path / "silent.wav", RATE)
    assert not sound.any()
    assert "not transposed" in said
    assert "level as it is" in said


def test_render_matches_what_the_card_says_or_what_is_given(
    make_ts: MakeTs, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rendered(model: Path, *words: object) -> int:
        said = [str(model), str(folder / "first.wav"), "--out", str(tmp_path / "out"), "--force", *map(str, words)]
        return run_verb("render", render.main, said)

    plain = make_ts()
    assert rendered(plain, "--match-level") == FAILED
    assert "--like" in capsys.readouterr().err
    assert rendered(plain, "--like", folder) == FAILED
    write_wav(tmp_path / "like.wav", 0.1 * melody(hz=440), RATE)
    assert rendered(plain, "--match-level", "--transpose", "auto", "--like", tmp_path / "like.wav") == 0
    assert "+12 semitones" in capsys.readouterr().out
    sound = soundfile.read(tmp_path / "out" / "first.wav", dtype="float32", always_2d=True)[0].T
    wanted = material.measured(from_files([tmp_path / "like.wav"], RATE, 1, 10, 60)[0])["loudness_lufs"]
    assert sound.shape == melody().shape
    assert loudness_lufs(sound, RATE) == pytest.approx(wanted, abs=0.3)
    knows = make_ts(name="knows.ts", training={"material": about(loudness=-30.0)})
    assert rendered(knows, "--match-level") == 0
    sound = soundfile.read(tmp_path / "out" / "first.wav", dtype="float32", always_2d=True)[0].T
    assert loudness_lufs(sound, RATE) == pytest.approx(-30, abs=0.1)
    with pytest.raises(SystemExit):
        rendered(knows, "--transpose", "40")
    toneless = make_ts(name="toneless.ts", training={"material": about(hz=None)})
    assert rendered(toneless, "--transpose", "auto") == FAILED
    assert "no pitch" in capsys.readouterr().err
