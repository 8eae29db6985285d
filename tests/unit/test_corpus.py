"""Law: every sound in the folder is trained on or held out or reported, once, and none is decoded twice."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from python.audio import AudioInfo, read_audio, resample, write_wav
from python.errors import RavelError
from python.training import corpus as module
from python.training import crops as windows
from python.training.augment import Augmentation
from python.training.corpus import INDEX_NAME, Corpus, Recording, build_corpus, majority_rate, split
from python.training.crops import Crops

RATE = 44100


def sound(seed: int, seconds: float = 0.5, channels: int = 1, rate: int = RATE) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, round(seconds * rate)))
    return noise.astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve recordings of half a second, two of them in a folder below."""
    for seed in range(12):
        name = f"{'below/' if seed > 9 else ''}{seed:02d}.wav"
        write_wav(tmp_path / "recordings" / name, sound(seed), RATE)
    return tmp_path / "recordings"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def build(folder: Path, cache: Path, **options: object) -> Corpus:
    return build_corpus(folder, cache, quiet=True, **options)  # type: ignore[arg-type]


def everything(corpus: Corpus) -> list[Recording]:
    return sorted([*corpus.train, *corpus.validation], key=lambda recording: recording.name)


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths decoded from now on."""
    paths: list[Path] = []
    genuine = module.stream_audio

    def counted(path: Path, rate: int, channels: int):  # type: ignore[no-untyped-def]
        paths.append(path)
        return genuine(path, rate, channels)

    monkeypatch.setattr(module, "stream_audio", counted)
    return paths


def test_recordings_are_the_files(folder: Path, cache: Path) -> None:
    corpus = build(folder, cache)
    assert (corpus.sample_rate_hz, corpus.channels, corpus.report.kept) == (RATE, 1, 12)
    assert corpus.report.seconds == pytest.approx(6)
    for recording in everything(corpus):
        want, _ = read_audio(folder / recording.name)
        np.testing.assert_array_equal(recording.read(), want)
        np.testing.assert_array_equal(recording.read(100, 50), want[:, 100:150])
        np.testing.assert_array_equal(recording.read(recording.frames - 5, 50), want[:, -5:])
    assert everything(corpus)[-1].name == "below/11.wav"


def test_reads_stay_inside(folder: Path, cache: Path) -> None:
    recording = build(folder, cache).train[0]
    assert recording.read(recording.frames).shape == (1, 0)
    for start, frames in ((-1, 5), (recording.frames + 1, 1), (0, -1)):
        with pytest.raises(ValueError, match="outside"):
            recording.read(start, frames)


def test_a_cache_that_is_lost_while_training(folder: Path, cache: Path) -> None:
    recording = build(folder, cache).train[0]
    recording.path.write_bytes(b"1234")
    with pytest.raises(RavelError, match="gone or damaged: delete it"):
        recording.read()
    recording.path.unlink()
    with pytest.raises(RavelError, match="gone or damaged: delete it"):
        recording.read()
    np.testing.assert_array_equal(
        next(r for r in everything(build(folder, cache)) if r.path == recording.path).read(),
        read_audio(folder / recording.name)[0],
    )


def test_resampled_before_cropping_and_mixed(tmp_path: Path, cache: Path) -> None:
    stereo = sound(0, 2.0, channels=2, rate=48000)
    write_wav(tmp_path / "in" / "a.wav", stereo, 48000)
    write_wav(tmp_path / "in" / "b.wav", sound(1, 1.0), RATE)
    mono = everything(build(tmp_path / "in", cache, sample_rate_hz=RATE))[0]
    want = resample(stereo.mean(0, keepdims=True), 48000, RATE)
    np.testing.assert_allclose(mono.read(), want, atol=1e-6)
    two = everything(build(tmp_path / "in", cache, channels=2))
    np.testing.assert_array_equal(two[0].read(), stereo)
    np.testing.assert_array_equal(two[1].read()[0], two[1].read()[1])


@pytest.mark.parametrize(
    ("seconds_at", "want"),
    [
        ({44100: 10, 48000: 9}, 44100),
        ({44100: 9, 48000: 10}, 48000),
        ({96000: 20, 44100: 9}, 48000),
        ({}, 48000),
    ],
)
def test_the_majority_is_of_seconds(seconds_at: dict[int, int], want: int) -> None:
    assert majority_rate(AudioInfo(rate, 1, rate * seconds) for rate, seconds in seconds_at.items()) == want


def test_a_second_build_decodes_nothing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decodings(monkeypatch)
    first = build(folder, cache)
    assert len(decoded) == 12
    monkeypatch.setattr(module, "probe", None)  # nor reads a header
    monkeypatch.setattr(module, "_hash", None)
    again = build(folder, cache)
    assert len(decoded) == 12
    assert again == first


def test_content_is_the_key(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(folder, cache)
    decoded = decodings(monkeypatch)
    (folder / "00.wav").rename(folder / "renamed.wav")
    write_wav(folder / "01.wav", sound(100), RATE)
    corpus = build(folder, cache)
    assert [path.name for path in decoded] == ["01.wav"]
    by_name = {recording.name: recording for recording in everything(corpus)}
    np.testing.assert_array_equal(by_name["01.wav"].read(), sound(100))
    np.testing.assert_array_equal(by_name["renamed.wav"].read(), sound(0))
    build(folder, cache, sample_rate_hz=48000)  # another rate is another recording
    assert len(decoded) == 13


def test_a_broken_index_costs_only_time(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(folder, cache)
    decoded = decodings(monkeypatch)
    for broken in ("", "{", "[]", '{"x": 1}'):
        (cache / INDEX_NAME).write_text(broken)
        assert build(folder, cache) == first
    assert not decoded


def test_an_interrupted_build_goes_on_where_it_stopped(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = module.stream_audio

    def interrupted(path: Path, rate: int, channels: int):  # type: ignore[no-untyped-def]
        for block in genuine(path, rate, channels):
            yield block
            if path.name == "05.wav":
                raise KeyboardInterrupt  # its first block is already on the disk

    with monkeypatch.context() as patch:
        patch.setattr(module, "stream_audio", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(folder, cache)
    kept = list(cache.glob("*.f32"))
    assert {path.suffix for path in cache.iterdir()} <= {".f32", ".json"}
    assert all(path.stat().st_size == 4 * RATE // 2 and not path.name.startswith(".") for path in kept)
    decoded = decodings(monkeypatch)
    assert build(folder, cache).report.kept == 12
    assert len(decoded) == 12 - len(kept)


def test_concurrent_builders(folder: Path, cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        corpora = list(pool.map(lambda _: build(folder, cache), range(4)))
    assert all(corpus == corpora[0] for corpus in corpora)
    assert len(list(cache.glob("*.f32"))) == 12
    assert not list(cache.glob(".*"))


# What is wrong with recordings


def test_the_report_counts_every_reason(folder: Path, cache: Path) -> None:
    write_wav(folder / "truncated.wav", sound(20), RATE)
    data = (folder / "truncated.wav").read_bytes()
    (folder / "truncated.wav").write_bytes(data[: len(data) // 2])
    soundfile.write(folder / "whole.flac", sound(21)[0], RATE)
    data = (folder / "whole.flac").read_bytes()
    (folder / "whole.flac").unlink()
    (folder / "damaged.flac").write_bytes(data[: len(data) // 2])
    write_wav(folder / "silent.wav", np.zeros((1, 5000), np.float32), RATE)
    write_wav(folder / "hiss.wav", sound(22) * 1e-4, RATE)
    write_wav(folder / "nan.wav", np.full((1, 5000), np.nan, np.float32), RATE)
    (folder / "zero.wav").touch()
    soundfile.write(folder / "headeronly.wav", np.zeros(0), RATE)
    (folder / "text.wav").write_text("no sound here")
    (folder / "song.m4a").write_bytes(b"....ftypM4A ")
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    shutil.copy(folder / "00.wav", folder / "copy.wav")
    (folder / "notes.txt").write_text("not a sound, by its name")
    (folder / "._00.wav").write_text("a resource fork")
    write_wav(folder / "low.wav", sound(23, rate=8000), 8000)
    write_wav(folder / "high.wav", sound(24, rate=192000), 192000)
    write_wav(folder / "surround.wav", sound(25, channels=6), RATE)
    report = build(folder, cache).report
    assert report.counts == {
        "truncated": 1,
        "damaged": 1,
        "silent": 2,
        "not finite": 1,
        "empty": 2,
        "not audio": 1,
        "not supported": 1,
        "missing": 1,
        "duplicate": 1,
    }
    assert report.kept == 15
    assert report.seconds == pytest.approx(7.5, abs=0.01)
    assert sorted(report.warnings) == [
        "low.wav: at 8000 Hz it has nothing above 4 kHz",
        "surround.wav: 6 channels, averaged to mono",
    ]
    lines = report.lines()
    assert lines[0].startswith("corpus: 15 recordings, 7.5 s at 44100 Hz")
    assert "skipped 11: 1 damaged, 1 duplicate, 2 empty" in lines[0]
    assert len(lines) == 1 + 8 + 1 + 2
    assert build(folder, cache).report == report  # also from the cache
    assert not list(cache.glob(".*"))


@pytest.mark.parametrize("share", [0, 1, -0.1, 10])
def test_a_share_that_is_none(folder: Path, cache: Path, share: float) -> None:
    with pytest.raises(RavelError, match=f"share of {share}"):
        build(folder, cache, validation_share=share)


def test_folders_that_are_no_corpus(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(RavelError, match=r"nowhere does not exist: give"):
        build(tmp_path / "nowhere", cache)
    (tmp_path / "file.wav").touch()
    with pytest.raises(RavelError, match=r"file\.wav is a file, not a folder: give"):
        build(tmp_path / "file.wav", cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RavelError, match=r"no recordings below .*empty: put sound files there"):
        build(tmp_path / "empty", cache)
    (tmp_path / "empty" / "a.wav").write_text("text")
    with pytest.raises(
        RavelError, match=r"nothing to train on below .*empty \(1 not audio\); the first: .*a\.wav"
    ) as e:
        build(tmp_path / "empty", cache)
    assert "\n" not in str(e.value)


def test_names_in_any_alphabet_and_none(folder: Path, cache: Path) -> None:
    write_wav(folder / "ü 音 a.wav", sound(30), RATE)
    latin = os.path.join(os.fsencode(folder), b"\xfcber.wav")  # Latin-1, which is not UTF-8
    try:
        os.rename(folder / "00.wav", latin)
        os.rename(folder / "01.wav", latin.replace(b".wav", b"2.wav"))
    except OSError:
        pytest.skip("this file system only takes UTF-8")
    Path(os.fsdecode(latin)).write_text("no sound")
    report = build(folder, cache).report
    assert report.kept == 12
    assert "ber.wav: not a readable sound file" in "\n".join(report.lines()).encode().decode()


def test_links_are_followed_once(folder: Path, cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write_wav(outside / "far.wav", sound(50), RATE)
    (folder / "link").symlink_to(outside)
    (outside / "loop").symlink_to(folder)
    corpus = build(folder, cache)
    assert corpus.report.kept == 13
    assert "link/far.wav" in {recording.name for recording in everything(corpus)}


def test_a_disk_that_is_too_small_is_refused_at_once(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(RavelError, match=r"the cache .*cache needs .* MB and the disk has .* MB left: free"):
        build(folder, cache)
    assert not list(cache.glob("*.f32"))


def test_a_disk_that_fills_up_leaves_no_half_file(folder: Path, cache: Path) -> None:
    write_wav(folder / "long.wav", sound(60, 3.0), RATE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # the system refuses the rest, as a full disk does
    try:
        with pytest.raises(RavelError, match=r"could not write .*\.f32: "):
            build(folder, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(path.stat().st_size == 4 * RATE // 2 for path in cache.glob("*.f32"))
    assert not list(cache.glob(".*"))
    assert build(folder, cache).report.kept == 13


# The split


def recordings_of(frames: list[int]) -> list[Recording]:
    return [Recording(f"{i}.wav", n, 1, RATE, Path(f"/{i}-{n}.f32")) for i, n in enumerate(frames)]


@pytest.mark.parametrize("seed", range(5))
def test_the_split_is_by_file_seeded_and_of_the_share(seed: int) -> None:
    recordings = recordings_of(list(np.random.default_rng(seed).integers(10000, 200000, 100)))
    train, validation = split(recordings, 0.1, seed, warnings := [])
    assert not warnings
    assert Counter(train + validation) == Counter(recordings)
    share = sum(r.frames for r in validation) / sum(r.frames for r in recordings)
    assert 0.09 <= share <= 0.11
    assert split(recordings[::-1], 0.1, seed, [])[1] == validation[::-1]
    assert split(recordings, 0.1, seed + 1, [])[1] != validation


def test_some_recording_is_always_trained_on() -> None:
    for share in (0.5, 0.9, 0.999):
        train, validation = split(recordings_of([100] * 20), share, 0, [])
        assert train
        assert validation


def test_the_split_does_not_depend_on_names(folder: Path, cache: Path) -> None:
    before = {recording.path for recording in build(folder, cache).validation}
    folder = folder.rename(folder.with_name("elsewhere"))
    (folder / "00.wav").rename(folder / "zzz.wav")
    assert {recording.path for recording in build(folder, cache).validation} == before
    converted = build(folder, cache, sample_rate_hz=48000, channels=2).validation
    assert {recording.digest for recording in converted} == {path.name.partition("-")[0] for path in before}


@pytest.mark.parametrize("frames", [[100, 100], [100000, 50], [10, 1000, 1000], [300] * 5])
def test_few_recordings_still_hold_one_out(frames: list[int]) -> None:
    train, validation = split(recordings_of(frames), 0.1, 0, warnings := [])
    assert len(validation) == 1
    assert len(train) == len(frames) - 1
    share = validation[0].frames / sum(frames)
    assert bool(warnings) == (share > 0.175 or share < 0.025)


def test_a_lone_recording_is_split_in_time(tmp_path: Path, cache: Path) -> None:
    write_wav(tmp_path / "in" / "a.wav", sound(0, 2.0), RATE)
    corpus = build(tmp_path / "in", cache)
    (train,), (validation,) = corpus.train, corpus.validation
    np.testing.assert_array_equal(np.concatenate([train.read(), validation.read()], axis=1), sound(0, 2.0))
    assert validation.frames == pytest.approx(0.1 * 2 * RATE, abs=1)
    np.testing.assert_array_equal(validation.read(10, 5), sound(0, 2.0)[:, train.frames + 10 : train.frames + 15])
    assert corpus.report.warnings == ["one recording only: its last 10% are held out; add more of them"]


# Crops


@pytest.fixture
def counted(tmp_path: Path) -> list[Recording]:
    """Three recordings, one shorter than the crop of 512, whose samples are numbered 1, 2, 3, ..."""
    first, recordings = 1, []
    for index, frames in enumerate((1500, 60, 700)):
        path = tmp_path / f"{index}.f32"
        np.arange(first, first + frames, dtype=np.float32).tofile(path)
        recordings.append(Recording(str(index), frames, 1, RATE, path))
        first += frames
    return recordings


def test_crops_are_stretches_of_recordings(counted: list[Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "FADE_SAMPLES", 1)
    starts = {1, 1501, 1561}
    for crop in Crops(counted, 512, 0).batch(0, 200).numpy()[:, 0]:
        for before, after in itertools.pairwise(crop):
            runs_on = (after == before + 1 and after not in starts) or after == before == 0
            ends = before in {1500, 1560, 2260} and after == 0
            assert runs_on or ends or (before == 0 and after in starts)


def test_any_recording_follows_any_other(counted: list[Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "FADE_SAMPLES", 1)
    followed = set()
    for crop in Crops(counted, 512, 0).batch(0, 300).numpy()[:, 0]:
        heard = crop[crop > 0]
        followed |= {(int(a), int(b)) for a, b in itertools.pairwise(heard) if a in {1500, 1560, 2260}}
    assert followed == {(end, start) for end in (1500, 1560, 2260) for start in (1, 1501, 1561)}


def test_each_sample_is_heard_equally_often(counted: list[Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    """First and last samples too, and those of recordings shorter than a crop."""
    monkeypatch.setattr(windows, "FADE_SAMPLES", 1)
    crops = Crops(counted, 512, 1).batch(0, 6000).numpy().astype(int).ravel()
    heard = np.bincount(crops, minlength=2261)[1:]
    expected = len(crops) / (2260 + 3 * 512 // 16)
    assert heard.min() > 0.8 * expected
    assert heard.max() < 1.2 * expected
    assert heard[1500:1560].mean() == pytest.approx(expected, rel=0.1)


def test_an_ending_recording_does_not_click(counted: list[Recording]) -> None:
    crops = Crops([replace(counted[0], frames=300)], 1024, 0).batch(0, 100).numpy()[:, 0]
    assert np.diff(crops, axis=1).min() > -300 / windows.FADE_SAMPLES * 1.1  # uncut it would fall by 300 at once


def test_an_item_is_a_pure_function_of_seed_and_index(counted: list[Recording]) -> None:
    crops = Crops(counted, 512, 0, Augmentation(rate_probability=0.5, compress_probability=0.5))
    batch = crops.batch(10, 6)
    assert batch.shape == (6, 1, 512)
    assert batch.dtype.is_floating_point
    again = Crops(counted, 512, 0, crops.augment)
    for index in (3, 0, 5):  # any order, any batch size
        np.testing.assert_array_equal(again.batch(10 + index, 1)[0], batch[index])
    assert not np.array_equal(batch[0], batch[1])
    assert not np.array_equal(Crops(counted, 512, 1).batch(10, 1), Crops(counted, 512, 0).batch(10, 1))


def test_stereo_crops(tmp_path: Path, cache: Path) -> None:
    for seed in range(3):
        write_wav(tmp_path / "in" / f"{seed}.wav", sound(seed, channels=2), RATE)
    corpus = build(tmp_path / "in", cache, channels=2)
    batch = Crops(corpus.train, 65536, 0, Augmentation()).batch(0, 2)
    assert batch.shape == (2, 2, 65536)
    assert not np.array_equal(batch[:, 0], batch[:, 1])
