"""The latent: its cost, playing it at a temperature, and folding principal components."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from python.model import layers as L
from python.model.latent import (
    MMD_SCALES,
    Fill,
    Spherical,
    Variational,
    Wasserstein,
    active_units,
    discrepancy,
)
from tests import contract

SIZE = 6


def parameters(frames: int = 50, streams: int = 2) -> Tensor:
    return torch.randn(streams, 2 * SIZE, frames, generator=torch.Generator().manual_seed(0))


def test_cost_is_the_divergence_from_the_prior() -> None:
    h, latent = parameters(), Variational(SIZE)
    _, cost = latent.draw(h, torch.zeros(2, SIZE, 50))
    scale = torch.nn.functional.softplus(h[:, SIZE:]) + 1e-4
    want = kl_divergence(Normal(h[:, :SIZE], scale), Normal(0.0, 1.0)).mean((0, 2))
    torch.testing.assert_close(cost, want)
    assert cost.shape == (SIZE,)


def test_a_draw_is_mean_plus_scaled_gaussians() -> None:
    h, latent = parameters(), Variational(SIZE)
    eps = torch.randn(2, SIZE, 50)
    z, _ = latent.draw(h, eps)
    scale = torch.nn.functional.softplus(h[:, SIZE:]) + 1e-4
    torch.testing.assert_close(z, h[:, :SIZE] + scale * eps)
    assert torch.equal(latent.draw(h, torch.zeros_like(eps))[0], latent.centre(h))


def test_gradients_reach_means_and_scales() -> None:
    h = parameters().requires_grad_()
    z, cost = Variational(SIZE).draw(h, torch.randn(2, SIZE, 50))
    (z.square().sum() + cost.sum()).backward()
    assert (h.grad != 0).all()


@pytest.mark.parametrize("extreme", [-200.0, 200.0])
def test_extreme_scales_stay_finite(extreme: float) -> None:
    h = torch.full((1, 2 * SIZE, 3), extreme)
    z, cost = Variational(SIZE).draw(h, torch.ones(1, SIZE, 3))
    assert torch.isfinite(z).all()
    assert torch.isfinite(cost).all()


def test_playing_gives_the_mean_unless_the_temperature_says_otherwise() -> None:
    h, latent = parameters(), Variational(SIZE)
    assert torch.equal(latent(h), h[:, :SIZE])
    latent.temperature = 1.0
    assert not torch.equal(latent(h), h[:, :SIZE])
    assert torch.equal(latent(h), latent(h))  # hashed, not drawn


# -- spherical and Wasserstein ------------------------------------------------


def test_discrepancy_is_none_between_equals_and_grows_with_the_shift() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 800, 4)
    apart = [float(discrepancy(x, y + shift)) for shift in (0.0, 0.3, 1.0, 3.0)]
    assert abs(apart[0]) < 0.01
    assert apart[1] > 0.02
    assert apart == sorted(apart)
    assert float(discrepancy(x, 0.3 * y)) > 0.1, "width is noticed too"
    a, b = x[:40].double(), y[:40].double() + 1
    brute = sum(
        sum(c / (c + (p - q).square().sum()) for c in (8 * s for s in MMD_SCALES)) * weight
        for left, right, weight in ((a, a, 1 / 1560), (b, b, 1 / 1560), (a, b, -2 / 1600))
        for i, p in enumerate(left)
        for j, q in enumerate(right)
        if left is not right or i != j
    )
    assert float(discrepancy(a, b)) == pytest.approx(float(brute), rel=1e-6)


@pytest.mark.parametrize("kind", [Wasserstein, Spherical])
def test_frames_learn_the_prior(kind: type[Wasserstein]) -> None:
    """From a narrow, shifted cloud, by gradient, to what the prior looks like; without the cost they stay."""
    latent = kind(4)
    h = (0.1 * torch.randn(1, 4, 400) + 2.0).requires_grad_()
    optimiser = torch.optim.Adam([h], 0.05)
    generator = torch.Generator().manual_seed(0)
    first, last = 0.0, 0.0
    for _ in range(150):
        z, cost = latent.draw(h, torch.randn(1, 4, 400, generator=generator))
        optimiser.zero_grad()
        cost.sum().backward()
        optimiser.step()
        last = float(cost[0].detach())
        first = first or last
    assert cost.shape == (4,)
    assert last < 0.05 * first
    assert float(z.detach().mean((0, 2)).abs().max()) < 0.35
    if kind is Spherical:
        torch.testing.assert_close(z.square().sum(1), torch.full((1, 400), 4.0))


@pytest.mark.parametrize("kind", [Wasserstein, Spherical])
@torch.no_grad()
def test_they_are_deployed_as_means_without_scale(kind: type[Wasserstein]) -> None:
    latent, out_of, h = kind(SIZE), L.Conv1d(SIZE, 4, 3), parameters()[:, :SIZE]
    z = latent.point(h)
    want = out_of.step(latent.limited(h, MEAN, components(), 3), [MEAN[None, :].expand(2, 2, SIZE)])[0]
    behind, played = latent.played()
    into = behind[-1]
    assert isinstance(into, L.Conv1d)
    fill = played.deployed(into, out_of, MEAN, components(), 3)
    played.temperature = 1.0
    for layer in (*behind, played):
        h = layer(h)
    torch.testing.assert_close(h, components()[:3] @ (z - MEAN[:, None]), rtol=1e-3, atol=1e-3)  # the scale is 1e-4
    torch.testing.assert_close(out_of(fill(h)), want, rtol=1e-2, atol=2e-3)


def test_silence_has_a_place_on_the_sphere() -> None:
    assert torch.isfinite(Spherical(SIZE).draw(torch.zeros(1, SIZE, 3), torch.randn(1, SIZE, 3))[0]).all()


# -- principal components --------------------------------------------------


def chain() -> tuple[L.Conv1d, Variational, L.Conv1d]:
    torch.manual_seed(1)
    into = L.Conv1d(5, 2 * SIZE, 3, groups=1)
    out_of = L.Conv1d(SIZE, 4, 3)
    return into, Variational(SIZE), out_of


def components() -> Tensor:
    torch.manual_seed(2)
    return torch.linalg.qr(torch.randn(SIZE, SIZE))[0].T.contiguous()


MEAN = torch.linspace(-1, 2, SIZE)


def unfolded(kept: int, x: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(latents, decoded) by definition: z = P (mean - mu) + P (scale * eps), back, the past at the mean."""
    into, latent, out_of = chain()
    rotation = components()
    h = into(x)
    z = latent.centre(h) - MEAN[:, None]
    if eps is not None:
        z = z + latent.spread(h) * eps
    z = rotation[:kept] @ z
    back = rotation[:kept].T @ z + MEAN[:, None]
    past = MEAN[None, :].expand(x.shape[0], 2, SIZE)
    return z, out_of.step(back, [past])[0]


