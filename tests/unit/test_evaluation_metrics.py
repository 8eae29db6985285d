"""Laws: known signals have known figures; equal sounds are at no distance, and others are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("librosa")
pytest.importorskip("pyloudnorm")

from python.evaluation import distances, extras, scores, subspace, tracks
from python.training.losses import SpectralDistance

RATE = 44100
Sound = NDArray[np.float64]


def noise(seconds: float = 1.0, channels: int = 1, seed: int = 0) -> Sound:
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE)))


def sine(hz: float, seconds: float = 1.0, amplitude: float = 1.0) -> Sound:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)[None]


def tone(hz: Sound | float, seconds: float = 1.0, seed: int = 0) -> Sound:
    """Ten partials of any pitch over time, each with a phase of its own."""
    frames = round(seconds * RATE)
    turns = np.cumsum(np.broadcast_to(np.asarray(hz, np.float64), frames)) / RATE
    phases = np.random.default_rng(seed).uniform(0, 1, 10)
    partials = [np.sin(2 * np.pi * ((k + 1) * turns + phases[k])) / (k + 1) for k in range(10)]
    return 0.2 * np.sum(partials, axis=0)[None]


def bursts(starts_s: list[float], seconds: float = 2.0, seed: int = 0) -> Sound:
    out = np.zeros((1, round(seconds * RATE)))
    for start in starts_s:
        first = round(start * RATE)
        length = min(out.shape[1] - first, RATE // 5)
        decay = np.exp(-np.arange(length) / (0.025 * RATE))
        out[0, first : first + length] += decay * tone(440, 0.2, seed)[0, :length]
    return out


# -- distances ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_equal_sounds_are_at_no_distance(channels: int) -> None:
    x = noise(0.3, channels)
    assert distances.multi_scale(x, x) == (0, 0)
    assert distances.log_mel_db(x, x, RATE) == 0
    assert distances.log_spectral_db(x, x) == 0
    assert (distances.snr_db(x, x) or 0) > 140


def test_distances_of_logarithms_are_symmetric() -> None:
    x, y = noise(0.3, seed=1), noise(0.3, seed=2)
    assert distances.log_mel_db(x, y, RATE) == pytest.approx(distances.log_mel_db(y, x, RATE))
    assert distances.log_spectral_db(x, y) == pytest.approx(distances.log_spectral_db(y, x))
    assert distances.multi_scale(x, y)[1] == pytest.approx(distances.multi_scale(y, x)[1])


def test_half_the_amplitude_is_six_decibels_away_everywhere() -> None:
    x = noise(1.0)
    half = 20 * np.log10(2)
    assert distances.log_mel_db(x / 2, x, RATE) == pytest.approx(half, abs=0.01)
    assert distances.log_spectral_db(x / 2, x) == pytest.approx(half, abs=0.02)
    relative, log = distances.multi_scale(x / 2, x)
    assert relative == pytest.approx(0.5, abs=0.01)
    assert log == pytest.approx(np.log(2), abs=0.01)


def test_the_distance_is_the_one_of_training() -> None:
    x, y = noise(0.5, seed=1), tone(220, 0.5)
    trained = [SpectralDistance(log_weight=log, relative_weight=1 - log) for log in (0, 1)]
    expected = [float(d(torch.from_numpy(y), torch.from_numpy(x))) for d in trained]
    assert distances.multi_scale(y, x) == pytest.approx(expected, rel=1e-5)


def test_the_mel_bank_is_the_common_one() -> None:
    theirs = extras.librosa().filters.mel(
        sr=RATE, n_fft=2048, n_mels=80, fmin=30, fmax=RATE / 2, htk=True, norm=None, dtype=np.float64
    )
    assert np.allclose(distances.mel_bank(RATE), theirs, atol=1e-9)


@pytest.mark.parametrize("snr", [-10, 0, 20, 60])
def test_snr_of_added_noise(snr: float) -> None:
    x, n = sine(440), noise()
    n *= np.sqrt(np.square(x).sum() / np.square(n).sum()) * 10 ** (-snr / 20)
    assert distances.snr_db(x + n, x) == pytest.approx(snr, abs=1e-6)


def test_sounds_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        distances.log_mel_db(noise(0.1), noise(0.2), RATE)


# -- latency ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [0, 1, 155, 2224, -300])
def test_the_latency_of_delayed_noise(late: int) -> None:
    x = noise(1.0)
    found, alike = distances.peak(np.array(distances.alignment(np.roll(x, late), x, RATE)))
    assert found == pytest.approx(late, abs=8)
    assert alike > 0.8


@pytest.mark.parametrize("late", [0, 441])
def test_latency_does_not_hang_on_the_phase(late: int) -> None:
    """The same notes with other phases: the waveform's own correlation peaks periods away from the truth."""
    starts = [0.1, 0.43, 0.9, 1.31]
    x, y = bursts(starts, seed=1), np.roll(bursts(starts, seed=2), late)
    found, alike = scores.measured_lag([distances.alignment(y, x, RATE)])
    assert found == pytest.approx(late, abs=0.001 * RATE)
    assert alike > 0.5
    waveform = np.correlate(y[0, : RATE // 2], x[0, : RATE // 2], mode="full")
    assert abs(int(np.argmax(waveform)) - (RATE // 2 - 1) - late) > 8


def test_silence_has_no_latency() -> None:
    assert scores.measured_lag([distances.alignment(noise(0.1) * 0, noise(0.1), RATE)])[1] == 0


# -- pitch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "octaves"), [(220, 1), (600, -1)])
def test_the_pitch_of_a_glide_is_right_within_five_cents(first: float, octaves: float) -> None:
    seconds = 1.5
    hz = first * 2 ** (octaves * np.arange(round(seconds * RATE)) / RATE / seconds)
    found = tracks.pitch(tone(hz, seconds) + 0.01 * noise(seconds), RATE)
    inside = (found.seconds > 0.1) & (found.seconds < seconds - 0.1)
    cents = 1200 * np.log2(found.hz / (first * 2 ** (octaves * found.seconds / seconds)))[inside]
    assert np.abs(cents).max() < 5
    assert not np.abs(cents + 10).max() < 5  # the law notices ten cents


def test_errors_of_pitch_are_what_was_done_to_it() -> None:
    reference, sharp, octave = (tracks.pitch(tone(hz), RATE) for hz in (220, 220 * 2 ** (30 / 1200), 440))
    gap = tracks.pitch_gap(sharp, reference)
    assert gap.cents == pytest.approx(30, abs=1)
    assert gap.gross == 0
    assert gap.voicing > 0.95
    gap = tracks.pitch_gap(octave, reference)
    assert gap.cents == pytest.approx(1200, abs=2)
    assert gap.gross == 1


def test_noise_and_silence_have_no_pitch() -> None:
    reference = tracks.pitch(tone(220, 0.5), RATE)
    for sound in (noise(0.5), 0 * noise(0.5), noise(0.01)):
        gap = tracks.pitch_gap(tracks.pitch(sound, RATE), reference)
        assert gap.voicing < 0.35


# -- loudness -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "gain_db"), [(3.0, 0), (3.0, -20), (0.2, -20)])
def test_the_loudness_of_a_calibrated_sine(seconds: float, gain_db: float) -> None:
    """BS.1770: 997 Hz at full scale in one channel is -3.01 LUFS."""
    sound = sine(997, seconds, 10 ** (gain_db / 20))
    assert tracks.loudness_lufs(sound, RATE) == pytest.approx(-3.01 + gain_db, abs=0.1)


def test_silence_has_no_loudness() -> None:
    assert tracks.loudness_lufs(0 * noise(1.0), RATE) is None
    assert tracks.loudness_lufs(noise(0.005), RATE) is None


@pytest.mark.parametrize(("hz", "weight_db"), [(100, -19.1), (1000, 0.0), (2500, 1.3), (10000, -2.5)])
def test_levels_follow_the_a_curve(hz: float, weight_db: float) -> None:
    assert np.median(tracks.level_dba(sine(hz), RATE)) == pytest.approx(-3.01 + weight_db, abs=0.2)


def test_a_constant_gain_moves_the_level_and_not_the_contour() -> None:
    x = noise(1.0) * np.linspace(0.05, 1, RATE)
    gap = tracks.level_gap(tracks.level_dba(x / 2, RATE), tracks.level_dba(x, RATE))
    assert gap.db == pytest.approx(6.02, abs=0.01)
    assert gap.contour == pytest.approx(1)
    backwards = tracks.level_gap(tracks.level_dba(x[:, ::-1], RATE), tracks.level_dba(x, RATE))
    assert (backwards.contour or 0) < 0


def test_brightness_is_the_centroid() -> None:
    assert np.median(tracks.brightness_hz(sine(3000), RATE)) == pytest.approx(3000, rel=0.01)


# -- onsets -------------------------------------------------------------------------------------------------


def test_onsets_that_moved_are_found_where_they_moved_to() -> None:
    starts = [0.2, 0.7, 1.1, 1.6]
    reference = tracks.onsets_s(bursts(starts), RATE)
    assert len(reference) == 4
    moved = tracks.onset_gap(tracks.onsets_s(bursts([s + 0.02 for s in starts]), RATE), reference)
    assert (moved.ms, moved.late_ms) == (pytest.approx(20, abs=4), pytest.approx(20, abs=4))
    assert moved.found == 1
    early = tracks.onset_gap(tracks.onsets_s(bursts([s - 0.02 for s in starts]), RATE), reference)
    assert early.late_ms == pytest.approx(-20, abs=4)
    fewer = tracks.onset_gap(tracks.onsets_s(bursts(starts[:2]), RATE), reference)
    assert fewer.found == pytest.approx(2 * 2 / (4 + 2))


# -- everything together ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sound", [0 * noise(0.5), noise(0.06), noise(0.5, channels=2)], ids=["silent", "short", "stereo"]
)
def test_every_measure_takes_every_sound(sound: Sound) -> None:
    heard = scores.Heard(sound, RATE)
    found = scores.compare(heard, heard)
    assert set(found) == set(scores.MEASURES)
    assert all(value is None or np.isfinite(value) for value in found.values())
    for name in ("distance", "log_mel_db", "log_spectral_db", "loudness_lu", "level_dba", "onset_ms"):
        assert found[name] in (0, None)


def test_files_are_summed_up_by_mean_or_median() -> None:
    values = [1.0, 2.0, 9.0, 4.0, 5.0, 6.0, 7.0, 6.0]
    rows = [dict.fromkeys(scores.MEASURES, value) for value in values] + [dict.fromkeys(scores.MEASURES)]
    found = scores.over_files(rows)
    mean, median = found["log_mel_db"], found["f0_cents"]
    assert mean is not None
    assert median is not None
    assert (mean["value"], mean["files"]) == (5, 8)
    assert mean["high"] == pytest.approx(5 + 2.3646 * np.std(values, ddof=1) / 8**0.5, rel=2e-3)  # t, 7 degrees
    assert (median["low"], median["value"], median["high"]) == (3.5, 5.5, 6.25)
    assert scores.over_files(rows[8:])["snr_db"] is None


def test_few_files_have_a_mean_and_no_interval() -> None:
    rows = [dict.fromkeys(scores.MEASURES, value) for value in (1.0, 2.0, 9.0)]
    for name in ("log_mel_db", "f0_cents"):
        found = scores.over_files(rows)[name]
        assert found is not None
        assert (found["low"], found["high"], found["files"]) == (None, None, 3)
    assert scores.student(7) == pytest.approx(2.3646, rel=0.005)
    assert scores.student(30) == pytest.approx(2.0423, rel=1e-4)


# -- linear algebra -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 1e-5, 30, 90])
def test_angles_between_planes(degrees: float) -> None:
    turn = np.radians(degrees)
    a = np.eye(4)[:2]
    b = np.array([[1, 0, 0, 0], [0, np.cos(turn), np.sin(turn), 0]]) * [[3], [-2]]  # lengths and signs are not angles
    assert subspace.angles_degrees(a, b) == pytest.approx([0, degrees], abs=1e-9)


def test_rank_correlation_of_what_rises_together() -> None:
    x = np.random.default_rng(0).standard_normal(200)
    assert subspace.rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert subspace.rank_correlation(x, -(x**3)) == pytest.approx(-1)
    assert abs(subspace.rank_correlation(x, np.random.default_rng(1).standard_normal(200))) < 0.2
    assert np.isnan(subspace.rank_correlation(x, np.zeros(200)))
    a, b = np.array([1, 2, 2, 3, 5, 5, 7, 8.0]), np.array([2, 1, 3, 3, 6, 5, 5, 9.0])
    assert subspace.rank_correlation(a, b) == pytest.approx(0.89024, abs=1e-5)  # scipy.stats.spearmanr
