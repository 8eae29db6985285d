"""Law: a model that only delays gives the input back, to the bit, at any length, block and channel count."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from python import render
from python.cli import run_verb
from python.errors import RavelError

Audio = NDArray[np.float32]
MakeTs = Callable[..., Path]

ROOT = Path(__file__).parents[2]


def noise(channels: int, frames: int, seed: int = 0) -> Audio:
    return np.random.default_rng(seed).standard_normal((channels, frames)).astype(np.float32)


def write(path: Path, audio: Audio, rate: int = 44100, subtype: str = "FLOAT") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, subtype=subtype)
    return path


def read(path: Path) -> Audio:
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def through(model: Path, audio: Audio, tmp_path: Path, rate: int = 44100, **options: int) -> Audio:
    source = write(tmp_path / "in.wav", audio, rate)
    instrument = render.Instrument(model, latents=options.pop("latents", None))
    (target,) = render.render(instrument, [source], tmp_path / "out", force=True, quiet=True, **options)
    assert soundfile.info(target).samplerate == rate
    return read(target)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("delay", [0, 1, 15, 16, 53])
@pytest.mark.parametrize("frames", [1, 15, 16, 17, 1000])
def test_alignment_is_exact(make_ts: MakeTs, tmp_path: Path, streaming: bool, delay: int, frames: int) -> None:
    audio = noise(1, frames)
    model = make_ts(hop=16, delay=delay, streaming=streaming)
    assert np.array_equal(through(model, audio, tmp_path), audio)


def test_alignment_of_a_card_that_lies_is_caught(make_ts: MakeTs, tmp_path: Path) -> None:
    """The proof that the law above can fail: one sample of difference is not equal."""
    forward = {"forward": {"delay_samples": 20}}
    audio = noise(1, 1000)
    rendered = through(make_ts(delay=21, methods=forward), audio, tmp_path)
    assert not np.array_equal(rendered, audio)
    assert np.array_equal(rendered[:, 1:], audio[:, :-1])


@pytest.mark.parametrize("block", [1, 16, 100, 4096, 10**6])
def test_the_block_changes_nothing(make_ts: MakeTs, tmp_path: Path, block: int) -> None:
    audio = noise(1, 5000)
    assert np.array_equal(through(make_ts(), audio, tmp_path, block_samples=block), audio)


@pytest.mark.parametrize(("model_channels", "channels"), [(1, 1), (1, 2), (1, 6), (2, 1), (2, 2)])
def test_channels_keep_to_themselves(make_ts: MakeTs, tmp_path: Path, model_channels: int, channels: int) -> None:
    audio = noise(channels, 3001)
    assert np.array_equal(through(make_ts(channels=model_channels), audio, tmp_path), audio)


@pytest.mark.parametrize("rate", [8000, 22050, 48000, 96000, 192000])
def test_other_rates_come_back_in_place(make_ts: MakeTs, tmp_path: Path, rate: int) -> None:
    """A slow chirp below 3 kHz with soft ends, so that no resampler may remove a part of it."""
    t = np.arange(int(0.5 * rate)) / rate
    audio = (0.5 * np.sin(2 * np.pi * (100 * t + 2900 * t**2)) * np.hanning(len(t)))[None].astype(np.float32)
    back = through(make_ts(), audio, tmp_path, rate)
    assert back.shape == audio.shape
    error_db = 20 * np.log10(np.abs(back - audio).max() / np.abs(audio).max())
    assert error_db < -90
    late = np.roll(back, 1, axis=1)
    assert 20 * np.log10(np.abs(late - audio).max() / np.abs(audio).max()) > -60  # one sample off is seen


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_very_short_files_keep_their_length(make_ts: MakeTs, tmp_path: Path, frames: int) -> None:
    assert through(make_ts(), noise(2, frames), tmp_path, 192000).shape == (2, frames)


def test_each_file_starts_from_silence(make_ts: MakeTs, tmp_path: Path) -> None:
    """Broken: without `reset` the second file would begin with the tail of the first."""
    loud = write(tmp_path / "a.wav", np.ones((1, 100), np.float32))
    quiet = write(tmp_path / "b.wav", np.zeros((1, 100), np.float32))
    instrument = render.Instrument(make_ts(methods={"forward": {"delay_samples": 0}}))
    first, second = render.render(instrument, [loud, quiet], tmp_path / "out", quiet=True)
    assert read(first)[0, 21:].min() == 1  # the undeclared delay is left in, its tail in the history
    assert not read(second).any()


def test_memory_is_bounded(make_ts: MakeTs) -> None:
    """Nothing is read ahead of what the first output block needs."""
    taken = 0

    def source() -> Iterator[Audio]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield np.zeros((1, 64), np.float32)

    played = render.Instrument(make_ts(delay=21)).play(source(), 64_000, block_samples=128)
    next(played)
    assert taken <= 3


def test_fewer_latents(make_ts: MakeTs, tmp_path: Path) -> None:
    """The stand-in's latent k is sample k of the hop: leaving latents out silences samples we can name."""
    audio = noise(1, 1000)
    expected = audio * (np.arange(1000) % 16 < 5)
    assert np.array_equal(through(make_ts(), audio, tmp_path, latents=5), expected)


