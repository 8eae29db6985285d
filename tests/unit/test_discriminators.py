"""Laws of the discriminators: sizes, shapes, the fast convolutions against torch's, periods, gradients."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from python.training.discriminators import (
    KINDS,
    PeriodDiscriminator,
    ScaleDiscriminator,
    StridedConv,
    build_discriminator,
)
from python.training.losses import feature_matching, hinge_discriminator, hinge_generator


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts() -> None:
    """Plain counts of the published layers plus one weight-norm gain per output channel and bias."""
    widths = [1, 64, 128, 256, 512]
    weights = sum(i * o for i, o in itertools.pairwise(widths))
    gains_and_biases = 2 * sum([*widths[1:], 1])
    scale, period = 15 * weights + 512 + gains_and_biases, 5 * weights + 512 + gains_and_biases
    assert parameters(build_discriminator(("scale",))) == 3 * scale == 7_751_622
    assert parameters(build_discriminator(("scale", "period"))) == 3 * scale + 5 * period == 12_066_192


@pytest.mark.parametrize("kernel", [1, 3, 5, 15])
@pytest.mark.parametrize("inputs", [1, 2, 24])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("frames", [1, 16, 37])
def test_strided_conv_equals_conv1d(kernel: int, inputs: int, stride: int, frames: int) -> None:
    torch.manual_seed(0)
    layer = StridedConv(inputs, 8, kernel, stride)
    x = noise(2, inputs, frames)
    expected = F.conv1d(x, layer.weight.permute(0, 2, 1), layer.bias, stride, (kernel - 1) // 2)
    nhwc = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    for way in (layer._dense, layer._strided):
        torch.testing.assert_close(way(nhwc).squeeze(2), expected, rtol=1e-4, atol=1e-5)


def test_the_block_form_notices_a_shifted_kernel() -> None:
    layer = StridedConv(2, 8, 15, 4)
    layer.fill = (layer.fill[0] - 1, layer.fill[1] + 1)
    x = noise(1, 2, 1, 64)
    assert not torch.allclose(layer._dense(x), layer._strided(x), atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [2048, 3001])
def test_shapes(kind: str, channels: int, frames: int) -> None:
    discriminator = build_discriminator((kind,), channels, capacity=8)
    real, fake = noise(2, channels, frames), noise(2, channels, frames, seed=1)
    outputs = discriminator(real)
    assert len(outputs) == {"scale": 3, "period": 5, "spectrogram": 3}[kind]
    for features in outputs:
        assert len(features) >= 5
        assert features[-1].shape[1] == 1, "the last one is the score"
        assert all(f.isfinite().all() for f in features)
    feature_matching(outputs, discriminator(fake)).backward()  # two calls agree in every shape


def test_length_of_scores_follows_scale_and_period() -> None:
    x = noise(2, 1, 4096)
    assert ScaleDiscriminator(1, 4, factor=2)(x)[-1].shape == (2, 1, 1, 4096 // 2 // 256)
    assert PeriodDiscriminator(1, 4, period=3)(x)[-1].shape == (2 * 3, 1, 1, -(-1366 // 256))


def test_a_period_discriminator_sees_phases_apart() -> None:
    """A signal of its period is constant within each phase; another phase's samples change nothing."""
    discriminator = PeriodDiscriminator(1, 4, period=5)
    x = noise(1, 1, 5).repeat(1, 1, 2048)
    scores = discriminator(x)[-1].squeeze()  # (phases, frames)
    inner = scores[:, 1:-1]
    torch.testing.assert_close(inner, inner[:, :1].expand_as(inner))
    assert inner[:, 0].std() > 0
    changed = x.clone()
    changed[..., 2::5] += 1
    moved = (discriminator(changed)[-1].squeeze() - scores).abs().amax(1) > 0
    assert moved.tolist() == [False, False, True, False, False]
    wrong = PeriodDiscriminator(1, 4, period=7)(x)[-1].squeeze()[:, 1:-1]
    assert wrong.std(1).max() > 1e-4, "another period's columns are not constant"


def test_streams_do_not_mix() -> None:
    discriminator = build_discriminator(KINDS, capacity=8)
    x = noise(3, 1, 2500)
    for together, alone in zip(discriminator(x), discriminator(x[1:2]), strict=True):
        per_stream = len(together[-1]) // 3
        torch.testing.assert_close(together[-1][per_stream : 2 * per_stream], alone[-1], rtol=1e-4, atol=1e-5)


def test_generator_step_trains_the_generator_only_and_the_other_the_other() -> None:
    discriminator = build_discriminator(KINDS, capacity=8)
    real, fake = noise(1, 1, 2048), noise(1, 1, 2048, seed=1).requires_grad_()
    hinge_discriminator(discriminator(real), discriminator(fake.detach())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in discriminator.parameters())
    discriminator.zero_grad()
    discriminator.requires_grad_(False)
    with torch.no_grad():
        target = discriminator(real)
    output = discriminator(fake)
    (hinge_generator(output) + feature_matching(target, output)).backward()
    assert fake.grad is not None
    assert fake.grad.abs().max() > 0
    assert all(p.grad is None for p in discriminator.parameters())


def test_gradient_reaches_every_sample() -> None:
    for kind in KINDS:
        x = noise(1, 2, 4096).requires_grad_()
        scores = [f[-1].sum() for f in build_discriminator((kind,), 2, capacity=8)(x)]
        (gradient,) = torch.autograd.grad(torch.stack(scores).sum(), x)
        assert (gradient != 0).float().mean() > 0.95, kind


def test_bf16_autocast_agrees_and_keeps_bf16_features() -> None:
    discriminator = build_discriminator(KINDS, capacity=16)
    x = noise(1, 1, 4096)
    exact = discriminator(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = discriminator(x)
    for a, b in zip(exact, cast, strict=True):
        assert b[0].dtype == torch.bfloat16
        assert (a[0] - b[0].float()).norm() < 0.02 * a[0].norm()


def test_it_learns_to_tell_two_sounds_apart() -> None:
    torch.manual_seed(0)
    discriminator = build_discriminator(("scale", "period"), capacity=8)
    optimiser = torch.optim.Adam(discriminator.parameters(), 3e-3, betas=(0.5, 0.9))
    phase = torch.arange(2048) * 0.1
    losses = []
    for step in range(12):
        sine, hiss = phase.sin().expand(2, 1, -1) * (0.5 + 0.01 * step), noise(2, 1, 2048, seed=step)
        loss = hinge_discriminator(discriminator(sine), discriminator(hiss))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown discriminator 'scales'; choose from scale, period"):
        build_discriminator(("scales",))
