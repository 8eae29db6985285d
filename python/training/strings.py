"""A bowed and plucked string with a wooden body: a physical model that plays the demo's corpus, note by note.

Digital waveguide after J. O. Smith, "Physical Audio Signal Processing" (bowed strings), with the friction
curve of McIntyre, Schumacher and Woodhouse (JASA 74, 1983) in its memoryless form. Every phrase is a lane of
one simulation, and a block is as long as the shortest echo of the string: numpy needs no loop over samples.
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
DAMPING_SECONDS = 0.1  # of these, by hand
SHORTEST_NOTE_S = 0.12
PLUCK_SECONDS = 0.0015
GRIT = 0.03
LEVEL = 0.75
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


@dataclass(frozen=True)
class Note:
    """One note of a melody."""

    start_s: float
    stop_s: float
    midi: int
    direction: int  # of the bow: 1 or -1
    vibrato_semitones: float


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


def melody(rng: np.random.Generator, seconds: float) -> list[Note]:
    """Steps and small leaps in a mode, rhythms on a beat, a rest now and then; it ends at `seconds`."""
    pitches = _scale(rng)
    step = int(rng.integers(len(pitches) // 4, 3 * len(pitches) // 4))
    beat_s, now_s, direction = 60 / rng.uniform(70, 130), 0.05, 1
    notes: list[Note] = []
    while now_s < seconds - SHORTEST_NOTE_S:
        for beats in RHYTHMS_BEATS[int(rng.integers(len(RHYTHMS_BEATS)))]:
            stop_s = now_s + beats * beat_s
            if stop_s > seconds - SHORTEST_NOTE_S:
                stop_s = seconds
            after_rest = not notes or notes[-1].stop_s < now_s
            if after_rest or rng.random() > 0.1:
                if after_rest or rng.random() > 0.4:  # else slurred: the bow goes on in its direction
                    direction = -direction
                notes.append(Note(now_s, stop_s, int(pitches[step]), direction, rng.uniform(0.1, 0.25)))
                step = int(np.clip(step + rng.choice([-4, -2, -1, -1, 1, 1, 2, 4]), 0, len(pitches) - 1))
            now_s = stop_s
            if now_s >= seconds:
                break
    return notes


def compose(rng: np.random.Generator, sample_rate_hz: int, seconds: float) -> Score:
    """A melody with a swell, bowed (four in five) or plucked; the last RING_SECONDS are the string's own."""
    frames = round(seconds * sample_rate_hz)
    time_s = np.arange(frames) / sample_rate_hz
    plucked = rng.random() < 0.2
    notes = melody(rng, seconds - RING_SECONDS)
    loudness = _swell(rng, frames)
    pitch, velocity, force, pluck = np.zeros((4, frames))
    vibrato = np.zeros(frames)
    pitch[:] = notes[0].midi
    for note in notes:
        start = round(note.start_s * sample_rate_hz)
        held = slice(start, round(note.stop_s * sample_rate_hz))
        pitch[start:] = note.midi
        vibrato[held] = note.vibrato_semitones * np.clip((time_s[held] - note.start_s - 0.15) / 0.3, 0, 1)
        if plucked:
            pulse = np.sin(np.pi * np.linspace(0, 1, round(PLUCK_SECONDS * sample_rate_hz))) ** 2
            pluck[start : start + len(pulse)] += 0.6 * loudness[start] * pulse
        else:
            velocity[held] = note.direction * (0.04 + 0.16 * loudness[held])
            force[held] = 0.45 + 0.3 * loudness[start]
    pitch = _smooth(pitch, 0.012 * sample_rate_hz)  # a finger needs some milliseconds
    vibrato = _smooth(vibrato, 0.1 * sample_rate_hz)
    vibrato *= np.sin(2 * np.pi * rng.uniform(4.8, 6.2) * time_s)
    return Score(
        frequency_hz=440 * 2 ** ((pitch + vibrato - 69) / 12),
        bow_velocity=_smooth(velocity, 0.06 * sample_rate_hz),
        bow_force=_smooth(force, 0.03 * sample_rate_hz),
        pluck=pluck,
    )


