"""The native module: what it says of a model, what it refuses and how, and what it is made of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from python import _native as native
from python.errors import RavelError
from python.streaming import deploy, graph
from tests.networks import trained

KEPT, HOP = 5, 128
Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = trained("low", channels=2)
    shell = deploy.deploy(source, KEPT, True)
    path = tmp_path_factory.mktemp("native") / "violin.ravel"
    path.write_bytes(graph.ravel(shell, deploy.card(shell, source, "violin"), "fp32"))
    return path


@pytest.fixture(scope="module")
def model(good: Path) -> native.Model:
    return native.Model(good)


def sound(streams: int = 2, hops: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((streams, 2, hops * HOP)).astype(np.float32)


# -- what it says -------------------------------------------------------------------------------------


def test_a_model_says_what_it_is(model: native.Model) -> None:
    assert (model.name, model.preset, model.weights) == ("violin", "low", "fp32")
    assert (model.sample_rate_hz, model.channels, model.hop_samples) == (44100, 2, HOP)
    assert (model.latents, model.latent_size, len(model.fidelity_curve)) == (KEPT, 8, 8)
    assert model.isa == native.cpu_features()[-1]
    assert model.weight_bytes > 1000
    card = json.loads(model.card)
    assert card["name"] == "violin"
    assert model.methods == card["methods"]
    assert "violin" in repr(model)


def test_an_engine_says_what_it_does(model: native.Model) -> None:
    for method, about in model.methods.items():
        engine = native.Engine(model, method, streams=2, slices=4)
        assert (engine.method, engine.streams) == (method, 2)
        assert engine.in_frames == HOP // about["in_ratio"]
        assert engine.out_frames == HOP // about["out_ratio"]
        assert engine.delay * about["out_ratio"] == about["delay_samples"]
        assert 0 <= engine.sliced_delay <= engine.out_frames
        assert engine.history_bytes > 1000
        assert {op["stage"] for op in engine.ops()} <= {"early", "core", "late"}
        assert sum(op["flops"] for op in engine.ops()) > 1e4


def test_times_are_told(model: native.Model) -> None:
    x, seconds = sound(1, 5), np.zeros(5 * 8)
    engine = native.Engine(model, max_hops=2, slices=8, core_slices=4)
    engine.process_sliced(x, seconds=seconds)
    assert (seconds > 0).all()
    engine.reset()
    y, each = engine.process_timed(x)
    assert np.array_equal(y, native.Engine(model).process(x))
    assert each.shape == (len(engine.ops()),)
    assert (each >= 0).all()
    assert each.sum() > 0


def test_attributes_hold_what_they_are_given(model: native.Model) -> None:
    engine = native.Engine(model)
    assert (engine.temperature, engine.fill, engine.noise, engine.seed) == (model.temperature, 0.0, True, 0)
    engine.temperature, engine.fill, engine.noise, engine.seed = 0.5, 1.0, False, -(2**63)
    engine.reset()
    assert (engine.temperature, engine.fill, engine.noise, engine.seed) == (0.5, 1.0, False, -(2**63))


def test_an_instruction_set_can_be_chosen(good: Path) -> None:
    features = native.cpu_features()
    assert features[0] == "reference"
    assert native.Model(good, isa="reference").isa == "reference"
    native.set_isa("reference")
    try:
        assert native.Model(good).isa == "reference"
        assert native.Model(good, isa=features[-1]).isa == features[-1]
    finally:
        native.set_isa(None)
    assert native.Model(good).isa == features[-1]
    for choose in (lambda: native.set_isa("mmx"), lambda: native.Model(good, isa="mmx")):
        with pytest.raises(native.Error, match=r"mmx.*reference"):
            choose()
    assert native.Model(good).isa == features[-1], "a refused choice changes nothing"


def test_the_roofline_is_plausible() -> None:
    assert native.peak_gflops(0.01) > 1
    assert 0.1 < native.read_bandwidth(1 << 16, 0.01) < 1e5
    for seconds in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(ValueError, match="seconds"):
            native.peak_gflops(seconds)
    with pytest.raises(native.Error, match="instruction set"):
        native.peak_gflops(0.01, isa="mmx")


# -- arrays -------------------------------------------------------------------------------------------


def refused(model: native.Model, x: Any, match: str, kind: type[Exception] = ValueError, **how: Any) -> None:
    """The call fails as told, and the next good one gives what it would have given without it."""
    engine, twin = native.Engine(model, streams=2), native.Engine(model, streams=2)
    engine.process(sound())
    twin.process(sound())
    with pytest.raises(kind, match=match):
        engine.process(x, **how)
    assert np.array_equal(engine.process(sound()), twin.process(sound()))


BAD_INPUTS = {
    "float64": (lambda x: x.astype(np.float64), r"expects float32\(2, 2, frames\).*128, got float64\(2, 2, 384\)"),
    "integers": (lambda x: x.astype(np.int16), "got int16"),
    "complex": (lambda x: x.astype(np.complex64), "got complex64"),
    "objects": (lambda x: x.astype(object), "got object"),
    "big-endian": (lambda x: x.astype(">f4"), "got >f4"),
    "no axis": (lambda x: np.float32(1) + np.zeros((), np.float32)[...], r"got float32\(\)"),
    "one axis": (lambda x: x[0, 0], r"got float32\(384,\)"),
    "two axes": (lambda x: x[0], r"got float32\(2, 384\)"),
    "four axes": (lambda x: x[None], r"got float32\(1, 2, 2, 384\)"),
    "too few streams": (lambda x: x[:1], r"got float32\(1, 2, 384\)"),
    "too few channels": (lambda x: x[:, :1], r"got float32\(2, 1, 384\)"),
    "too many channels": (lambda x: np.repeat(x, 2, 1), r"got float32\(2, 4, 384\)"),
    "no whole hops": (lambda x: x[:, :, :200], "positive multiple of 128"),
    "no frames": (lambda x: x[:, :, :0], "positive multiple of 128"),
    "no streams": (lambda x: x[:0], r"got float32\(0, 2, 384\)"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_array_that_does_not_fit_is_refused(name: str, model: native.Model) -> None:
    change, match = BAD_INPUTS[name]
    refused(model, np.asarray(change(sound())), match)


@pytest.mark.parametrize("x", [None, 1.0, "audio", [[[0.0] * HOP] * 2] * 2, b"\0" * 64, {}])
def test_what_is_no_array_is_refused(x: Any, model: native.Model) -> None:
    refused(model, x, f"expects a numpy array, got {type(x).__name__}", TypeError)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0, 0), (1, 0, 200), (1, 1, 383)])
def test_values_that_are_not_finite_are_refused_with_their_place(
    value: float, at: tuple[int, int, int], model: native.Model
) -> None:
    x = sound()
    x[at] = value
    stream, channel, frame = at
    word = "NaN" if np.isnan(value) else "infinite"
    refused(model, x, f"{word} at stream {stream}, channel {channel}, frame {frame}")
    refused(model, np.asfortranarray(x), f"{word} at stream {stream}, channel {channel}, frame {frame}")


def test_any_memory_layout_is_taken(model: native.Model) -> None:
    x = sound()
    want = native.Engine(model, streams=2).process(x)
    spaced = np.zeros((4, 2, 2 * x.shape[2]), np.float32)
    spaced[::2, :, ::2] = x
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    read_only = x.copy()
    read_only.setflags(write=False)
    mirrored = x[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    for same in (np.asfortranarray(x), spaced[::2, :, ::2], unaligned, read_only, mirrored):
        assert np.array_equal(native.Engine(model, streams=2).process(same), want)


def test_the_output_goes_where_it_is_told(model: native.Model) -> None:
    x = sound()
    out = np.full_like(x, np.nan)
    assert native.Engine(model, streams=2).process(x, out) is out
    assert np.array_equal(out, native.Engine(model, streams=2).process(x))
    again = native.Engine(model, streams=2, slices=4).process_sliced(x, out=np.empty_like(x))
    assert np.array_equal(again, native.Engine(model, streams=2, slices=4).process_sliced(x))


def read_only(x: np.ndarray) -> np.ndarray:
    x.setflags(write=False)
    return x


BAD_OUTPUTS = {
    "float64": (lambda x: np.empty(x.shape), r"out must be float32\(2, 2, 384\), got float64"),
    "shape": (lambda x: np.empty((2, 2, 385), np.float32), r"got float32\(2, 2, 385\)"),
    "axes": (lambda x: np.empty((1, 2, 2, 384), np.float32), r"got float32\(1, 2, 2, 384\)"),
    "read-only": (lambda x: read_only(np.empty_like(x)), "out is read-only"),
    "spaced": (lambda x: np.empty((2, 2, 768), np.float32)[:, :, ::2], "contiguous"),
    "the input": (lambda x: x, "overlaps the input"),
    "a view of the input": (lambda x: x.reshape(-1).reshape(x.shape), "overlaps the input"),
}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
def test_an_output_that_does_not_fit_is_refused(name: str, model: native.Model) -> None:
    make, match = BAD_OUTPUTS[name]
    x = sound()
    before = x.copy()
    refused(model, x, match, out=make(x))
    assert np.array_equal(x, before)
    refused(model, x, "out must be a numpy array, got list", TypeError, out=[])


def test_outputs_that_overlap_partly_are_refused(model: native.Model) -> None:
    memory = np.zeros(2 * sound().size, np.float32)
    size, shape = sound().size, sound().shape
    engine = native.Engine(model, streams=2)
    for shift in (1, size - 1):
        with pytest.raises(ValueError, match="overlaps"):
            engine.process(memory[:size].reshape(shape), memory[shift : shift + size].reshape(shape))
    engine.process(memory[:size].reshape(shape), memory[size:].reshape(shape))


# -- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"streams": 0},
        {"streams": -1},
        {"streams": 2**31 - 1},
        {"max_hops": 0},
        {"max_hops": 2**31 - 1},
        {"streams": 1024, "max_hops": 1024},
        {"slices": -1},
        {"slices": 3},
        {"slices": 256},
        {"slices": 4, "core_slices": 0},
        {"slices": 4, "core_slices": 5},
    ],
)
def test_settings_that_cannot_be_are_refused(how: dict[str, int], model: native.Model) -> None:
    with pytest.raises(native.Error, match="engine"):
        native.Engine(model, **how)


def test_arguments_of_the_wrong_kind_are_refused(model: native.Model, good: Path) -> None:
    with pytest.raises(ValueError, match=r"no method 'play'.*forward, encode, decode"):
        native.Engine(model, "play")
    for make in (
        lambda: native.Engine(None),
        lambda: native.Engine(model, streams=1.5),
        lambda: native.Engine(model, streams=2**40),
        lambda: native.Model(None),
        lambda: native.Model(3),
        lambda: setattr(native.Engine(model), "seed", 2**63),
        lambda: setattr(native.Engine(model), "temperature", "hot"),
    ):
        with pytest.raises(TypeError):
            make()
    with pytest.raises((ValueError, TypeError)):
        native.Model("violin\0.ravel")
    assert native.Model(str(good)).name == native.Model(good).name


@pytest.mark.parametrize("value", [-0.1, 10.1, float("nan"), float("inf")])
def test_attributes_have_bounds(value: float, model: native.Model) -> None:
    engine = native.Engine(model)
    for attribute in ("temperature", "fill"):
        with pytest.raises(ValueError, match=f"{attribute}: 0 to 10"):
            setattr(engine, attribute, value)
    for change in (engine.set_scale, engine.set_bias):
        for latent in (-1, KEPT, 2**31 - 1):
            with pytest.raises(ValueError, match="latents are 0 to 4"):
                change(latent, 1.0)
        with pytest.raises(ValueError, match="not finite"):
            change(0, float("nan"))


def test_hops_and_slices_do_not_mix(model: native.Model) -> None:
    x = sound(1)
    with pytest.raises(ValueError, match="slices=0"):
        native.Engine(model).process_sliced(x)
    engine = native.Engine(model, slices=4)
    want = engine.process(x)
    with pytest.raises(ValueError, match="reset"):
        engine.process_sliced(x)
    engine.reset()
    engine.process_sliced(x)
    with pytest.raises(ValueError, match="reset"):
        engine.process_timed(x)
    engine.reset()
    assert np.array_equal(engine.process(x), want)
    for seconds in (np.zeros(11), np.zeros((12, 1)), np.zeros(24)[::2], read_only(np.zeros(12))):
        with pytest.raises(ValueError, match=r"float64\(12,\)"):
            native.Engine(model, slices=4).process_sliced(x, seconds=seconds)
    for seconds in ([0.0] * 12, np.zeros(12, np.float32)):
        with pytest.raises(TypeError, match="float64"):
            native.Engine(model, slices=4).process_sliced(x, seconds=seconds)


def test_one_engine_in_two_threads_is_refused_not_undefined(model: native.Model) -> None:
    x = np.tile(sound(1), (1, 1, 60))
    engine, refusals = native.Engine(model), []

    def play() -> None:
        for _ in range(10):
            try:
                assert np.isfinite(engine.process(x)).all()
            except native.Error as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=play) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("another thread" in text for text in refusals)
    engine.reset()
    assert np.array_equal(engine.process(x), native.Engine(model).process(x))


def test_the_interpreter_is_free_while_it_plays(model: native.Model) -> None:
    """Only while `process` runs is a reset refused; Python can see that only if it runs meanwhile."""
    x, engine, seen = np.tile(sound(1), (1, 1, 100)), native.Engine(model), threading.Event()

    def play() -> None:
        for _ in range(3000):
            if seen.is_set():
                break
            with suppress(native.Error):
                engine.process(x)

    thread = threading.Thread(target=play)
    thread.start()
    while thread.is_alive() and not seen.is_set():
        try:
            engine.reset()
        except native.Error:
            seen.set()
    thread.join()
    assert seen.is_set()


def test_engines_in_threads_run_side_by_side(model: native.Model) -> None:
    x = np.tile(sound(1), (1, 1, 20))
    want, got = native.Engine(model).process(x), {}

    def play(number: int) -> None:
        got[number] = native.Engine(model).process(x)

    threads = [threading.Thread(target=play, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got[i], want) for i in range(4))


def test_an_engine_outlives_its_model_and_its_file(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.ravel"
    path.write_bytes(good.read_bytes())
    engine = native.Engine(native.Model(path))
    path.write_bytes(b"replaced")
    assert np.array_equal(engine.process(sound(1)), native.Engine(native.Model(good)).process(sound(1)))


# -- files --------------------------------------------------------------------------------------------


def with_header(change: Callable[[dict[str, Any]], None]) -> Change:
    def apply(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]

    return apply


def with_graph(change: Callable[[dict[str, Any]], None]) -> Change:
    def apply(header: dict[str, Any]) -> None:
        parts = json.loads(header["__metadata__"]["graph"])
        change(parts)
        header["__metadata__"]["graph"] = json.dumps(parts)

    return with_header(apply)


def first_layer(parts: dict[str, Any]) -> dict[str, Any]:
    """The first convolution of the encoder."""
    return next(n for n in parts["front"]["layers"][1]["layers"] if n["op"] == "conv1d")


def nested(depth: int) -> Change:
    """A graph `depth` layers deep, as text: Python's own writer of JSON would give up."""

    def apply(header: dict[str, Any]) -> None:
        node = '{"op":"serial","name":"deep","in":2,"out":2,"layers":['
        header["__metadata__"]["graph"] = '{"front":' + node * depth + "]}" * depth + "}"

    return with_header(apply)


