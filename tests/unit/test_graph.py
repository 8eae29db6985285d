"""The `.ravel` file is complete: an interpreter that knows nothing but the file plays what torch plays.

`Interpreter` is the specification of the format in code: numpy, whole signals from silence, (frames, channels) rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import python.model.latent
import python.model.noise
import python.model.pqmf  # noqa: F401
from python.model import layers as L
from python.model.config import PRESETS
from python.streaming import deploy, graph
from python.streaming.nn_tilde import PriorShell, Shell
from tests import contract, networks

Rows = NDArray[np.float64]
Node = dict[str, Any]
OPS = {"serial", "sum", "product", "conv1d", "upsample", "delay", "leaky_relu", "snake", "tanh", "amplitude"}
OPS |= {"gated_half", "repeat", "filtered_noise", "variational", "fill", "quantise", "codebook", "sphere"}
OPS |= {"condition", "gated_tanh", "part"}
PRIOR_FIELDS = {"op", "name", "in", "out", "quantisers", "codes", "noise_node", "network", "listen", "speak"}
FORMS = [(1, False), (2, False), (1, True), (2, True)]  # channels, centred


class Interpreter:
    """A `.ravel` from its bytes, played without any of the code that wrote it."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        self.metadata = header.pop("__metadata__")
        self.graph, self.card = json.loads(self.metadata["graph"]), json.loads(self.metadata["card"])
        self.types = {name: about["dtype"] for name, about in header.items()}
        self.tensors = {}
        for name, about in header.items():
            first, last = (8 + length + at for at in about["data_offsets"])
            if about["dtype"] == "BF16":
                values = (np.frombuffer(data[first:last], "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(data[first:last], "<f4")
            self.tensors[name] = values.reshape(about["shape"]).astype(np.float64)
        self.temperature, self.wander, self.seed, self.stream = 0.0, 0.0, 0, 0
        self.unread = set(self.tensors)

    def encode(self, audio: Rows) -> Rows:
        return self.play(self.graph["latent"], self.play(self.graph["front"], audio))

    def decode(self, latents: Rows) -> Rows:
        return self.play(self.graph["back"], self.play(self.graph["completion"], latents))

    def alone(self, hops: int, temperature: float) -> Rows:
        node = self.graph["prior"]
        assert node.keys() == PRIOR_FIELDS
        count, codes = node["quantisers"], node["codes"]
        shares = (self.hashed({"node": node["noise_node"]}, count, np.arange(hops)) >> 8) / 2.0**24
        pattern = -np.ones((count, count))  # of the rows before the first
        for share in shares:
            logits = self.play(node["network"], pattern[count - 1 :])[-1].reshape(count, codes)
            mass = np.exp((logits - logits.max(1, keepdims=True)) / max(temperature, 1e-3)).cumsum(1)
            drawn = np.argmax(mass > share[:, None] * mass[:, -1:], axis=1) if temperature else logits.argmax(1)
            pattern = np.concatenate([pattern, drawn[None]])
        frames = np.stack([pattern[q + 1 :][:hops, q] for q in range(count)], 1)
        if not node["speak"]:
            return frames[:, : self.graph["completion"]["in"]]
        return self.play(node["speak"], frames[:, : node["speak"]["in"]])

    def play(self, node: Node, x: Rows) -> Rows:
        assert x.shape[1] == node["in"], f"{node['name']}: {x.shape[1]} channels, not {node['in']}"
        assert node["op"] in OPS, f"{node['name']}: no op {node['op']}"
        y = getattr(self, node["op"])(node, x)
        assert y.shape[1] == node["out"], f"{node['name']}: gives {y.shape[1]} channels, not {node['out']}"
        return y

    def tensor(self, node: Node, key: str) -> Rows:
        self.unread.discard(node[key])
        return self.tensors[node[key]]

    def serial(self, node: Node, x: Rows) -> Rows:
        for layer in node["layers"]:
            x = self.play(layer, x)
        return x

    def branches(self, node: Node, x: Rows) -> Iterator[Rows]:
        for branch, wait in zip(node["branches"], node["waits"], strict=True):
            yield late(self.play(branch, x), wait)

    def sum(self, node: Node, x: Rows) -> Rows:
        return np.sum(list(self.branches(node, x)), axis=0)

    def product(self, node: Node, x: Rows) -> Rows:
        return np.prod(list(self.branches(node, x)), axis=0)

    def delay(self, node: Node, x: Rows) -> Rows:
        return late(x, node["frames"])

    def conv1d(self, node: Node, x: Rows) -> Rows:
        kernel, stride, dilation, groups = (node[key] for key in ("kernel", "stride", "dilation", "groups"))
        frames = len(x) // stride
        history = (kernel - 1) * dilation + 1 - stride + node["hold"]
        rows = np.concatenate([np.zeros((history, x.shape[1])), x])
        weight = self.tensor(node, "weight").reshape(groups, -1, kernel, x.shape[1] // groups)
        windows = np.stack([rows[k * dilation :][: frames * stride : stride] for k in range(kernel)], 1)
        y = np.einsum("gokc,nkgc->ngo", weight, windows.reshape(frames, kernel, groups, -1)).reshape(frames, -1)
        return y + (self.tensor(node, "bias") if node["bias"] else 0)

    def upsample(self, node: Node, x: Rows) -> Rows:
        taps, weight = node["taps"], self.tensor(node, "weight")
        rows = np.concatenate([np.zeros((taps - 1, x.shape[1])), x])
        y = sum(rows[k : k + len(x)] @ weight[:, k].T for k in range(taps))
        y = y + (self.tensor(node, "bias") if node["bias"] else 0)
        return y.reshape(len(x) * node["ratio"], node["out"])

    def leaky_relu(self, node: Node, x: Rows) -> Rows:
        return np.where(x > 0, x, node["slope"] * x)

    def snake(self, node: Node, x: Rows) -> Rows:
        alpha = self.tensor(node, "alpha")
        return x + np.sin(alpha * x) ** 2 / (alpha + 1e-9)

    def tanh(self, node: Node, x: Rows) -> Rows:
        return np.tanh(x)

    def amplitude(self, node: Node, x: Rows) -> Rows:
        return 2 / (1 + np.exp(-x - node["offset"])) ** 2.3 + 1e-7

    def gated_half(self, node: Node, x: Rows) -> Rows:
        return x[:, : node["out"]] / (1 + np.exp(-x[:, node["out"] :]))

    def gated_tanh(self, node: Node, x: Rows) -> Rows:
        return np.tanh(x[:, : node["out"]]) / (1 + np.exp(-x[:, node["out"] :]))

    def part(self, node: Node, x: Rows) -> Rows:
        return x[:, node["first"] : node["first"] + node["out"]]

    def repeat(self, node: Node, x: Rows) -> Rows:
        return np.repeat(x, node["times"], axis=1)

    def filtered_noise(self, node: Node, x: Rows) -> Rows:
        bands, count, ratio, taps = node["bands"], node["noise_bands"], node["ratio"], 2 * (node["noise_bands"] - 1)
        response = self.tensor(node, "response")
        assert response.shape == (count, taps)
        kernel = np.repeat(x.reshape(-1, bands, count) @ response, ratio, axis=0)  # (frames, bands, taps)
        noise = (self.hashed(node, bands, np.arange(1 - taps, len(kernel))) >> 8) / 2.0**23 - 1
        return sum(noise[k : k + len(kernel)] * kernel[:, :, k] for k in range(taps))

    def variational(self, node: Node, x: Rows) -> Rows:
        size, kept = node["size"], node["kept"]
        scale = np.log1p(np.exp(x[:, size:])) + 1e-4
        drawn = scale * self.gaussian(node, size, len(x))
        return x[:, :kept] + self.temperature * drawn @ self.tensor(node, "rotation")[:kept].T

    def fill(self, node: Node, x: Rows) -> Rows:
        rest = self.wander * self.gaussian(node, node["size"] - node["kept"], len(x))
        return np.concatenate([x, rest], 1)

    def condition(self, node: Node, x: Rows) -> Rows:
        return x + self.tensor(node, "table")[0]  # the golden pair is of the first label

    def sphere(self, node: Node, x: Rows) -> Rows:
        return x / np.linalg.norm(x, axis=1, keepdims=True) * x.shape[1] ** 0.5

    def quantise(self, node: Node, x: Rows) -> Rows:
        codes = []
        for book in self.tensor(node, "codebook"):
            codes.append(np.square(x[:, None] - book).sum(2).argmin(1))
            x = x - book[codes[-1]]
        return np.stack(codes, 1).astype(np.float64)

    def codebook(self, node: Node, x: Rows) -> Rows:
        numbers = np.rint(np.clip(x, -1, node["codes"] - 1)).astype(int)
        found = [book[n] * (n >= 0)[:, None] for book, n in zip(self.tensor(node, "codebook"), numbers.T)]
        return self.tensor(node, "offset") + np.sum(found, axis=0)

    def hashed(self, node: Node, channels: int, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        bits = contract.reference_hash(self.seed, node["node"], np.array([self.stream]), np.arange(channels), frames)
        return bits[0].T

    def gaussian(self, node: Node, channels: int, frames: int) -> Rows:
        return contract.reference_gaussian(self.hashed(node, channels, np.arange(frames))).double().numpy()


def late(x: Rows, frames: int) -> Rows:
    return np.concatenate([np.zeros((frames, x.shape[1])), x])[: len(x)]


def deployed(name: str, **overrides: Any) -> tuple[Shell, dict[str, Any]]:
    """A shell and its card."""
    source, shell = networks.deployed(name, **overrides)
    return shell, deploy.card(shell, source, name)


def deployed_with_prior(name: str, kept: int = networks.KEPT) -> tuple[PriorShell, dict[str, Any]]:
    source, shell, prior = networks.deployed_with_prior(name, kept)
    assert isinstance(shell, PriorShell)
    return shell, deploy.card(shell, source, name, prior)


def file(name: str, weights: str = "fp32", **overrides: Any) -> Interpreter:
    return Interpreter(graph.ravel(*deployed(name, **overrides), weights))


def nodes(played: Interpreter) -> Iterator[Node]:
    waiting = list(played.graph.values())
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.get("layers", []) + node.get("branches", [])
        waiting += [node[key] for key in ("network", "listen", "speak") if node.get(key)]


def assert_close(got: Rows, want: Rows, what: str) -> None:
    contract.assert_close(torch.from_numpy(got), torch.from_numpy(want), what)


def assert_plays_its_golden_pair(played: Interpreter) -> None:
    audio, latents, output = (played.tensors[f"golden.{key}"].T for key in ("audio", "latents", "output"))
    assert_close(played.encode(audio), latents, "golden latents")
    assert_close(played.decode(latents), output, "golden output")


# -- the file is complete --------------------------------------------------


@pytest.mark.parametrize(("channels", "centred"), FORMS)
@pytest.mark.parametrize("name", PRESETS)
def test_the_file_alone_plays_its_golden_pair(name: str, channels: int, centred: bool) -> None:
    played = file(name, channels=channels, centred=centred)
    assert_plays_its_golden_pair(played)
    assert {n for n in played.unread if not n.startswith("golden.")} == set(), "tensors that nothing reads"


@pytest.mark.parametrize(
    ("name", "weights", "overrides"),
    [
        ("low", "bf16", {}),
        ("low", "bf16", {"labels": ("a", "b")}),
        ("low", "fp32", {"latent_kind": "spherical"}),
        ("v2-small", "bf16", {"latent_kind": "wasserstein"}),
        ("v2", "fp32", {"latent_kind": "vq", "quantisers": 1, "codes": 16}),
        ("v1", "bf16", {"channels": 2}),
        ("v2-small", "bf16", {"centred": True}),
        ("v2", "fp32", {"activation": "snake"}),
        ("low", "fp32", {"free_lookahead": False}),
        ("low", "fp32", {"sample_rate_hz": 48000, "attenuation_db": 70, "bands": 8}),
    ],
)
def test_so_it_does_in_other_configurations(name: str, weights: str, overrides: dict[str, Any]) -> None:
    assert_plays_its_golden_pair(file(name, weights, **overrides))


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
@pytest.mark.parametrize("kept", [2, networks.QUANTISERS])
@pytest.mark.parametrize("name", ["low", "low-discrete"])
def test_the_file_alone_goes_on_as_its_prior_does(name: str, kept: int, weights: str) -> None:
    shell, about = deployed_with_prior(name, kept)
    played = Interpreter(graph.ravel(shell, about, weights))
    assert_plays_its_golden_pair(played)
    golden = played.tensors["golden.prior"].T
    assert len(golden) > networks.QUANTISERS
    assert np.abs(np.diff(golden, axis=0)).max() > 0.1
    assert_close(played.alone(len(golden), 0.0), golden, "golden prior")
    of_file = graph.with_weights(shell, weights)
    assert isinstance(of_file, PriorShell)
    of_file.set_seed(3)
    played.seed = 3
    assert_close(played.alone(40, 1.0), of_file.prior(torch.zeros(1, 1, 40))[0].T.double().numpy(), "at temperature 1")
    ear = {played.graph["prior"][key]["codebook"] for key in ("listen",) if played.graph["prior"][key]}
    assert {n for n in played.unread if not n.startswith("golden.")} == ear, "tensors that nothing reads"


def test_what_a_prior_listens_to_is_what_it_would_speak() -> None:
    played = Interpreter(graph.ravel(*deployed_with_prior("low"), "fp32"))
    prior, frames = played.graph["prior"], played.alone(40, 1.0)[networks.QUANTISERS :]
    assert_close(played.play(prior["speak"], played.play(prior["listen"], frames)), frames, "levels")


@pytest.mark.parametrize("name", ["v1", "v2-small"])
def test_the_file_alone_plays_what_torch_plays_at_other_settings(name: str) -> None:
    shell, about = deployed(name, channels=2)
    played = Interpreter(graph.ravel(shell, about, "fp32"))
    played.temperature, played.wander, played.seed = 0.7, 0.5, 3
    for setting, value in (("temperature", 0.7), ("fill", 0.5), ("seed", 3)):
        assert getattr(shell, f"set_{setting}")(value) == 0
    x = 0.3 * torch.randn(2, 2, 5 * shell.hop_samples, generator=torch.Generator().manual_seed(4))
    want = shell.encode(x).transpose(1, 2).numpy(), shell.forward(x).transpose(1, 2).numpy()
    for played.stream in (0, 1):
        latents = played.encode(x[played.stream].T.numpy().astype(np.float64))
        assert_close(latents, want[0][played.stream], f"encode, stream {played.stream}")
        assert_close(played.decode(latents), want[1][played.stream], f"forward, stream {played.stream}")


def test_the_golden_pair_is_what_it_says() -> None:
    shell, about = deployed("low")
    shell.set_temperature(0.5)
    shell.forward(torch.randn(1, 1, 1024))  # a past that must not be heard
    tensors = {
        k: torch.from_numpy(v).float() for k, v in Interpreter(graph.ravel(shell, about, "fp32")).tensors.items()
    }
    audio, output = tensors["golden.audio"][None], tensors["golden.output"]
    shell.reset()
    shell.set_temperature(0.0)
    contract.assert_close(shell.forward(audio)[0], output, "forward")
    assert audio.shape[2] >= shell.delay + 2 * shell.hop_samples
    assert output.numel() * 4 < 100_000


@pytest.mark.parametrize("name", PRESETS)
def test_the_golden_pair_hears_every_tap(name: str) -> None:
    """A weight that the pair does not depend on could be wrong on some machine and the self-test would not tell."""
    shell, _ = deployed(name)
    layers = [m for m in shell.modules() if isinstance(m, (L.Conv1d, L.Upsample))]
    weights = [layer.weight.requires_grad_() for layer in layers]
    audio = graph.golden(shell)["golden.audio"][None]
    latents = shell.encode(audio)
    # the choice of a code has no gradient: what is chosen from stands for it
    heard = shell.front(audio) if shell.discrete else latents
    loss = heard.square().sum() + shell.decode(latents).square().sum()
    for layer, gradient in zip(layers, torch.autograd.grad(loss, weights)):
        heard = gradient.abs().amax((0, 2)) > 0
        assert heard.all(), f"{layer}, of {layer.weight.shape}: taps {(~heard).nonzero().flatten().tolist()}"


# -- names -----------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_names_are_unique_and_say_where(name: str) -> None:
    played = file(name, channels=2)
    names = [node["name"] for node in nodes(played)]
    assert len(set(names)) == len(names)
    keys = ("weight", "bias", "alpha", "response", "rotation", "codebook", "offset")
    tensors = [node[key] for node in nodes(played) for key in keys if isinstance(node.get(key), str)]
    assert sorted([*tensors, "golden.audio", "golden.latents", "golden.output"]) == sorted(played.tensors)
    for node in nodes(played):
        assert all(node[key].startswith(f"{node['name']}.") for key in ("weight", "bias") if node.get(key))
        assert set(node) >= {"op", "name", "in", "out"}
        assert node["op"] in OPS


def test_names_stay_as_they_are() -> None:
    """Profiles, messages and notes speak of them."""
    names = {node["name"] for node in nodes(file("v1"))}
    assert names >= {"front", "analysis", "encoder", "encoder.0", "latent", "completion", "back", "decoder"}
    assert names >= {"decoder.3", "decoder.3.skip", "decoder.3.body", "decoder.3.body.1", "synthesis"}
    assert names >= {"decoder.21", "decoder.21.tone", "decoder.21.tone.waveform.0", "decoder.21.tone.envelope.2"}
    assert names >= {"decoder.21.noise", "decoder.21.noise.6"}
    assert {"decoder.20.waveform.1", "decoder.20.noise.0"} <= {node["name"] for node in nodes(file("v2-small"))}


def test_branches_of_one_role_are_numbered() -> None:
    twice = L.Sum(L.Tanh(2), L.Tanh(2), L.Delay(2))
    spec = graph.placed(twice.spec(), "both", {})
    assert [branch["name"] for branch in spec["branches"]] == ["both.0", "both.1", "both.2"]


def test_every_layer_has_a_spec_or_is_folded_away() -> None:
    def below(kind: type) -> list[type]:
        return [kind, *(k for child in kind.__subclasses__() for k in below(child))]

    ours = [k for k in below(L.Layer) if k.__module__.startswith("python.")]
    assert len(ours) > 15
    without = {k.__name__ for k in ours if k.spec is L.Layer.spec}
    bases = {"Layer", "NoiseSource", "Latent", "Completion"}
    assert without == bases | {"BatchNorm", "Wasserstein", "Spherical"}
    with pytest.raises(TypeError, match="BatchNorm is no op of the engine: fold it"):
        L.Serial(L.Tanh(2), L.BatchNorm(2)).spec()


# -- what it says about itself ---------------------------------------------


def test_the_metadata() -> None:
    shell, about = deployed("v2-small")
    played = Interpreter(graph.ravel(shell, about, "bf16"))
    assert (played.metadata["format"], played.metadata["version"]) == ("ravel", "1")
    assert file("low-discrete").metadata["version"] == "2"
    kinds = {kind: file("low", latent_kind=kind).metadata["version"] for kind in ("wasserstein", "spherical")}
    assert kinds == {"wasserstein": "1", "spherical": "2"}
    assert Interpreter(graph.ravel(*deployed_with_prior("low"), "fp32")).metadata["version"] == "3"
    assert set(played.metadata) == {"format", "version", "graph", "card"}
    assert played.card == json.loads(json.dumps(about)) | {"weights": "bf16"}
    assert set(played.graph) == {"front", "latent", "completion", "back"}


def test_bf16_is_the_nearest_and_ties_go_to_even() -> None:
    shell, about = deployed("v1")
    ties = [1.0 + 2**-8, 1.0 + 3 * 2**-8, -1.0 - 2**-8, 1.0 + 2**-8 + 2**-20, 1.0 + 2**-8 - 2**-20]
    shell.back.layers[0].layers[0].weight.view(-1)[: len(ties)] = torch.tensor(ties)
    exact, halved = (Interpreter(graph.ravel(shell, about, weights)) for weights in ("fp32", "bf16"))
    short = {name for name, kind in halved.types.items() if kind == "BF16"}
    assert set(halved.types.values()) == {"BF16", "F32"}
    assert set(exact.types.values()) == {"F32"}
    wanted = {n for n in exact.types if n.endswith(".weight") and n.split(".")[0] in ("encoder", "decoder")}
    assert short == wanted
    for name in exact.types:
        bits = exact.tensors[name].astype(np.float32).view(np.uint32).astype(np.uint64)
        if name in short:
            bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) & np.uint64(0xFFFF0000)
        if not name.startswith("golden."):
            want = bits.astype(np.uint32).view(np.float32)
            assert np.array_equal(halved.tensors[name].astype(np.float32), want), name
    got = halved.tensors["decoder.0.weight"].ravel()[: len(ties)]
    assert got.tolist() == [1.0, 1.0 + 4 * 2**-8, -1.0, 1.0 + 2 * 2**-8, 1.0]


# -- the test can fail -----------------------------------------------------

CHANGES = [
    ("low", "conv1d", "dilation"), ("low", "conv1d", "hold"), ("low", "conv1d", "stride"), ("low", "conv1d", "kernel"),
    ("v1", "conv1d", "groups"), ("low", "upsample", "ratio"), ("low", "upsample", "taps"), ("low", "delay", "frames"),
    ("low", "sum", "waits"), ("low", "product", "waits"), ("low", "leaky_relu", "slope"), ("low", "repeat", "times"),
    ("low", "amplitude", "offset"), ("v2-small", "filtered_noise", "ratio"), ("v2-small", "filtered_noise", "node"),
    ("low", "variational", "kept"), ("low", "fill", "size"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound_files() -> dict[str, bytes]:
    made = {}
    for name in ("low", "v1", "v2-small"):
        shell, about = deployed(name, centred=True)
        made[name] = graph.ravel(shell, about, "fp32")
    return made


@pytest.mark.parametrize(("name", "op", "key"), CHANGES)
def test_a_wrong_number_is_noticed(sound_files: dict[str, bytes], name: str, op: str, key: str) -> None:
    played = Interpreter(sound_files[name])
    node = next(n for n in nodes(played) if n["op"] == op and (op != "conv1d" or key != "groups" or n["groups"] > 1))
    node[key] = [node[key][0] + 1, *node[key][1:]] if key == "waits" else node[key] + 1
    with pytest.raises((AssertionError, ValueError, IndexError)):
        assert_plays_its_golden_pair(played)


def test_a_wrong_weight_is_noticed(sound_files: dict[str, bytes]) -> None:
    played = Interpreter(sound_files["low"])
    played.tensors["decoder.2.weight"][0, 0, 0] += 0.05
    with pytest.raises(AssertionError):
        assert_plays_its_golden_pair(played)
