"""A bowed and plucked string with a wooden body: a physical model that plays the demo's corpus, note by note.

Digital waveguide after J. O. Smith, "Physical Audio Signal Processing" (bowed strings), with the friction
curve of McIntyre, Schumacher and Woodhouse (JASA 74, 1983) in its memoryless form. Every phrase is a lane of
one simulation, and a block is as long as the shortest echo of the string, so numpy needs no loop over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import write_wav

Curve = NDArray[np.float64]

LOWEST_HZ, HIGHEST_HZ = 98.0, 600.0  # G2 .. D5: a cello's singing range
BOW_POSITION = 0.14  # of the string, from the bridge
NUT_REFLECTION = 0.985
BRIDGE_LOSS = 0.16  # outer taps of the symmetric filter at the bridge: -3 dB per trip near 11 kHz
RING_SECONDS = 0.4  # after the last note
LEVEL = 0.35
CHUNK_SAMPLES = 4096
MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "dorian": (0, 2, 3, 5, 7, 9, 10), "minor": (0, 2, 3, 5, 7, 8, 11)}
RHYTHMS_BEATS = ((1.0,), (0.5, 0.5), (1.5, 0.5), (2.0,), (0.25, 0.25, 0.5), (3.0,))


@dataclass(frozen=True)
class Score:
    """What the player's hands do, one value a sample: (frames,) each."""

    frequency_hz: Curve
    bow_velocity: Curve  # of the string's own units: 0.03 is pianissimo, 0.25 fortissimo
    bow_force: Curve  # 0: the bow is off the string, 1: as heavy as it can be
    pluck: Curve  # velocity given to the string


def synthesise_corpus(
    folder: str | Path, seconds: float = 150.0, sample_rate_hz: int = 44100, seed: int = 0
) -> list[Path]:
    """Write phrases of about 6 s, `seconds` in total, as mono WAV files; equal seeds give equal bytes."""
    count = max(2, round(seconds / 6))
    generators = [np.random.default_rng([seed, index]) for index in range(count)]
    scores = [compose(rng, sample_rate_hz, seconds / count) for rng in generators]
    paths = [Path(folder, f"phrase-{index:02d}.wav") for index in range(count)]
    for path, audio in zip(paths, play(scores, sample_rate_hz, generators), strict=True):
        write_wav(path, audio[None].astype(np.float32), sample_rate_hz)
    return paths


def phrase(rng: np.random.Generator, sample_rate_hz: int = 44100, seconds: float = 6.0) -> Curve:
    """One phrase, (frames,)."""
    return play([compose(rng, sample_rate_hz, seconds)], sample_rate_hz, [rng])[0]


