"""`ravel render`: send sound files through a model; the output lies exactly on the input."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import soxr
from tqdm import tqdm

from .audio import AUDIO_EXTENSIONS, Audio, AudioInfo, probe, stream_audio, write_wav_blocks
from .card import is_model_file, label_weights, latents_for_fidelity, read_card
from .cli import Parser, positive, run_verb
from .errors import RavelError
from .players import player

if TYPE_CHECKING:
    from .evaluation.matching import Matching

Blocks = Iterator[Audio]  # each (channels, frames)

BLOCK_SAMPLES = 65536  # of the model: enough for the matrices to be large, 1.4 s of sound in memory


@dataclass(frozen=True)
class Job:
    """One file to render."""

    source: Path
    target: Path
    info: AudioInfo


class Instrument:
    """A loaded `.ts` or `.ravel` that takes and gives blocks of sound, with its latency removed.

    `latents`: how many of the exported latents are heard; the rest is set to its mean. `label`: the instrument that
    plays, or a blend (card.label_weights). `prior`: how much a prior plays, 0 to 1, and its temperature.
    """

    def __init__(
        self,
        path: str | Path,
        latents: int | None = None,
        temperature: float | None = None,
        label: str | None = None,
        prior: tuple[float, float] | None = None,
    ) -> None:
        self.player = player(path)
        self.card = self.player.card
        self.channels = int(self.card["channels"])
        self.sample_rate_hz = int(self.card["sample_rate_hz"])
        self.hop_samples = int(self.card["hop_samples"])
        exported = int(self.card["latents"])
        if latents is not None and "codes" in self.card:
            raise RavelError(
                f"{path} holds codes, which --latents and --fidelity do not choose from: "
                "export its run with --quantisers N for fewer of them"
            )
        if latents is not None and not 1 <= latents <= exported:
            raise RavelError(
                f"{path} holds {exported} latents, so --latents can be 1 to {exported}: "
                f"for others export the run again with --latents {latents}"
            )
        self.latents = None if latents == exported else latents
        if temperature is not None and not self.player.set_temperature(temperature):
            raise RavelError(f"{path} does not take the temperature {temperature:g}: leave --temperature out")
        if label is not None:
            self.player.set_labels(label_weights(self.card, label))
        if prior is not None:
            self.player.set_prior(*prior)

    def play(self, blocks: Blocks, frames: int, block_samples: int = BLOCK_SAMPLES) -> Blocks:
        """(channels, n) blocks of any n at the model's rate -> as many `frames`, aligned with the input."""
        first = next(blocks, None)
        if first is None:
            return
        late = self.player.start(len(first), self.latents)
        padded = _whole(frames + late, self.hop_samples)
        size = _whole(block_samples, self.hop_samples) if self.card["streaming"] else padded
        played = map(self.player.play, rechunk(exactly(chain([first], blocks), padded), size))
        yield from exactly(played, frames, skip=late)


def render_file(
    instrument: Instrument,
    job: Job,
    block_samples: int = BLOCK_SAMPLES,
    bar: tqdm | None = None,
    matching: Matching | None = None,
) -> None:
    """Render one file to 32-bit float WAV at its own rate; a streaming model keeps the memory bounded.

    `matching` hears the whole file before the model does.
    """
    info, model_rate = job.info, instrument.sample_rate_hz
    if instrument.channels == 2 and info.channels > 2:
        raise RavelError(f"{job.source} has {info.channels} channels, the stereo model takes 1 or 2: mix it down")
    frames = max(1, round(info.frames * model_rate / info.sample_rate_hz))
    if matching is None:
        source = stream_audio(job.source, model_rate)
    else:
        sound, done = matching.prepared(job.source, model_rate)
        tqdm.write(f"{job.source}: {done}")
        source = iter([sound])
    blocks = _counted(source, model_rate, bar)
    blocks = instrument.play(blocks, frames, block_samples)
    blocks = _resampled(blocks, model_rate, info.sample_rate_hz, info.channels)
    blocks = exactly(blocks, info.frames)
    write_wav_blocks(job.target, blocks, info.channels, info.frames, info.sample_rate_hz)


def _counted(blocks: Blocks, sample_rate_hz: int, bar: tqdm | None) -> Blocks:
    for block in blocks:
        if bar is not None:
            # a resampled file may be a sample longer than its share of the total, and tqdm warns of that
            bar.update(min(block.shape[1] / sample_rate_hz, bar.total - bar.n))
        yield block


