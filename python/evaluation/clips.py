"""What is listened to: the held-out recordings of a run, or any files, cut to a length that can be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..audio import Audio, printable, probe, stream_audio
from ..errors import RavelError
from ..model.config import Config
from ..runs import Run
from ..training.corpus import Corpus, Recording, corpus_as_trained, find_audio

SHORTEST_S = 0.05  # below it nothing can be measured
FADE_S = 0.005  # where a clip is cut


@dataclass(frozen=True)
class Clip:
    """A stretch of sound, (channels, frames). `label`: as which a model with labels learnt it; `matched`: what was done
    to it so that a model finds itself in it."""

    name: str
    sound: Audio
    rate_hz: int
    label: str = ""
    matched: str = ""

    @property
    def seconds(self) -> float:
        return self.sound.shape[1] / self.rate_hz

    @property
    def digest(self) -> str:
        return hashlib.blake2b(self.sound.tobytes(), digest_size=8).hexdigest()


def from_files(
    paths: Sequence[Path], rate_hz: int, channels: int, each_s: float, total_s: float
) -> tuple[list[Clip], list[str]]:
    """Clips of files and folders, and a line for each file that was left out. Raises RavelError when none is left.

    Of every file its first `each_s` seconds; no further file once `total_s` are together.
    """
    clips: list[Clip] = []
    skipped: list[str] = []
    seconds = 0.0
    for path in _files(paths):
        if seconds >= total_s:
            break
        try:
            clip = Clip(printable(path.name), _read(path, rate_hz, channels, each_s), rate_hz)
        except RavelError as error:
            skipped.append(str(error))
            continue
        if clip.seconds < SHORTEST_S:
            skipped.append(f"{printable(path)}: shorter than {1000 * SHORTEST_S:g} ms, nothing to measure")
            continue
        clips.append(clip)
        seconds += clip.seconds
    if not clips:
        raise RavelError(f"nothing to listen to: {'; '.join(skipped[:3]) or 'no sound file there'}")
    return _told_apart(clips), skipped


def _told_apart(clips: list[Clip]) -> list[Clip]:
    names = [clip.name for clip in clips]
    return [
        replace(clip, name=f"{clip.name} ({names[:i].count(clip.name) + 1})") if names.count(clip.name) > 1 else clip
        for i, clip in enumerate(clips)
    ]


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = list(find_audio(path))
            if not inside:
                raise RavelError(f"{path} holds no sound file: give a folder of recordings")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise RavelError(f"there is no {path}: give sound files or folders of them")
    return found


def _read(path: Path, rate_hz: int, channels: int, seconds: float) -> Audio:
    info = probe(path)
    wanted = round(seconds * rate_hz)
    blocks, frames = [], 0
    for block in stream_audio(path, rate_hz, min(info.channels, channels)):
        blocks.append(block)
        frames += block.shape[1]
        if frames >= wanted:
            break
    sound = np.concatenate(blocks, axis=1)
    return _faded(sound[:, :wanted], rate_hz) if sound.shape[1] > wanted else sound


def _faded(sound: Audio, rate_hz: int) -> Audio:
    fade = min(sound.shape[1], round(FADE_S * rate_hz))
    sound = sound.copy()
    sound[:, sound.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound


def corpus_of(run: Run) -> Corpus:
    """The recordings of a run as it was trained: the same ones held out. Raises RavelError when they are gone."""
    about = run.read_about()
    config, folder = Config.from_dict(about["config"]), Path(about["corpus"])
    if not folder.is_dir():
        raise RavelError(f"run {run.name} was trained on {folder}, which is gone: give recordings with --on")
    return corpus_as_trained(folder, run.folder.parent / ".cache", config, quiet=True)


def from_recordings(
    recordings: Sequence[Recording], each_s: float, total_s: float, labels: Sequence[str] = ()
) -> list[Clip]:
    """Clips of the beginnings of recordings, with their labels; when they are too many, ones from all over."""
    order = list(recordings)
    if sum(min(each_s, r.frames / r.sample_rate_hz) for r in order) > total_s:
        order = [order[i] for i in np.random.default_rng(0).permutation(len(order))]
    clips: list[Clip] = []
    seconds = 0.0
    for recording in order:
        rate = recording.sample_rate_hz
        if seconds >= total_s or recording.frames < SHORTEST_S * rate:
            continue
        wanted = round(each_s * rate)
        sound = recording.read(0, min(wanted, recording.frames))
        cut = recording.frames > wanted
        label = labels[recording.label] if labels else ""
        clips.append(Clip(printable(recording.name), _faded(sound, rate) if cut else sound, rate, label))
        seconds += clips[-1].seconds
    return sorted(clips, key=lambda clip: clip.name)