def compose(rng: np.random.Generator, sample_rate_hz: int, seconds: float) -> Score:
    """A melody in a mode with a swell, bowed (four in five) or plucked; it ends RING_SECONDS before `seconds`."""
    frames = round(seconds * sample_rate_hz)
    last = frames - round(RING_SECONDS * sample_rate_hz)
    time_s = np.arange(frames) / sample_rate_hz
    beat_s = 60 / rng.uniform(70, 130)
    plucked = rng.random() < 0.2
    pitches = _scale(rng)
    step = int(rng.integers(len(pitches) // 4, 3 * len(pitches) // 4))
    semitones, vibrato = np.zeros(frames), np.zeros(frames)
    velocity, force, pluck = np.zeros(frames), np.zeros(frames), np.zeros(frames)
    loudness = _swell(rng, frames)
    direction, start, legato_from = 1.0, round(0.05 * sample_rate_hz), None
    while start < last:
        for beats in RHYTHMS_BEATS[int(rng.integers(len(RHYTHMS_BEATS)))]:
            stop = min(start + round(beats * beat_s * sample_rate_hz), last)
            if last - stop < 0.15 * sample_rate_hz:
                stop = last
            if start >= stop:
                break
            semitones[start:] = pitches[step]
            step = int(np.clip(step + rng.choice([-4, -2, -1, -1, 1, 1, 2, 4]), 0, len(pitches) - 1))
            local_s = time_s[start:stop] - time_s[start]
            vibrato[start:stop] = rng.uniform(0.1, 0.25) * np.clip((local_s - 0.15) / 0.3, 0, 1)
            if plucked:
                width = round(0.0012 * sample_rate_hz)
                stop_pulse = min(start + width, frames)
                pulse = np.sin(np.pi * np.arange(width) / width) ** 2
                pluck[start:stop_pulse] += 0.5 * loudness[start] * pulse[: stop_pulse - start]
            elif rng.random() > 0.1:  # else a rest
                slurred = legato_from == start and rng.random() < 0.4
                direction = direction if slurred else -direction
                velocity[start:stop] = direction * (0.03 + 0.17 * loudness[start:stop])
                force[start:stop] = rng.uniform(0.45, 0.75)
                legato_from = stop
            start = stop
    first = np.flatnonzero(semitones)
    semitones[: first[0]] = semitones[first[0]]
    wobble = vibrato * np.sin(2 * np.pi * rng.uniform(4.8, 6.2) * time_s)
    curve = _smooth(semitones, 0.012 * sample_rate_hz) + _smooth(wobble, 0.01 * sample_rate_hz)
    return Score(
        frequency_hz=440 * 2 ** ((curve - 69) / 12),
        bow_velocity=_smooth(velocity, 0.05 * sample_rate_hz),
        bow_force=_smooth(force, 0.03 * sample_rate_hz),
        pluck=pluck,
    )


def play(
    scores: list[Score], sample_rate_hz: int, generators: list[np.random.Generator] | None = None
) -> NDArray[np.float64]:
    """Simulate equally long scores side by side: (scores, frames), within +-1 and without DC.

    A generator per score adds the bow hair's noise. Frequencies must lie within LOWEST_HZ .. HIGHEST_HZ.
    """
    frequency = np.stack([score.frequency_hz for score in scores])
    velocity = np.stack([score.bow_velocity for score in scores])
    if generators:
        grit = np.stack([rng.standard_normal(velocity.shape[1]) for rng in generators])
        velocity = velocity * (1 + 0.03 * grit)
    force = np.stack([score.bow_force for score in scores])
    pluck = np.stack([score.pluck for score in scores])
    return LEVEL * _body(_string(frequency, velocity, force, pluck, sample_rate_hz), sample_rate_hz)


def _string(frequency: Curve, velocity: Curve, force: Curve, pluck: Curve, sample_rate_hz: int) -> Curve:
    """Waves arriving at the bridge, (lanes, frames).

    Two lines carry the velocity waves that left the bow towards the nut and the bridge; both ends invert
    them, the bridge filters them, and the bow adds what its friction imposes.
    """
    lanes, frames = frequency.shape
    shortest = BOW_POSITION * sample_rate_hz / frequency.max()
    block = int(shortest) - 3  # the filter at the bridge looks back 1 sample, the interpolation ahead 2
    if block < 1:
        raise ValueError(f"{frequency.max():.0f} Hz is too high for this string at {sample_rate_hz} Hz")
    past = int(sample_rate_hz / frequency.min()) + 4
    nut_line, bridge_line, raw_bridge = np.zeros((3, lanes, past + frames))
    slope = 5 - 4 * force
    contact = np.minimum(1.0, 8 * force)
    rows = np.arange(lanes)[:, None] * (past + frames)
    for chunk in range(0, frames, CHUNK_SAMPLES):
        stop = min(chunk + CHUNK_SAMPLES, frames)
        period = sample_rate_hz / frequency[:, chunk:stop]
        now = rows + past + np.arange(chunk, stop)
        nut_at, nut_taps = _lagrange(now, (1 - BOW_POSITION) * period)
        bridge_at, bridge_taps = _lagrange(now, BOW_POSITION * period - 1)
        nut_taps *= -NUT_REFLECTION
        bridge_taps *= -1
        for begin in range(chunk, stop, block):
            end = min(begin + block, stop)
            here = slice(begin - chunk, end - chunk)
            from_nut = (nut_taps[:, :, here] * nut_line.take(nut_at[:, :, here])).sum(0)
            from_bridge = (bridge_taps[:, :, here] * bridge_line.take(bridge_at[:, :, here])).sum(0)
            slip = velocity[:, begin:end] - from_nut - from_bridge
            grip = (np.abs(slip * slope[:, begin:end]) + 0.75) ** 2
            imposed = slip * np.minimum(1.0, 1 / (grip * grip)) * contact[:, begin:end] + pluck[:, begin:end]
            nut_line[:, past + begin : past + end] = from_bridge + imposed
            raw = raw_bridge[:, past + begin - 2 : past + end]
            raw[:, 2:] = from_nut + imposed
            bridge_line[:, past + begin : past + end] = (
                BRIDGE_LOSS * (raw[:, 2:] + raw[:, :-2]) + (1 - 2 * BRIDGE_LOSS) * raw[:, 1:-1]
            )
    return bridge_line[:, past:]


def _lagrange(now: NDArray[np.int64], delay: Curve) -> tuple[NDArray[np.int64], Curve]:
    """Indices and weights, (4, lanes, frames), that read a line `delay` samples ago (third order)."""
    whole = np.floor(delay).astype(np.int64)
    x = delay - whole  # 0 .. 1 between the two middle points
    at = np.stack([now - whole + 1, now - whole, now - whole - 1, now - whole - 2])
    taps = [
        -x * (x - 1) * (x - 2) / 6,
        (x + 1) * (x - 1) * (x - 2) / 2,
        -(x + 1) * x * (x - 2) / 2,
        (x + 1) * x * (x - 1) / 6,
    ]
    return at, np.stack(taps)


def _body(bridge: Curve, sample_rate_hz: int) -> Curve:
    """A wooden box: resonators with zeros at DC and Nyquist, summed, as one multiplication of spectra.

    The list is (Hz, Q, gain): air and plate modes of a small cello, a bridge hill, and the direct sound.
    """
    modes = [(104, 14, 0.9), (178, 18, 1.0), (223, 20, 0.8), (310, 18, 0.5), (405, 16, 0.6), (560, 14, 0.5)]
    modes += [
        (760, 12, 0.5),
        (1050, 10, 0.5),
        (1500, 4, 0.6),
        (2300, 3, 0.9),
        (3600, 3, 0.4),
        (900, 0.5, 0.5),
    ]
    frames = bridge.shape[1]
    size = 1 << int(np.ceil(np.log2(frames + sample_rate_hz // 4)))
    z1 = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.zeros(size // 2 + 1, complex)
    for frequency_hz, q, gain in modes:
        angle = 2 * np.pi * frequency_hz / sample_rate_hz
        radius = np.exp(-angle / (2 * q))
        peak = (1 - radius**2) / 2
        response += gain * peak * (1 - z1**2) / (1 - 2 * radius * np.cos(angle) * z1 + radius**2 * z1**2)
    return np.fft.irfft(np.fft.rfft(bridge, size) * response, size)[:, :frames]


def _scale(rng: np.random.Generator) -> NDArray[np.int64]:
    """MIDI pitches of a random mode on a random tonic within the string's range (vibrato included)."""
    name = str(rng.choice(list(MODES)))
    tonic = int(rng.integers(12))
    low, high = (69 + 12 * np.log2(hz / 440) for hz in (LOWEST_HZ, HIGHEST_HZ))
    return np.array([m for m in range(int(low) + 1, int(high)) if (m - tonic) % 12 in MODES[name]])


def _swell(rng: np.random.Generator, frames: int) -> Curve:
    """A phrase's dynamics, 0 .. 1: rising to a random place and falling after it."""
    top = rng.uniform(0.3, 0.8)
    soft, loud = rng.uniform(0.05, 0.3), rng.uniform(0.5, 1.0)
    return np.interp(np.linspace(0, 1, frames), [0, top, 1], [soft, loud, soft])


def _smooth(curve: Curve, width_samples: float) -> Curve:
    """Convolve with a Hann window; the ends are held."""
    half = max(1, round(width_samples / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(curve, half, mode="edge")
    size = 1 << (len(padded) + len(window)).bit_length()
    smooth = np.fft.irfft(np.fft.rfft(padded, size) * np.fft.rfft(window / window.sum(), size), size)
    return smooth[2 * half : 2 * half + len(curve)]
