"""Laws of the training losses: numpy's spectral distance, gradients, behaviour under gain, features."""

import numpy as np
import pytest
import torch
from torch import Tensor

from python.training.losses import (
    SpectralDistance,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
)

FLOOR = 1e-4


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    """d loss / d at, checked to be finite."""
    (result,) = torch.autograd.grad(loss, at)
    assert result.isfinite().all()
    return result


def numpy_distance(y: Tensor, x: Tensor, scales: tuple[int, ...]) -> float:
    """The definition, written with numpy in float64 and without any of the project's code."""
    terms = []
    for n in scales:
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
        sizes = []
        for signal in (y, x):
            frames = np.lib.stride_tricks.sliding_window_view(signal.double().numpy(), n, -1)[..., :: n // 4, :]
            sizes.append(np.sqrt(np.abs(np.fft.rfft(frames * window)) ** 2 + FLOOR**2))
        a, b = sizes
        terms.append(np.linalg.norm(a - b) / np.linalg.norm(b) + np.abs(np.log(a) - np.log(b)).mean())
    return float(np.mean(terms))


@pytest.mark.parametrize("shape", [(2, 1, 4096), (1, 2, 4001), (2, 16, 300), (1, 1, 128)])
def test_distance_equals_numpy(shape: tuple[int, ...]) -> None:
    y, x = noise(*shape), noise(*shape, seed=1)
    scales = tuple(n for n in (2048, 1024, 512, 256, 128) if n <= shape[-1])
    assert SpectralDistance(log_floor=FLOOR)(y, x).item() == pytest.approx(numpy_distance(y, x, scales), rel=1e-4)


def test_distance_without_the_window_is_another_one() -> None:
    """The comparison above notices a changed window, hop or floor."""
    y, x = noise(1, 1, 4096), noise(1, 1, 4096, seed=1)
    broken = SpectralDistance(log_floor=FLOOR)
    for n in broken.scales:
        broken.get_buffer(f"window_{n}").fill_(1)
    assert broken(y, x).item() != pytest.approx(numpy_distance(y, x, broken.scales), rel=1e-4)


def test_distance_to_itself_is_zero_and_to_others_positive() -> None:
    x = noise(2, 2, 3000)
    distance = SpectralDistance()
    assert distance(x, x).item() == 0
    assert distance(x * 1.001, x).item() > 0


def test_distance_does_not_hear_polarity() -> None:
    y, x = noise(2, 1, 3000), noise(2, 1, 3000, seed=1)
    assert SpectralDistance()(-y, x).item() == pytest.approx(SpectralDistance()(y, x).item(), rel=1e-6)


def test_distance_is_relative_far_above_the_floor() -> None:
    y, x = noise(1, 1, 4096), noise(1, 1, 4096, seed=1)
    distance = SpectralDistance(log_floor=1e-9)
    assert distance(10 * y, 10 * x).item() == pytest.approx(distance(y, x).item(), rel=1e-4)


def test_a_gain_counts_in_both_terms() -> None:
    """y = g x: |g - 1| + |log g|, at any scale."""
    x = noise(1, 1, 4096)
    assert SpectralDistance(log_floor=1e-9)(2 * x, x).item() == pytest.approx(1 + np.log(2), rel=1e-4)


def test_the_two_terms_have_their_weights() -> None:
    """2 x against x: 1 and log 2. The gradient is the weighted sum of the terms' gradients too."""
    x = noise(1, 1, 4096)
    y = (2 * x).requires_grad_()
    values = [SpectralDistance(relative_weight=r, log_weight=w)(y, x) for r, w in ((1, 0), (0, 1), (3, 5))]
    assert [v.item() for v in values] == pytest.approx([1, np.log(2), 3 + 5 * np.log(2)], rel=1e-3)
    relative, log, both = (gradient(v, y) for v in values)
    torch.testing.assert_close(both, 3 * relative + 5 * log)


def test_channels_last_memory_changes_nothing() -> None:
    y, x = noise(1, 16, 512), noise(1, 16, 512, seed=1)
    flipped = y.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    y.requires_grad_()
    results = [SpectralDistance()(t, x) for t in (y, flipped)]
    assert results[0].item() == pytest.approx(results[1].item(), rel=1e-6)
    torch.testing.assert_close(gradient(results[0], y), gradient(results[1], flipped))


def test_channels_are_streams() -> None:
    y, x = noise(4, 1, 1024), noise(4, 1, 1024, seed=1)
    merged = SpectralDistance()(y.reshape(1, 4, 1024), x.reshape(1, 4, 1024))
    assert merged.item() == pytest.approx(SpectralDistance()(y, x).item(), rel=1e-6)


@pytest.mark.parametrize("frames", [64, 73])
def test_gradient_of_the_distance(frames: int) -> None:
    """The derivative worked out by hand against finite differences, in float64."""
    y, x = noise(2, 2, frames, dtype=torch.float64).requires_grad_(), noise(2, 2, frames, seed=1).double()
    distance = SpectralDistance(scales=(32, 16, 8), log_floor=1e-3)
    assert torch.autograd.gradcheck(lambda y: distance(y, x), y, eps=1e-7, atol=1e-5)


def test_gradient_follows_the_loss_weight() -> None:
    y, x = noise(1, 1, 512).requires_grad_(), noise(1, 1, 512, seed=1)
    once, thrice = (gradient(weight * SpectralDistance()(y, x), y) for weight in (1, 3))
    torch.testing.assert_close(thrice, 3 * once)


@pytest.mark.parametrize("loud_y", [False, True])
@pytest.mark.parametrize("loud_x", [False, True])
def test_gradient_is_finite_at_silence(loud_y: bool, loud_x: bool) -> None:
    y, x = noise(1, 1, 4096) * loud_y, noise(1, 1, 4096, seed=1) * loud_x
    y.requires_grad_()
    moves = gradient(SpectralDistance()(y, x), y).abs().max() > 0
    assert moves == loud_y  # silence has no direction to go


def test_target_gets_no_gradient_and_bf16_is_computed_in_fp32() -> None:
    y, x = noise(1, 1, 2048).requires_grad_(), noise(1, 1, 2048, seed=1).requires_grad_()
    plain = SpectralDistance()(y, x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = SpectralDistance()(y, x)
    cast.backward()
    assert x.grad is None
    assert cast.dtype == torch.float32
    assert cast.item() == plain.item()


def test_distance_refuses_what_no_scale_fits() -> None:
    with pytest.raises(ValueError, match="127 frames"):
        SpectralDistance()(noise(1, 1, 127), noise(1, 1, 127))


def test_distance_refuses_unequal_shapes() -> None:
    with pytest.raises(ValueError, match=r"\[1, 1, 512\] and \[1, 2, 256\]"):
        SpectralDistance()(noise(1, 1, 512), noise(1, 2, 256))


def features(*tensors: Tensor) -> list[list[Tensor]]:
    return [[t, t.mean(1, keepdim=True)] for t in tensors]


def test_hinge_is_zero_only_beyond_the_margins() -> None:
    good, bad = [[torch.full((2, 1, 1, 5), 1.5)]], [[torch.full((2, 1, 1, 5), -1.5)]]
    assert hinge_discriminator(good, bad).item() == 0
    assert hinge_discriminator(bad, good).item() == 5
    assert hinge_generator(good).item() == -1.5


def test_hinge_pulls_scores_apart() -> None:
    real, fake = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    loss = hinge_discriminator([[real]], [[fake]])
    assert torch.autograd.grad(loss, (real, fake)) == (-1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relative", [False, True])
def test_feature_matching_equals_its_definition(relative: bool, dtype: torch.dtype) -> None:
    """Value and gradient, against plain autograd; large enough to be taken in slices."""
    real, fake = (noise(3, 16, 1, 25000, seed=i).to(dtype) for i in (0, 1))
    mine, plain = fake.clone().requires_grad_(), fake.float().requires_grad_()
    loss = feature_matching(features(real), features(mine), relative)
    expected = (plain - real.float()).abs().mean() / (real.float().abs().mean() if relative else 1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    torch.testing.assert_close(gradient(loss, mine).float(), gradient(expected, plain), rtol=1e-2, atol=0)


def test_relative_feature_matching_ignores_loudness() -> None:
    real, fake = noise(2, 4, 1, 50), noise(2, 4, 1, 50, seed=1)
    for relative in (True, False):
        ratio = feature_matching(features(9 * real), features(9 * fake), relative) / feature_matching(
            features(real), features(fake), relative
        )
        assert ratio.item() == pytest.approx(1 if relative else 9, rel=1e-5)


def test_feature_matching_leaves_scores_and_real_features_alone() -> None:
    real, fake, score = (noise(1, 4, 1, 9, seed=i).requires_grad_() for i in range(3))
    feature_matching([[real, noise(1)]], [[fake, score]]).backward()
    assert [t.grad is None for t in (real, score, fake)] == [True, True, False]


def test_feature_matching_is_finite_when_real_features_are_zero() -> None:
    zero, fake = torch.zeros(1, 4, 1, 9), noise(1, 4, 1, 9).requires_grad_()
    gradient(feature_matching(features(zero), features(fake)), fake)