@pytest.mark.parametrize("kept", [1, 3, SIZE])
@torch.no_grad()
def test_folded_components_equal_unfolded_ones(kept: int) -> None:
    into, latent, out_of = chain()
    fill = latent.deployed(into, out_of, MEAN, components(), kept)
    x = torch.randn(2, 5, 40)
    z = latent(into(x))
    want_z, want = unfolded(kept, x)
    assert z.shape == (2, kept, 40)
    torch.testing.assert_close(z, want_z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out_of(fill(z)), want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_folding_keeps_biases_and_scales() -> None:
    for bias in (False, True):
        into, out_of = L.Conv1d(5, 2 * SIZE, 3, bias=bias), L.Conv1d(SIZE, 4, 3, bias=bias)
        if bias:
            torch.nn.init.uniform_(into.bias)
            torch.nn.init.uniform_(out_of.bias)
        x, latent = torch.randn(2, 5, 40), Variational(SIZE)
        h = into(x)
        past = MEAN[None, :].expand(2, 2, SIZE)
        want = out_of.step(latent.centre(h), [past])[0]
        scales = latent.spread(h)
        fill = latent.deployed(into, out_of, MEAN, components(), SIZE)
        torch.testing.assert_close(out_of(fill(latent(into(x)))), want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(latent.spread(into(x)), scales)


@torch.no_grad()
def test_a_grouped_last_convolution_folds() -> None:
    """v1's encoder ends in two groups, means and scales: the rotation stays inside the first."""
    into, out_of = L.Conv1d(8, 2 * SIZE, 5, groups=2), L.Conv1d(SIZE, 4, 3)
    x, latent = torch.randn(2, 8, 40), Variational(SIZE)
    want = components() @ (latent.centre(into(x)) - MEAN[:, None])
    latent.deployed(into, out_of, MEAN, components(), SIZE)
    torch.testing.assert_close(latent(into(x)), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@torch.no_grad()
def test_temperature_scatters_by_the_rotated_scales(temperature: float) -> None:
    """z = P (mean - mu) + t P (scale * eps): mean and covariance of many hashed draws."""
    into, latent, out_of = chain()
    kept, frames = 4, 60000
    x = torch.randn(1, 5, 1).expand(1, 5, frames)
    h = chain()[0](x)[..., 10:11]
    rotation, scale = components()[:kept], latent.spread(h)[0, :, 0]
    latent.deployed(into, out_of, MEAN, components(), kept)
    latent.temperature = temperature
    z = latent(into(x))[0, :, 10:]
    centre = (rotation @ (h[0, :SIZE] - MEAN[:, None]))[:, 0]
    covariance = temperature**2 * rotation @ torch.diag(scale**2) @ rotation.T
    largest = temperature * float(scale.max())
    assert (z.mean(1) - centre).abs().max() < 5 * largest / math.sqrt(frames)
    assert (torch.cov(z) - covariance).abs().max() < 5 * 2 * largest**2 / math.sqrt(frames)


def test_fill_rests_or_wanders() -> None:
    z = torch.randn(2, 3, 4000)
    fill = Fill(3, 5)
    assert torch.equal(fill(z)[:, :3], z)
    assert fill(z)[:, 3:].abs().max() == 0
    fill.fill = 0.5
    rest = fill(z)[:, 3:]
    assert rest.std().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(fill(z)[:, :3], z)
    assert not torch.equal(rest[0], rest[1])
    complete = Fill(3, 3, fill=1.0)
    assert torch.equal(complete(z), z)


def test_latent_and_fill_keep_their_counters_when_silent() -> None:
    """Turning the temperature up later must not depend on having had it up before."""
    h = parameters(20)
    quiet, loud = Variational(SIZE), Variational(SIZE, temperature=1.0)
    _, state = quiet.step(h[..., :8], quiet.initial_state(h))
    quiet.temperature = 1.0
    contract.assert_close(quiet.step(h[..., 8:], state)[0], loud(h)[..., 8:], "counter")


@pytest.mark.parametrize(
    ("fidelity", "count"), [(0.1, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.9, 3), (0.99, 4), (1.0, 4)]
)
def test_fidelity_counts_the_components_it_needs(fidelity: float, count: int) -> None:
    assert active_units(torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64), fidelity) == count


@pytest.mark.parametrize("fidelity", [0.0, -1.0, 1.1, math.nan, math.inf])
def test_a_fidelity_outside_its_range_is_refused(fidelity: float) -> None:
    with pytest.raises(ValueError, match=r"fidelity must lie in \(0, 1\]"):
        active_units(torch.ones(3), fidelity)
