"""Law: the string is in tune, keeps still when nobody plays it, never clicks, and plays the same twice."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from python.training import strings as module
from python.training.strings import (
    HIGHEST_HZ,
    LOWEST_HZ,
    RING_SECONDS,
    Score,
    compose,
    melody,
    phrase,
    play,
    synthesise_corpus,
)

RATE = 44100
FREQUENCIES_HZ = (98.0, 146.83, 233.08, 329.63, 440.0, 587.33)


def held(frequency_hz: float, bowed: bool, seconds: float = 1.2) -> Score:
    frames = round(seconds * RATE)
    attack = np.clip(np.arange(frames) / 3000, 0, 1)
    pluck = np.zeros(frames)
    if not bowed:
        pluck[100:160] = 0.3 * np.sin(np.pi * np.linspace(0, 1, 60)) ** 2
    return Score(np.full(frames, frequency_hz), 0.12 * attack * bowed, 0.6 * attack * bowed, pluck)


def pitch_hz(audio: np.ndarray, near_hz: float) -> float:
    """The period of best autocorrelation within a semitone of `near_hz`, to a hundredth of a sample."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 4 * len(audio))) ** 2
    fine = np.fft.irfft(np.pad(spectrum, (0, 15 * len(spectrum))))  # 16 points a sample
    step = len(fine) / (4 * len(audio))
    low, high = (round(step * RATE / (near_hz * 2**semitones)) for semitones in (1 / 12, -1 / 12))
    at = low + int(np.argmax(fine[low:high]))
    before, top, after = fine[at - 1 : at + 2]
    return RATE * step / (at + 0.5 * (before - after) / (before - 2 * top + after))


def cents(a: float, b: float) -> float:
    return float(1200 * np.log2(a / b))


@pytest.mark.parametrize("bowed", [True, False])
def test_in_tune(bowed: bool) -> None:
    for frequency, audio in zip(FREQUENCIES_HZ, play([held(f, bowed) for f in FREQUENCIES_HZ], RATE), strict=True):
        start = RATE // 2 if bowed else RATE // 10
        part = audio[start : start + 8192]
        assert abs(cents(pitch_hz(part, frequency), frequency)) < 5


def test_a_delay_of_one_sample_too_much_would_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = module._lagrange
    monkeypatch.setattr(module, "_lagrange", lambda now, delay: genuine(now, delay + 0.5))
    audio = play([held(440.0, True)], RATE)[0]
    assert abs(cents(pitch_hz(audio[RATE // 2 :][:8192], 440.0), 440.0)) > 10


def test_a_phrase_plays_its_melody() -> None:
    rng = np.random.default_rng(2)
    score = compose(rng, RATE, 5.0)
    audio = play([score], RATE, [rng])[0]
    assert score.bow_force.any()
    errors = []
    for start in range(RATE // 2, 4 * RATE, 4096):
        frame = slice(start, start + 4096)
        if np.ptp(np.log2(score.frequency_hz[frame])) < 0.3 / 12 and score.bow_force[frame].min() > 0.4:
            want = float(score.frequency_hz[frame].mean())
            errors.append(abs(cents(pitch_hz(audio[frame], want), want)))
    assert len(errors) > 10
    assert np.median(errors) < 5


def test_a_plucked_string_decays_and_its_treble_first() -> None:
    audio = play([held(220.0, False, 2.0)], RATE)[0]
    early, late = (np.abs(np.fft.rfft(audio[at : at + 8192] * np.hanning(8192))) for at in (2000, 50000))
    hz = np.fft.rfftfreq(8192, 1 / RATE)
    bass, treble = hz < 500, (hz > 2000) & (hz < 6000)
    fall_db = [20 * np.log10(np.linalg.norm(late[band]) / np.linalg.norm(early[band])) for band in (bass, treble)]
    assert fall_db[0] < -6
    assert fall_db[1] < fall_db[0] - 20


def test_an_untouched_string_is_silent() -> None:
    score = held(220.0, True)
    still = Score(score.frequency_hz, 0 * score.bow_velocity, score.bow_force, score.pluck)
    assert not play([still], RATE).any()


def click_db(audio: np.ndarray) -> float:
    """How far the loudest 1 ms above 12 kHz stands out of the loudest one in a hundred."""
    spectrum = np.fft.rfft(audio)
    spectrum[: round(12000 / RATE * len(audio))] = 0
    treble = np.fft.irfft(spectrum, len(audio))
    power = np.square(treble[: len(treble) // 44 * 44]).reshape(-1, 44).mean(axis=1)
    return float(10 * np.log10(power.max() / np.quantile(power, 0.99)))


def test_phrases_neither_click_nor_clip_nor_drift() -> None:
    generators = [np.random.default_rng([9, index]) for index in range(12)]
    scores = [compose(rng, RATE, 4.0) for rng in generators]
    audio = play(scores, RATE, generators)
    assert np.abs(audio).max() < 1
    assert np.abs(audio).max(axis=1).min() > 0.05
    assert np.abs(audio.mean(axis=1)).max() < 1e-4
    bowed = [row for row, score in zip(audio, scores, strict=True) if score.bow_force.any()]
    assert 6 <= len(bowed) < 12
    for row in bowed:
        assert click_db(row) < 10
        broken = row.copy()
        broken[2 * RATE :] += 0.1
        assert click_db(broken) > 15
    assert np.abs(audio[:, -1]).max() < 1e-6  # a hand damps the string at the end


def test_melodies_stay_on_the_string_and_in_time() -> None:
    for seed in range(30):
        notes = melody(np.random.default_rng(seed), 5.0)
        score = compose(np.random.default_rng(seed), RATE, 5.0 + RING_SECONDS)
        assert score.frequency_hz.min() > LOWEST_HZ * 0.98
        assert score.frequency_hz.max() < HIGHEST_HZ * 1.02
        assert notes[-1].stop_s <= 5.0
        assert all(a.stop_s <= b.start_s for a, b in itertools.pairwise(notes))
        assert len(notes) > 1


def test_too_high_a_pitch_is_refused() -> None:
    with pytest.raises(ValueError, match="3000 Hz is too high"):
        play([held(3000.0, True)], RATE)


def test_the_corpus_is_repeatable_and_seeded(tmp_path: Path) -> None:
    first = synthesise_corpus(tmp_path / "a", 6.0, 22050, seed=1)
    again = synthesise_corpus(tmp_path / "b", 6.0, 22050, seed=1)
    other = synthesise_corpus(tmp_path / "c", 6.0, 22050, seed=2)
    assert [path.name for path in first] == ["phrase-00.wav", "phrase-01.wav"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != other[0].read_bytes()
    audio, rate = soundfile.read(first[1])
    assert (len(audio), rate) == (3 * 22050, 22050)
    alone = phrase(np.random.default_rng([1, 1]), 22050, 3.0)  # the neighbouring lanes change nothing
    np.testing.assert_allclose(audio, alone, atol=1e-6)
