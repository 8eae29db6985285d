"""Recordings in a folder become memory-mapped ones at one rate, to train on or held out, with their labels."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..audio import AUDIO_EXTENSIONS, Audio, AudioError, AudioInfo, printable, probe, stream_audio
from ..errors import RavelError
from ..files import atomic_write
from ..model.config import Config

# Below -80 dBFS a recording has nothing but its own dither.
SILENT_PEAK = 1e-4
STANDARD_RATES_HZ = (44100, 48000)
# Sound that libsndfile cannot decode: reported, unlike a picture that happens to lie in the folder.
UNSUPPORTED_EXTENSIONS = frozenset({".m4a", ".aac", ".mp4", ".wma", ".ape", ".wv", ".webm"})
INDEX_NAME = "index.json"
PROGRESS = "{desc} {percentage:3.0f} % |{bar:30}| {n:.0f} of {total:.0f} s of sound, {remaining} left"


@dataclass(frozen=True)
class Recording:
    """A stretch of one cached recording: float32 frames of interleaved channels at the corpus rate.

    Full precision in the cache costs 0.6 GB an hour and channel at 44.1 kHz, twice that of 16 bit, and buys
    that a quiet 24-bit tail keeps its detail (the loss looks at logarithms), that a resampled clipped master
    may overshoot, and that a crop is a copy, not a conversion. (Half precision has an error of -66 dB.)
    """

    name: str
    frames: int
    channels: int
    sample_rate_hz: int
    path: Path
    first_frame: int = 0
    label: int = 0  # into Corpus.labels

    @property
    def digest(self) -> str:
        """The hash of the file that it came from, whatever the rate and channels it was converted to."""
        return self.path.name.partition("-")[0]

    def read(self, start: int = 0, frames: int | None = None) -> Audio:
        """(channels, frames) from `start`; fewer at the end, as with slices.

        The map is opened for each read (20 us): a corpus of 100000 files holds no file open.
        """
        frames = min(self.frames if frames is None else frames, self.frames - start)
        if start < 0 or frames < 0:
            raise ValueError(f"{self.name}: frames {start}..{start + frames} outside 0..{self.frames}")
        if frames == 0:
            return np.zeros((self.channels, 0), np.float32)
        offset = 4 * self.channels * (self.first_frame + start)
        try:
            with (
                open(self.path, "rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            ):
                samples = np.frombuffer(mapped, np.float32, frames * self.channels, offset)
                audio = np.array(samples.reshape(frames, self.channels).T, order="C")
                del samples  # or the map could not be closed
        except (OSError, ValueError) as error:
            raise RavelError(f"{self.path} is gone or damaged: delete it and start again, it is rebuilt") from error
        return audio


@dataclass
class Report:
    """What came of every file; `lines` is what the user reads."""

    sample_rate_hz: int
    kept: int = 0
    seconds: float = 0.0
    validation_seconds: float = 0.0
    labels: dict[str, float] = field(default_factory=dict)  # seconds of each
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (kind, message)
    warnings: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Skipped files by kind: "truncated", "silent", "duplicate", ... (AudioError.kind)."""
        return dict(Counter(kind for kind, _ in self.skipped))

    def lines(self, examples: int = 8) -> list[str]:
        """A summary line, one line a skipped file (at most `examples`), one a warning."""
        reasons = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        skipped = f"; skipped {len(self.skipped)}: {reasons}" if self.skipped else ""
        more = len(self.skipped) - examples
        each = ", ".join(f"{label} {seconds:.1f} s" for label, seconds in self.labels.items())
        labels = [f"labels: {each}"] if self.labels else []
        return [
            f"corpus: {self.kept} recordings, {self.seconds:.1f} s at {self.sample_rate_hz} Hz, "
            f"{self.validation_seconds:.1f} s of it held out{skipped}",
            *labels,
            *(f"skipped {message}" for _, message in self.skipped[:examples]),
            *([f"skipped {more} more"] if more > 0 else []),
            *(f"warning: {warning}" for warning in self.warnings),
        ]


@dataclass(frozen=True)
class Corpus:
    """Recordings at one rate and channel count, split into what is trained on and what is held out."""

    sample_rate_hz: int
    channels: int
    train: list[Recording]
    validation: list[Recording]
    report: Report
    labels: tuple[str, ...] = ()


