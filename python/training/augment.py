"""Augmentations: what a recording would also be, played louder, in another room, through other gear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..audio import Audio, resample

# The level detector and the fades work on blocks of 128 samples: 3 ms, shorter than any musical attack.
BLOCK_SAMPLES = 128
# Two all-pass sections of this radius ring for 10 ms and have fallen by 140 dB after TAIL_SAMPLES.
MAX_RADIUS = 0.98
TAIL_SAMPLES = 1024
FFT_SAMPLES = 4096


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges; every draw is uniform in its range (frequencies: in their logarithm).

    `apply` keeps shape, finiteness and |audio| <= 1, uses the same parameters on every channel, and is a
    pure function of the audio and the generator's state.
    """

    gain_probability: float = 0.5
    gain_min_db: float = -12.0
    gain_max_db: float = 6.0
    phase_probability: float = 0.8
    phase_min_hz: float = 20.0
    phase_max_hz: float = 4000.0
    compress_probability: float = 0.1
    compress_max_ratio: float = 4.0
    mute_probability: float = 0.02
    dither_probability: float = 1.0
    dither_bits: int = 16
    rate_probability: float = 0.0
    rate_max_semitones: float = 2.0

    def draw_rate(self, rng: np.random.Generator) -> float:
        """Source frames per output frame: 2 sounds an octave higher; 1 when this crop keeps its pitch."""
        semitones = rng.uniform(-self.rate_max_semitones, self.rate_max_semitones)
        return float(2 ** (semitones / 12)) if rng.random() < self.rate_probability else 1.0

    def apply(self, audio: Audio, sample_rate_hz: int, rng: np.random.Generator) -> Audio:
        """(channels, frames) -> new (channels, frames), float32."""
        chosen = rng.random(5)
        if chosen[0] < self.compress_probability:
            audio = compress(
                audio,
                threshold_db=rng.uniform(-30.0, -10.0),
                ratio=rng.uniform(1.0, self.compress_max_ratio),
                release_ms=rng.uniform(50.0, 300.0),
                sample_rate_hz=sample_rate_hz,
            )
        if chosen[1] < self.phase_probability:
            low, high = np.log(self.phase_min_hz), np.log(min(self.phase_max_hz, 0.45 * sample_rate_hz))
            frequencies = np.exp(rng.uniform(low, high, 2)) / sample_rate_hz
            audio = all_pass(audio, list(zip(frequencies, rng.uniform(0.9, MAX_RADIUS, 2), strict=True)))
        louder = chosen[2] < self.gain_probability
        audio = gain(audio, rng.uniform(self.gain_min_db, self.gain_max_db) if louder else 0.0)
        if chosen[3] < self.mute_probability:
            audio = mute(audio, rng)
        if chosen[4] < self.dither_probability:
            audio = dither(audio, self.dither_bits, rng)
        return audio


def gain(audio: Audio, gain_db: float) -> Audio:
    """Scale by `gain_db`, or by less where the peak would pass full scale."""
    loudest = float(np.abs(audio).max(initial=1e-9))
    return audio * np.float32(min(10 ** (gain_db / 20), 1 / loudest))


def mute(audio: Audio, rng: np.random.Generator) -> Audio:
    """Silence everything (one time in four) or a random stretch, with raised-cosine edges of 3 ms: a
    performer stops, a click would be a sound of its own."""
    frames = audio.shape[1]
    if rng.random() < 0.25:
        return np.zeros_like(audio)
    start, stop = np.sort(rng.integers(0, frames + 1, 2))
    envelope = np.ones(frames + 2 * BLOCK_SAMPLES, np.float32)
    fade = np.sin(np.linspace(0, np.pi / 2, BLOCK_SAMPLES, dtype=np.float32)) ** 2
    envelope[start : start + BLOCK_SAMPLES] = 1 - fade
    envelope[start + BLOCK_SAMPLES : stop + BLOCK_SAMPLES] = 0
    envelope[stop + BLOCK_SAMPLES : stop + 2 * BLOCK_SAMPLES] = fade
    return audio * envelope[BLOCK_SAMPLES:-BLOCK_SAMPLES]


