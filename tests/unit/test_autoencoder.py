"""Every preset keeps the law of tests/contract.py, and has the sizes and the delays it is known by."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from python.model import layers as L
from python.model.autoencoder import Autoencoder
from python.model.config import PRESETS, preset
from python.model.latent import Latent
from python.model.noise import NoiseSource
from python.model.pqmf import Analysis, Synthesis
from tests import contract

SMALL: dict[str, Any] = {"capacity": 4, "latent": 8}


def lively(net: torch.nn.Module) -> None:
    """Weights, norms and biases that make every path carry a signal of about the same size."""
    torch.manual_seed(0)
    for module in net.modules():
        fixed = isinstance(module, (Analysis, Synthesis))
        if isinstance(module, (L.Conv1d, L.Upsample)) and not fixed:
            module.weight = module.weight * 1.4 if hasattr(module, "parametrizations") else _grown(module.weight)
        elif isinstance(module, L.BatchNorm):
            for value in (
                module.norm.running_mean,
                module.norm.running_var,
                module.norm.weight,
                module.norm.bias,
            ):
                torch.nn.init.uniform_(value, 0.2, 0.6)
    if isinstance(net, Autoencoder) and net.latent.discrete:
        x = 0.5 * torch.randn(1, net.config.channels, 64 * net.hop_samples)
        begin(net.latent, net.encoder(net.analysis(x)))


def begin(latent: Latent, h: torch.Tensor) -> None:
    """Books that fit what the encoder gives."""
    latent.train().draw(h.detach(), torch.zeros(1, latent.size, 1))
    latent.eval()


def _grown(weight: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(weight.detach() * 1.4)


def whole(net: Autoencoder) -> L.Serial:
    return L.Serial(*net.parts)


def built(name: str, **overrides: Any) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(preset(name, **overrides).model).eval()


@pytest.mark.parametrize(("name", "centred", "channels"), list(itertools.product(PRESETS, (False, True), (1, 2))))
def test_shrunk_preset_keeps_the_law(name: str, centred: bool, channels: int) -> None:
    few = {"quantisers": 3, "codes": 8} if name.endswith("-discrete") else {"temperature": 0.5}
    net = built(name, centred=centred, channels=channels, **few, **SMALL)
    lively(net)
    with torch.jit.optimized_execution(False):  # the law is about numbers, and optimising costs seconds
        contract.check(whole(net), hops=4)


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "snake"},
        {"free_lookahead": False},
        {"attenuation_db": 70},
        {"latent_kind": "wasserstein"},
        {"latent_kind": "spherical"},
    ],
)
def test_other_fields_keep_the_law(changes: dict[str, Any]) -> None:
    net = built("low", **SMALL, **changes)
    with torch.jit.optimized_execution(False):
        contract.check(whole(net), hops=4)


@pytest.mark.parametrize("name", PRESETS)
def test_full_preset_keeps_the_first_two_laws(name: str) -> None:
    layer = whole(built(name))
    x = contract.sound(layer, 1, 3)
    contract.assert_blocks_equal_one_call(layer, x, tries=1)
    contract.assert_advanced_output_is_dense(layer, x)


def test_a_skip_path_that_does_not_wait_fails_the_law() -> None:
    net = built("v2-small", centred=True, **SMALL)
    lively(net)
    layer = whole(net)
    residual = next(m for m in layer.modules() if isinstance(m, L.Sum))
    x = contract.sound(layer, 1, 4)
    contract.assert_advanced_output_is_dense(layer, x)
    shapes = layer.state_shapes
    for wait in residual.waits:
        if wait.frames:
            shapes = [s for i, s in enumerate(shapes) if i != shapes.index(wait.state_shapes[0])]
            wait.set(0)
    residual.state_shapes = [s for b in residual.branches for s in b.state_shapes]
    for serial in (net.encoder, layer):
        serial.state_shapes = [s for child in serial.layers for s in child.state_shapes]
    contract.assert_blocks_equal_one_call(layer, x)
    with pytest.raises(AssertionError, match="law 2"):
        contract.assert_advanced_output_is_dense(layer, x)


def count(part: torch.nn.Module) -> int:
    """Learned numbers of a folded copy's convolutions: norms are not counted twice."""
    return sum(m.weight.numel() for m in part.modules() if isinstance(m, (L.Conv1d, L.Upsample)))