def corpus_as_trained(folder: Path, cache: Path, config: Config, quiet: bool = False) -> Corpus:
    """The recordings of a run, those held out that its training held out. Raises RavelError as build_corpus."""
    model = config.model
    return build_corpus(
        folder,
        cache,
        model.sample_rate_hz,
        model.channels,
        seed=config.training.seed,
        quiet=quiet,
        labelled=bool(model.labels),
    )


def build_corpus(
    folder: Path,
    cache: Path,
    sample_rate_hz: int | None = None,
    channels: int = 1,
    validation_share: float = 0.1,
    seed: int = 0,
    quiet: bool = False,
    labelled: bool = False,
) -> Corpus:
    """Decode every sound below `folder` into `cache` and split the recordings.

    A rate of None takes the one of most seconds if that is 44.1 or 48 kHz, else 48 kHz. Cached recordings
    are named by the hash of the file's bytes, rate and channels and appear by renaming, so an interrupted
    build goes on where it stopped, several may run at once, and a moved or renamed file is not decoded
    again. Unusable files are skipped with a reason in the report. `labelled`: each sub-folder is a label, all of which
    are held out from alike. Raises RavelError when the folder is missing or has nothing to train on, for recordings
    without a label or with one only, and for a full disk.
    """
    if not 0 < validation_share < 1:
        raise RavelError(f"a validation share of {validation_share} holds out nothing or all: give e.g. 0.1")
    folder, cache = Path(folder), Path(cache)
    skipped: list[tuple[str, str]] = []
    sources = _probe_all(folder, cache, skipped)
    rate = sample_rate_hz or majority_rate(source.info for source in sources)
    report = Report(rate, skipped=skipped)
    if labelled:
        _require_sub_folders(folder, sources)
    sources = _without_duplicates(sources, report)
    recordings = _decode_all(sources, cache, rate, channels, report, quiet)
    if not recordings:
        raise RavelError(_nothing_usable(folder, report))
    labels: tuple[str, ...] = ()
    if labelled:
        recordings, labels = _with_labels(folder, recordings, report)
    train: list[Recording] = []
    validation: list[Recording] = []
    for index, group in _by_label(recordings).items():
        said: list[str] = []
        learned, held_out = split(group, validation_share, seed, said)
        train, validation = train + learned, validation + held_out
        report.warnings += [f"{labels[index]}: {text}" if labels else text for text in said]
    report.kept = len(recordings)
    report.seconds = sum(recording.frames for recording in recordings) / rate
    report.validation_seconds = sum(recording.frames for recording in validation) / rate
    for index, label in enumerate(labels):
        report.labels[label] = sum(r.frames for r in recordings if r.label == index) / rate
    return Corpus(rate, channels, train, validation, report, labels)


def majority_rate(infos: Iterable[AudioInfo]) -> int:
    """The rate of most seconds if it is 44.1 or 48 kHz, else 48 kHz."""
    seconds: dict[int, float] = defaultdict(float)
    for info in infos:
        seconds[info.sample_rate_hz] += info.seconds
    rate = max(seconds, key=seconds.__getitem__, default=0)
    return rate if rate in STANDARD_RATES_HZ else 48000


def find_audio(folder: Path) -> Iterator[Path]:
    """Files below `folder` that sound by their extension, in sorted order; links are followed, loops are not.

    Hidden files are left out: macOS puts a `._NAME.wav` without sound beside each NAME.wav on foreign disks.
    """
    visited = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        identity = os.path.realpath(parent)
        if identity in visited:
            folders.clear()
            continue
        visited.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            sounds = Path(name).suffix.lower() in AUDIO_EXTENSIONS | UNSUPPORTED_EXTENSIONS
            if sounds and not name.startswith("."):
                yield Path(parent, name)


def _label(name: str) -> str:
    """The sub-folder that a recording of this relative name lies in, or nothing."""
    folder, slash, _ = name.partition("/")
    return folder if slash else ""


def _require_sub_folders(folder: Path, sources: Sequence[_Source]) -> None:
    stray = [source.name for source in sources if not _label(source.name)]
    if stray:
        raise RavelError(
            f"{len(stray)} of {len(sources)} recordings lie in {folder} itself, {stray[0]} the first: with --labels "
            "folders each belongs into the sub-folder of its label"
        )