def _resampled(blocks: Blocks, from_hz: int, to_hz: int, channels: int) -> Blocks:
    """Change the rate of a stream (soxr HQ, linear phase, no delay left); equal rates pass as they are."""
    if from_hz == to_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block.T)).T
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T


def exactly(blocks: Iterable[Audio], frames: int, skip: int = 0) -> Blocks:
    """Drop the first `skip` frames, then give `frames` of them: cut, or filled up with silence."""
    last = None
    for block in blocks:
        last = block
        dropped = min(skip, block.shape[1])
        skip -= dropped
        kept = block[:, dropped : dropped + frames]
        frames -= kept.shape[1]
        if kept.shape[1]:
            yield kept
    while frames > 0 and last is not None:
        count = min(frames, BLOCK_SAMPLES)
        frames -= count
        yield np.zeros((len(last), count), np.float32)


def rechunk(blocks: Blocks, size: int) -> Blocks:
    """The same frames in blocks of `size`, the last one as long as what is left."""
    held: list[Audio] = []
    count = 0
    for block in blocks:
        while count + block.shape[1] >= size:
            head, block = np.split(block, [size - count], axis=1)
            yield np.concatenate([*held, head], axis=1)
            held, count = [], 0
        held.append(block)
        count += block.shape[1]
    if count:
        yield np.concatenate(held, axis=1)