def not_a_number(data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    first, _ = next(v for k, v in header.items() if k.startswith("decoder"))["data_offsets"]
    at = 8 + length + first
    return data[:at] + np.float32(np.nan).tobytes() + data[at + 4 :]


def metadata(**changes: str) -> Change:
    return with_header(lambda h: h["__metadata__"].update(changes))


BAD_FILES: dict[str, tuple[Change, str]] = {
    "empty": (lambda d: b"", "the file is empty"),
    "one byte": (lambda d: b"x", "1 byte, too few"),
    "cut in the length": (lambda d: d[:5], "5 bytes, too few"),
    "cut in the header": (lambda d: d[:200], "truncated"),
    "cut in the data": (lambda d: d[:-1], "truncated"),
    "longer than it says": (lambda d: d + b"\0", "1 byte after its last tensor"),
    "claims 10 GB of header": (lambda d: (10 * 2**30).to_bytes(8, "little") + d[8:], "claims 10737418240 bytes"),
    "claims all there is": (lambda d: b"\xff" * 8 + d[8:], "claims 18446744073709551615 bytes"),
    "wrong endian": (lambda d: d[:8][::-1] + d[8:], "big-endian"),
    "a .ts": (lambda d: b"PK\x03\x04" + d[4:], "TorchScript"),
    "a JPEG": (lambda d: b"\xff\xd8\xff\xe0\x00\x10JFIF" + d[10:], "JPEG"),
    "not JSON": (lambda d: d[:8] + b"[" + d[9:], "not a .ravel file"),
    "another format": (metadata(format="pickle"), "format"),
    "a later version": (metadata(version="4"), "version"),
    "no graph": (with_header(lambda h: h["__metadata__"].pop("graph")), "graph"),
    "no card": (with_header(lambda h: h["__metadata__"].pop("card")), "card"),
    "a card that is no JSON": (metadata(card="{"), "card"),
    "deeply nested": (nested(5000), "nested deeper"),
    "unknown op": (with_graph(lambda p: first_layer(p).update(op="lstm")), "lstm"),
    "missing key": (with_graph(lambda p: first_layer(p).pop("stride")), "stride"),
    "missing tensor": (with_graph(lambda p: first_layer(p).update(weight="nowhere")), "nowhere"),
    "misshapen": (with_graph(lambda p: first_layer(p).update(kernel=99)), "has shape"),
    "negative": (with_graph(lambda p: first_layer(p).update(dilation=-1)), "dilation"),
    "huge": (with_graph(lambda p: first_layer(p).update(dilation=2**31 - 1)), "dilation"),
    "fractional": (with_graph(lambda p: first_layer(p).update(stride=1.5)), "stride"),
    "extra tensor": (
        with_header(lambda h: h.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
        "extra",
    ),
    "overlapping tensors": (
        with_header(lambda h: h.update(extra={"dtype": "F32", "shape": [4], "data_offsets": [0, 16]})),
        "overlaps",
    ),
    "NaN weight": (not_a_number, "decoder"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_words(name: str, good: Path, tmp_path: Path) -> None:
    change, match = BAD_FILES[name]
    path = tmp_path / "bad.ravel"
    path.write_bytes(change(good.read_bytes()))
    with pytest.raises(native.Error, match=match) as raised:
        native.Model(path)
    text = str(raised.value)
    assert "bad.ravel" in text
    assert "\n" not in text
    assert len(text) < 500
    assert native.Model(good).name == "violin"


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.ravel", Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(native.Error, match=str(path)):
            native.Model(path)


def test_every_truncation_and_many_flips_are_survived(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    path, draw = tmp_path / "damaged.ravel", np.random.default_rng(1)
    length = int.from_bytes(data[:8], "little")
    for cut in draw.integers(0, len(data), 60):
        path.write_bytes(data[:cut])
        with pytest.raises(native.Error):
            native.Model(path)
    for at in draw.integers(0, 8 + length, 150):
        damaged = bytearray(data)
        damaged[at] ^= 1 << draw.integers(0, 8)
        path.write_bytes(damaged)
        try:
            engine = native.Engine(native.Model(path), streams=1)
        except ValueError:
            continue
        x = np.zeros((1, engine_channels(engine), engine.in_frames), np.float32)
        engine.process(x)


def engine_channels(engine: native.Engine) -> int:
    """How many channels it wants, from what it says of none."""
    with pytest.raises(ValueError, match="expects") as raised:
        engine.process(np.zeros((1, 0, 0), np.float32))
    return int(str(raised.value).split("float32(1, ")[1].split(",")[0])


# -- what it is made of -------------------------------------------------------------------------------


def test_errors_are_for_readers_and_are_value_errors() -> None:
    assert issubclass(native.Error, ValueError)
    assert not issubclass(native.Error, RavelError)
    assert native.Error.__module__ == "python._native"


def test_the_module_is_small_and_needs_little() -> None:
    path = Path(native.__file__)
    assert path.stat().st_size < 1_000_000
    if sys.platform != "linux" or not shutil.which("readelf"):
        pytest.skip("reads ELF with binutils")
    needed = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    names = {line.split("[")[1].split(".so")[0] for line in needed.splitlines() if "(NEEDED)" in line}
    runtime = {"libstdc++", "libm", "libgcc_s", "libc", "ld-linux-x86-64", "ld-linux-aarch64", "libpthread"}
    assert names <= runtime | {"libsamplerate"}  # the system's, where it has one
    exported = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in exported.splitlines()] == ["PyInit__native"]


def test_the_stub_names_what_is_there() -> None:
    import ast

    stub = ast.parse((Path(native.__file__).parent / "_native.pyi").read_text())
    said = {node.name: node for node in stub.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    there = {name for name in dir(native) if not name.startswith("_")}
    shapes = {
        name for name, node in said.items() if "TypedDict" in ast.dump(node)
    }  # of answers: no names of the module
    assert there == said.keys() - shapes
    for name in ("Model", "Engine", "Player"):
        body = said[name].body
        members = {n.name for n in body if isinstance(n, ast.FunctionDef)}
        members |= {n.target.id for n in body if isinstance(n, ast.AnnAssign)}
        assert {m for m in members if m != "__init__"} == {m for m in vars(getattr(native, name)) if m[0] != "_"}
    assert all(getattr(native, name).__doc__ for name in there)
