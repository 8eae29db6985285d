"""`ravel codec encode in.wav out.rvl` and `decode out.rvl out.wav`: sound as the entropy-coded codes of a model."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .audio import Audio, probe, stream_audio, write_wav_blocks
from .card import Card, delay_samples, is_model_file, label_weights, read_card
from .cli import Parser, positive, run_verb
from .coding.compression import Coded, Values, compress, expand
from .coding.container import ADAPTIVE, MOST_NUMBERS, PRIOR, Header, read, write
from .coding.integer_prior import IntegerPrior
from .coding.levels import Levels
from .coding.statistics import entropy_coder
from .coding.stored import StoredPrior, content_hash, prior_in
from .errors import RavelError
from .players import HOPS_A_PASS, engine_module, load_model
from .render import _resampled, _whole, exactly, rechunk

ENGINE_HOPS = 8 * HOPS_A_PASS


# -- sound to numbers and back -------------------------------------------------------------------------------------


class Codec:
    """A `.ravel` as encoder and decoder of whole files."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix != ".ravel":
            raise RavelError(f"{path}: the codec plays a .ravel, `ravel export --streaming` makes it beside the .ts")
        self.card: Card = read_card(path)
        self.model = load_model(path)
        self.hash = content_hash(path)
        self.discrete = self.model.quantisers > 0
        self.tables = int(self.model.quantisers or self.model.latents)
        self.hop, self.rate = int(self.model.hop_samples), int(self.model.sample_rate_hz)
        self.late = delay_samples(self.card, "encode", "decode")

    @cached_property
    def prior(self) -> StoredPrior | None:
        """Of the file, as whole numbers."""
        return prior_in(self.path)

    def levels(self, header: Header) -> Levels | None:
        """What the numbers of a file stand for; None: they are the model's codes, or steps."""
        return self.prior.levels if header.statistics == PRIOR and self.prior else None

    def _engine(self, method: str, streams: int) -> Any:
        engine = engine_module().Engine(self.model, method, streams, ENGINE_HOPS)
        engine.temperature = 0.0
        return engine

    def padded(self, frames: int) -> int:
        """Samples of whole hops in which so many frames come out."""
        return _whole(frames + self.late, self.hop)

    def streams(self, channels: int) -> int:
        return channels if self.model.channels == 1 else 1

    def encode(self, source: Path, levels: Levels | None = None) -> tuple[Values, Header]:
        """(tables, hops, streams) of a sound file as `encode` gives them, or as the nearest levels of them, and what is
        known of the coded file."""
        info = probe(source)
        if self.model.channels == 2 and info.channels > 2:
            raise RavelError(f"{source} has {info.channels} channels, the stereo model takes 1 or 2: mix it down")
        frames = max(1, round(info.frames * self.rate / info.sample_rate_hz))
        padded = self.padded(frames)
        if padded // self.hop * self.streams(info.channels) * self.tables > MOST_NUMBERS:
            raise RavelError(f"{source} is too long for one file ({info.seconds / 3600:.0f} h): cut it into parts")
        streams, stereo = self.streams(info.channels), self.model.channels == 2
        engine = self._engine("encode", streams)
        found = []
        for block in rechunk(exactly(stream_audio(source, self.rate), padded), ENGINE_HOPS * self.hop):
            x = np.repeat(block, 2, axis=0) if stereo and len(block) == 1 else block
            z = engine.process(np.ascontiguousarray(x[None] if stereo else x[:, None]))
            found.append(levels.numbers(z) if levels else z)
        values = np.concatenate(found, 2).transpose(1, 2, 0)
        header = Header(
            self.card["name"], self.hash, info.sample_rate_hz, info.channels, info.frames, padded // self.hop, streams,
            len(values), levels.codes if levels else int(self.model.codes), 0, 0.0, 0, 0, PRIOR if levels else ADAPTIVE,
        )  # fmt: skip
        return values, header

    def decode(self, values: Values, header: Header) -> Iterator[Audio]:
        """Blocks (channels, n) at the file's own rate, as many frames as it had."""
        frames = max(1, round(header.frames * self.rate / header.sample_rate_hz))
        played = exactly(self._played(values, header), frames, skip=self.late)
        return exactly(_resampled(played, self.rate, header.sample_rate_hz, header.channels), header.frames)

    def _played(self, values: Values, header: Header) -> Iterator[Audio]:
        """Missing quantisers are silent, missing latents rest at their mean."""
        levels = self.levels(header)
        engine = self._engine("decode", header.streams)
        for label, weight in enumerate(header.labels):
            engine.set_label_weight(label, weight)
        missing = -1.0 if self.discrete or levels else 0.0
        filled = np.full((levels.tables if levels else self.tables, *values.shape[1:]), missing, np.float32)
        filled[: len(values)] = values
        for first in range(0, header.hops, ENGINE_HOPS):
            z = filled[:, first : first + ENGINE_HOPS].transpose(2, 0, 1)
            y = engine.process(np.ascontiguousarray(levels.latents(z) if levels else z))
            if self.model.channels == 1:
                yield y[:, 0]
            else:
                yield y[0].mean(axis=0, keepdims=True) if header.channels == 1 else y[0]


