"""What the numbers of a prior stand for: levels of latents, as any export of them encodes and decodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from python import train_prior
from python.errors import RavelError
from python.model.alphabet import Alphabet, fitted_levels, levels_alphabet
from python.model.quantise import Codebooks, Quantised
from python.streaming import deploy
from python.training import prior as learning
from python.training.corpus import Recording
from python.training.pca import Principal
from python.training.prior import encoded, numbers_of
from tests import networks

KINDS = ("variational", "spherical", "wasserstein")
LATENTS, LEVELS = 3, 16


def some_latents(played: int, reach: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return reach * (2 * torch.rand(2, played, 50, generator=generator) - 1)


def playing(played: int) -> Alphabet:
    levels = torch.tensor([[18.0], [6.0], [1.2]]) * torch.linspace(-1, 1, LEVELS)
    return levels_alphabet(levels, torch.zeros(8), torch.eye(8)).playing(played)


def test_each_latent_takes_its_nearest_level_and_the_rest_is_at_the_mean() -> None:
    alphabet, ends = playing(5), torch.tensor([18.0, 6.0, 1.2])
    z = some_latents(5) * torch.cat([ends, torch.ones(2)])[:, None]
    numbers = alphabet.listen(z)
    spoken = alphabet.speak(numbers)
    half = ends / (LEVELS - 1)
    assert ((spoken - z)[:, :LATENTS].abs() <= half[:, None] * 1.0001).all()
    assert ((spoken - z)[:, :LATENTS].abs().amax((0, 2)) > half * 0.8).all()
    assert (spoken[:, LATENTS:] == 0).all()
    assert torch.equal(alphabet.listen(spoken), numbers)
    assert (alphabet.listen(1e6 * z).unique() == torch.tensor([0.0, LEVELS - 1])).all()


def test_no_number_is_the_mean() -> None:
    alphabet = playing(5)
    assert (alphabet.speak(torch.full((1, LATENTS, 2), -1.0)) == 0).all()


def test_a_smaller_export_speaks_of_its_first_latents() -> None:
    numbers = playing(8).listen(some_latents(8))
    whole, few = playing(8).speak(numbers), playing(2).speak(numbers)
    assert torch.equal(few, whole[:, :2])
    assert (playing(8).heard, playing(2).heard) == (8, LATENTS)
    assert torch.equal(playing(2).listen(whole[:, :LATENTS]), numbers)


@pytest.mark.parametrize("played", [2, LATENTS, 5])
def test_the_engine_is_given_the_same_as_codebooks_on_the_axes(played: int) -> None:
    """Residual quantisation and codebooks, as the layers of discrete models do them."""
    alphabet = playing(played)
    ear, mouth = alphabet.ear(), alphabet.mouth()
    assert ear is not None
    assert mouth is not None
    there = min(played, LATENTS)
    assert (ear["in"], ear["out"], mouth["in"], mouth["out"]) == (played, there, there, played)
    quantise = Quantised(played, there, LEVELS)
    quantise.codebooks.copy_(ear["codebook"])
    z = some_latents(played, 4.0)
    numbers = quantise.codes_of(z).float()
    heard = torch.cat([z, torch.zeros(2, max(0, LATENTS - played), 50)], 1)
    assert torch.equal(numbers, alphabet.listen(heard)[:, :there])
    spoken = Codebooks(mouth["codebook"], mouth["offset"])(numbers)
    assert torch.equal(spoken, alphabet.speak(alphabet.listen(heard)))


def test_levels_are_where_the_latents_are_and_reach_their_ends() -> None:
    """Half of the frames of a latent are silence, one point; some are far away."""
    generator = torch.Generator().manual_seed(0)
    z = torch.cat([torch.full((5000,), 0.123), 0.1 * torch.randn(5000, generator=generator), torch.tensor([-3.0, 2.0])])
    levels = fitted_levels(torch.stack([z, -10 * z]), 32)
    assert levels.shape == (2, 32)
    assert (levels.diff() >= 0).all()
    torch.testing.assert_close(levels[1], -10 * levels[0].flip(0), atol=0.2, rtol=0)

    def error(levels: Tensor, x: Tensor) -> float:
        alphabet = levels_alphabet(levels, torch.zeros(1), torch.eye(1))
        return float((alphabet.speak(alphabet.listen(x[None, None])) - x).square().mean())

    even = torch.linspace(-3, 2, 32)[None]
    assert error(levels[:1], z) < 0.1 * error(even, z)
    assert error(levels[:1], z[:1]) ** 0.5 < 1e-3
    assert error(levels[:1], z[-2:]) ** 0.5 < 0.01


def test_levels_of_a_gaussian_are_nearly_the_best_there_are() -> None:
    """J. Max, Quantizing for minimum distortion (1960): the error of 8 levels is 0.03454 of the variance."""
    z = torch.randn(1, 1, 20000, generator=torch.Generator().manual_seed(0))
    alphabet = levels_alphabet(fitted_levels(z[0], 8), torch.zeros(1), torch.eye(1))
    assert 0.03 < float((alphabet.speak(alphabet.listen(z)) - z).square().mean()) < 0.037


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_frames_than_levels_are_levels_themselves(count: int) -> None:
    z = torch.tensor([[0.5, -1.0, 2.0]])[:, :count]
    levels = levels_alphabet(fitted_levels(z, 8), torch.zeros(1), torch.eye(1))
    torch.testing.assert_close(levels.speak(levels.listen(z[None]))[0], z)


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_is_heard_as_a_whole_export_encodes_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = networks.trained("low", latent_kind=kind)
    hop, rate = source.net.hop_samples, source.config.model.sample_rate_hz
    sound = 0.3 * np.random.default_rng(0).standard_normal(40 * hop - 7).astype(np.float32)
    (tmp_path / "a.f32").write_bytes(sound.tobytes())
    recording = Recording("a", len(sound), 1, rate, tmp_path / "a.f32")
    shell = deploy.deploy(source, networks.SIZE, False)
    shell.set_temperature(0.0)
    z = shell.encode(torch.nn.functional.pad(torch.from_numpy(sound), (0, 7))[None, None])
    alphabet = levels_alphabet(
        fitted_levels(z[0, :LATENTS], LEVELS), source.principal.mean, source.principal.components
    )
    assert all(len(one.unique()) > 4 for one in alphabet.listen(z)[0])
    monkeypatch.setattr(learning, "LISTEN_FRAMES", 7)
    heard = encoded(source.net, source.principal, LATENTS, recording)
    assert torch.equal(numbers_of(alphabet, heard)[None].float(), alphabet.listen(z))


def test_a_prior_is_bound_to_mean_components_and_levels() -> None:
    generator = torch.Generator().manual_seed(0)
    levels, mean = torch.randn(LATENTS, LEVELS, generator=generator), torch.randn(8, generator=generator)
    components = torch.randn(8, 8, generator=generator)
    bound = levels_alphabet(levels, mean, components).bound

    def moved(x: Tensor, *where: int) -> Tensor:
        x = x.clone()
        x[where] += 1e-4
        return x

    assert bound == levels_alphabet(levels.clone(), mean, moved(components, 5, 0)).bound  # of which it does not speak
    assert bound != levels_alphabet(moved(levels, 2, 3), mean, components).bound
    assert bound != levels_alphabet(levels, moved(mean, 7), components).bound
    assert bound != levels_alphabet(levels, mean, moved(components, 2, 7)).bound


def test_the_dials_choose_how_many_latents() -> None:
    source = networks.trained("low")

    def wanted(**dials: float) -> int:
        return train_prior.numbers_wanted(source, train_prior.Size(**dials))  # type: ignore[arg-type]

    curve = source.principal.fidelity_curve
    for fidelity in (train_prior.FIDELITY, 0.5):
        assert wanted(fidelity=fidelity) == sum(share < fidelity for share in curve) + 1
    assert wanted() == wanted(fidelity=train_prior.FIDELITY)
    assert wanted(latents=2) == 2
    many = dataclasses.replace(source, principal=Principal(torch.zeros(40), torch.eye(40), torch.ones(40)))
    assert train_prior.numbers_wanted(many, train_prior.Size()) == train_prior.MOST_LATENTS
    for dials, said in (
        ({"latents": 9}, "1 to 8"),
        ({"fidelity": 1.5}, "fidelity"),
        ({"levels": 1}, "at least 2"),
    ):
        with pytest.raises(RavelError, match=said):
            wanted(**dials)
    for option in ("latents", "fidelity", "levels"):
        with pytest.raises(RavelError, match=f"--{option} 1: this model has codes"):
            train_prior.numbers_wanted(networks.trained("low-discrete"), train_prior.Size(**{option: 1}))