def _with_labels(
    folder: Path, recordings: Sequence[Recording], report: Report
) -> tuple[list[Recording], tuple[str, ...]]:
    labels = tuple(sorted({_label(recording.name) for recording in recordings}))
    for label in sorted({_label(printable(path.relative_to(folder))) for path in find_audio(folder)} - {"", *labels}):
        reasons = [text for _, text in report.skipped if text.startswith(f"{printable(folder / label)}{os.sep}")]
        raise RavelError(
            f"none of the {len(reasons)} recordings of the label {label} is usable, the first: {reasons[0]}; "
            "mend them, or take the sub-folder out"
        )
    if len(labels) < 2:
        raise RavelError(
            f"{folder} has usable recordings of one label only, {labels[0]}: add a sub-folder of another instrument, "
            "or leave --labels out"
        )
    return [replace(r, label=labels.index(_label(r.name))) for r in recordings], labels


def _by_label(recordings: Sequence[Recording]) -> dict[int, list[Recording]]:
    groups: dict[int, list[Recording]] = defaultdict(list)
    for recording in recordings:
        groups[recording.label].append(recording)
    return dict(sorted(groups.items()))


def split(
    recordings: Sequence[Recording], share: float, seed: int, warnings: list[str]
) -> tuple[list[Recording], list[Recording]]:
    """(train, validation): whole recordings, in an order hashed from content and seed, near to `share`.

    Neither the folder's name nor a recording added later moves another one across. A recording is held out
    if that brings the sum nearer to the share; if none does, the shortest is; a lone one is split in time.
    """
    if len(recordings) == 1:
        (whole,) = recordings
        cut = max(1, min(whole.frames - 1, round(whole.frames * (1 - share))))
        warnings.append(f"one recording only: its last {share:.0%} are held out; add more of them")
        held_out = replace(whole, frames=whole.frames - cut, first_frame=cut)
        return [replace(whole, frames=cut)], [held_out]
    order = sorted(recordings, key=lambda r: hashlib.blake2b(f"{seed} {r.digest}".encode()).digest())
    total = sum(recording.frames for recording in recordings)
    held: set[Path] = set()
    lacking = share * total
    for recording in order:
        if recording.frames < 2 * lacking and len(held) < len(recordings) - 1:
            held.add(recording.path)
            lacking -= recording.frames
    if not held:
        shortest = min(order, key=lambda recording: recording.frames)
        held = {shortest.path}
        lacking -= shortest.frames
    if abs(lacking) > 0.75 * share * total:
        held_share = share - lacking / total
        warnings.append(f"few recordings: {held_share:.1%} of the sound is held out; cut long ones into pieces")
    return [r for r in recordings if r.path not in held], [r for r in recordings if r.path in held]


@dataclass(frozen=True)
class _Source:
    path: Path
    name: str
    info: AudioInfo
    digest: str

    def cached(self, cache: Path, sample_rate_hz: int, channels: int) -> Path:
        return cache / f"{self.digest}-{sample_rate_hz}-{channels}.f32"


