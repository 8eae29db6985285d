"""Every layer keeps the law of tests/contract.py; folding, errors and gradients of the streaming layers."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from python.model import layers as L
from python.model.latent import Fill, Variational
from python.model.noise import FilteredNoise
from tests import contract

CONVOLUTIONS = [
    (kernel, stride, dilation, look)
    for kernel, stride, dilation in [
        (1, 1, 1),
        (3, 1, 1),
        (3, 1, 9),
        (7, 1, 1),
        (4, 2, 1),
        (5, 2, 1),
        (9, 4, 1),
        (4, 4, 1),
        (5, 3, 2),
    ]
    for look in sorted({0, 1, stride - 1, L.centred_lookahead(kernel, stride, dilation)})
]


@pytest.mark.parametrize(("kernel", "stride", "dilation", "look"), CONVOLUTIONS)
@pytest.mark.parametrize("free", [False, True])
def test_convolution(kernel: int, stride: int, dilation: int, look: int, free: bool) -> None:
    for groups, bias, delay_in in ((1, True, 0), (2, False, 1), (1, False, 5)):
        layer = L.Conv1d(4, 6, kernel, stride, dilation, look, groups, bias, free)
        give_biases(layer)
        contract.check(layer, delay_in=delay_in)


def test_free_lookahead_costs_no_delay_and_leaves_no_hold() -> None:
    for stride, look, delay_in in itertools.product((1, 2, 3, 4), (0, 1, 2, 5), range(9)):
        held = L.Conv1d(1, 1, 2 * stride + 1, stride, lookahead=look)
        free = L.Conv1d(1, 1, 2 * stride + 1, stride, lookahead=look, free_lookahead=True)
        assert held.align(delay_in) == free.align(delay_in)
        assert (free.hold, free.lookahead) == (0, look + held.hold)
        # the newest input that the last output of a hop sees is the newest one there is
        assert free.inputs_of(0, 0)[1] == stride - 1


@pytest.mark.parametrize(("ratio", "taps"), [(1, 1), (1, 3), (2, 2), (3, 2), (4, 2), (4, 1), (2, 5)])
def test_upsampling(ratio: int, taps: int) -> None:
    for look, bias, delay_in in ((0, False, 0), (ratio // 2, True, 3), (ratio - 1, True, 1)):
        layer = L.Upsample(3, 4, ratio, taps, look if taps > 1 else 0, bias)
        give_biases(layer)
        contract.check(layer, delay_in=delay_in)


def test_upsampling_is_a_transposed_convolution_with_reordered_weights() -> None:
    layer = L.Upsample(3, 2, 4)
    kernel = torch.randn(3, 2, 8)  # torch's order: in, out, kernel
    with torch.no_grad():
        for phase, out, tap in itertools.product(range(4), range(2), range(2)):
            layer.weight[phase * 2 + out, tap] = kernel[:, out, 4 * (1 - tap) + phase]
    x = torch.randn(2, 3, 10)
    want = torch.nn.functional.conv_transpose1d(x, kernel, stride=4)[:, :, :40]
    torch.testing.assert_close(layer(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        L.LeakyReLU(3),
        L.Snake(3),
        L.Tanh(3),
        L.Amplitude(3),
        L.Amplitude(3, -5.0),
        L.GatedHalf(3),
        L.Repeat(2, 3),
        L.Delay(3, 0),
        L.Delay(3, 7),
        FilteredNoise(2, 5, 8),
        FilteredNoise(3, 32, 4),
        Variational(4),
        Variational(4, temperature=0.7),
        Fill(3, 5, fill=0.6),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("delay_in", [0, 3])
def test_single_layer(layer: L.Layer, delay_in: int) -> None:
    with torch.no_grad():
        for name, value in layer.named_parameters():
            if name == "alpha":
                value.uniform_(0.3, 3.0)
    contract.check(layer, delay_in=delay_in)


def conv(cin: int, cout: int, kernel: int = 3, **options: int) -> L.Conv1d:
    return L.Conv1d(cin, cout, kernel, **options)


NETS = {
    "chain": lambda: L.Serial(conv(2, 3), L.LeakyReLU(3), conv(3, 2, 5, lookahead=3)),
    "strided": lambda: L.Serial(conv(2, 3, 4, stride=2, lookahead=2), conv(3, 4, 9, stride=4, lookahead=4)),
    "down and up": lambda: L.Serial(conv(2, 3, 4, stride=2, lookahead=1), L.Upsample(3, 2, 2, lookahead=1)),
    "up and down": lambda: L.Serial(L.Upsample(2, 3, 6, lookahead=3), conv(3, 2, 5, stride=4, lookahead=2)),
    "delay inside": lambda: L.Serial(L.Delay(2, 3), conv(2, 2, 4, stride=2), L.Delay(2, 2)),
    "residual": lambda: L.Residual(L.LeakyReLU(3), conv(3, 3, 3, lookahead=1), L.Snake(3), conv(3, 3, 5, lookahead=1)),
    "residual stack": lambda: L.Serial(
        *(L.Residual(L.LeakyReLU(2), conv(2, 2, 3, dilation=d, lookahead=d), conv(2, 2, 1)) for d in (1, 3, 9))
    ),
    "residual around a hop": lambda: L.Residual(
        conv(2, 3, 4, stride=2, lookahead=2), L.LeakyReLU(3), L.Upsample(3, 2, 2, lookahead=1)
    ),
    "sum of three": lambda: L.Sum(conv(2, 3, 1), conv(2, 3, 3, lookahead=1), conv(2, 3, 7, lookahead=5)),
    "product": lambda: L.Product(L.Serial(conv(2, 4, 7, lookahead=3), L.Tanh(4)), L.Serial(conv(2, 1), L.Repeat(1, 4))),
    "three in a product": lambda: L.Product(conv(2, 2), conv(2, 2, 5, lookahead=2), L.Tanh(2)),
    "noise beside a waveform": lambda: L.Sum(
        conv(3, 2, 7, lookahead=3),
        L.Serial(conv(3, 10, 4, stride=4, lookahead=2), L.Amplitude(10), FilteredNoise(2, 5, 4)),
    ),
    "nested": lambda: L.Serial(
        conv(1, 4, 4, stride=4, lookahead=2, groups=1),
        L.Sum(L.Product(conv(4, 4, 3, lookahead=1), L.Tanh(4)), L.Residual(conv(4, 4, 5, lookahead=2))),
        L.Upsample(4, 1, 4, taps=3, lookahead=5),
    ),
    "rates 3, 4 and 6": lambda: L.Serial(
        conv(1, 2, 7, stride=3), L.Upsample(2, 1, 4), conv(1, 2, 5, stride=6, dilation=2)
    ),
    "weight norm": lambda: L.Serial(L.weight_norm(conv(2, 3)), L.weight_norm(L.Upsample(3, 2, 2, lookahead=1))),
    "batch norm": lambda: L.Serial(
        conv(2, 3), trained_norm(3), L.LeakyReLU(3), L.Conv1d(3, 2, 3, bias=True), trained_norm(2)
    ),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("delay_in", [0, 1, 6])
def test_net(name: str, delay_in: int) -> None:
    torch.manual_seed(0)
    contract.check(NETS[name](), delay_in=delay_in)


def trained_norm(channels: int) -> L.BatchNorm:
    layer = L.BatchNorm(channels)
    with torch.no_grad():
        for value in (layer.norm.running_var, layer.norm.weight):
            value.uniform_(0.5, 2.0)
        for value in (layer.norm.running_mean, layer.norm.bias):
            value.uniform_(-1.0, 1.0)
    return layer


def give_biases(layer: L.Conv1d | L.Upsample) -> None:
    if layer.bias is not None:
        torch.nn.init.uniform_(layer.bias, -1.0, 1.0)


def test_align_may_be_told_again() -> None:
    """Alignment depends on the delay it is told last, not on those before."""
    for make in NETS.values():
        once, twice = make(), make()
        once.align(2)
        for delay in (7, 0, 2):
            twice.align(delay)
        assert (once.delay, once.state_shapes) == (twice.delay, twice.state_shapes)


def test_a_batch_norm_without_a_convolution_before_it_cannot_fold() -> None:
    with pytest.raises(ValueError, match="BatchNorm after LeakyReLU has no convolution"):
        L.fold(L.Serial(conv(2, 2), L.LeakyReLU(2), L.BatchNorm(2)))
    with pytest.raises(ValueError, match="has no convolution"):
        L.fold(L.Serial(L.BatchNorm(2), conv(2, 2)))


def test_folding_leaves_plain_weights() -> None:
    net = L.Serial(L.weight_norm(conv(2, 3)), trained_norm(3), L.Residual(L.weight_norm(conv(3, 3)), trained_norm(3)))
    net.eval()
    x = torch.randn(2, 2, 40)
    before = net(x)
    L.fold(net)
    torch.testing.assert_close(net(x), before, rtol=1e-5, atol=1e-6)
    assert not any("parametrizations" in name or "norm" in name for name, _ in net.named_parameters())
    assert sorted(name.rsplit(".", 1)[1] for name in net.state_dict()) == ["bias", "bias", "weight", "weight"]
    again = net(x)
    L.fold(net)
    assert torch.equal(net(x), again)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: L.Serial(conv(1, 2), conv(3, 1)), r"layer 1 \(Conv1d\) expects 3 channels, got 2"),
        (lambda: L.Sum(conv(1, 2), conv(1, 3)), r"Sum: branch 1 is 1 -> 3 channels, branch 0 is 1 -> 2"),
        (lambda: L.Product(conv(1, 2), conv(2, 2)), r"Product: branch 1 is 2 -> 2 channels"),
        (lambda: L.Sum(conv(1, 2), conv(1, 2, 4, stride=2)), r"Sum: branch 1 has another rate"),
        (lambda: conv(1, 1, 3, stride=4), r"kernel spans 3 frames, fewer than its stride 4"),
        (lambda: conv(3, 4, 3, groups=2), r"2 groups divide neither 3 nor 4 channels|groups"),
    ],
)
def test_what_does_not_fit_is_named(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", NETS)
def test_gradients_through_blocks_are_those_of_one_call(name: str) -> None:
    """Histories carry gradients: truncated training would be another network."""
    torch.manual_seed(0)
    net = NETS[name]().eval()
    x = contract.sound(net, 2, 8)
    weight = torch.randn_like(net(x))

    def gradients(y: Tensor) -> list[Tensor]:
        inputs = [p for p in net.parameters() if p.requires_grad]
        return list(torch.autograd.grad((y * weight).sum(), inputs))

    hops = x.shape[2] // net.down
    whole, blocks = gradients(net(x)), gradients(contract.in_blocks(net, x, contract.splits(hops, 3)))
    for a, b in zip(blocks, whole, strict=True):
        contract.assert_close(a, b, "gradient", 1e-4)


def test_streams_of_a_batch_do_not_touch_each_other() -> None:
    for name, make in NETS.items():
        net = make().eval()
        x = contract.sound(net, 3, 8)
        alone = torch.cat([net(x[i : i + 1]) for i in range(3)])
        if name != "noise beside a waveform":  # there each stream has noise of its own
            contract.assert_close(net(x), alone, name)


def test_few_frames_and_many_go_different_ways_to_the_same_numbers() -> None:
    layer = L.Conv1d(5, 7, 9, 4, 1, bias=True)
    x = torch.randn(2, 4 * 400 + 8, 5)  # rows
    a = L.convolve(x, layer.weight, layer.bias, 4, 1, few_frames=0)
    b = L.convolve(x, layer.weight, layer.bias, 4, 1, few_frames=10**6)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_output_memory_is_channels_last() -> None:
    for length in (64, 8192):
        for layer in (L.Conv1d(4, 8, 3), L.Upsample(4, 8, 2), L.Delay(4, 3)):
            y = layer(torch.randn(2, 4, length))
            assert y.stride(1) == 1, f"{type(layer).__name__} at {length}: strides {y.stride()}"
