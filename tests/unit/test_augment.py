"""Law: each augmentation changes the sound exactly as it says, equally on all channels, repeatably."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from python.training.augment import (
    BLOCK_SAMPLES,
    MAX_RADIUS,
    TAIL_SAMPLES,
    Augmentation,
    all_pass,
    change_rate,
    compress,
    dither,
    gain,
    mute,
)

RATE = 44100
ONE_AT_A_TIME = [field.name for field in fields(Augmentation) if field.name.endswith("probability")]
OFF = Augmentation(**dict.fromkeys(ONE_AT_A_TIME, 0.0))


def noise(channels: int = 1, frames: int = 20000, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(3).standard_normal((channels, frames))).clip(-1, 1).astype(np.float32)


def level_db(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-20))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("gain_db", [-12.0, 3.0, 6.0])
def test_gain_is_what_it_says(gain_db: float) -> None:
    assert level_db(gain(noise(), gain_db)) - level_db(noise()) == pytest.approx(gain_db, abs=0.01)


def test_gain_stops_at_full_scale() -> None:
    loud = gain(noise(level=0.3), 20)
    assert np.abs(loud).max() == pytest.approx(1, abs=1e-6)


def test_gain_reaches_the_crop() -> None:
    """RAVE's does not: the whole augmentation must deliver what its part computes, over the whole range."""
    only_gain = replace(OFF, gain_probability=1.0)
    changes = [level_db(only_gain.apply(noise(), RATE, rng(s))) - level_db(noise()) for s in range(200)]
    assert -12.01 < min(changes) < -11
    assert 5 < max(changes) < 6.01


def test_mute_silences_a_stretch_without_clicks() -> None:
    ones = np.full((2, 20000), 0.5, np.float32)
    shares = []
    for seed in range(200):
        muted = mute(ones, rng(seed))
        np.testing.assert_array_equal(muted[0], muted[1])
        shares.append(float(np.mean(muted == 0)))
        assert np.abs(np.diff(muted)).max() < 2 / BLOCK_SAMPLES
    assert 0.15 < np.mean([share == 1 for share in shares]) < 0.35
    assert any(0.1 < share < 0.9 for share in shares)


def test_dither_has_its_width_and_nothing_else() -> None:
    added = dither(noise(2), 16, rng()) - noise(2)
    assert np.abs(added).max() <= 0.5 * 2.0**-15 * 1.01
    assert level_db(added) == pytest.approx(20 * np.log10(2.0**-15 / np.sqrt(12)), abs=0.2)
    assert abs(np.corrcoef(added)[0, 1]) < 0.05


def test_all_pass_moves_phases_and_no_magnitude() -> None:
    sections = [(0.01, MAX_RADIUS), (0.07, 0.93)]
    click = np.zeros((1, 3 * TAIL_SAMPLES), np.float32)
    click[0, TAIL_SAMPLES - 5] = 1  # the response crosses from one block into the next
    response = all_pass(click, sections)
    assert np.abs(np.abs(np.fft.rfft(response)) - 1).max() < 1e-5
    assert np.abs(response - click).max() > 0.1
    assert np.abs(response[0, : TAIL_SAMPLES - 5]).max() < 1e-6  # causal: nothing wraps round


def test_all_pass_equals_its_difference_equation() -> None:
    (frequency, radius), sound = (0.02, 0.95), noise(2, 5000)
    b1, b2 = -2 * radius * np.cos(2 * np.pi * frequency), radius**2
    want = np.zeros((2, 5002))
    padded = np.pad(sound.astype(np.float64), ((0, 0), (2, 0)))
    for n in range(2, 5002):
        inputs = b2 * padded[:, n] + b1 * padded[:, n - 1] + padded[:, n - 2]
        want[:, n] = inputs - b1 * want[:, n - 1] - b2 * want[:, n - 2]
    np.testing.assert_allclose(all_pass(sound, [(frequency, radius)]), want[:, 2:], atol=1e-5)