# -- the verb ------------------------------------------------------------------------------------------------------


def encode_file(
    codec: Codec,
    source: Path,
    target: Path,
    kbps: float | None = None,
    quantisers: int | None = None,
    with_prior: bool = False,
    label: str | None = None,
) -> tuple[Coded, int]:
    """Write the coded file; returns what it is and its size in bytes."""
    prior = codec.prior if with_prior else None
    if with_prior and prior is None:
        raise RavelError(f"--prior: {_no_prior(codec)}")
    labels = label_weights(codec.card, label) if label else []
    values, header = codec.encode(source, prior.levels if prior else None)
    result = compress(values, replace(header, labels=labels), kbps, quantisers, prior.network if prior else None)
    return result, write(target, result.header, result.payload)


def decode_file(codec: Codec, source: Path, target: Path, label: str | None = None) -> Header:
    """Write the sound of a coded file as 32-bit float WAV at the rate it had; `label` plays in place of its own."""
    header, payload = read(source)
    if header.hash != codec.hash:
        raise RavelError(f"{source} was made with another model, {header.model} ({header.hash[:12]}): give that one")
    prior = _prior_of(header, codec, source)
    levels = codec.levels(header)
    frames = max(1, round(header.frames * codec.rate / header.sample_rate_hz))
    fits = (
        (codec.discrete or levels is not None) == (header.step == 0)
        and header.symbols == (prior.codes if prior else codec.model.codes or header.symbols)
        and header.tables <= (levels.tables if levels else codec.tables)
        and header.streams == codec.streams(header.channels)
        and header.hops * codec.hop == codec.padded(frames)
        and len(header.labels) in (0, len(codec.model.labels))
    )
    if not fits:
        raise RavelError(f"{source} does not fit its model: encode the sound again")
    if label:
        header = replace(header, labels=label_weights(codec.card, label))
    sound = codec.decode(expand(header, payload, source, prior), header)
    write_wav_blocks(target, sound, header.channels, header.frames, header.sample_rate_hz)
    return header


def _prior_of(header: Header, codec: Codec, source: Path) -> IntegerPrior | None:
    """That which the file was coded with, if it was. Raises RavelError where the model has another, or none."""
    if header.statistics != PRIOR:
        return None
    if codec.prior is None:
        raise RavelError(f"{source} was coded with a prior ({header.prior[:12]}), {_no_prior(codec)}")
    network = codec.prior.network
    if network.fingerprint != header.prior:
        raise RavelError(
            f"{source} was coded with another prior ({header.prior[:12]}) than {codec.path.name} has "
            f"({network.fingerprint[:12]}): give the model as it was then"
        )
    return network


def _no_prior(codec: Codec) -> str:
    teach = "`ravel train-prior` teaches its run one, `ravel export --streaming` puts it in"
    return f"{codec.path.name} has none: {teach}"