def dither(audio: Audio, bits: int, rng: np.random.Generator) -> Audio:
    """Add rectangular noise as wide as one quantisation step of `bits`: it fills the steps a 16-bit file has
    in its quiet places, and digital silence becomes a room's."""
    noise = rng.random(audio.shape, np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(2.0 ** (1 - bits))
    noise += audio
    return noise


def all_pass(audio: Audio, sections: list[tuple[float, float]]) -> Audio:
    """Filter through second-order all-passes given as (frequency in cycles per sample, radius <= MAX_RADIUS).

    A polynomial over its reverse passes every frequency at gain one and only moves its phase, so a cascade
    is one complex division in the frequency domain; overlap-add keeps the transforms inside the cache.
    """
    poles = np.ones(1)
    for frequency, radius in sections:
        poles = np.convolve(poles, [1.0, -2 * radius * np.cos(2 * np.pi * frequency), radius**2])
    zeros, poles = np.fft.rfft(np.stack([poles[::-1], poles]), FFT_SAMPLES)  # double: poles near 1 cancel
    response = (zeros / poles).astype(np.complex64)
    channels, frames = audio.shape
    hop = FFT_SAMPLES - TAIL_SAMPLES
    blocks = -(-frames // hop)
    padded = np.zeros((channels, blocks, FFT_SAMPLES), np.float32)
    padded[..., :hop] = np.pad(audio, ((0, 0), (0, blocks * hop - frames))).reshape(channels, blocks, hop)
    pieces = np.fft.irfft(np.fft.rfft(padded) * response).astype(np.float32, copy=False)
    out = pieces[:, :, :hop]
    out[:, 1:, :TAIL_SAMPLES] += pieces[:, :-1, hop:]
    return out.reshape(channels, blocks * hop)[:, :frames]


def compress(audio: Audio, threshold_db: float, ratio: float, release_ms: float, sample_rate_hz: int) -> Audio:
    """A feed-forward compressor: peak level over 3 ms blocks of all channels, instant attack, `release_ms`.

    Above the threshold, `ratio` dB of input become one dB of output. The gain is drawn as straight lines
    between block edges, each the lower of its two neighbours, so that a peak never comes through.
    """
    channels, frames = audio.shape
    blocks = -(-frames // BLOCK_SAMPLES)
    padded = np.pad(audio, ((0, 0), (0, blocks * BLOCK_SAMPLES - frames)))
    peaks = np.abs(padded).reshape(channels, blocks, BLOCK_SAMPLES).max(axis=(0, 2))
    over_db = np.maximum(20 * np.log10(peaks + 1e-9) - threshold_db, 0.0)
    fall = float(np.exp(-1000 * BLOCK_SAMPLES / (release_ms * sample_rate_hz)))
    held_db, level = np.empty(blocks), 0.0
    for block, over in enumerate(over_db.tolist()):
        level = max(over, fall * level)
        held_db[block] = level
    reduction = 10 ** (held_db * (1 / ratio - 1) / 20)
    edges = np.minimum(np.r_[reduction[:1], reduction], np.r_[reduction, reduction[-1:]]).astype(np.float32)
    ramp = np.arange(BLOCK_SAMPLES, dtype=np.float32) / BLOCK_SAMPLES
    curve = edges[:-1, None] + np.diff(edges)[:, None] * ramp
    return audio * curve.reshape(-1)[:frames]


def change_rate(audio: Audio, ratio: float, frames: int) -> Audio:
    """Play (channels, about frames * ratio) at `ratio` times the speed, cut or padded to exactly `frames`."""
    # MQ (16 bit) costs a third of HQ, and no difference survives the training's noise floor.
    out = resample(audio, ratio, 1.0, quality="MQ")[:, :frames]
    return np.pad(out, ((0, 0), (0, frames - out.shape[1])))