def play(scores: list[Score], sample_rate_hz: int, generators: list[np.random.Generator] | None = None) -> Curve:
    """Simulate equally long scores side by side: (scores, frames), without DC.

    A generator per score adds the noise of the bow's hair. Raises ValueError for a pitch whose echo between
    bow and bridge is shorter than 4 samples.
    """
    velocity = np.stack([score.bow_velocity for score in scores], axis=1)
    if generators:
        velocity *= 1 + GRIT * np.stack([rng.standard_normal(len(velocity)) for rng in generators], axis=1)
    bridge = _string(
        np.stack([score.frequency_hz for score in scores], axis=1),
        velocity,
        np.stack([score.bow_force for score in scores], axis=1),
        np.stack([score.pluck for score in scores], axis=1),
        sample_rate_hz,
    )
    audio = LEVEL * _body(bridge.T, sample_rate_hz)
    hand = round(DAMPING_SECONDS * sample_rate_hz)
    audio[:, -hand:] *= np.cos(np.linspace(0, np.pi / 2, hand)) ** 2
    return audio


def _string(frequency: Curve, velocity: Curve, force: Curve, pluck: Curve, sample_rate_hz: int) -> Curve:
    """(frames, lanes) of controls -> the waves arriving at the bridge, (frames, lanes).

    Two lines carry the velocity waves that left the bow towards the nut and the bridge; both ends invert
    them, the bridge filters them, and the bow adds what its friction imposes.
    """
    frames, lanes = frequency.shape
    # The filter at the bridge looks back 1 sample and the interpolation ahead 2: the rest can be one block.
    block = int(BOW_POSITION * sample_rate_hz / frequency.max()) - 3
    if block < 1:
        raise ValueError(f"{frequency.max():.0f} Hz is too high for this string at {sample_rate_hz} Hz")
    past = int(sample_rate_hz / frequency.min()) + 4
    lines = np.zeros((past + frames, 2 * lanes))
    to_nut, bridge = lines[:, :lanes], lines[:, lanes:]
    to_bridge = np.zeros((past + frames, lanes))  # not yet filtered
    slope = 5 - 4 * force
    contact = np.minimum(1.0, 8 * force)
    for chunk in range(0, frames, CHUNK_SAMPLES):
        period = sample_rate_hz / frequency[chunk : chunk + CHUNK_SAMPLES]
        delays = np.concatenate([(1 - BOW_POSITION) * period, BOW_POSITION * period - 1], axis=1)
        at, taps = _lagrange(past + chunk, delays)
        taps[:, :, :lanes] *= -NUT_REFLECTION
        taps[:, :, lanes:] *= -1
        for begin in range(0, len(period), block):
            part = slice(begin, min(begin + block, len(period)))
            now = slice(chunk + part.start, chunk + part.stop)
            here = slice(past + now.start, past + now.stop)
            echoes = (taps[part] * lines.take(at[part])).sum(1)
            from_nut, from_bridge = echoes[:, :lanes], echoes[:, lanes:]
            slip = velocity[now] - from_nut - from_bridge
            grip = np.abs(slip * slope[now]) + 0.75
            grip *= grip
            grip *= grip
            imposed = slip / np.maximum(1.0, grip) * contact[now] + pluck[now]
            to_nut[here] = from_bridge + imposed
            to_bridge[here] = from_nut + imposed
            raw = to_bridge[here.start - 2 : here.stop]
            bridge[here] = BRIDGE_LOSS * (raw[2:] + raw[:-2]) + (1 - 2 * BRIDGE_LOSS) * raw[1:-1]
    return bridge[past:]


def _lagrange(now: int, delay: Curve) -> tuple[NDArray[np.int64], Curve]:
    """Flat indices and weights, (frames, 4, lanes), that read lines `delay` samples ago (third order)."""
    frames, lanes = delay.shape
    whole = np.floor(delay).astype(np.int64)
    x = delay - whole  # 0 .. 1 between the two middle points
    newest = now + np.arange(frames)[:, None] - whole + 1
    at = (newest[:, None] - np.arange(4)[:, None]) * lanes + np.arange(lanes)
    inner, outer = (x - 2) * (x + 1) / 2, x * (x - 1) / 6
    return at, np.stack([-outer * (x - 2), inner * (x - 1), -inner * x, outer * (x + 1)], axis=1)


def _body(bridge: Curve, sample_rate_hz: int) -> Curve:
    """A wooden box: resonators with zeros at DC and Nyquist, summed, as one multiplication of spectra.

    The list is (Hz, Q, gain): air and plate modes of a small cello, a bridge hill, and the direct sound.
    """
    modes = [
        (104.0, 14.0, 1.5),
        (178, 18, 1.6),
        (223, 20, 1.4),
        (310, 18, 1.0),
        (405, 16, 1.2),
        (560, 14, 0.9),
    ]
    modes += [
        (760, 12, 0.7),
        (1050, 10, 0.5),
        (1500, 4, 0.25),
        (2300, 3, 0.3),
        (3600, 3, 0.1),
        (330, 0.4, 0.8),
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
