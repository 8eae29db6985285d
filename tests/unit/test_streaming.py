"""The exported `.ts`: the nn~ protocol to the letter, and the same numbers however a host calls it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from python.errors import RavelError
from python.model import layers as L
from python.model.config import PRESETS
from python.runs import Trained
from python.streaming import deploy
from tests import contract
from tests.networks import SIZE, trained

TYPES = {"bool": 0, "int": 1, "float": 2}


def export(path: Path, source: Trained, kept: int = SIZE, streaming: bool = True) -> list[str]:
    shell = deploy.deploy(source, kept, streaming)
    return deploy.write(shell, path, deploy.card(shell, source, path.stem), source)


CASES = dict(zip(PRESETS, [(False, 2), (True, 1)] * 2))  # centred, channels


@pytest.fixture(scope="module", autouse=True)
def plain_executor() -> Iterator[None]:
    """The same graphs without the seconds that optimising them takes; one test below runs what hosts run."""
    with torch.jit.optimized_execution(False):
        yield


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the branches on constants in the graph, which load in a tenth of the time."""
    monkeypatch.setattr(deploy, "_settled", lambda scripted: scripted)


@dataclass
class Exported:
    path: Path
    source: Trained
    module: torch.jit.ScriptModule
    twin: torch.jit.ScriptModule

    def as_new(self) -> Exported:
        for module in (self.module, self.twin):
            for name, attribute in card_of(self.path)["attributes"].items():
                if name not in ("scale", "bias"):
                    getattr(module, f"set_{name}")(attribute["default"])
            for latent in reversed(range(5)):
                module.set_scale(latent, 1.0)
                module.set_bias(latent, 0.0)
            module.reset()
        return self


