"""The engine gives what torch gives, for every preset, method, precision and instruction set, however it is called.

Against torch (the deployed network, the `.ts`, the trained network unfolded): 1e-5 of peak. Against itself on one
instruction set (blocks, streams, slices): the same bits.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from python import _native as native
from python.model.config import PRESETS
from python.runs import Trained
from python.streaming import deploy, graph, verify
from python.streaming.nn_tilde import Shell
from python.training.pca import Principal
from tests.networks import CODES, KEPT, deployed, trained

Audio = NDArray[np.float32]
METHODS = ("forward", "encode", "decode")
TOLERANCE = 1e-5  # of peak
ROUNDED_DB = 40.0  # signal to error of native bfloat16 products, which round activations too
# name: (preset, stored weights, what else is said)
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"{name}-fp32": (name, "fp32", {"channels": 1 + i % 2}) for i, name in enumerate(PRESETS)},
    **{f"{name}-bf16": (name, "bf16", {"channels": 2 - i % 2}) for i, name in enumerate(PRESETS)},
    "spherical": ("low", "fp32", {"latent_kind": "spherical", "channels": 2}),
    "centred": ("v2-small", "fp32", {"centred": True, "channels": 2}),
    "snake": ("low", "fp32", {"activation": "snake", "dilations": ((3,),) * 4}),  # few: its slope reaches 2
}
NATIVE_DOT = "avx512_bf16"


@dataclass(frozen=True)
class Case:
    source: Trained
    shell: Shell  # with the weights as stored
    weights: str
    data: bytes

    @property
    def hop(self) -> int:
        return self.shell.hop_samples

    def frames(self, method: str, hops: int) -> int:
        return hops if method == "decode" else hops * self.hop

    def sound(self, method: str, streams: int, hops: int, seed: int = 1) -> Audio:
        channels = self.shell.codes if method == "decode" else self.shell.channels
        shape = (streams, channels, self.frames(method, hops))
        if self.shell.discrete:
            return self.for_codes(method, shape, seed)
        return (0.3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)

    def for_codes(self, method: str, shape: tuple[int, ...], seed: int) -> Audio:
        """Numbers of codes, some beyond either end; sound away from where rounding changes codes."""
        if method == "decode":
            return np.random.default_rng(seed).integers(-2, CODES + 2, shape).astype(np.float32)
        return graph.sounding(self.shell, shape[0], shape[2], seed).numpy()

    def hops(self) -> int:
        """Enough to be past the delay and to wrap buffers."""
        return max(10, -(-self.shell.delay // self.hop) + 4)


@cache
def case(name: str) -> Case:
    preset, weights, overrides = MODELS[name]
    source, shell = deployed(preset, **overrides)
    data = graph.ravel(shell, deploy.card(shell, source, name), weights)
    return Case(source, graph.with_weights(shell, weights), weights, data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", autouse=True)
def plain_executor() -> Iterator[None]:
    """The same graphs without the seconds that optimising them takes."""
    with torch.jit.optimized_execution(False):
        yield


def load(folder: Path, name: str, isa: str | None = None) -> native.Model:
    path = folder / f"{name}.ravel"
    if not path.exists():
        path.write_bytes(case(name).data)
    return native.Model(path, isa)


def torch_plays(shell: Any, method: str, x: Audio, **attributes: Any) -> Audio:
    """The same call on a shell or `.ts`, from reset, with the attributes given and the others at rest."""
    values = {"temperature": 0.0, "fill": 0.0, "noise": True, "seed": 0, **attributes}
    for attribute, value in values.items():
        assert getattr(shell, f"set_{attribute}")(value) == 0
    shell.reset()
    with torch.no_grad():
        y = getattr(shell, method)(torch.from_numpy(x))
    for attribute, value in {"temperature": 0.0, "fill": 0.0, "noise": True, "seed": 0}.items():
        getattr(shell, f"set_{attribute}")(value)
    return y.numpy()


def engine(
    model: native.Model, method: str, streams: int = 1, attributes: dict[str, Any] | None = None, **how: int
) -> native.Engine:
    made = native.Engine(model, method, streams, **how)
    for attribute, value in ({"temperature": 0.0} | (attributes or {})).items():
        setattr(made, attribute, value)
    return made


def error(got: Audio, want: Audio) -> float:
    assert got.shape == want.shape
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    return float(np.abs(got - want).max() / np.abs(want).max())


def assert_close(case: Case, isa: str, got: Audio, want: Audio) -> None:
    if case.weights == "bf16" and isa == NATIVE_DOT:
        if np.array_equal(got, want):  # codes are
            return
        decibels = 10 * np.log10(np.square(want).sum() / np.square(got - want).sum())
        assert decibels >= ROUNDED_DB, f"{decibels:.1f} dB"
    else:
        assert error(got, want) <= TOLERANCE


# -- the same numbers as torch ------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_every_instruction_set_gives_what_the_deployed_network_gives(name: str, method: str, folder: Path) -> None:
    it = case(name)
    x = it.sound(method, 2, it.hops())
    want = torch_plays(it.shell, method, x)
    for isa in native.cpu_features():
        got = engine(load(folder, name, isa), method, streams=2, max_hops=3).process(x)
        assert_close(it, isa, got, want)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["v1-fp32", "v2-small-fp32", "v2-fp32"])
def test_attributes_mean_the_same(name: str, method: str, folder: Path) -> None:
    it = case(name)
    x = it.sound(method, 2, it.hops())
    model = load(folder, name)
    rest = torch_plays(it.shell, method, x)
    heard = 0
    for attributes in ({"temperature": 0.7}, {"fill": 0.5}, {"seed": 12345678901}, {"noise": False}):
        want = torch_plays(it.shell, method, x, **attributes)
        got = engine(model, method, 2, attributes, max_hops=2).process(x)
        assert_close(it, model.isa, got, want)
        heard += not np.array_equal(want, rest)
    assert heard >= (1 if method == "encode" else 1 + bool(it.source.config.model.noise_strides))


def test_latents_are_scaled_and_biased_alike(folder: Path) -> None:
    it = case("low-fp32")
    _, shell = deployed(*MODELS["low-fp32"][:1], **MODELS["low-fp32"][2])
    changes = [("scale", 1, -2.0), ("bias", 3, 0.5), ("bias", 1, 0.25)]
    for method in ("forward", "decode"):
        made = engine(load(folder, "low-fp32"), method)
        for what, latent, value in changes:
            assert getattr(shell, f"set_{what}")(latent, value) == 0
            getattr(made, f"set_{what}")(latent, value)
        x = it.sound(method, 1, it.hops())
        want = torch_plays(shell, method, x)
        assert error(torch_plays(it.shell, method, x), want) > 0.01, "the changes are heard"
        assert error(made.process(x), want) <= TOLERANCE


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_ts_and_the_engine_play_the_same(preset: str, tmp_path: Path) -> None:
    source, shell = deployed(preset, dilations=((3,),) * 4)  # fewer units: most of this test's time is scripting them
    path = tmp_path / "model.ravel"
    path.write_bytes(graph.ravel(shell, deploy.card(shell, source, preset), "fp32"))
    it, model, script = Case(source, shell, "fp32", b""), native.Model(path), torch.jit.load(_saved(shell))
    for method in METHODS:
        x = it.sound(method, 1, it.hops(), seed=3)
        assert error(engine(model, method).process(x), torch_plays(script, method, x)) <= TOLERANCE


def _saved(shell: Shell) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(shell), buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("name", [name for name in MODELS if not name.endswith("bf16")])
def test_the_engine_is_the_trained_network_offline(name: str, folder: Path) -> None:
    it = case(name)
    x = it.sound("forward", 1, it.hops(), seed=4)
    want = verify.reference(it.source, KEPT, torch.from_numpy(x)).numpy()
    got = engine(load(folder, name), "forward", attributes={"noise": False}, max_hops=4).process(x)
    assert error(got, want) <= TOLERANCE


def test_low_as_it_is_trained(tmp_path: Path) -> None:
    source = trained("low", capacity=32, latent=128)
    source = replace(source, principal=Principal(torch.zeros(128), torch.eye(128), torch.linspace(2, 0.1, 128)))
    shell = deploy.deploy(source, 16, True)
    path = tmp_path / "low.ravel"
    path.write_bytes(graph.ravel(shell, deploy.card(shell, source, "low"), "fp32"))
    model = native.Model(path)
    x = (0.3 * np.random.default_rng(0).standard_normal((1, 1, 64 * 128))).astype(np.float32)
    assert error(engine(model, "forward", max_hops=4).process(x), torch_plays(shell, "forward", x)) <= TOLERANCE
    assert max(model.selftest().values()) <= TOLERANCE


# -- the same bits, however it is called --------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_blocks_streams_and_slices_change_no_bit(data: st.DataObject, folder: Path) -> None:
    assert_no_bit_changes(data, folder)


@pytest.mark.soak
@settings(max_examples=5000, deadline=None, database=None)
@given(data=st.data())
def test_nothing_drawn_changes_a_bit(data: st.DataObject, folder: Path) -> None:
    assert_no_bit_changes(data, folder)


def assert_no_bit_changes(data: st.DataObject, folder: Path) -> None:
    name = data.draw(st.sampled_from(sorted(MODELS)))
    method = data.draw(st.sampled_from(METHODS))
    isa = data.draw(st.sampled_from(native.cpu_features()))
    it, model = case(name), load(folder, name, isa)
    streams, hops = data.draw(st.integers(1, 3)), it.hops()
    x = it.sound(method, streams, hops, seed=data.draw(st.integers(0, 99)))
    attributes = data.draw(
        st.fixed_dictionaries({"temperature": st.sampled_from([0.0, 0.8]), "seed": st.integers(0, 3)})
    )
    want = engine(model, method, streams, attributes).process(x)

    blocks = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=2 * hops), "blocks")
    made = engine(model, method, streams, attributes, max_hops=data.draw(st.integers(1, 6), "max_hops"))
    assert np.array_equal(in_blocks(made, x, blocks), want), "blocks"
    made.reset()
    assert np.array_equal(made.process(x), want), "after a reset"

    first = engine(model, method, 1, attributes).process(x[:1])
    assert np.array_equal(first, want[:1]), "the first stream alone"

    slices = data.draw(st.sampled_from([n for n in (1, 2, 4, 8, 16) if it.hop % n == 0]), "slices")
    core = data.draw(st.integers(1, slices), "core_slices")
    sliced = engine(model, method, streams, attributes, slices=slices, core_slices=core)
    got = sliced.process_sliced(x)
    late = sliced.sliced_delay
    assert late < got.shape[2]
    assert np.array_equal(got[:, :, late:], want[:, :, : got.shape[2] - late]), f"{slices} slices, {core} for the core"


def in_blocks(made: native.Engine, x: Audio, hops: list[int]) -> Audio:
    """x in blocks of so many hops, again and again."""
    parts, at = [], 0
    while at < x.shape[2]:
        n = hops[len(parts) % len(hops)] * made.in_frames
        parts.append(made.process(x[:, :, at : at + n]))
        at += n
    return np.concatenate(parts, 2)


def test_methods_and_engines_leave_each_other_alone(folder: Path) -> None:
    it, model = case("v2-small-bf16"), load(folder, "v2-small-bf16")
    x = {method: it.sound(method, 1, it.hops()) for method in METHODS}
    alone = {method: engine(model, method).process(x[method]) for method in METHODS}
    together = {method: engine(model, method) for method in METHODS}
    parts: dict[str, list[Audio]] = {method: [] for method in METHODS}
    for hop in range(it.hops()):
        for method, made in together.items():
            n = made.in_frames
            parts[method].append(made.process(x[method][:, :, hop * n : (hop + 1) * n]))
    for method in METHODS:
        assert np.array_equal(np.concatenate(parts[method], 2), alone[method])


# -- golden pairs, and that all of this can fail ------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_file_tests_itself(name: str, folder: Path) -> None:
    for isa in native.cpu_features():
        errors = load(folder, name, isa).selftest()
        rounded = case(name).weights == "bf16" and isa == NATIVE_DOT
        assert set(errors) == set(METHODS)
        assert max(errors.values()) <= (0.05 if rounded else TOLERANCE), f"{isa}: {errors}"


def broken(data: bytes, change: Callable[[dict[str, Any]], bool]) -> bytes:
    """The file with the first node changed for which `change` says so."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    parts = json.loads(header["__metadata__"]["graph"])
    waiting = list(parts.values())
    while waiting and not change(waiting[0]):
        node = waiting.pop(0)
        waiting += node.get("layers", []) + node.get("branches", [])
    assert waiting, "no node to change"
    header["__metadata__"]["graph"] = json.dumps(parts)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def held_otherwise(node: dict[str, Any]) -> bool:
    if node.get("stride", 1) == 1:
        return False
    node["hold"] = (node["hold"] + 1) % node["stride"]
    return True


