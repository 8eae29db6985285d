"""`ravel codec encode in.wav out.rvl` and `decode out.rvl out.wav`: sound as the entropy-coded codes of a model.

A `.rvl` is b"RVL1", the length of a JSON header (4 bytes, little-endian), the header, the coded numbers (32-bit words
of `constriction`'s range coder) and the CRC-32 of all before. The header has what decoding needs besides the model,
which it names by the hash of its graph and tensors.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .audio import Audio, probe, stream_audio, write_wav_blocks
from .card import Card, delay_samples, is_model_file, read_card
from .cli import Parser, positive, run_verb
from .errors import RavelError
from .files import atomic_write
from .players import HOPS_A_PASS, engine_module, load_model
from .render import _resampled, _whole, exactly, rechunk

Numbers = NDArray[np.int32]  # (tables, frames, streams)
Frequencies = NDArray[np.int64]

MAGIC = b"RVL1"
TOTAL = 1 << 20  # of the frequencies of a table: float32 holds every sum of their shares exactly
SHORTEST, LONGEST = 16, 512  # frames between two updates of the statistics
STEP = 0.25  # of continuous latents, which have about unit variance
STEPS = [2.0 ** (n / 2) for n in range(-10, 7)]  # that --kbps chooses from
WIDEST = 32767  # steps from 0 that a latent may be
ENGINE_HOPS = 8 * HOPS_A_PASS
MOST_NUMBERS = 1 << 28  # 1 GB in memory; 25 hours of `low-discrete`
LIMITS = {"sample_rate_hz": 1_000_000, "channels": 1024, "frames": 1 << 40, "hops": 1 << 28, "streams": 1024}
LIMITS |= {"tables": 65536, "symbols": 2 * WIDEST + 2}


@dataclass(frozen=True)
class Header:
    """What a `.rvl` says of itself."""

    model: str  # name, for a reader
    hash: str
    sample_rate_hz: int  # of the sound that was coded
    channels: int
    frames: int
    hops: int
    streams: int
    tables: int  # quantisers, or latents
    symbols: int  # of a table
    lowest: int  # what symbol 0 stands for
    step: float  # of a latent; 0: codes
    numbers_crc32: int  # of the numbers: whether they were understood
    payload_bytes: int


# -- statistics and entropy coding ---------------------------------------------------------------------------------


class Statistics:
    """How often each symbol of each table came, as integers, the same on every machine: streams decode anywhere.

    `shares` are dyadic numbers, exact in binary floating point; nothing is rounded differently elsewhere.
    """

    def __init__(self, tables: int, symbols: int) -> None:
        self.counts: Frequencies = np.ones((tables, symbols), np.int64)

    def frequencies(self, table: int) -> Frequencies:
        """Whole numbers above 0 with the sum TOTAL; what division leaves over goes to the most frequent symbol."""
        counts = self.counts[table]
        shared: Frequencies = 1 + counts * (TOTAL - len(counts)) // counts.sum()
        shared[counts.argmax()] += TOTAL - shared.sum()
        return shared

    def shares(self, table: int) -> NDArray[np.float64]:
        return self.frequencies(table) / TOTAL

    def update(self, table: int, symbols: Numbers) -> None:
        self.counts[table] += np.bincount(symbols.ravel(), minlength=self.counts.shape[1])


def blocks(hops: int) -> Iterator[tuple[int, int]]:
    """First and last frame between updates: short at first, when every frame teaches most."""
    first = 0
    while first < hops:
        last = min(hops, first + min(LONGEST, max(SHORTEST, first // 8)))
        yield first, last
        first = last


def coded(numbers: Numbers, symbols: int) -> bytes:
    """Numbers 0 to symbols - 1 as bytes."""
    stream = entropy_coder().stream
    coder, statistics = stream.queue.RangeEncoder(), Statistics(len(numbers), symbols)
    for first, last in blocks(numbers.shape[1]):
        for table, row in enumerate(numbers[:, first:last]):
            model = stream.model.Categorical(statistics.shares(table), perfect=False)
            coder.encode(np.ascontiguousarray(row.ravel(), np.int32), model)
            statistics.update(table, row)
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def decoded(data: bytes, tables: int, hops: int, streams: int, symbols: int) -> Numbers:
    """The numbers that `coded` was given."""
    stream = entropy_coder().stream
    coder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))  # reads zeros beyond its end
    statistics = Statistics(tables, symbols)
    numbers: Numbers = np.zeros((tables, hops, streams), np.int32)
    for first, last in blocks(hops):
        for table in range(tables):
            model = stream.model.Categorical(statistics.shares(table), perfect=False)
            numbers[table, first:last] = coder.decode(model, (last - first) * streams).reshape(-1, streams)
            statistics.update(table, numbers[table, first:last])
    return numbers


def estimate(numbers: Numbers, symbols: int) -> NDArray[np.float64]:
    """Bits of each table under the statistics that `coded` uses: the entropy that a perfect coder would reach."""
    statistics, bits = Statistics(len(numbers), symbols), np.zeros(len(numbers))
    for first, last in blocks(numbers.shape[1]):
        for table, row in enumerate(numbers[:, first:last]):
            bits[table] -= np.log2(statistics.shares(table)[row.ravel()]).sum()
            statistics.update(table, row)
    return bits


def entropy_coder() -> ModuleType:
    try:
        import constriction
    except ImportError:
        raise RavelError("the codec needs constriction: pip install 'ravel-audio[codec]'") from None
    return constriction


# -- files ---------------------------------------------------------------------------------------------------------


def write(path: Path, header: Header, payload: bytes) -> int:
    """A `.rvl`, whole or not at all; returns its size."""
    text = json.dumps(asdict(header)).encode()
    content = MAGIC + struct.pack("<I", len(text)) + text + payload
    with atomic_write(path) as temporary:
        temporary.write_bytes(content + struct.pack("<I", zlib.crc32(content)))
    return len(content) + 4


def read(path: Path) -> tuple[Header, bytes]:
    """Header and coded numbers. Raises RavelError for what is missing, foreign, newer, cut short or damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RavelError(f"could not read {path}: {error.strerror}") from None
    if content[:3] != MAGIC[:3]:
        raise RavelError(f"{path} is not a .rvl file: `ravel codec encode` makes one")
    if content[3:4] not in (b"", MAGIC[3:]):
        raise RavelError(f"{path} is a .rvl of version {content[3:4]!r}, this Ravel reads 1: update Ravel")
    cut = RavelError(f"{path} is cut short: copy it again, or encode the sound again")
    damaged = RavelError(f"{path} is damaged (its checksum is wrong): copy it again, or encode the sound again")
    if len(content) < 12:
        raise cut
    (length,) = struct.unpack_from("<I", content, 4)
    whole = zlib.crc32(content[:-4]) == struct.unpack_from("<I", content, len(content) - 4)[0]
    try:
        header = Header(**json.loads(content[8 : 8 + length]))
        size = 12 + length + header.payload_bytes
    except (ValueError, TypeError, RecursionError):
        raise cut if 8 + length > len(content) and not whole else damaged from None
    if not whole:
        raise cut if isinstance(size, int) and len(content) < size else damaged
    if len(content) != size or not _is_sound(header):
        raise damaged
    return header, content[8 + length : -4]