def millions(value: float) -> Any:
    return pytest.approx(value * 1e6, abs=0.006e6)


def test_parameter_counts() -> None:
    assert built("v1").trained_parameters() == pytest.approx(17.6e6, abs=0.05e6)
    v2 = built("v2")
    assert (count(v2.decoder), count(v2.encoder)) == (millions(15.47), millions(16.05))
    small = built("v2-small", noise_strides=())
    assert (count(small.decoder), count(small.encoder)) == (millions(3.65), millions(3.94))
    # BRAVE's configuration gives this; the table of its paper says 4.9 M
    assert built("low").trained_parameters() == millions(4.19)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_counted_as_deployed(name: str) -> None:
    net = built(name, **SMALL)
    declared = net.trained_parameters()
    L.fold(net)
    learned = [p for n, p in net.named_parameters() if not n.startswith(("analysis", "synthesis"))]
    assert sum(p.numel() for p in learned) == declared


# samples at 44.1 kHz, hop wait excluded: causal, centred
DELAYS = {"v1": (185, 22713), "v2": (185, 26777), "v2-small": (185, 10073), "low": (155, 11371)}
DELAYS |= {"v2-discrete": DELAYS["v2"], "low-discrete": DELAYS["low"]}


@pytest.mark.parametrize("name", PRESETS)
def test_delays(name: str) -> None:
    """A change of these is a change of what a musician feels; `low` is held to 160."""
    causal, centred = (built(name, centred=centred, **SMALL).delay for centred in (False, True))
    assert (causal, centred) == DELAYS[name]
    assert causal <= (160 if name == "low" else 400)


@pytest.mark.parametrize("name", PRESETS)
def test_free_lookahead_is_free(name: str) -> None:
    free, held = (built(name, free_lookahead=free, **SMALL) for free in (True, False))
    assert free.delay == held.delay
    assert all(m.hold == 0 for m in free.encoder.modules() if isinstance(m, L.Conv1d))


@pytest.mark.parametrize(("name", "hop"), [("v1", 2048), ("v2", 2048), ("v2-small", 512), ("low", 128)])
def test_hops_and_shapes(name: str, hop: int) -> None:
    net = built(name, channels=2, **SMALL)
    x = torch.randn(3, 2, 4 * hop)
    bands = net.analysis(x)
    assert net.hop_samples == net.config.hop_samples == hop
    assert bands.shape == (3, 32, 4 * hop // 16)
    assert net.encoder(bands).shape == (3, 16, 4)
    assert net.decoder(torch.randn(3, 8, 4)).shape == (3, 32, 4 * hop // 16)
    assert net(x).shape == x.shape


def test_delay_is_where_the_sound_is() -> None:
    """With the learned part replaced by the identity, what comes out is what went in, `delay` later."""
    net = built("low", **SMALL)
    x = torch.randn(1, 1, 8192)
    y = net.synthesis(net.analysis(x))
    bank_delay = L.Serial(net.analysis, net.synthesis).delay
    lags = [(y[0, 0, 1000 + d : 5000 + d] * x[0, 0, 1000:5000]).sum() for d in range(300)]
    assert int(torch.stack(lags).argmax()) == bank_delay
    net.align()
    assert net.delay - bank_delay == 16 * (net.decoder.delay - net.analysis.delay)


def test_noise_sources_have_nodes_of_their_own() -> None:
    for name in ("v1", "v2-small"):
        nodes = [m.node for m in built(name, **SMALL).modules() if isinstance(m, NoiseSource)]
        assert len(nodes) == len(set(nodes)) == 2
        assert 0 not in nodes  # left to what is added at export


def test_snake_replaces_every_activation() -> None:
    plain, snake = (built("v2", activation=kind, **SMALL) for kind in ("leaky_relu", "snake"))
    kinds = [sum(isinstance(m, k) for m in net.modules()) for net in (plain, snake) for k in (L.LeakyReLU, L.Snake)]
    assert kinds[0] == kinds[3] > 50
    assert kinds[1] == kinds[2] == 0


def test_equal_seeds_build_equal_networks() -> None:
    a, b = built("low", **SMALL).state_dict(), built("low", **SMALL).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_receptive_field_is_that_of_the_law() -> None:
    net = built("v2-small", **SMALL)
    first, last = whole(net).inputs_of(0, net.hop_samples - 1)
    assert net.receptive_field_samples == last - first + 1