def a_frame_later(node: dict[str, Any]) -> bool:
    if node["op"] != "delay":
        return False
    node["frames"] += 1
    return True


def steeper(node: dict[str, Any]) -> bool:
    if node["op"] != "leaky_relu":
        return False
    node["slope"] += 1e-3
    return True


@pytest.mark.parametrize("change", [held_otherwise, a_frame_later, steeper])
def test_a_broken_model_fails_these_tests(change: Callable[[dict[str, Any]], bool], tmp_path: Path) -> None:
    it = case("centred")
    path = tmp_path / "broken.ravel"
    path.write_bytes(broken(it.data, change))
    model = native.Model(path)
    x = it.sound("forward", 1, it.hops())
    assert error(engine(model, "forward").process(x), torch_plays(it.shell, "forward", x)) > 10 * TOLERANCE
    assert max(model.selftest().values()) > 10 * TOLERANCE


def test_a_broken_weight_fails_the_golden_pair(tmp_path: Path) -> None:
    data = bytearray(case("low-fp32").data)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = next(n for n in header if n.startswith("decoder") and n.endswith("weight"))
    first, last = header[name]["data_offsets"]
    values = np.frombuffer(data, np.float32, (last - first) // 4, 8 + length + first)
    values[np.abs(values).argmax()] *= -1  # a flipped sign bit
    path = tmp_path / "flipped.ravel"
    path.write_bytes(data)
    errors = native.Model(path).selftest()
    assert errors["encode"] <= TOLERANCE
    assert min(errors["decode"], errors["forward"]) > 10 * TOLERANCE
