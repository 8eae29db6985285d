"""Sound files in and out: probing, streamed decoding, resampling, channel conversion, and WAV writing."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .errors import RavelError
from .files import atomic_write

Audio = NDArray[np.float32]

AUDIO_EXTENSIONS = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"})

BLOCK_FRAMES = 1 << 18
# +40 dBFS: a float file above it is raw memory or integer-scaled, and one such sample ruins a training.
LOUDEST = 100.0
# An MP3's Xing header may count its encoder's padding: up to two MPEG frames are missing from sound files.
SLACK_FRAMES = 2 * 1152
# A recorder that writes to a pipe cannot know the length and leaves 0xffffffff or 0x7fff.... behind.
STREAMED_BYTES = 0x7FFF0000
WAV_LIMIT_BYTES = 0xFFFFFFFF - 64


class AudioError(RavelError):
    """A sound file that cannot be used; `kind` is the short reason that reports count by."""

    def __init__(self, path: str | os.PathLike[str], kind: str, detail: str) -> None:
        super().__init__(f"{printable(path)}: {detail}")
        self.kind = kind


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header promises."""

    sample_rate_hz: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate_hz


def printable(path: str | os.PathLike[str]) -> str:
    """The path as text that can be written anywhere: old disks have names that are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header only. Raises AudioError for a file that is missing, not audio, truncated or empty."""
    path = Path(path)
    if not path.is_file():
        raise AudioError(path, "missing", "no such file; check the path")
    if path.stat().st_size == 0:
        raise AudioError(path, "empty", "the file has no bytes; copy or export it again")
    try:
        header = soundfile.info(os.fsencode(path), verbose=True)
    except (soundfile.SoundFileError, OSError) as error:
        if not os.access(path, os.R_OK):
            raise AudioError(path, "unreadable", "no permission to read it; change that") from error
        raise AudioError(path, "not audio", "not a readable sound file; convert it to WAV or FLAC") from error
    info = AudioInfo(header.samplerate, header.channels, header.frames)
    promised, held = _chunk_bytes(header.extra_info)
    if held < promised < STREAMED_BYTES:
        raise _truncated(path, f"the header promises {promised} bytes of sound, the file holds {held}")
    if header.format == "OGG" and not _ogg_is_whole(path):
        raise _truncated(path, "the Ogg stream has no end")
    if info.frames == 0:
        raise AudioError(path, "empty", "a header without samples; record or export it again")
    return info


def stream_audio(
    path: str | os.PathLike[str], sample_rate_hz: int | None = None, channels: int | None = None
) -> Iterator[Audio]:
    """Decode in blocks (channels, frames), so that hours of multichannel audio need only a few megabytes.

    A rate of None keeps the file's own; otherwise soxr at HQ, which is flat to 0.91 of the lower Nyquist
    frequency and whose filters are linear-phase and delay-compensated. Raises AudioError as `probe` does,
    and also for damaged or truncated data and for NaN, infinite or absurdly loud samples.
    """
    path = Path(path)
    info = probe(path)
    channels = channels or info.channels
    rate = sample_rate_hz or info.sample_rate_hz
    resampler = None
    if rate != info.sample_rate_hz:
        resampler = soxr.ResampleStream(info.sample_rate_hz, rate, channels, dtype="float32", quality="HQ")
    for block in _decode(path, info):
        if not np.max(np.abs(block), initial=0.0) <= LOUDEST:  # also false for NaN
            raise AudioError(path, "not finite", "holds NaN, infinite or absurdly loud samples; export it again")
        audio = to_channels(block.T, channels)
        if resampler is not None:
            audio = resampler.resample_chunk(np.ascontiguousarray(audio.T)).reshape(-1, channels).T
        yield audio
    if resampler is not None:
        silence = np.zeros((0, channels), np.float32)
        yield resampler.resample_chunk(silence, last=True).reshape(-1, channels).T