@contextmanager
def model_file(model: str | None, beside: Path | None = None) -> Iterator[Path]:
    """The `.ravel` to use: a file, a run exported for the occasion, or the model that a coded file names."""
    if model is None and beside is not None:
        name = f"{Path(read(beside)[0].model).name}.ravel"
        near = [folder / name for folder in (beside.parent, Path()) if (folder / name).is_file()]
        if not near:
            raise RavelError(f"there is no {name} beside {beside} or here: say where it is with --model")
        yield near[0]
        return
    if model is not None and is_model_file(model):
        yield Path(model)
        return
    from . import export, runs  # a file needs none of the training code

    run = runs.find(model)
    with tempfile.TemporaryDirectory(prefix="ravel-") as folder:
        path = Path(folder) / f"{run.name}.ts"
        export.export(run, path)
        yield path.with_suffix(".ravel")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="ravel codec", description=__doc__)
    parser.add_argument("action", choices=("encode", "decode"), help="a sound file to a .rvl, or back to a WAV file")
    parser.add_argument("source", type=Path, help="the sound file, or the .rvl")
    parser.add_argument("target", type=Path, help="the .rvl, or the WAV file")
    parser.add_argument(
        "--model", help="a .ravel or a run (default: encode the run trained last, decode the model that the .rvl names)"
    )
    dial = parser.add_mutually_exclusive_group()
    dial.add_argument("--kbps", type=float, help="at most so many kbit/s: fewer quantisers, or larger steps of latents")
    dial.add_argument(
        "--quantisers", type=positive, help="code only the first N of its quantisers, or of a prior's latents"
    )
    parser.add_argument(
        "--prior", action="store_true", help="code with the model's prior: fewer bits, slower; decoding needs it too"
    )
    parser.add_argument("--label", help="of a model with labels the one that plays, or a blend: cello:0.3,voice:0.7")
    parser.add_argument("--force", action="store_true", help="replace a target that is there")
    options = parser.parse_args(argv)
    encodes = options.action == "encode"
    given = {"kbps": options.kbps, "quantisers": options.quantisers, "prior": options.prior or None}
    dials = [name for name, value in given.items() if value is not None]
    if dials and not encodes:
        raise RavelError(f"--{dials[0]} is for encoding: a .rvl is decoded as it is")
    if encodes and options.kbps is not None and not options.kbps > 0:
        raise RavelError(f"--kbps {options.kbps:g}: a number above 0")
    if options.target.exists():
        if options.source.exists() and options.target.samefile(options.source):
            raise RavelError(f"{options.target} is the source itself: choose another target")
        if not options.force:
            raise RavelError(f"{options.target} exists: choose another target, or replace it with --force")
    entropy_coder()
    with model_file(options.model, None if encodes else options.source) as path:
        codec = Codec(path)
        if not encodes:
            header = decode_file(codec, options.source, options.target, options.label)
            print(f"{options.target}: {header.frames / header.sample_rate_hz:.1f} s by {codec.card['name']}")
            return 0
        result, size = encode_file(
            codec, options.source, options.target, options.kbps, options.quantisers, options.prior, options.label
        )
    print(_line(options.target, result, size, codec, options.prior))
    return 0


def _line(target: Path, result: Coded, size: int, codec: Codec, asked: bool) -> str:
    header = result.header
    coded = "quantisers" if codec.discrete else f"latents in steps of {header.step:g}"
    if levels := codec.levels(header):
        coded = f"latents in {levels.codes} levels"
    what = f"{header.tables} of {codec.tables} {coded}"
    kbps = f"entropy estimate {result.kbps_of(result.entropy_bits):.2f}"
    if header.statistics == PRIOR:
        kbps += f", {result.kbps_of(result.adaptive_bits):.2f} without the prior"
    elif asked:
        kbps += ", the prior would need more"
    return f"{target}: {result.seconds:.1f} s, {what}, {result.kbps:.2f} kbit/s ({kbps}), {size} bytes with the header"


__all__ = ["Codec", "Coded", "Header", "compress", "decode_file", "encode_file", "expand"]

if __name__ == "__main__":
    sys.exit(run_verb("codec", main))
