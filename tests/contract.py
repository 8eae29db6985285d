"""The law of streaming layers as one function, `check`, and broken layers that prove that each part can fail.

1. any split of the input into whole hops gives what one call gives;
2. the output, advanced by `delay`, equals a dense reference written here from scratch, edge excepted;
3. the declared receptive field equals that of the gradient, and that of the reference advanced by `delay`;
4. folded, scripted, saved and loaded, it gives the same numbers.
"""

from __future__ import annotations

import io
import random
from functools import singledispatch

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from python.model import layers as L
from python.model.latent import Fill, Sphere, Spherical, Variational, Wasserstein
from python.model.noise import FilteredNoise
from python.model.quantise import Codebooks, Quantised

TOLERANCE = 1e-5  # of peak: torch sums in another order for another number of frames


def check(layer: L.Layer, batch: int = 2, hops: int = 8, delay_in: int = 0) -> None:
    """The four laws. The layer is aligned for an input `delay_in` frames late, and folded at the end."""
    layer.eval()
    layer.align(delay_in)
    x = sound(layer, batch, hops, delay_in)
    assert_blocks_equal_one_call(layer, x)
    assert_advanced_output_is_dense(layer, x, delay_in)
    # the choice of a code has no gradient, the length of a sphere's frames one that cancels in positive weights
    if not any(isinstance(m, (Quantised, Sphere, Spherical)) for m in layer.modules()):
        assert_gradient_sees_what_is_declared(layer, delay_in)
    assert_scripted_gives_the_same(layer, x)


def sound(layer: L.Layer, batch: int, hops: int, delay_in: int = 0) -> Tensor:
    """Noise long enough that `hops` whole hops of output see nothing but input."""
    frames = (hops_before_edge(layer, delay_in) + hops) * layer.down
    return torch.randn(batch, layer.in_channels, frames, generator=torch.Generator().manual_seed(1)) * 0.5