def read_audio(
    path: str | os.PathLike[str], sample_rate_hz: int | None = None, channels: int | None = None
) -> tuple[Audio, int]:
    """The whole file as float32 (channels, frames) and its rate; arguments and errors as `stream_audio`."""
    blocks = list(stream_audio(path, sample_rate_hz, channels))
    return np.concatenate(blocks, axis=1), sample_rate_hz or probe(path).sample_rate_hz


def to_channels(audio: Audio, channels: int) -> Audio:
    """Convert (any, frames) to (channels, frames).

    Mono is the mean of all channels; mono feeds every output; of more channels than asked for the first
    are kept, which in every common layout are front left and front right (a rear or effects channel folded
    in would only blur the instrument).
    """
    if len(audio) == channels:
        return audio
    if channels == 1:
        return audio.mean(axis=0, keepdims=True, dtype=np.float32)
    if len(audio) == 1:
        return np.repeat(audio, channels, axis=0)
    if len(audio) > channels:
        return audio[:channels]
    raise RavelError(f"{len(audio)} channels cannot become {channels}: ask for 1 or 2")


def resample(audio: Audio, from_hz: float, to_hz: float, quality: str = "HQ") -> Audio:
    """Resample (channels, frames) to round(frames * to_hz / from_hz) frames, without delay."""
    if from_hz == to_hz:
        return audio
    resampled = soxr.resample(np.ascontiguousarray(audio.T), from_hz, to_hz, quality=quality)
    return np.ascontiguousarray(resampled.T)


def write_wav(path: str | os.PathLike[str], audio: Audio, sample_rate_hz: int) -> None:
    """Write (channels, frames) as `write_wav_blocks` does."""
    channels, frames = audio.shape
    write_wav_blocks(path, [audio], channels, frames, sample_rate_hz)


def write_wav_blocks(
    path: str | os.PathLike[str], blocks: Iterable[Audio], channels: int, frames: int, sample_rate_hz: int
) -> None:
    """Write blocks (channels, any), `frames` in all, as a 32-bit float WAV, whole or not at all.

    Float keeps what exceeds full scale. The header is written here because libsndfile stamps float files
    with the time of day, and equal sounds should be equal files. Raises RavelError.
    """
    size = 4 * channels * frames
    if size > WAV_LIMIT_BYTES:
        raise RavelError(f"could not write {path}: longer than a WAV file can be (4 GiB); split the input")
    header = struct.pack(
        "<4sI4s 4sIHHIIHHH 4sII 4sI",
        *(b"RIFF", 50 + size, b"WAVE"),
        *(b"fmt ", 18, 3, channels, sample_rate_hz, 4 * channels * sample_rate_hz, 4 * channels, 32, 0),
        *(b"fact", 4, frames),
        *(b"data", size),
    )
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(header)
        for block in blocks:
            file.write(np.ascontiguousarray(block.T, "<f4").data)


def _decode(path: Path, info: AudioInfo) -> Iterator[Audio]:
    """The samples as the file has them, in blocks (frames, channels)."""
    decoded = 0
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                decoded += len(block)
                yield block
    except (soundfile.SoundFileError, OSError) as error:
        held_s = decoded / info.sample_rate_hz
        raise AudioError(path, "damaged", f"damaged or cut short after {held_s:.1f} s; copy it again") from error
    if decoded < info.frames - SLACK_FRAMES:
        held_s = decoded / info.sample_rate_hz
        raise _truncated(path, f"the header promises {info.seconds:.2f} s, the file holds {held_s:.2f} s")


def _truncated(path: Path, detail: str) -> AudioError:
    return AudioError(path, "truncated", f"truncated: {detail}; copy or export it again")


def _chunk_bytes(log: str) -> tuple[int, int]:
    """(promised, held) bytes of the samples where libsndfile's log says that they differ, else (0, 0)."""
    found = re.search(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _ogg_is_whole(path: Path) -> bool:
    """Whether the last page (at most 65307 bytes) is complete and ends the stream: RFC 3533, section 6."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 65307))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or not page[5] & 4:
        return False
    segments = page[26]
    return len(page) >= 27 + segments + sum(page[27 : 27 + segments])