def _probe_all(folder: Path, cache: Path, skipped: list[tuple[str, str]]) -> list[_Source]:
    """Header and content hash of every sound; the index remembers both by (path, size, time of change)."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise RavelError(f"the corpus folder {folder} {what}: give a folder of recordings")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise RavelError(f"no permission to read the corpus folder {folder}: change that, or copy the folder")
    paths = list(find_audio(folder))
    if not paths:
        known = ", ".join(sorted(extension[1:] for extension in AUDIO_EXTENSIONS))
        raise RavelError(f"no recordings below {folder}: put sound files there ({known})")
    index = _read_index(cache)
    fresh: dict[str, list[int | str]] = {}
    sources = []
    for path in paths:
        try:
            if path.suffix.lower() in UNSUPPORTED_EXTENSIONS:
                detail = f"{path.suffix} is not supported; convert it to WAV or FLAC"
                raise AudioError(path, "not supported", detail)
            key = str(path.resolve())
            stamp = _stamp(path)
            row = index.get(key)
            if not row or row[:2] != stamp:
                info = probe(path)
                row = [*stamp, _hash(path), info.sample_rate_hz, info.channels, info.frames]
            fresh[key] = row
            _, _, digest, *numbers = row
            name = printable(path.relative_to(folder))
            sources.append(_Source(path, name, AudioInfo(*map(int, numbers)), str(digest)))
        except AudioError as error:
            skipped.append((error.kind, str(error)))
    if any(index.get(key) != row for key, row in fresh.items()):
        with atomic_write(cache / INDEX_NAME) as temporary:
            temporary.write_text(json.dumps({**index, **fresh}))
    return sources


def _stamp(path: Path) -> list[int | str]:
    try:
        status = path.stat()
    except OSError as error:  # a dangling link, or removed meanwhile
        raise AudioError(path, "missing", "no such file; check where the link leads") from error
    return [status.st_size, status.st_mtime_ns]


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise AudioError(path, "unreadable", f"cannot be read ({error.strerror}); check the disk") from error
    return digest.hexdigest()


def _read_index(cache: Path) -> dict[str, list[int | str]]:
    """The index only saves hashing: one that is missing or broken is an empty one."""
    try:
        index = json.loads((cache / INDEX_NAME).read_text())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _without_duplicates(sources: list[_Source], report: Report) -> list[_Source]:
    """The first of each content: a copy would be trained on and held out at once."""
    first: dict[str, _Source] = {}
    for source in sources:
        kept = first.setdefault(source.digest, source)
        if kept is not source:
            report.skipped.append(("duplicate", f"{printable(source.path)}: the same as {kept.name}"))
    return list(first.values())


def _decode_all(
    sources: list[_Source], cache: Path, rate: int, channels: int, report: Report, quiet: bool
) -> list[Recording]:
    missing = [source for source in sources if not source.cached(cache, rate, channels).exists()]
    seconds = sum(source.info.seconds for source in missing)
    _check_space(cache, int(4 * seconds * rate * channels))
    unusable: dict[str, AudioError] = {}
    bar = tqdm(total=seconds, desc="decoding", bar_format=PROGRESS, disable=quiet or not missing)

    def progress(decoded_seconds: float) -> None:
        if bar.total:
            bar.update(min(decoded_seconds, bar.total - bar.n))  # headers round, and tqdm warns of more than all

    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = [pool.submit(_decode, source, cache, rate, channels, progress) for source in missing]
        try:
            for source, future in zip(missing, decoded, strict=True):
                if error := future.result():
                    unusable[source.digest] = error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    recordings = []
    for source in sources:
        if error := unusable.get(source.digest):
            report.skipped.append((error.kind, str(error)))
            continue
        path = source.cached(cache, rate, channels)
        frames = path.stat().st_size // (4 * channels)
        recordings.append(Recording(source.name, frames, channels, rate, path))
        report.warnings += _warnings(source, rate, channels)
    return recordings


def _decode(
    source: _Source, cache: Path, rate: int, channels: int, progress: Callable[[float], object]
) -> AudioError | None:
    """Write one recording to the cache; what is wrong with the recording itself is returned, not raised."""
    peak = 0.0
    try:
        with atomic_write(source.cached(cache, rate, channels)) as temporary, open(temporary, "wb") as file:
            for block in stream_audio(source.path, rate, channels):
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                file.write(np.ascontiguousarray(block.T).data)
                progress(block.shape[1] / rate)
            if peak < SILENT_PEAK:
                raise AudioError(source.path, "silent", "silent (below -80 dBFS); record it again")
    except AudioError as error:
        return error
    return None


def _check_space(cache: Path, needed_bytes: int) -> None:
    """Refuse at once what would fill the disk after an hour of decoding."""
    place = cache
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed_bytes > free:
        raise RavelError(
            f"the cache {cache} needs {needed_bytes / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB left: "
            "free some space, or point the cache to another disk"
        )


def _warnings(source: _Source, rate: int, channels: int) -> list[str]:
    found = []
    if source.info.sample_rate_hz < 0.75 * rate:
        top = source.info.sample_rate_hz / 2000
        found.append(f"{source.name}: at {source.info.sample_rate_hz} Hz it has nothing above {top:g} kHz")
    if source.info.channels > 2:
        how = "averaged to mono" if channels == 1 else "of which the first two are used"
        found.append(f"{source.name}: {source.info.channels} channels, {how}")
    return found


def _nothing_usable(folder: Path, report: Report) -> str:
    reasons = ", ".join(f"{count} {kind}" for kind, count in sorted(report.counts.items()))
    return f"nothing to train on below {folder} ({reasons}); the first: {report.skipped[0][1]}"
