"""Laws: a sine is one line at its own pitch and level; a page is drawn from any history, even none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from python import pictures

RATE = 44100


def sine(hz: float, amplitude: float = 1.0, seconds: float = 0.5) -> np.ndarray:
    t = np.arange(int(RATE * seconds)) / RATE
    return amplitude * np.sin(2 * np.pi * hz * t)[None]


def row_of(hz: float) -> float:
    return pictures.ROWS * np.log(hz / pictures.LOWEST_HZ) / np.log(RATE / 2 / pictures.LOWEST_HZ)


@pytest.mark.parametrize("hz", [60, 110, 440, 3000, 15000])
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_a_sine_is_a_line_at_its_pitch_and_level(hz: float, amplitude: float) -> None:
    picture = pictures.spectrogram_db(sine(hz, amplitude), RATE)
    middle = picture[:, picture.shape[1] // 2]
    half_a_bin = row_of(hz + RATE / pictures.WINDOW_SAMPLES / 2) - row_of(hz)
    assert abs(int(middle.argmax()) - row_of(hz)) <= half_a_bin + 1
    assert abs(middle.max() - 20 * np.log10(amplitude)) < 1.5  # a Hann window loses at most 1.42 dB off a bin


def test_stereo_is_averaged_and_silence_is_finite() -> None:
    left = sine(440)
    opposite = np.concatenate([left, -left])
    assert np.isfinite(pictures.spectrogram_db(opposite, RATE)).all()
    assert pictures.spectrogram_db(opposite, RATE).max() <= -120


@pytest.mark.parametrize("frames", [1, 100, RATE])
def test_any_length(frames: int) -> None:
    assert pictures.spectrogram_db(np.ones((1, frames)), RATE).shape[0] == pictures.ROWS


def history() -> list[pictures.Entry]:
    return [
        {
            "step": step,
            "phase": 1 + (step > 50),
            "train": {"spectral": 5 / step, "latent": 0.0},
            "validation": {"distance": 6 / step if step < 100 else math.nan},
        }
        for step in range(10, 101, 10)
    ]


@pytest.mark.parametrize(("entries", "curve"), [(history(), [0.5, 0.75, 1.0]), ([], [])])
def test_a_page_is_drawn(tmp_path: Path, entries: list[pictures.Entry], curve: list[float]) -> None:
    path = tmp_path / "page.png"
    audio = sine(440, 0.5)
    pictures.draw(path, audio, audio[:, :1000], RATE, entries, curve, 2, "demo")
    pixels = image.imread(path)
    assert pixels.shape[0] > 800
    assert pixels.std() > 0.1


def test_silence_is_drawn_too(tmp_path: Path) -> None:
    silence = np.zeros((2, 2000), np.float32)
    pictures.draw(tmp_path / "page.png", silence, silence, RATE, [], [], 1, "silence")