def hops_before_edge(layer: L.Layer, delay_in: int = 0) -> int:
    """Whole hops until no output sees the silence before the start of a signal that is `delay_in` late."""
    first, _ = layer.inputs_of(0, 0)
    return max(-((first - delay_in) // layer.down), -(layer.delay // -layer.up))


def splits(hops: int, seed: int) -> list[int]:
    """A random composition of `hops`."""
    draw, parts = random.Random(seed), []
    while sum(parts) < hops:
        parts.append(min(draw.choice((1, 1, 2, 3, 7, max(1, hops // 3))), hops - sum(parts)))
    return parts


def in_blocks(layer: L.Layer, x: Tensor, hops: list[int]) -> Tensor:
    state, out = layer.initial_state(x), []
    for block in x.split([n * layer.down for n in hops], 2):
        y, state = layer.step(block, state)
        out.append(y)
    return torch.cat(out, 2)


def assert_close(a: Tensor, b: Tensor, law: str, tolerance: float = TOLERANCE) -> None:
    assert a.shape == b.shape, f"{law}: shape {tuple(a.shape)} against {tuple(b.shape)}"
    assert torch.isfinite(a).all(), f"{law}: not finite"
    error, peak = (a - b).abs().max().item(), b.abs().max().item()
    assert error <= tolerance * peak, f"{law}: {error:.3g} at a peak of {peak:.3g}"


@torch.no_grad()
def assert_blocks_equal_one_call(layer: L.Layer, x: Tensor, tries: int = 2) -> None:
    whole = layer(x)
    assert whole.shape == (x.shape[0], layer.out_channels, x.shape[2] // layer.down * layer.up), "law 1: shape"
    hops = x.shape[2] // layer.down
    for parts in ([1, hops - 1], *(splits(hops, seed) for seed in range(tries))):
        assert_close(in_blocks(layer, x, parts), whole, f"law 1, blocks of {parts[:8]}... hops")


@torch.no_grad()
def assert_advanced_output_is_dense(layer: L.Layer, x: Tensor, delay_in: int = 0) -> None:
    want, delay = dense(layer, advanced(layer, x, delay_in), delay_in)
    assert layer.delay == delay, f"law 2: declares a delay of {layer.delay}, the reference has {delay}"
    edge = hops_before_edge(layer, delay_in) * layer.up
    got = layer(x)[:, :, edge:]
    assert got.shape[2] > 0, "law 2: nothing left to compare"
    assert edge >= delay, "law 2: later than it looks back"
    assert_close(got, want[:, :, edge - delay :][:, :, : got.shape[2]], "law 2")


def advanced(layer: L.Layer, x: Tensor, delay: int) -> Tensor:
    """The signal that x is late of, filled up to whole hops at the end, where no output looks."""
    return F.pad(x[:, :, delay:], (0, delay % layer.down))


def assert_gradient_sees_what_is_declared(layer: L.Layer, delay_in: int = 0) -> None:
    with positive_weights(layer):
        edge, hop = hops_before_edge(layer, delay_in) * layer.up, layer.up
        x = sound(layer, 1, 4, delay_in).abs() * 1e-4
        for first, last in ((edge, edge + hop - 1), (edge + hop, edge + 3 * hop - 1)):
            declared = layer.inputs_of(first, last)
            seen = support(layer, x, first, last)
            assert seen == declared, f"law 3: outputs {first}..{last} see {seen}, declared {declared}"
            if isinstance(layer, FilteredNoise):
                continue  # its reference draws in numpy
            dense_seen = support(
                lambda v: dense(layer, advanced(layer, v, delay_in), delay_in)[0],
                x,
                first - layer.delay,
                last - layer.delay,
            )
            assert seen == dense_seen, f"law 3: outputs {first}..{last} see {seen}, advanced {dense_seen}"


def support(function, x: Tensor, first: int, last: int) -> tuple[int, int]:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x)[:, :, first : last + 1].sum(), x)
    touched = gradient.abs().amax((0, 1)).nonzero()
    return int(touched[0]), int(touched[-1])


class positive_weights:
    """Gradients that neither cancel nor underflow: every weight positive, rows summing to about 0.7."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __enter__(self) -> None:
        self.kept = {k: v.clone() for k, v in self.net.state_dict().items()}
        generator = torch.Generator().manual_seed(2)
        for module in self.net.modules():
            if isinstance(module, (L.Conv1d, L.Upsample)):
                shape = module.weight.shape
                rows = 0.7 * (0.5 + torch.rand(shape, generator=generator)) / (shape[1] * shape[2])
                with torch.no_grad():
                    if parametrize.is_parametrized(module, "weight"):
                        module.weight = rows
                    else:
                        module.weight.copy_(rows)

    def __exit__(self, *_: object) -> None:
        self.net.load_state_dict(self.kept)


def scripted_saved_loaded(layer: nn.Module) -> torch.jit.ScriptModule:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(layer), buffer)
    return torch.jit.load(io.BytesIO(buffer.getvalue()))


@torch.no_grad()
def assert_scripted_gives_the_same(layer: L.Layer, x: Tensor) -> None:
    want = layer(x)
    L.fold(layer)
    assert_close(layer(x), want, "law 4, folded")
    loaded = scripted_saved_loaded(layer)
    assert_close(loaded(x), want, "law 4, loaded")
    hops = x.shape[2] // layer.down
    assert_close(
        loaded(x[:, :, : hops // 2 * layer.down]),
        want[:, :, : hops // 2 * layer.up],
        "law 4, loaded, shorter",
    )


# -- the dense reference: aligned in, aligned out; the delay goes along for what depends on absolute time ----


@singledispatch
def dense(layer: nn.Module, x: Tensor, delay: int) -> tuple[Tensor, int]:
    raise TypeError(f"the contract has no reference for {type(layer).__name__}")


@dense.register
def _(layer: L.Serial, x: Tensor, delay: int) -> tuple[Tensor, int]:
    for child in layer.layers:
        x, delay = dense(child, x, delay)
    return x, delay


@dense.register
def _(layer: L.Sum, x: Tensor, delay: int) -> tuple[Tensor, int]:
    results = [dense(branch, x, delay) for branch in layer.branches]
    total = results[0][0]
    for y, _late in results[1:]:
        total = total * y if isinstance(layer, L.Product) else total + y
    return total, max(late for _, late in results)


@dense.register
def _(layer: L.Delay, x: Tensor, delay: int) -> tuple[Tensor, int]:
    return x, delay + layer.frames  # being late is not part of the aligned signal


@dense.register
def _(layer: L.Conv1d, x: Tensor, delay: int) -> tuple[Tensor, int]:
    kernel, stride, dilation = layer.weight.shape[1], layer.stride, layer.dilation
    look = layer.asked_lookahead
    # output n needs input n * stride + look, which comes `delay` late; outputs come at the ends of hops
    late = -((delay + look - stride + 1) // -stride)
    if layer.free_lookahead:
        look = late * stride + stride - 1 - delay
    left, right = (kernel - 1) * dilation - look, look - stride + 1
    weight = layer.weight.permute(0, 2, 1)
    return F.conv1d(F.pad(x, (left, right)), weight, layer.bias, stride, 0, dilation, layer.groups), late


@dense.register
def _(layer: L.Upsample, x: Tensor, delay: int) -> tuple[Tensor, int]:
    ratio, taps, inputs, outputs = layer.ratio, layer.weight.shape[1], layer.in_channels, layer.out_channels
    kernel = torch.zeros(inputs, outputs, taps * ratio)
    for phase in range(ratio):
        for tap in range(taps):
            kernel[:, :, ratio * (taps - 1 - tap) + phase] = layer.weight[
                phase * outputs : (phase + 1) * outputs, tap
            ].T
    frames = x.shape[2] * ratio
    y = F.pad(F.conv_transpose1d(x, kernel, stride=ratio), (0, ratio + layer.lookahead))
    if layer.bias is not None:
        y = y + layer.bias.view(ratio, outputs).T.repeat(1, y.shape[2] // ratio + 1)[:, : y.shape[2]]
    return y[:, :, layer.lookahead : layer.lookahead + frames], delay * ratio + layer.lookahead


@dense.register
def _(layer: L.LeakyReLU, x: Tensor, delay: int) -> tuple[Tensor, int]:
    return torch.where(x > 0, x, 0.2 * x), delay


@dense.register
def _(layer: L.Snake, x: Tensor, delay: int) -> tuple[Tensor, int]:
    alpha = layer.alpha[None, :, None]
    return x + (1 - torch.cos(2 * alpha * x)) / (2 * alpha), delay


@dense.register
def _(layer: L.Tanh, x: Tensor, delay: int) -> tuple[Tensor, int]:
    grown = torch.expm1(2 * x)
    return grown / (grown + 2), delay


@dense.register
def _(layer: L.Amplitude, x: Tensor, delay: int) -> tuple[Tensor, int]:
    return 2 / (1 + torch.exp(-x - layer.offset)) ** 2.3 + 1e-7, delay


@dense.register
def _(layer: L.GatedHalf, x: Tensor, delay: int) -> tuple[Tensor, int]:
    half = x.shape[1] // 2
    return x[:, :half] / (1 + torch.exp(-x[:, half:])), delay


@dense.register
def _(layer: L.Repeat, x: Tensor, delay: int) -> tuple[Tensor, int]:
    return torch.stack([x[:, c // layer.times] for c in range(layer.out_channels)], 1), delay


@dense.register
def _(layer: L.BatchNorm, x: Tensor, delay: int) -> tuple[Tensor, int]:
    norm = layer.norm
    column = [v[:, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)]
    return (x - column[0]) / torch.sqrt(column[1] + norm.eps) * column[2] + column[3], delay


@dense.register
def _(layer: FilteredNoise, x: Tensor, delay: int) -> tuple[Tensor, int]:
    """Overlap-free time-varying FIR, sample by sample: each output sees the filter of its own frame."""
    ratio, count = layer.ratio, layer.noise_bands
    taps = 2 * (count - 1)
    magnitudes = x.unflatten(1, (layer.bands, count)).transpose(2, 3)  # (B, bands, T, count)
    window = torch.hann_window(taps, dtype=torch.float64)
    kernel = torch.fft.fftshift(torch.fft.irfft(magnitudes.double(), taps), -1) * window
    kernel = kernel.repeat_interleave(ratio, 2)  # (B, bands, T * ratio, taps)
    frames = np.arange(1 - taps, kernel.shape[2]) + delay * ratio
    bits = reference_hash(0, layer.node, np.arange(x.shape[0]), np.arange(layer.bands), frames)
    noise = torch.from_numpy((bits >> 8) / 2.0**23 - 1)
    y = sum(noise[:, :, k : k + kernel.shape[2]] * kernel[..., k] for k in range(taps))
    return y.float(), delay * ratio


@dense.register
def _(layer: Variational, x: Tensor, delay: int) -> tuple[Tensor, int]:
    mean, raw = x[:, : layer.size], x[:, layer.size :]
    if layer.temperature == 0:
        return mean[:, : layer.kept], delay
    bits = reference_hash(0, layer.node, np.arange(x.shape[0]), np.arange(layer.size), np.arange(x.shape[2]) + delay)
    spread = (torch.log1p(torch.exp(raw)) + 1e-4) * reference_gaussian(bits)
    rotated = torch.einsum("kc,bct->bkt", layer.rotation[: layer.kept], spread)
    return mean[:, : layer.kept] + layer.temperature * rotated, delay


@dense.register
def _(layer: Fill, x: Tensor, delay: int) -> tuple[Tensor, int]:
    missing = layer.size - layer.kept
    bits = reference_hash(0, layer.node, np.arange(x.shape[0]), np.arange(missing), np.arange(x.shape[2]) + delay)
    return torch.cat([x, layer.fill * reference_gaussian(bits)], 1), delay


@dense.register
def _(layer: Sphere, x: Tensor, delay: int) -> tuple[Tensor, int]:
    return x / x.norm(dim=1, keepdim=True) * x.shape[1] ** 0.5, delay


@dense.register
def _(layer: Wasserstein, x: Tensor, delay: int) -> tuple[Tensor, int]:
    return (dense(Sphere(layer.size), x, delay)[0] if isinstance(layer, Spherical) else x), delay


@dense.register
def _(layer: Quantised, x: Tensor, delay: int) -> tuple[Tensor, int]:
    rest, codes = x.transpose(1, 2).double(), []
    for book in layer.codebooks.detach()[: layer.kept].double():
        codes.append(torch.cdist(rest, book, compute_mode="donot_use_mm_for_euclid_dist").argmin(2))
        rest = rest - book[codes[-1]]
    vectors = (x.transpose(1, 2) - rest).transpose(1, 2).float()
    return torch.stack(codes, 1).float() if layer.coding else vectors, delay


@dense.register
def _(layer: Codebooks, x: Tensor, delay: int) -> tuple[Tensor, int]:
    total = layer.offset[None, :, None].expand(x.shape[0], -1, x.shape[2])
    for i, book in enumerate(layer.books):
        for code in range(layer.codes):
            here = (x[:, i] > code - 0.5) & (x[:, i] < code + 0.5)
            total = total + book[code][None, :, None] * here[:, None]
    return total, delay


def reference_gaussian(bits: np.ndarray) -> Tensor:
    """The quantile of the normal distribution at the middle of one of 2^23 equal cells."""
    cell = (torch.from_numpy(bits.astype(np.float64)) / 512).floor()
    return torch.distributions.Normal(0.0, 1.0).icdf((cell + 0.5) / 2.0**23).float()


def reference_hash(seed: int, node: int, streams: np.ndarray, channels: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The hash in 32-bit unsigned arithmetic, as the C++ engine computes it: (streams, channels, frames)."""

    def u32(value) -> np.ndarray:
        return np.asarray(value).astype(np.uint64).astype(np.uint32)

    def mixed(x: np.ndarray) -> np.ndarray:
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x85EBCA6B)
        x = x ^ (x >> np.uint32(13))
        x = x * np.uint32(0xC2B2AE35)
        return x ^ (x >> np.uint32(16))

    with np.errstate(over="ignore"):
        key = mixed(u32([[[seed & 0xFFFFFFFF]]]) ^ u32([[[node * 0x9E3779B9 & 0xFFFFFFFF]]]))
        key = mixed(key ^ u32(streams)[:, None, None])
        key = mixed(key + np.uint32(0x9E3779B9) + u32(channels)[None, :, None])
        frames = np.asarray(frames, dtype=np.int64)
        key = mixed(key ^ u32(frames >> 32 & 0xFFFFFFFF))
        return mixed((key + np.uint32(0x7F4A7C15)) ^ u32(frames & 0xFFFFFFFF)).astype(np.int64)


# -- the laws can fail ------------------------------------------------------------


class ForgetsItsPast(L.Conv1d):
    """Broken state: the history stays what it was at the start."""

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return super().step(x, state)[0], state


class LooksFurther(L.Conv1d):
    """Broken declaration: one frame more than it reads."""

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        return super().inputs_of(first, last)[0] - 1, super().inputs_of(first, last)[1]


class OtherWhenScripted(L.LeakyReLU):
    """Broken export."""

    def step(self, x: Tensor, state: L.State) -> tuple[Tensor, L.State]:
        return (torch.relu(x), state) if torch.jit.is_scripting() else (F.leaky_relu(x, 0.2), state)


def unaligned_residual() -> L.Layer:
    """Broken alignment: the skip path does not wait for the body."""
    net = L.Residual(L.Conv1d(3, 3, 3, lookahead=1))
    for wait in net.waits:
        wait.set(0)
    net.state_shapes = net.branches[1].state_shapes
    return net


def test_a_sound_layer_passes() -> None:
    check(L.Conv1d(2, 3, 3))


def test_broken_state_fails_the_first_law_alone() -> None:
    layer = ForgetsItsPast(2, 3, 3)
    x = sound(layer, 2, 8)
    with pytest.raises(AssertionError, match="law 1"):
        assert_blocks_equal_one_call(layer, x)
    assert_advanced_output_is_dense(layer, x)


def test_broken_alignment_fails_the_second_law_alone() -> None:
    layer = unaligned_residual()
    x = sound(layer, 2, 8)
    assert_blocks_equal_one_call(layer, x)
    with pytest.raises(AssertionError, match="law 2"):
        assert_advanced_output_is_dense(layer, x)


def test_a_wrong_delay_fails_the_second_and_the_third_law() -> None:
    layer = L.Conv1d(2, 3, 5, lookahead=2)
    layer.delay += 1
    with pytest.raises(AssertionError, match="law 2: declares"):
        assert_advanced_output_is_dense(layer, sound(layer, 2, 8))
    with pytest.raises(AssertionError, match=r"law 3.*advanced"):
        assert_gradient_sees_what_is_declared(layer)


def test_a_wrong_receptive_field_fails_the_third_law_alone() -> None:
    layer = LooksFurther(2, 3, 3)
    x = sound(layer, 2, 8)
    assert_blocks_equal_one_call(layer, x)
    assert_advanced_output_is_dense(layer, x)
    with pytest.raises(AssertionError, match=r"law 3.*declared"):
        assert_gradient_sees_what_is_declared(layer)


def test_another_scripted_form_fails_the_fourth_law_alone() -> None:
    layer = OtherWhenScripted(3)
    x = sound(layer, 2, 8)
    assert_blocks_equal_one_call(layer, x)
    with pytest.raises(AssertionError, match="law 4, loaded"):
        assert_scripted_gives_the_same(layer, x)


def test_the_reference_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="no reference for Layer"):
        dense(L.Layer(1, 1), torch.zeros(1, 1, 4), 0)