def _whole(samples: int, hop_samples: int) -> int:
    """`samples` rounded up to whole hops, at least one."""
    return max(1, -(-samples // hop_samples)) * hop_samples


def find_sources(inputs: Sequence[str | Path], out: Path) -> list[tuple[Path, Path]]:
    """(source, target) of every sound file in `inputs`; folders keep their structure under `out`.

    Files below `out` are not inputs: a second run into a folder of the input renders no renderings.
    Sources that differ only in their extension keep it: `a.flac.wav`, `a.mp3.wav`.
    """
    found: list[tuple[Path, Path]] = []
    for name in map(Path, inputs):
        if name.is_dir():
            inside = [
                path
                for path in sorted(name.rglob("*"))
                if path.suffix.lower() in AUDIO_EXTENSIONS and path.is_file() and not path.name.startswith(".")
            ]
            inside = [path for path in inside if out.resolve() not in path.resolve().parents]
            if not inside:
                known = ", ".join(sorted(extension.lstrip(".") for extension in AUDIO_EXTENSIONS))
                raise RavelError(f"{name} holds no sound file ({known}): give a folder of recordings")
            found += [(path, path.relative_to(name)) for path in inside]
        elif name.exists():
            found.append((name, Path(name.name)))
        else:
            raise RavelError(f"there is no {name}: give sound files or folders of them")
    found = list({source.resolve(): (source, relative) for source, relative in found}.values())
    stems = [relative.with_suffix("") for _, relative in found]
    return [
        (source, out / (f"{relative}.wav" if stems.count(stem) > 1 else f"{stem}.wav"))
        for (source, relative), stem in zip(found, stems)
    ]


def plan(inputs: Sequence[str | Path], out: Path, force: bool) -> tuple[list[Job], list[str]]:
    """What to render, and for each file that is left out one line that says why."""
    jobs: list[Job] = []
    skipped: list[str] = []
    pairs = find_sources(inputs, out)
    sources = {source.resolve() for source, _ in pairs}
    for source, target in pairs:
        if target.resolve() in sources:
            skipped.append(f"{target} is an input itself: choose another --out")
        elif target.exists() and not force:
            skipped.append(f"{target} exists: --force overwrites it")
        else:
            try:
                jobs.append(Job(source, target, probe(source)))
            except RavelError as error:
                skipped.append(str(error))
    return jobs, skipped


def render(
    instrument: Instrument,
    inputs: Sequence[str | Path],
    out: str | Path,
    force: bool = False,
    block_samples: int = BLOCK_SAMPLES,
    quiet: bool = False,
    matching: Matching | None = None,
) -> list[Path]:
    """Render files and folders into `out`; returns what was written, in order.

    Bad files are skipped with a line on stderr. Raises RavelError when nothing could be rendered.
    """
    jobs, skipped = plan(inputs, Path(out), force)
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    written: list[Path] = []
    seconds = sum(job.info.frames / job.info.sample_rate_hz for job in jobs)
    with tqdm(total=seconds, unit="s", unit_scale=True, disable=True if quiet else None, leave=False) as bar:
        for job in jobs:
            bar.set_description(job.source.name)
            try:
                render_file(instrument, job, block_samples, bar, matching)
                written.append(job.target)
            except RavelError as error:
                skipped.append(str(error))
                tqdm.write(f"skipped: {error}", file=sys.stderr)
    if not written:
        raise RavelError(f"nothing was rendered, {len(skipped)} skipped for the reasons above")
    if not quiet:
        left_out = f", {len(skipped)} skipped" if skipped else ""
        print(f"rendered {len(written)} of {len(written) + len(skipped)} into {out}{left_out}")
    return written


@contextmanager
def exported(
    model: str, latents: int | None, fidelity: float | None, quantisers: int | None = None, suffix: str = ".ts"
) -> Iterator[tuple[Path, int | None]]:
    """The file to play and how many of its latents: `model` itself, or a run exported for the occasion."""
    if is_model_file(model):
        if quantisers is not None:
            raise RavelError(
                f"{model} keeps its quantisers: name its run, or export that with --quantisers {quantisers}"
            )
        if fidelity is not None:
            latents = latents_for_fidelity(read_card(model)["fidelity_curve"], fidelity)
        yield Path(model), latents
        return
    from . import export, runs  # a file needs none of the training code

    run = runs.find(model)
    with tempfile.TemporaryDirectory(prefix="ravel-") as folder:
        path = Path(folder) / f"{run.name}.ts"
        export.export(run, path, fidelity, latents, quantisers=quantisers)
        yield path.with_suffix(suffix), None


def fraction(text: str) -> float:
    """An argument between 0 and 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


def warmth(text: str) -> float:
    """An argument from 0 to 10."""
    value = float(text)
    if not 0 <= value <= 10:
        raise ValueError
    return value


def transposition(text: str) -> float | Literal["auto"]:
    """`auto`, or semitones, at most three octaves."""
    if text == "auto":
        return "auto"
    value = float(text)
    if not -36 <= value <= 36:
        raise ValueError
    return value


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="ravel render", description=__doc__)
    parser.add_argument("model", help="a .ravel, a .ts, or a run: its name or its folder")
    parser.add_argument("inputs", nargs="+", help="sound files and folders, any rate, length and channel count")
    parser.add_argument("--out", default="out", help="folder for the WAV files (default: out)")
    parser.add_argument("--force", action="store_true", help="overwrite outputs that exist")
    count = parser.add_mutually_exclusive_group()
    count.add_argument("--latents", type=positive, help="use only the first N latents, the most telling ones")
    count.add_argument("--fidelity", type=fraction, help="use as many latents as carry this share of the variance")
    count.add_argument("--quantisers", type=positive, help="of a run with codes use only the first N quantisers")
    parser.add_argument("--temperature", type=float, help="how far the latents stray from their mean, 0 = not at all")
    parser.add_argument(
        "--match-level", action="store_true", help="bring each input to the loudness of the training material"
    )
    parser.add_argument(
        "--transpose",
        type=transposition,
        metavar="auto|SEMITONES",
        help="move the input's pitch; auto: by octaves into the range of the training material",
    )
    parser.add_argument(
        "--like", nargs="+", type=Path, help="recordings that stand for the material, where the model does not say"
    )
    parser.add_argument("--label", help="of a model with labels the one that plays, or a blend: cello:0.3,voice:0.7")
    parser.add_argument(
        "--prior", type=fraction, metavar="AMOUNT", help="let the model's prior play along, to 1: alone (.ravel or run)"
    )
    parser.add_argument("--prior-temperature", type=warmth, metavar="T", help="how freely, 0 to 10 (default: 1)")
    parser.add_argument("--block", type=positive, default=BLOCK_SAMPLES, help="samples a call; only speed and memory")
    options = parser.parse_args(argv)
    prior = None
    if options.prior is not None:
        prior = options.prior, 1.0 if options.prior_temperature is None else options.prior_temperature
    elif options.prior_temperature is not None:
        raise RavelError("--prior-temperature is that of --prior AMOUNT: give that too")
    suffix = ".ravel" if prior else ".ts"  # only the engine lets a prior play along
    with exported(options.model, options.latents, options.fidelity, options.quantisers, suffix) as (path, latents):
        instrument = Instrument(path, latents, options.temperature, options.label, prior)
        fitted = None
        if options.match_level or options.transpose is not None or options.like:
            from .evaluation.matching import matching  # its libraries are an extra

            fitted = matching(instrument.card, options.match_level, options.transpose or 0.0, options.like or [])
        render(instrument, options.inputs, options.out, options.force, options.block, matching=fitted)
    return 0


if __name__ == "__main__":
    sys.exit(run_verb("render", main))
