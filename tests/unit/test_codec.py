"""The codec: integer statistics, a bit-exact round trip of numbers and sound, its bit rate, and files that lie."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("constriction")

from python import _native as native
from python import codec
from python.cli import run_verb
from python.codec import Codec, Header, compress, expand
from python.coding import container
from python.coding.compression import STEP, checksum
from python.coding.statistics import TOTAL, Adaptive, Numbers, Statistics
from python.coding.stored import content_hash
from python.errors import RavelError
from python.streaming import deploy, graph
from tests.networks import CODES, KEPT, trained

RATE, HOP = 44100, 128
GOLDEN = (808, 2255207052)  # bytes and CRC-32 of a stream

OF_VERSION_1 = (  # two quantisers of 60 frames, two streams
    "QdUec836zQdm?RbWMyn3Iv^rrWo&G3A}k;xXkl|`B03-<FfcGMFfcGMFfcGMFfcGMFfcGMFfcGMFfcGMFfcGMFfcGMFfcGMFfcGMFfcG"
    "MFfcGMFfcGMFfcGMFfcGMA}k;xb75_8Y-L|^VRU6*XnG<#AT&5IFfc42B4cP_Zf<34b0Rt*GAtk>W^!R|Wpg4rAU7~DFf1S<Xm4<HB03"
    ";8Ff1S<b98cLVQq6FIv_GEAR=^OVr*q|B03;4EFdCtd2M2EY;z(yATc&9AR=sUcV%;QB03;2EFdCtbY*ZNIv_AEFf1S<Zgp*9WpZ<0V{"
    "&6NG9o%4F*Y<gH8eLkHaRRHB5+}OY;R#?Ut)Q5Wpg4rATcs9eLx9G0ifh~|De+sY>>kiYdLH&uo!Kz1UPM=<QH6^;~E2w7c085owww2&"
    "zRDw8B<)USE~3z6;a+~#wN=o1<|BJi=<yr<w@{K#STW|`+Hx)q3(t%rfTuJ>G}W>7A99swk-O_sJe1C^~M_L--BLz_6g$<GLSDfh5"
)


def drawn(tables: int = 3, hops: int = 3000, streams: int = 1, symbols: int = 50, seed: int = 0) -> Numbers:
    """Numbers of a skewed source."""
    draw = np.random.default_rng(seed)
    return np.minimum(draw.geometric(0.1, (tables, hops, streams)) - 1, symbols - 1).astype(np.int32)


# -- statistics and coder ----------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_what_is_decoded_is_what_was_coded(data: st.DataObject) -> None:
    tables, hops, streams = (data.draw(st.integers(1, most)) for most in (4, 700, 3))
    symbols = data.draw(st.sampled_from([2, 3, 16, 1024, 65536]))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    spread = data.draw(st.sampled_from([1, symbols // 2 + 1, symbols]))  # one symbol only, some, all
    numbers = draw.integers(0, spread, (tables, hops, streams)).astype(np.int32)
    coder = Adaptive(symbols)
    stream = coder.coded(numbers)
    assert np.array_equal(coder.decoded(stream, tables, hops, streams), numbers)
    assert 8 * len(stream) <= coder.estimate(numbers).sum() * 1.001 + 96


def test_frequencies_are_whole_and_shares_exact() -> None:
    statistics = Statistics(1, 1000)
    for seed in range(20):
        statistics.update(0, np.random.default_rng(seed).geometric(0.02, 5000).clip(0, 999).astype(np.int32))
        found = statistics.frequencies(0)
        assert found.dtype == np.int64
        assert found.min() >= 1
        assert found.sum() == TOTAL
        exact = statistics.shares(0).astype(np.float32)
        assert np.array_equal(exact.astype(np.float64) * TOTAL, found)
        assert np.array_equal(exact.cumsum(dtype=np.float32) * TOTAL, found.cumsum())


def test_the_rate_is_that_of_the_source() -> None:
    """Within 2 % of the empirical entropy once the statistics have learned it."""
    numbers = drawn(hops=20000)
    share = np.bincount(numbers.ravel(), minlength=50) / numbers.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() * numbers.size
    assert entropy <= 8 * len(Adaptive(50).coded(numbers)) <= 1.02 * entropy
    assert Adaptive(50).estimate(numbers).sum() <= 1.02 * entropy


def test_streams_are_the_same_everywhere() -> None:
    """Written on one machine, read on another: these bytes may never change."""
    numbers = (np.arange(1200) ** 2 % 97 % 64).reshape(2, 300, 2).astype(np.int32)
    stream = Adaptive(64).coded(numbers)
    assert (len(stream), zlib.crc32(stream)) == GOLDEN


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    (tmp_path / "old.rvl").write_bytes(base64.b85decode(OF_VERSION_1))
    header, payload = container.read(tmp_path / "old.rvl")
    assert (header.model, header.statistics, header.prior, header.labels) == ("cello", "adaptive", "", [])
    numbers = (np.arange(240) ** 2 % 97 % 16).reshape(2, 60, 2)
    assert np.array_equal(expand(header, payload), numbers)
    container.write(tmp_path / "new.rvl", header, payload)  # what needs nothing newer stays of version 1
    assert (tmp_path / "new.rvl").read_bytes() == (tmp_path / "old.rvl").read_bytes()


def test_other_statistics_destroy_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """One count that differs by one: what the header's checksum of the numbers is for."""
    numbers = drawn()
    stream = Adaptive(50).coded(numbers)
    original = Statistics.__init__

    def other(self: Statistics, tables: int, symbols: int) -> None:
        original(self, tables, symbols)
        self.counts[0, 3] += 1

    monkeypatch.setattr(Statistics, "__init__", other)
    header = Header("m", "h", RATE, 1, 1, 3000, 1, 3, 50, 0, 0.0, checksum(numbers), len(stream))
    with pytest.raises(RavelError, match="is not understood"):
        expand(header, stream)