def test_compressor_has_its_ratio_and_leaves_quiet_sound_alone() -> None:
    tone = np.sin(2 * np.pi * 441 * np.arange(RATE) / RATE)[None].astype(np.float32)
    settings = {"threshold_db": -20.0, "ratio": 4.0, "release_ms": 100.0, "sample_rate_hz": RATE}
    for input_db in (-10.0, 0.0):
        sound = tone * np.float32(10 ** (input_db / 20))
        change = level_db(compress(sound, **settings)) - level_db(sound)
        assert change == pytest.approx((-20 - input_db) * 0.75, abs=0.3)
    np.testing.assert_array_equal(compress(tone * np.float32(0.09), **settings), tone * np.float32(0.09))


def test_compressor_lets_no_peak_through_and_recovers() -> None:
    burst = np.full((1, 40000), 0.01, np.float32)
    burst[:, 10000:10400] = 1.0
    out = compress(burst, threshold_db=-20, ratio=4, release_ms=100, sample_rate_hz=RATE)
    assert np.abs(out[:, 10000:10400]).max() <= 10 ** (-15 / 20) * 1.001
    after = 20 * np.log10(out[0, 10600:] / burst[0, 10600:])
    assert after[0] < -10
    assert np.all(np.diff(after) > -1e-4)
    assert after[-1] > -0.2


def test_compressor_gain_is_shared_by_the_channels() -> None:
    stereo = np.stack([np.full(20000, 0.01, np.float32), noise(level=0.3)[0]])
    out = compress(stereo, threshold_db=-20, ratio=4, release_ms=100, sample_rate_hz=RATE)
    np.testing.assert_allclose(out[0] / stereo[0], out[1] / stereo[1], rtol=1e-4)


def test_rate_moves_the_pitch() -> None:
    ratio, frames = 2 ** (2 / 12), 16384
    source = np.sin(2 * np.pi * 1000 * np.arange(round(frames * ratio)) / RATE)[None].astype(np.float32)
    out = change_rate(source, ratio, frames)
    assert out.shape == (1, frames)
    spectrum = np.abs(np.fft.rfft(out[0] * np.hanning(frames)))
    assert np.argmax(spectrum) * RATE / frames == pytest.approx(1000 * ratio, abs=RATE / frames)


def test_draw_rate_stays_in_its_range() -> None:
    drawn = [replace(OFF, rate_probability=1.0).draw_rate(rng(s)) for s in range(300)]
    assert 2 ** (-2 / 12) <= min(drawn) < 0.92
    assert 1.09 < max(drawn) <= 2 ** (2 / 12)
    assert {OFF.draw_rate(rng(s)) for s in range(20)} == {1.0}


def test_nothing_chosen_changes_nothing() -> None:
    np.testing.assert_array_equal(OFF.apply(noise(2), RATE, rng()), noise(2))


@pytest.mark.parametrize("name", [name for name in ONE_AT_A_TIME if name != "rate_probability"])
def test_each_alone_changes_the_sound(name: str) -> None:
    out = replace(OFF, **{name: 1.0}).apply(noise(2, level=0.3), RATE, rng(1))
    assert not np.array_equal(out, noise(2, level=0.3))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 100, 4096, 20001])
def test_shape_finiteness_full_scale_and_repeatability(channels: int, frames: int) -> None:
    everything = Augmentation(**dict.fromkeys(ONE_AT_A_TIME, 0.7))
    for sound in (noise(channels, frames, 0.5), np.zeros((channels, frames), np.float32)):
        for seed in range(10):
            before = sound.copy()
            out = everything.apply(sound, RATE, rng(seed))
            assert (out.shape, out.dtype) == (sound.shape, np.float32)
            assert np.abs(out).max() <= 1.001  # dither comes last: 0.5 LSB
            np.testing.assert_array_equal(out, everything.apply(sound, RATE, rng(seed)))
            np.testing.assert_array_equal(sound, before)


def test_both_channels_get_the_same_parameters() -> None:
    without_dither = Augmentation(**dict.fromkeys(ONE_AT_A_TIME, 1.0) | {"dither_probability": 0.0})
    twice = np.repeat(noise(level=0.3), 2, axis=0)
    for seed in range(10):
        left, right = without_dither.apply(twice, RATE, rng(seed))
        np.testing.assert_array_equal(left, right)