def _is_sound(header: Header) -> bool:
    """Whether the numbers of a header can be; a checksum is easily made for others."""
    kinds = {"str": (str,), "int": (int,), "float": (int, float)}
    return (
        all(type(getattr(header, f.name)) in kinds[str(f.type)] for f in fields(header))
        and all(1 <= getattr(header, name) <= most for name, most in LIMITS.items())
        and header.payload_bytes % 4 == 0
        and abs(header.lowest) <= WIDEST
        and 0 <= header.step <= STEPS[-1]
        and header.hops * header.streams * header.tables <= MOST_NUMBERS
    )


def content_hash(path: str | Path) -> str:
    """SHA-256 of a `.ravel`'s graph and tensors: equal for equal models, whatever they are called."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = header.pop("__metadata__")
    digest = hashlib.sha256(json.dumps([about["graph"], header], sort_keys=True).encode())
    digest.update(data[8 + length :])
    return digest.hexdigest()


# -- sound to numbers and back -------------------------------------------------------------------------------------


class Codec:
    """A `.ravel` as encoder and decoder of whole files."""

    def __init__(self, path: str | Path) -> None:
        if Path(path).suffix != ".ravel":
            raise RavelError(f"{path}: the codec plays a .ravel, `ravel export --streaming` makes it beside the .ts")
        self.card: Card = read_card(path)
        self.model = load_model(path)
        self.hash = content_hash(path)
        self.discrete = self.model.quantisers > 0
        self.tables = int(self.model.quantisers or self.model.latents)
        self.hop, self.rate = int(self.model.hop_samples), int(self.model.sample_rate_hz)
        self.late = delay_samples(self.card, "encode", "decode")

    def _engine(self, method: str, streams: int) -> Any:
        engine = engine_module().Engine(self.model, method, streams, ENGINE_HOPS)
        engine.temperature = 0.0
        return engine

    def padded(self, frames: int) -> int:
        """Samples of whole hops in which so many frames come out."""
        return _whole(frames + self.late, self.hop)

    def streams(self, channels: int) -> int:
        return channels if self.model.channels == 1 else 1

    def encode(self, source: Path) -> tuple[NDArray[np.float32], Header]:
        """(tables, hops, streams) of a sound file as `encode` gives them, and what is known of the coded file."""
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
            found.append(engine.process(np.ascontiguousarray(x[None] if stereo else x[:, None])))
        values = np.concatenate(found, 2).transpose(1, 2, 0)
        header = Header(
            self.card["name"], self.hash, info.sample_rate_hz, info.channels, info.frames, padded // self.hop, streams,
            self.tables, int(self.model.codes), 0, 0.0, 0, 0,
        )  # fmt: skip
        return values, header

    def decode(self, values: NDArray[np.float32], header: Header) -> Iterator[Audio]:
        """Blocks (channels, n) at the file's own rate, as many frames as it had."""
        frames = max(1, round(header.frames * self.rate / header.sample_rate_hz))
        played = exactly(self._played(values, header), frames, skip=self.late)
        return exactly(_resampled(played, self.rate, header.sample_rate_hz, header.channels), header.frames)

    def _played(self, values: NDArray[np.float32], header: Header) -> Iterator[Audio]:
        """Missing quantisers are silent, missing latents rest at their mean."""
        engine = self._engine("decode", header.streams)
        filled = np.full((self.tables, *values.shape[1:]), -1.0 if self.discrete else 0.0, np.float32)
        filled[: len(values)] = values
        for first in range(0, header.hops, ENGINE_HOPS):
            z = filled[:, first : first + ENGINE_HOPS].transpose(2, 0, 1)
            y = engine.process(np.ascontiguousarray(z))
            if self.model.channels == 1:
                yield y[:, 0]
            else:
                yield y[0].mean(axis=0, keepdims=True) if header.channels == 1 else y[0]