# -- models ------------------------------------------------------------------

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("models")

    def model(preset: str = "low-discrete", channels: int = 1, kept: int = KEPT) -> Path:
        path = folder / f"{preset}-{channels}-{kept}.ravel"
        if not path.exists():
            source = trained(preset, channels=channels)
            shell = deploy.deploy(source, kept, True)
            path.write_bytes(graph.ravel(shell, deploy.card(shell, source, path.stem), "fp32"))
        return path

    return model


def recording(path: Path, channels: int = 1, seconds: float = 0.4, rate: int = RATE, seed: int = 0) -> Path:
    draw = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    swell = 0.2 * (1 + np.sin(2 * np.pi * np.outer(t, 1 + np.arange(channels))))
    soundfile.write(path, (swell * draw.standard_normal((len(t), channels))).astype(np.float32), rate, subtype="FLOAT")
    return path


def go(*words: object) -> int:
    return run_verb("codec", codec.main, [str(word) for word in words])


@pytest.mark.parametrize("model_channels", [1, 2])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_decoded_file_is_the_decoded_codes(make: Make, tmp_path: Path, model_channels: int, channels: int) -> None:
    """Sample for sample, by an engine that never saw a file."""
    model = make(channels=model_channels)
    source = recording(tmp_path / "in.wav", channels)
    assert go("encode", source, tmp_path / "a.rvl", "--model", model) == 0
    assert go("decode", tmp_path / "a.rvl", tmp_path / "out.wav", "--model", model) == 0
    out, rate = soundfile.read(tmp_path / "out.wav", dtype="float32", always_2d=True)
    sound, _ = soundfile.read(source, dtype="float32", always_2d=True)
    assert (out.shape, rate) == (sound.shape, RATE)

    loaded = native.Model(model)
    frames = len(sound)
    late = loaded.methods["forward"]["delay_samples"]
    x = np.zeros((channels, -(-(frames + late) // HOP) * HOP), np.float32)
    x[:, :frames] = sound.T
    stereo = np.repeat(x, 2, axis=0) if channels == 1 else x
    x = stereo[None] if model_channels == 2 else x[:, None]
    codes = native.Engine(loaded, "encode", len(x)).process(x)
    read, payload = container.read(tmp_path / "a.rvl")
    assert np.array_equal(expand(read, payload).transpose(2, 0, 1), codes), "codes"
    y = native.Engine(loaded, "decode", len(x)).process(codes)
    y = y[:, 0] if model_channels == 1 else y[0].mean(0, keepdims=True) if channels == 1 else y[0]
    assert np.array_equal(out.T, y[:, late : late + frames]), "sound"


@pytest.mark.parametrize(("rate", "seconds"), [(8000, 0.3), (48000, 0.3), (RATE, 0.00003), (RATE, 3.0)])
def test_any_rate_and_length_comes_back(make: Make, tmp_path: Path, rate: int, seconds: float) -> None:
    source = recording(tmp_path / "in.wav", seconds=seconds, rate=rate)
    assert go("encode", source, tmp_path / "a.rvl", "--model", make()) == 0
    assert go("decode", tmp_path / "a.rvl", tmp_path / "out.wav", "--model", make()) == 0
    want, got = soundfile.info(source), soundfile.info(tmp_path / "out.wav")
    assert (got.frames, got.samplerate, got.channels) == (want.frames, rate, 1)


def values_of(make: Make, tmp_path: Path, seconds: float = 1.0, **kind: Any) -> tuple[Any, Header]:
    return Codec(make(**kind)).encode(recording(tmp_path / "in.wav", seconds=seconds))


def test_the_rate_is_near_its_estimate(make: Make, tmp_path: Path) -> None:
    """30 s or more, header excluded: within 2 %."""
    result = compress(*values_of(make, tmp_path, 30.0))
    assert result.entropy_bits <= 8 * len(result.payload) <= 1.02 * result.entropy_bits
    assert result.kbps == pytest.approx(8 * len(result.payload) / 30 / 1000)


def test_kbps_picks_the_quantisers(make: Make, tmp_path: Path) -> None:
    values, header = values_of(make, tmp_path)
    whole = compress(values, header)
    assert whole.header.tables == KEPT
    seen = set()
    for share in (1.01, 0.7, 0.5, 0.3):
        result = compress(values, header, kbps=share * whole.kbps)
        assert result.kbps <= share * whole.kbps
        assert np.array_equal(expand(result.header, result.payload), values[: result.header.tables])
        more = result.header.tables + 1
        assert more > KEPT or compress(values, header, quantisers=more).kbps > 0.98 * share * whole.kbps - 0.1
        seen.add(result.header.tables)
    assert len(seen) > 2
    with pytest.raises(RavelError, match=r"--kbps 0\.1: too little for this model and sound, \d+\.\d+ is the least"):
        compress(values, header, kbps=0.1)
    with pytest.raises(RavelError, match=f"--quantisers 9: this model has 1 to {KEPT}"):
        compress(values, header, quantisers=9)


def test_fewer_quantisers_play_what_their_export_plays(make: Make, tmp_path: Path) -> None:
    source = recording(tmp_path / "in.wav")
    files = []
    for name, model, words in (("a", make(), ("--quantisers", 2)), ("b", make(kept=2), ())):
        assert go("encode", source, tmp_path / f"{name}.rvl", "--model", model, *words) == 0
        assert go("decode", tmp_path / f"{name}.rvl", tmp_path / f"{name}.wav", "--model", model) == 0
        files.append(soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0])
    assert np.abs(files[0] - files[1]).max() <= 1e-5 * np.abs(files[1]).max()


def test_continuous_latents_are_coded_in_steps(make: Make, tmp_path: Path) -> None:
    values, header = values_of(make, tmp_path, preset="low")
    values = 20 * values  # about unit variance, as trained ones have
    result = compress(values, header)
    back = expand(result.header, result.payload)
    assert np.abs(back - values).max() <= STEP / 2 * 1.0001
    low = compress(values, header, kbps=0.5 * result.kbps)
    assert low.kbps <= 0.5 * result.kbps
    assert low.header.step > STEP
    with pytest.raises(RavelError, match="this model has no codes; --kbps chooses its steps"):
        compress(values, header, quantisers=2)
    model, source = make("low"), tmp_path / "in.wav"
    assert go("encode", source, tmp_path / "a.rvl", "--model", model, "--kbps", 20) == 0
    assert go("decode", tmp_path / "a.rvl", tmp_path / "out.wav", "--model", model) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == soundfile.info(source).frames


# -- files that lie ----------------------------------------------------------


@pytest.fixture
def rvl(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "a.rvl"
    assert go("encode", recording(tmp_path / "in.wav"), path, "--model", make()) == 0
    line = capsys.readouterr().out
    assert f"0.4 s, {KEPT} of {KEPT} quantisers" in line
    assert "kbit/s (entropy estimate" in line
    return path


def refused(rvl: Path, make: Make, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    target = rvl.with_name("refused.wav")
    assert go("decode", rvl, target, *(words or ("--model", make()))) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert not target.exists()
    assert not list(rvl.parent.glob(".refused*"))
    return error


def test_a_cut_file_says_so(rvl: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    whole = rvl.read_bytes()
    for length in (4, 7, 11, 50, 300, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        rvl.write_bytes(whole[:length])
        assert "is cut short" in refused(rvl, make, capsys), length
    rvl.write_bytes(b"")
    assert "is not a .rvl file" in refused(rvl, make, capsys)


def test_a_changed_byte_says_so(rvl: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    whole = rvl.read_bytes()
    for at in (*range(0, 60, 3), len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 0x21
        rvl.write_bytes(changed)
        error = refused(rvl, make, capsys)
        assert any(words in error for words in ("is damaged", "is cut short", "is not a .rvl", "of version")), at
    rvl.write_bytes(whole + b"more")
    assert "is damaged" in refused(rvl, make, capsys)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("hops", 1 << 27, "is damaged"),
        ("hops", 1, "does not fit its model"),
        ("hops", -1, "is damaged"),
        ("frames", 1 << 50, "is damaged"),
        ("frames", 1e300, "is damaged"),
        ("channels", 0, "is damaged"),
        ("channels", True, "is damaged"),
        ("sample_rate_hz", 0, "is damaged"),
        ("tables", KEPT + 1, "does not fit its model"),
        ("symbols", CODES + 1, "does not fit its model"),
        ("step", 0.5, "does not fit its model"),
        ("step", float("nan"), "is damaged"),
        ("lowest", 1 << 40, "is damaged"),
        ("numbers_crc32", 7, "is not understood"),
        ("payload_bytes", "many", "is damaged"),
        ("hash", "0" * 64, "was made with another model"),
        ("title", "x", "is damaged"),
        ("statistics", "prior", "is damaged"),
        ("statistics", "other", "is damaged"),
        ("prior", "0" * 64, "is damaged"),
        ("labels", [1.0], "does not fit its model"),
        ("labels", [11.0], "is damaged"),
        ("labels", ["cello"], "is damaged"),
        ("labels", 1.0, "is damaged"),
    ],
)
def test_a_header_that_lies_with_a_right_checksum(
    rvl: Path, make: Make, field: str, value: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    header, payload = container.read(rvl)
    about = asdict(header) | {field: value}
    version = b"1" if about["statistics"] == "adaptive" and not about["labels"] and field != "prior" else b"2"
    if version == b"1":
        about = {name: entry for name, entry in about.items() if name not in container.OF_2}
    text = json.dumps(about).encode()
    content = container.MAGIC + version + struct.pack("<I", len(text)) + text + payload
    rvl.write_bytes(content + struct.pack("<I", zlib.crc32(content)))
    assert line in refused(rvl, make, capsys)


def test_fields_of_another_version_are_refused(rvl: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    header, payload = container.read(rvl)
    about = asdict(header)
    old = {name: entry for name, entry in about.items() if name not in container.OF_2}
    for version, kept in ((b"1", about), (b"2", old)):
        text = json.dumps(kept).encode()
        content = container.MAGIC + version + struct.pack("<I", len(text)) + text + payload
        rvl.write_bytes(content + struct.pack("<I", zlib.crc32(content)))
        assert "is damaged" in refused(rvl, make, capsys)


def test_payloads_that_no_coder_made(rvl: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    header, payload = container.read(rvl)
    for junk in (b"", b"\xff" * len(payload), b"\0" * 8, payload[4:]):
        container.write(rvl, replace(header, payload_bytes=len(junk)), junk)
        assert "is not understood" in refused(rvl, make, capsys)


def test_another_model_says_so(rvl: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(rvl, make, capsys, "--model", make(channels=2))
    assert "was made with another model, low-discrete-1-5" in error


def test_the_hash_is_of_what_is_played(make: Make, tmp_path: Path) -> None:
    data = make().read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["card"] = header["__metadata__"]["card"].replace("low-discrete-1-5", "cello")
    text = json.dumps(header).encode()
    renamed, other = tmp_path / "renamed.ravel", tmp_path / "other.ravel"
    renamed.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert content_hash(renamed) == content_hash(make()) != content_hash(other)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("encode", "gone.wav", "b.rvl"), "no such file"),
        (("encode", "a.rvl", "b.rvl"), "not a readable sound file"),
        (("decode", "gone.rvl", "b.wav"), "could not read"),
        (("decode", "in.wav", "b.wav"), "is not a .rvl file"),
        (("decode", "a.rvl", "in.wav"), "in.wav exists: choose another target, or replace it with --force"),
        (("encode", "in.wav", "in.wav"), "is the source itself"),
        (("encode", "in.wav", "b.rvl", "--kbps", "0"), "--kbps 0: a number above 0"),
        (("encode", "in.wav", "b.rvl", "--kbps", "nan"), "--kbps nan: a number above 0"),
        (("decode", "a.rvl", "b.wav", "--kbps", "3"), "--kbps is for encoding"),
    ],
)
def test_bad_input_is_one_line(
    rvl: Path,
    make: Make,
    words: tuple[str, ...],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(rvl.parent)
    before = sorted(rvl.parent.iterdir())
    assert go(*words, "--model", make()) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1
    assert sorted(rvl.parent.iterdir()) == before


def test_a_model_of_another_form_is_refused(rvl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rvl.parent / "a.ts").write_bytes(b"")
    assert go("decode", rvl, rvl.with_suffix(".wav"), "--model", rvl.parent / "a.ts") == 2
    assert "the codec plays a .ravel" in capsys.readouterr().err


def test_a_coded_file_finds_its_model(
    rvl: Path, make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(rvl.parent)
    assert go("decode", "a.rvl", "b.wav") == 2
    assert (
        "there is no low-discrete-1-5.ravel beside a.rvl or here: say where it is with --model"
        in capsys.readouterr().err
    )
    (rvl.parent / make().name).write_bytes(make().read_bytes())
    assert go("decode", "a.rvl", "b.wav") == 0


def test_without_the_coder_a_line_says_what_to_install(
    rvl: Path, make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "constriction", None)
    assert "pip install 'ravel-audio[codec]'" in refused(rvl, make, capsys)