@pytest.fixture(scope="module", params=CASES)
def every(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    centred, channels = CASES[request.param]
    source = trained(request.param, centred=centred, channels=channels)
    path = tmp_path_factory.mktemp("ts") / "model.ts"
    with pytest.MonkeyPatch.context() as patch:
        settled = request.param == "v1"
        if not settled:  # one with a noise head, batch norms and two channels goes the whole way
            patch.setattr(deploy, "_settled", lambda scripted: scripted)
        with torch.jit.optimized_execution(settled):
            assert export(path, source, kept=5)
    return Exported(path, source, torch.jit.load(path), torch.jit.load(path))


@pytest.fixture
def exported(every: Exported) -> Exported:
    return every.as_new()


@pytest.fixture(scope="module")
def settled_low(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path, source = tmp_path_factory.mktemp("low") / "low.ts", trained()
    with torch.jit.optimized_execution(True):  # settling needs it
        export(path, source, kept=5)
    return Exported(path, source, torch.jit.load(path), torch.jit.load(path))


@pytest.fixture
def low(settled_low: Exported) -> Path:
    return settled_low.path


@pytest.fixture
def ts(settled_low: Exported) -> torch.jit.ScriptModule:
    return settled_low.as_new().module


@pytest.fixture
def twin(settled_low: Exported) -> torch.jit.ScriptModule:
    """A second object of the same file."""
    return settled_low.as_new().twin


@cache
def card_of(path: Path) -> dict[str, Any]:
    files = {"ravel.json": ""}
    torch.jit.load(path, _extra_files=files)
    return dict(json.loads(files["ravel.json"]))


def sound(frames: int, batch: int = 1, channels: int = 1, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(batch, channels, frames, generator=torch.Generator().manual_seed(seed))


def in_blocks(method: Any, x: Tensor, blocks: list[int]) -> Tensor:
    return torch.cat([method(part) for part in x.split(blocks, 2)], 2)


# -- the law on the artefact -----------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
def test_any_order_of_blocks_gives_the_same(exported: Exported, batch: int) -> None:
    module, source = exported.module, exported.source
    hop, channels = source.net.hop_samples, source.config.model.channels
    inputs = {"forward": (sound(12 * hop, batch, channels), hop), "encode": (sound(12 * hop, batch, channels), hop)}
    inputs["decode"] = (torch.randn(batch, 5, 12), 1)
    for name, (x, multiple) in inputs.items():
        method = getattr(module, name)
        module.reset()
        whole = method(x)
        for parts in ([1] * 12, [5, 1, 4, 2], [2, 4, 1, 5]):
            module.reset()
            split = in_blocks(method, x, [n * multiple for n in parts])
            contract.assert_close(split, whole, f"{name} in blocks of {parts}")


def test_streaming_advanced_by_its_delay_is_the_offline_form(exported: Exported, tmp_path: Path, quick: None) -> None:
    path, source = exported.path, exported.source
    export(tmp_path / "offline.ts", source, kept=5, streaming=False)
    offline, streaming = torch.jit.load(tmp_path / "offline.ts"), exported.module
    card, still = card_of(path), card_of(tmp_path / "offline.ts")
    hop, channels = card["hop_samples"], card["channels"]
    assert all(m["delay_samples"] == 0 for m in still["methods"].values())
    for module in (offline, streaming):
        module.set_noise(False)  # it is drawn for the frame it is played in
    late = card["methods"]["forward"]["delay_samples"]
    x = sound((-(-late // hop) + 6) * hop, 2, channels)
    y = offline(x)
    assert y.shape == x.shape
    contract.assert_close(streaming(x)[..., late:], y[..., : x.shape[2] - late], "forward")
    frames = card["methods"]["encode"]["delay_samples"] // hop
    z = offline.encode(x)
    contract.assert_close(streaming.encode(x)[..., frames:], z[..., : z.shape[2] - frames], "encode")
    samples = card["methods"]["decode"]["delay_samples"]
    y = offline.decode(z)
    assert y.shape == x.shape
    contract.assert_close(streaming.decode(z)[..., samples:], y[..., : x.shape[2] - samples], "decode")
    assert torch.equal(offline(x), offline(x))


def test_the_card_is_that_of_the_model(exported: Exported) -> None:
    path, source = exported.path, exported.source
    card, config, net = card_of(path), source.config.model, source.net
    assert (card["preset"], card["channels"], card["hop_samples"]) == (config.preset, config.channels, net.hop_samples)
    assert (card["latents"], card["latent_size"]) == (5, SIZE)
    assert card["methods"]["forward"]["delay_samples"] == net.delay
    late = {name: method["delay_samples"] for name, method in card["methods"].items()}
    assert late["encode"] + late["decode"] == late["forward"]
    assert card["fidelity_curve"] == sorted(card["fidelity_curve"])
    assert card["fidelity_curve"][-1] == pytest.approx(1.0)
    assert card["parameters"] == net.trained_parameters()


def test_deploying_leaves_the_trained_network_as_it_was() -> None:
    source = trained("v1")
    before = {k: v.clone() for k, v in source.net.state_dict().items()}
    deploy.deploy(source, 3, True)
    after = source.net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_hosts_run_the_optimised_graph(ts: torch.jit.ScriptModule, twin: torch.jit.ScriptModule) -> None:
    x = sound(12 * 512, 2)
    want = in_blocks(twin, x, [512] * 12)
    with torch.jit.optimized_execution(True):
        got = in_blocks(ts, x, [512, 512, 512, 1024, 2048, 512, 1024])
    contract.assert_close(got, want, "optimised")


# -- the protocol ----------------------------------------------------------


def test_methods_are_described(exported: Exported) -> None:
    module, source, card = exported.module, exported.source, card_of(exported.path)
    hop, channels = source.net.hop_samples, source.config.model.channels
    wanted = {"forward": [channels, 1, channels, 1], "encode": [channels, 1, 5, hop], "decode": [5, hop, channels, 1]}
    assert module.get_methods() == list(wanted)
    for name, params in wanted.items():
        buffer = getattr(module, f"{name}_params")
        assert buffer.dtype == torch.int64
        assert buffer.tolist() == params
        assert list(card["methods"][name].values())[:4] == params
        assert len(getattr(module, f"{name}_input_labels")) == params[0]
        assert len(getattr(module, f"{name}_output_labels")) == params[2]
        x = torch.randn(2, params[0], 4 * hop // params[1])
        assert getattr(module, name)(x).shape == (2, params[2], 4 * hop // params[3])


def test_attributes_are_described(ts: torch.jit.ScriptModule, low: Path) -> None:
    names = ["temperature", "fill", "noise", "seed", "scale", "bias", "reset"]
    assert ts.get_attributes() == names
    described = card_of(low)["attributes"]
    assert list(described) == names
    for name in names:
        codes = getattr(ts, f"{name}_params")
        assert codes.dtype == torch.int64
        assert codes.tolist() == [TYPES[word] for word in described[name]["type"].split()]
        value = getattr(ts, f"get_{name}")()
        values = list(value) if isinstance(value, tuple) else [value]
        assert [type(v).__name__ for v in values] == described[name]["type"].split()
        default = described[name]["default"]
        assert values == (default if isinstance(default, list) else [default])
        assert described[name]["doc"]


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        ("temperature", [0.5], 0),
        ("temperature", [-0.1], -1),
        ("temperature", [float("nan")], -1),
        ("fill", [1.0], 0),
        ("fill", [-1.0], -1),
        ("noise", [False], 0),
        ("seed", [123456789], 0),
        ("seed", [-5], 0),
        ("scale", [0, 2.0], 0),
        ("scale", [4, -1.0], 0),
        ("scale", [5, 1.0], -1),
        ("scale", [-1, 1.0], -1),
        ("scale", [1, float("nan")], -1),
        ("bias", [2, 0.25], 0),
        ("bias", [5, 1.0], -1),
        ("bias", [-1, 1.0], -1),
        ("bias", [1, float("inf")], -1),
    ],
)
def test_setting_an_attribute(ts: torch.jit.ScriptModule, name: str, values: list[Any], status: int) -> None:
    before = getattr(ts, f"get_{name}")()
    assert getattr(ts, f"set_{name}")(*values) == status
    wanted = (tuple(values) if len(values) > 1 else values[0]) if status == 0 else before
    got = getattr(ts, f"get_{name}")()
    assert got == wanted
    assert torch.isfinite(ts(sound(512))).all()


def test_sample_rate_methods(ts: torch.jit.ScriptModule) -> None:
    assert ts.get_sample_rate() == 44100
    assert ts.set_sample_rate(44100) == 0
    assert ts.set_sample_rate(48000) == -1
    assert ts.get_buffer_attributes() == []


@pytest.mark.parametrize(
    ("method", "shape", "words"),
    [
        ("forward", (1, 2, 128), r"forward: expects float \(batch, 1, frames\)"),
        ("forward", (1, 1, 100), "multiple of 128"),
        ("forward", (1, 1, 0), "multiple of 128"),
        ("encode", (1, 128), "encode: expects"),
        ("decode", (1, 6, 1), r"decode: expects float \(batch, 5, frames\)"),
    ],
)
def test_wrong_shapes_are_refused_with_numbers(
    ts: torch.jit.ScriptModule, method: str, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        getattr(ts, method)(torch.zeros(shape))


def test_calls_under_inference_mode_and_setters_outside(
    ts: torch.jit.ScriptModule, twin: torch.jit.ScriptModule
) -> None:
    """nn~ guards `perform` only; what a call left behind must bear a setter and a call without the guard."""
    plain, x = twin, sound(6 * 512)
    out = []
    for i, block in enumerate(x.split(512, 2)):
        with torch.inference_mode(i != 3):
            out.append(ts(block).clone())
            ts.decode(ts.encode(block))
        assert ts.set_scale(1, 1.0 + i) == ts.set_bias(0, 0.1 * i) == ts.set_noise(True) == ts.set_seed(0) == 0
    want = []
    for i, block in enumerate(x.split(512, 2)):
        want.append(plain(block))
        plain.set_scale(1, 1.0 + i)
        plain.set_bias(0, 0.1 * i)
    assert torch.equal(torch.cat(out, 2), torch.cat(want, 2))


def test_attributes_survive_saving(ts: torch.jit.ScriptModule, tmp_path: Path) -> None:
    ts.set_temperature(0.25)
    ts.set_fill(0.5)
    ts.set_noise(False)
    ts.set_seed(9)
    ts.set_scale(2, 3.0)
    ts.set_bias(1, -0.5)
    torch.jit.save(ts, str(tmp_path / "again.ts"))
    again = torch.jit.load(tmp_path / "again.ts")
    values = [getattr(again, f"get_{name}")() for name in again.get_attributes()]
    assert values == [0.25, 0.5, False, 9, (2, 3.0), (1, -0.5), False]
    x = sound(1024)
    again.reset()
    ts.reset()
    assert torch.equal(again(x), ts(x))


def test_loads_in_a_fresh_process_without_the_package(low: Path, ts: torch.jit.ScriptModule, tmp_path: Path) -> None:
    torch.save(sound(1024), tmp_path / "x.pt")
    script = (
        "import sys, torch\n"
        "module, x = torch.jit.load(sys.argv[1]), torch.load(sys.argv[2])\n"
        "torch.save(module(x), sys.argv[3])\n"
        "assert not any(name.startswith('python.') for name in sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-I", "-c", script, low, tmp_path / "x.pt", tmp_path / "y.pt"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    contract.assert_close(torch.load(tmp_path / "y.pt"), ts(sound(1024)), "fresh process")


# -- streams, histories, randomness ----------------------------------------


def test_streams_of_a_batch_do_not_touch_each_other(ts: torch.jit.ScriptModule) -> None:
    x = sound(2048, 4)
    for name in ("forward", "encode"):
        ts.reset()
        together = in_blocks(getattr(ts, name), x, [512] * 4)
        changed = x.clone()
        changed[2] = 100 * sound(2048, 1, seed=5)[0]
        ts.reset()
        other = in_blocks(getattr(ts, name), changed, [512] * 4)
        for stream in (0, 1, 3):
            contract.assert_close(other[stream], together[stream], name)
        assert not torch.allclose(other[2], together[2])
        ts.reset()
        contract.assert_close(in_blocks(getattr(ts, name), x[1:2], [512] * 4), together[1:2], "alone")


def test_another_number_of_streams_starts_anew(ts: torch.jit.ScriptModule, twin: torch.jit.ScriptModule) -> None:
    """mc.nn~ may change its channel count while playing: no crash, and what follows is a fresh start."""
    x = sound(1024, 3)
    ts(x[:1])
    got = torch.cat([ts(x), ts(x)], 2)
    contract.assert_close(got, torch.cat([twin(x), twin(x)], 2), "three streams")
    twin.reset()
    contract.assert_close(ts(x[:1]), twin(x[:1]), "one again")


def test_methods_have_histories_of_their_own(ts: torch.jit.ScriptModule, twin: torch.jit.ScriptModule) -> None:
    plain, x = twin, sound(2048)
    out = []
    for block in x.split(512, 2):
        out.append(ts(block))
        ts.encode(torch.randn(1, 1, 512))
        ts.decode(torch.randn(1, 5, 4))
    contract.assert_close(torch.cat(out, 2), in_blocks(plain, x, [512] * 4), "forward")


def test_decoding_what_was_encoded_is_forward(exported: Exported) -> None:
    source, one, two = exported.source, exported.module, exported.twin
    hop, channels = source.net.hop_samples, source.config.model.channels
    x = sound(8 * hop, 2, channels)
    for temperature in (0.0, 0.8):
        exported.as_new()
        for module in (one, two):
            module.set_temperature(temperature)
            module.set_scale(1, 1.5)
            module.set_bias(0, 0.3)
        joined = torch.cat([two.decode(two.encode(part)) for part in x.split([hop, 5 * hop, 2 * hop], 2)], 2)
        contract.assert_close(joined, one(x), f"temperature {temperature}")


def test_reset_forgets_the_past_and_repeats_the_noise(ts: torch.jit.ScriptModule) -> None:
    ts.set_temperature(1.0)
    x = sound(2048)
    first, second = ts(x), ts(x)
    assert not torch.equal(first, second)
    for forget in (ts.reset, lambda: ts.set_reset(True)):
        forget()
        assert torch.equal(ts(x), first)
    ts.set_reset(False)
    assert torch.equal(ts(x), second)


def test_seeds_are_other_noise_and_survive_a_reset(ts: torch.jit.ScriptModule) -> None:
    ts.set_temperature(1.0)
    x = sound(1024)
    first = ts.encode(x)
    ts.reset()
    ts.set_seed(1)
    other = ts.encode(x)
    assert not torch.equal(first, other)
    ts.reset()
    assert torch.equal(ts.encode(x), other)
    ts.reset()
    ts.set_seed(0)
    assert torch.equal(ts.encode(x), first)


def test_a_seed_set_while_playing_changes_the_noise_alone(
    ts: torch.jit.ScriptModule, twin: torch.jit.ScriptModule
) -> None:
    plain, x = twin, sound(1024)
    for module in (ts, plain):
        module.set_temperature(0.0)
        module.encode(x)
    ts.set_seed(5)
    assert torch.equal(ts.encode(x), plain.encode(x))  # the mean knows no seed, and no history was lost


def test_encode_gives_the_mean_unless_told_otherwise(ts: torch.jit.ScriptModule) -> None:
    x = sound(1024)
    assert ts.get_temperature() == 0.0
    mean = ts.encode(x)
    spreads = []
    for temperature in (0.5, 1.0):
        ts.reset()
        ts.set_temperature(temperature)
        spreads.append(ts.encode(x) - mean)
    assert spreads[0].std() > 0
    contract.assert_close(2 * spreads[0], spreads[1], "linear in the temperature", 1e-4)


def test_noise_head_can_be_switched_off(tmp_path: Path, quick: None) -> None:
    export(tmp_path / "noisy.ts", trained("v2-small"))
    module = torch.jit.load(tmp_path / "noisy.ts")
    x = sound(2048)
    on = module(x)
    module.reset()
    module.set_noise(False)
    off = module(x)
    assert not torch.equal(on, off)
    module.reset()
    module.set_seed(3)
    assert torch.equal(module(x), off)
    module.set_noise(True)
    module.reset()
    assert not torch.equal(module(x), on)  # another seed


def test_fill_moves_what_was_not_exported(ts: torch.jit.ScriptModule) -> None:
    z = torch.randn(1, 5, 20)
    rest = ts.decode(z)
    ts.reset()
    ts.set_fill(1.0)
    wandering = ts.decode(z)
    assert not torch.equal(rest, wandering)
    ts.reset()
    assert torch.equal(ts.decode(z), wandering)


def test_scale_and_bias_shape_a_latent_before_decoding(ts: torch.jit.ScriptModule) -> None:
    z = torch.randn(1, 5, 12)
    shaped = z.clone()
    shaped[:, 1] = shaped[:, 1] * 0.5 + 2.0
    want = ts.decode(shaped)
    ts.reset()
    ts.set_scale(1, 0.5)
    ts.set_bias(1, 2.0)
    contract.assert_close(ts.decode(z), want, "scale and bias")
    x = sound(512)
    encoded = ts.encode(x)
    ts.reset()
    ts.set_scale(1, 1.0)
    assert torch.equal(ts.encode(x), encoded)  # encoding knows nothing of them


@pytest.mark.parametrize("block", [2048, 4096])
def test_the_way_the_stock_externals_call(ts: torch.jit.ScriptModule, twin: torch.jit.ScriptModule, block: int) -> None:
    """nn~ holds latents as signals: it reads the last sample of each `in_ratio` and repeats results."""
    plain, x = twin, sound(3 * block, 2)

    def perform(name: str, signals: Tensor) -> Tensor:
        inputs, in_ratio, outputs, out_ratio = getattr(ts, f"{name}_params").tolist()
        assert signals.shape[1] == inputs
        held = signals.unflatten(2, (-1, in_ratio))[..., -1]
        with torch.inference_mode():
            result = getattr(ts, name)(held).repeat_interleave(out_ratio, 2)
        assert result.shape == (signals.shape[0], outputs, signals.shape[2])  # nn~ drops the block otherwise
        return result.clone()

    patch = torch.cat([perform("decode", perform("encode", part)) for part in x.split(block, 2)], 2)
    contract.assert_close(patch, plain(x), "encode~ into decode~")


# -- verification ----------------------------------------------------------


def test_export_refuses_what_is_not_the_trained_network(tmp_path: Path, quick: None) -> None:
    source = trained()
    shell = deploy.deploy(source, SIZE, True)
    with torch.no_grad():
        shell.back.layers[0].layers[0].weight += 0.01
    with pytest.raises(RavelError, match="against the trained network"):
        deploy.write(shell, tmp_path / "a.ts", deploy.card(shell, source, "a"), source)
    assert list(tmp_path.iterdir()) == []


class Forgetful(L.Conv1d):
    """Keeps no history."""

    def step(self, x: Tensor, state: L.State) -> tuple[Tensor, L.State]:
        past = torch.zeros_like(state[0])
        rows = L.join(past, x)
        return L.convolve(rows, self.weight, self.bias, self.stride, self.dilation, self.groups), [past]


class Gossip(L.LeakyReLU):
    """Lets the streams of a batch hear each other."""

    def step(self, x: Tensor, state: L.State) -> tuple[Tensor, L.State]:
        return x + 0.01 * x.mean(0, keepdim=True), state


@pytest.mark.parametrize(("broken", "words"), [("state", "one block against"), ("streams", "a stream alone")])
def test_export_refuses_broken_streaming(tmp_path: Path, quick: None, broken: str, words: str) -> None:
    source = trained()
    shell = deploy.deploy(source, SIZE, True)
    inner = shell.back.layers[0].layers
    for i, layer in enumerate(inner):
        if broken == "state" and type(layer) is L.Conv1d and layer.history:
            bad = Forgetful(layer.in_channels, layer.out_channels, layer.weight.shape[1], 1, layer.dilation)
            bad.weight = nn.Parameter(layer.weight.detach())
            bad.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach())
            inner[i] = bad
        elif broken == "streams" and type(layer) is L.LeakyReLU:
            inner[i] = Gossip(layer.in_channels)
    shell.eval().requires_grad_(False)
    with pytest.raises(RavelError, match=words):
        deploy.write(shell, tmp_path / "a.ts", deploy.card(shell, source, "a"), source)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fidelity", "latents", "kept"), [(None, None, SIZE), (None, 3, 3), (1.0, None, SIZE), (0.2, None, 1)]
)
def test_latents_kept(fidelity: float | None, latents: int | None, kept: int) -> None:
    assert deploy.latents_kept(trained().principal, fidelity, latents) == kept


@pytest.mark.parametrize(
    ("fidelity", "latents"), [(None, 0), (None, 9), (0.0, None), (2.0, None), (float("nan"), None)]
)
def test_latents_that_do_not_exist_are_refused(fidelity: float | None, latents: int | None) -> None:
    with pytest.raises(RavelError, match=r"--latents|--fidelity"):
        deploy.latents_kept(trained().principal, fidelity, latents)


@pytest.mark.parametrize(("kept", "streaming"), list(itertools.product((1, SIZE), (True, False))))
def test_every_count_of_latents_exports(tmp_path: Path, quick: None, kept: int, streaming: bool) -> None:
    export(tmp_path / "a.ts", trained(), kept, streaming)
    module = torch.jit.load(tmp_path / "a.ts")
    assert module.encode(sound(1024)).shape == (1, kept, 8)
    assert card_of(tmp_path / "a.ts")["latents"] == kept


def test_the_temperature_found_by_validation_is_the_default(tmp_path: Path, quick: None) -> None:
    source = trained()
    source.net.latent.temperature = 0.5
    export(tmp_path / "a.ts", source)
    assert torch.jit.load(tmp_path / "a.ts").get_temperature() == 0.5
    assert card_of(tmp_path / "a.ts")["attributes"]["temperature"]["default"] == 0.5


def test_a_model_at_48_khz_says_so(tmp_path: Path, quick: None) -> None:
    source = trained(sample_rate_hz=48000)
    assert dataclasses.asdict(source.config)["model"]["sample_rate_hz"] == 48000
    export(tmp_path / "a.ts", source)
    assert torch.jit.load(tmp_path / "a.ts").get_sample_rate() == 48000