def test_temperature_reaches_the_model(make_ts: MakeTs, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", np.zeros((1, 500), np.float32))
    instrument = render.Instrument(make_ts(), temperature=0.25)
    (target,) = render.render(instrument, [source], tmp_path / "out", quiet=True)
    assert (read(target) == 0.25).all()


def test_folders_keep_their_structure(make_ts: MakeTs, tmp_path: Path) -> None:
    takes = tmp_path / "takes"
    for name in ("one.wav", "deep/er/two.flac", "deep/er/two.wav"):
        write(takes / name, 0.1 * noise(1, 100), subtype="PCM_16")
    (takes / "notes.txt").write_text("not a sound")
    instrument = render.Instrument(make_ts())
    out = takes / "out"  # inside the input: renderings must not be rendered by the second run
    for _ in range(2):
        render.render(instrument, [takes], out, force=True, quiet=True)
        names = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
        assert names == ["deep/er/two.flac.wav", "deep/er/two.wav.wav", "one.wav"]


# ---- the engine --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small networks by name, each as NAME.ts and NAME.ravel."""
    pytest.importorskip("python._native", reason="the engine is not built")
    import torch

    from python import bench
    from python.streaming import deploy, graph

    folder = tmp_path_factory.mktemp("pairs")
    paths = {}
    for name, options in {"low": {}, "v2-small": {"channels": 2}}.items():
        shell, trained = bench.deployed_from(name, capacity=4, latent=6, **options)
        trained.net.latent.temperature = 0.5  # the file's own; most of the tests below play it
        shell.latent.temperature = 0.5
        about = deploy.card(shell, trained, name)
        scripted = deploy._settled(torch.jit.script(shell))
        torch.jit.save(scripted, str(folder / f"{name}.ts"), _extra_files={"ravel.json": json.dumps(about)})
        paths[name] = folder / f"{name}.ravel"
        paths[name].write_bytes(graph.ravel(shell, about, "fp32"))
    return paths


def played(model: Path, source: Path, out: Path, *options: str) -> Audio:
    assert run(model, source, "--out", out, "--force", *options) == 0
    return read(out / source.with_suffix(".wav").name)


@pytest.mark.parametrize(
    ("name", "channels", "options"),
    [
        ("low", 2, []),
        ("low", 1, ["--latents", "3", "--block", "700"]),
        ("low", 1, ["--temperature", "0"]),
        ("v2-small", 1, []),
        ("v2-small", 2, ["--latents", "2", "--temperature", "1.5"]),
    ],
)
def test_a_ravel_renders_what_its_ts_renders(
    pairs: dict[str, Path], tmp_path: Path, name: str, channels: int, options: list[str]
) -> None:
    source = write(tmp_path / "in.wav", 0.3 * noise(channels, 5001), 48000)
    engine = played(pairs[name], source, tmp_path / "engine", *options)
    script = played(pairs[name].with_suffix(".ts"), source, tmp_path / "script", *options)
    assert engine.shape == script.shape == (channels, 5001)
    assert np.abs(engine - script).max() <= 1e-5 * np.abs(script).max()
    assert np.abs(script).max() > 0


def test_a_prior_plays_along_as_far_as_it_is_let(
    tmp_path: Path, pairs: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from python.streaming import deploy, graph
    from tests import networks

    made, shell, prior = networks.deployed_with_prior("low-discrete")
    dream = tmp_path / "dream.ravel"
    dream.write_bytes(graph.ravel(shell, deploy.card(shell, made, "dream", prior), "fp32"))
    a, b = (write(tmp_path / f"{seed}.wav", 0.3 * noise(1, 9000, seed)) for seed in (1, 2))
    out, alone = tmp_path / "out", ("--prior", "1")
    assert not np.array_equal(played(dream, a, out), played(dream, b, out))
    assert np.array_equal(played(dream, a, out, *alone), played(dream, b, out, *alone))
    assert not np.array_equal(played(dream, a, out, "--prior", "0.5"), played(dream, a, out))
    cold = played(dream, a, out, *alone, "--prior-temperature", "0")
    assert not np.array_equal(cold, played(dream, a, out, *alone))
    for words, line in {
        (pairs["low"], "--prior", "0.5"): "low has no prior: `ravel train-prior` teaches its run one",
        (pairs["low"].with_suffix(".ts"), "--prior", "0.5"): "for --prior give the .ravel beside it",
        (dream, "--prior-temperature", "0.5"): "--prior-temperature is that of --prior AMOUNT: give that too",
    }.items():
        assert run(words[0], a, "--out", tmp_path / "none", *words[1:]) == 2
        assert line in capfd.readouterr().err


def test_an_option_of_one_is_heard_against_the_other(pairs: dict[str, Path], tmp_path: Path) -> None:
    """The proof that the law above can fail."""
    source = write(tmp_path / "in.wav", 0.3 * noise(1, 5001))
    engine = played(pairs["low"], source, tmp_path / "engine", "--temperature", "0")
    script = played(pairs["low"].with_suffix(".ts"), source, tmp_path / "script")
    assert np.abs(engine - script).max() > 1e-3 * np.abs(script).max()


@pytest.mark.parametrize("block", [1, 128, 5000])
def test_blocks_and_second_files_change_no_bit_of_the_engine(
    pairs: dict[str, Path], tmp_path: Path, block: int
) -> None:
    """The second file has another channel count: an engine of its own, from silence too."""
    sources = [write(tmp_path / f"{n}.wav", 0.3 * noise(n, 3000)) for n in (1, 2)]
    alone = [played(pairs["low"], source, tmp_path / "alone") for source in sources]
    instrument = render.Instrument(pairs["low"])
    for _ in range(2):
        targets = render.render(instrument, sources, tmp_path / "out", force=True, block_samples=block, quiet=True)
        assert all(np.array_equal(read(target), audio) for target, audio in zip(targets, alone))


def test_a_ravel_is_rendered_without_torch(pairs: dict[str, Path], tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", 0.3 * noise(1, 500))
    program = "import sys; from python import render; sys.exit(render.main(sys.argv[1:]) or 'torch' in sys.modules)"
    words = [str(word) for word in (pairs["low"], source, "--out", tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("truncated", "bad.ravel is cut short"),
        ("a .ts", "bad.ravel is not a .ravel file"),
        ("a sound", "bad.ravel is not a .ravel file"),
        ("too hot", "does not take the temperature 11"),
        ("too many", "export the run again with --latents 7"),
    ],
)
def test_a_bad_ravel_is_explained(
    pairs: dict[str, Path], tmp_path: Path, good: Path, kind: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = pairs["low"].read_bytes()
    script = pairs["low"].with_suffix(".ts").read_bytes()
    contents = {"truncated": whole[:-10], "a .ts": script, "a sound": good.read_bytes()}
    options = {"too hot": ["--temperature", "11"], "too many": ["--latents", "7"]}
    bad = tmp_path / "bad.ravel"
    bad.write_bytes(contents.get(kind, whole))
    assert run(bad, good, "--out", tmp_path / "out", *options.get(kind, [])) == 2
    error = capfd.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1


def test_an_engine_that_is_not_built_is_explained(
    pairs: dict[str, Path], good: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python._native", None)
    assert run(pairs["low"], good) == 2
    assert "the engine is not built here" in capfd.readouterr().err


# ---- bad input ---------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.wav", noise(1, 300))


def run(*words: object) -> int:
    return run_verb("render", render.main, [str(word) for word in words])


def bad_files(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    files = {name: folder / f"{name}.wav" for name in ("text", "empty", "zero_length", "nan", "truncated")}
    files["text"].write_text("Dear diary")
    files["empty"].write_bytes(b"")
    write(files["zero_length"], np.zeros((1, 0), np.float32))
    write(files["nan"], np.full((1, 100), np.nan, np.float32))
    files["truncated"] = folder / "truncated.flac"
    write(files["truncated"], 0.1 * noise(1, 40000), subtype="PCM_16")
    whole = files["truncated"].read_bytes()
    files["truncated"].write_bytes(whole[: len(whole) // 2])
    return files


@pytest.mark.parametrize("kind", ["text", "empty", "zero_length", "nan", "truncated"])
def test_one_bad_file_is_an_error_that_names_it(
    make_ts: MakeTs, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    path = bad_files(tmp_path / "bad")[kind]
    assert run(make_ts(), path, "--out", tmp_path / "out") == 2
    error = capfd.readouterr().err
    assert path.name in error
    assert "ravel render: nothing was rendered" in error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").glob("*"))


def test_bad_files_are_skipped_with_a_count(
    make_ts: MakeTs, tmp_path: Path, good: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = bad_files(tmp_path / "bad")
    assert run(make_ts(), good, tmp_path / "bad", "--out", tmp_path / "out") == 0
    seen = capfd.readouterr()
    assert "rendered 1 of 6" in seen.out
    assert "5 skipped" in seen.out
    assert all(path.name in seen.err for path in bad.values())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.wav"]


def test_unusual_but_good_files_are_rendered(make_ts: MakeTs, tmp_path: Path) -> None:
    takes = tmp_path / "takes"
    write(takes / "silent.wav", np.zeros((1, 500), np.float32))
    write(takes / "low.wav", noise(1, 500), 8000)
    write(takes / "high.wav", noise(2, 500), 192000)
    write(takes / "surround.wav", noise(6, 500), 48000)
    assert run(make_ts(), takes, "--out", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_surround_into_a_stereo_model_is_explained(
    make_ts: MakeTs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "surround.wav", noise(6, 100))
    assert run(make_ts(channels=2), source, "--out", tmp_path / "out") == 2
    assert "6 channels, the stereo model takes 1 or 2" in capfd.readouterr().err


def test_an_existing_output_is_kept(
    make_ts: MakeTs, tmp_path: Path, good: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "good.wav").write_text("mine")
    model = make_ts()
    assert run(model, good, "--out", out) == 2
    assert "--force overwrites it" in capfd.readouterr().err
    assert (out / "good.wav").read_text() == "mine"
    assert run(model, good, "--out", out, "--force") == 0
    assert np.array_equal(read(out / "good.wav"), read(good))


def test_an_input_is_never_overwritten_even_by_force(
    make_ts: MakeTs, tmp_path: Path, good: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = good.read_bytes()
    assert run(make_ts(), good, "--out", tmp_path, "--force") == 2
    assert "is an input itself" in capfd.readouterr().err
    assert good.read_bytes() == before


def test_a_full_disk_leaves_no_half_file(
    make_ts: MakeTs,
    tmp_path: Path,
    good: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("python.files.os.fsync", no_space)
    assert run(make_ts(), good, "--out", tmp_path / "out") == 2
    assert "the disk is full" in capfd.readouterr().err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["missing.ts", "good.wav"], "there is no missing.ts"),
        (["good.wav", "good.wav"], "good.wav is not a TorchScript file"),
        (["violin.ts", "missing.wav"], "there is no missing.wav"),
        (["violin.ts", "nothing"], "nothing holds no sound file"),
        (["violin.ts", "good.wav", "--latents", "17"], "export the run again with --latents 17"),
        (["violin.ts", "good.wav", "--fidelity", "0.9999999"], "holds 16 latents"),
        (["violin.ts", "good.wav", "--temperature", "-1"], "does not take the temperature -1"),
    ],
)
def test_bad_words_are_explained(
    make_ts: MakeTs,
    tmp_path: Path,
    good: Path,
    words: list[str],
    line: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_ts()
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    error = capfd.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--latents", "0"],
        ["--fidelity", "1.5"],
        ["--block", "x"],
        ["--latents", "2", "--fidelity", "0.5"],
        ["--prior", "2"],
        ["--prior", "1", "--prior-temperature", "-1"],
    ],
)
def test_bad_values_are_refused_before_any_work(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("violin.ts", "good.wav", *words)
    assert stop.value.code == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_truncated_ts_is_explained(make_ts: MakeTs) -> None:
    path = make_ts()
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RavelError, match=r"violin\.ts is not a TorchScript file, or is cut short"):
        render.Instrument(path)


@pytest.mark.soak
def test_an_hour_needs_no_more_memory_than_a_minute(make_ts: MakeTs, tmp_path: Path) -> None:
    """Peak memory of the process, in kB; the hour itself would be 635 MB."""
    program = (
        "import resource, sys; from python import render\n"
        "assert render.main(sys.argv[1:]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for minutes in (1, 60):
        source = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(source, "w", 48000, 1, subtype="PCM_16") as file:
            for _ in range(minutes):
                file.write(noise(1, 60 * 48000)[0] * 0.1)
        words = [str(make_ts()), str(source), "--out", str(tmp_path / "out")]
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert soundfile.info(tmp_path / "out" / "60.wav").frames == 60 * 60 * 48000
    assert peaks[1] - peaks[0] < 50_000


def test_two_renders_are_the_same_file(make_ts: MakeTs, tmp_path: Path, good: Path) -> None:
    model = make_ts()
    assert run(model, good, "--out", tmp_path / "a") == run(model, good, "--out", tmp_path / "b") == 0
    assert (tmp_path / "a" / "good.wav").read_bytes() == (tmp_path / "b" / "good.wav").read_bytes()
