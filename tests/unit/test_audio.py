"""Law: sound comes in as it is in the file, at the rate and channels asked for, or one line says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from python import audio as module
from python.audio import AudioError, probe, read_audio, resample, stream_audio, to_channels, write_wav
from python.errors import RavelError


def tone(frequency_hz: float, sample_rate_hz: int, seconds: float = 1.0, peak: float = 0.5) -> np.ndarray:
    time_s = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    return (peak * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_16", 4e-5),
        ("a.wav", "PCM_24", 2e-7),
        ("a.wav", "FLOAT", 0),
        ("a.aiff", "PCM_24", 2e-7),
        ("a.flac", "PCM_24", 2e-7),
        ("a.ogg", "VORBIS", 0.05),
        ("a.mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_every_format_is_read(tmp_path: Path, name: str, subtype: str, error: float) -> None:
    sound = np.stack([tone(440, 44100), tone(660, 44100)])
    soundfile.write(tmp_path / name, sound.T, 44100, subtype=subtype)
    assert probe(tmp_path / name) == module.AudioInfo(44100, 2, 44100)
    got, rate = read_audio(tmp_path / name)
    assert (got.shape, got.dtype, rate) == (sound.shape, np.float32, 44100)
    inner = slice(2000, -2000)  # lossy codecs smear the ends
    assert np.abs(got - sound)[:, inner].max() <= error


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 48000), (48000, 44100), (192000, 44100), (8000, 48000)])
def test_resampling_keeps_time_pitch_and_level(from_hz: int, to_hz: int) -> None:
    got = resample(tone(1000, from_hz)[None], from_hz, to_hz)
    want = tone(1000, to_hz)[None]
    assert got.shape == want.shape
    inner = slice(2000, -2000)
    assert np.abs(got - want)[:, inner].max() < 1e-4
    assert np.abs(np.roll(got, 1, axis=1) - want)[:, inner].max() > 1e-2  # one sample late would show


def test_resampling_leaves_no_alias() -> None:
    assert np.abs(resample(tone(30000, 192000)[None], 192000, 44100))[:, 500:-500].max() < 1e-4


def test_streaming_resampler_equals_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 50000)).astype(np.float32)
    write_wav(tmp_path / "a.wav", sound, 44100)
    monkeypatch.setattr(module, "BLOCK_FRAMES", 4099)
    blocks = list(stream_audio(tmp_path / "a.wav", 48000))
    assert len(blocks) > 10
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), resample(sound, 44100, 48000), atol=1e-6)


def test_channels() -> None:
    six = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.testing.assert_array_equal(to_channels(six, 1), [[5, 6]])
    np.testing.assert_array_equal(to_channels(six, 2), six[:2])
    np.testing.assert_array_equal(to_channels(six[:1], 2), six[[0, 0]])
    np.testing.assert_array_equal(to_channels(six[:2], 2), six[:2])
    with pytest.raises(RavelError, match="2 channels cannot become 3"):
        to_channels(six[:2], 3)


def test_wav_round_trip_is_exact_and_repeatable(tmp_path: Path) -> None:
    sound = np.array([[0.1, -1.5, 2.0], [0, 1e-9, -0.25]], np.float32)  # beyond full scale and far below it
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, sound, 48000)
    got, rate = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(got, sound)
    assert rate == 48000
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert "should be" not in soundfile.info(str(tmp_path / "a.wav"), verbose=True).extra_info


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def good(folder: Path, name: str = "a.wav", **options: str) -> Path:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48000)
    soundfile.write(folder / name, noise, 48000, **options)
    return folder / name


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.ogg", "a.mp3"])
def test_truncation_is_noticed(tmp_path: Path, name: str) -> None:
    read_audio(good(tmp_path, name))  # the whole file is not suspected
    for share in (0.9, 0.5, 0.02) if name == "a.mp3" else (0.99, 0.9, 0.5, 0.02):  # an MP3 has slack
        with pytest.raises(AudioError, match=name) as caught:
            read_audio(cut(good(tmp_path, name), share))
        assert caught.value.kind in {"truncated", "damaged", "not audio"}
        assert "\n" not in str(caught.value)


def test_a_wav_recorded_to_a_pipe_is_not_truncated(tmp_path: Path) -> None:
    path = good(tmp_path)
    data = path.read_bytes()
    at = data.index(b"data")
    path.write_bytes(data[: at + 4] + b"\xff\xff\xff\xff" + data[at + 8 :])
    assert read_audio(path)[0].shape == (1, 48000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20])
def test_samples_that_are_no_sound(tmp_path: Path, value: float) -> None:
    sound = tone(440, 44100)[None].copy()
    sound[0, 40000] = value
    write_wav(tmp_path / "a.wav", sound, 44100)
    with pytest.raises(AudioError, match="NaN") as caught:
        read_audio(tmp_path / "a.wav")
    assert caught.value.kind == "not finite"


def test_files_that_are_no_sound(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("Dear diary, today I recorded nothing.\n" * 20)
    (tmp_path / "bytes.wav").touch()
    soundfile.write(tmp_path / "samples.wav", np.zeros(0), 44100)
    (tmp_path / "folder.wav").mkdir()
    kinds = {
        "text": "not audio",
        "bytes": "empty",
        "samples": "empty",
        "folder": "missing",
        "none": "missing",
    }
    for name, kind in kinds.items():
        with pytest.raises(AudioError, match=rf"{name}\.wav: .*;") as caught:
            read_audio(tmp_path / f"{name}.wav")
        assert caught.value.kind == kind


def test_a_wav_longer_than_the_format_allows_is_refused(tmp_path: Path) -> None:
    hours = np.broadcast_to(np.zeros((1, 1), np.float32), (2, 1 << 30))
    with pytest.raises(RavelError, match="4 GiB"):
        write_wav(tmp_path / "a.wav", hours, 48000)
    assert not list(tmp_path.iterdir())