@dataclass(frozen=True)
class Coded:
    """What became of a file."""

    header: Header
    payload: bytes
    entropy_bits: float  # of the statistics

    @property
    def seconds(self) -> float:
        return self.header.frames / self.header.sample_rate_hz

    @property
    def kbps(self) -> float:
        return 8 * len(self.payload) / self.seconds / 1000


def compress(
    values: NDArray[np.float32], header: Header, kbps: float | None = None, quantisers: int | None = None
) -> Coded:
    """Entropy-code what `Codec.encode` gave: with `kbps`, as much of it as fits."""
    discrete = header.symbols > 0
    if quantisers is not None and not (discrete and quantisers <= header.tables):
        what = (
            f"this model has 1 to {header.tables}" if discrete else "this model has no codes; --kbps chooses its steps"
        )
        raise RavelError(f"--quantisers {quantisers}: {what}")
    room = np.inf if kbps is None else kbps * 1000 * header.frames / header.sample_rate_hz
    if discrete:
        numbers, symbols, lowest, step = values.astype(np.int32)[:quantisers], header.symbols, 0, 0.0
        bits = estimate(numbers, symbols)
        fitting = int((bits.cumsum() + 64 <= room).sum())
        bits, numbers, least = bits[:fitting], numbers[:fitting], bits[0] + 64
    else:
        for step in [STEP] if kbps is None else STEPS:
            numbers, lowest, symbols = stepped(values, step)
            bits = estimate(numbers, symbols)
            least = bits.sum() + 64
            if least <= room:
                break
        fitting = int(least <= room)
    if not fitting:
        rate = least * header.sample_rate_hz / header.frames / 1000
        raise RavelError(f"--kbps {kbps:g}: too little for this model and sound, {rate:.2f} is the least")
    payload = coded(numbers, symbols)
    about = asdict(header) | {
        "tables": len(numbers), "symbols": symbols, "lowest": lowest, "step": step,
        "numbers_crc32": _checksum(numbers), "payload_bytes": len(payload),
    }  # fmt: skip
    return Coded(Header(**about), payload, float(bits.sum()))


def stepped(values: NDArray[np.float32], step: float) -> tuple[Numbers, int, int]:
    """Latents as whole steps above the lowest, that one, and how many steps there are."""
    steps = np.clip(np.rint(values / step), -WIDEST, WIDEST).astype(np.int32)
    lowest = int(steps.min())
    return steps - lowest, lowest, max(2, int(steps.max()) - lowest + 1)


def expand(header: Header, payload: bytes, path: str | Path = "the file") -> NDArray[np.float32]:
    """(tables, hops, streams) as `Codec.decode` takes them."""
    try:
        numbers = decoded(payload, header.tables, header.hops, header.streams, header.symbols)
    except AssertionError:  # constriction's word for bits that no numbers have
        numbers = np.zeros((0, 0, 0), np.int32)
    if _checksum(numbers) != header.numbers_crc32:
        raise RavelError(
            f"{path} is not understood, other numbers went into it: encode the sound again with this Ravel"
        )
    values = (numbers + header.lowest).astype(np.float32)
    return values if header.step == 0 else values * np.float32(header.step)


def _checksum(numbers: Numbers) -> int:
    return zlib.crc32(np.ascontiguousarray(numbers, "<i4").tobytes())


# -- the verb ------------------------------------------------------------------------------------------------------


def encode_file(
    codec: Codec, source: Path, target: Path, kbps: float | None = None, quantisers: int | None = None
) -> tuple[Coded, int]:
    """Write the coded file; returns what it is and its size in bytes."""
    result = compress(*codec.encode(source), kbps, quantisers)
    return result, write(target, result.header, result.payload)


def decode_file(codec: Codec, source: Path, target: Path) -> Header:
    """Write the sound of a coded file as 32-bit float WAV at the rate it had."""
    header, payload = read(source)
    if header.hash != codec.hash:
        raise RavelError(f"{source} was made with another model, {header.model} ({header.hash[:12]}): give that one")
    frames = max(1, round(header.frames * codec.rate / header.sample_rate_hz))
    fits = (
        codec.discrete == (header.step == 0)
        and header.symbols == (codec.model.codes or header.symbols)
        and header.tables <= codec.tables
        and header.streams == codec.streams(header.channels)
        and header.hops * codec.hop == codec.padded(frames)
    )
    if not fits:
        raise RavelError(f"{source} does not fit its model: encode the sound again")
    sound = codec.decode(expand(header, payload, source), header)
    write_wav_blocks(target, sound, header.channels, header.frames, header.sample_rate_hz)
    return header


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
    dial.add_argument("--quantisers", type=positive, help="of a discrete model code only the first N")
    parser.add_argument("--force", action="store_true", help="replace a target that is there")
    options = parser.parse_args(argv)
    encodes = options.action == "encode"
    dials = [name for name in ("kbps", "quantisers") if getattr(options, name) is not None]
    if dials and not encodes:
        raise RavelError(f"--{dials[0]} is for encoding: a .rvl is decoded as it is")
    if options.kbps is not None and not options.kbps > 0:
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
            header = decode_file(codec, options.source, options.target)
            print(f"{options.target}: {header.frames / header.sample_rate_hz:.1f} s by {codec.card['name']}")
            return 0
        result, size = encode_file(codec, options.source, options.target, options.kbps, options.quantisers)
    print(_line(options.target, result, size, codec))
    return 0


def _line(target: Path, result: Coded, size: int, codec: Codec) -> str:
    header = result.header
    what = f"{header.tables} of {codec.tables} " + (
        "quantisers" if header.step == 0 else f"latents in steps of {header.step:g}"
    )
    entropy = result.entropy_bits / result.seconds / 1000
    return (
        f"{target}: {result.seconds:.1f} s, {what}, {result.kbps:.2f} kbit/s (entropy estimate {entropy:.2f}), "
        f"{size} bytes with the header"
    )


__all__ = [
    "Codec",
    "Coded",
    "Header",
    "compress",
    "content_hash",
    "decode_file",
    "encode_file",
    "expand",
    "read",
    "write",
]

if __name__ == "__main__":
    sys.exit(run_verb("codec", main))
