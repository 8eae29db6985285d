"""The engine's prior draws what torch draws from the same past, for codes and latents, on every instruction set.

And what Python sees of it: its method, its amount, its temperature.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from python import _native as native
from python.errors import RavelError
from python.streaming import deploy, graph, verify
from python.streaming.nn_tilde import PriorShell
from tests import networks

Audio = NDArray[np.float32]
NAMES = ("low", "low-discrete")
KEPT = (2, networks.QUANTISERS)
STILL = np.zeros((1, 1, 40), np.float32)


@cache
def shell(name: str, kept: int) -> PriorShell:
    made = networks.deployed_with_prior(name, kept)[1]
    assert isinstance(made, PriorShell)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("priors")


def load(folder: Path, name: str, kept: int = networks.KEPT, weights: str = "fp32", isa: str = "") -> native.Model:
    path = folder / f"{name}-{kept}-{weights}.ravel"
    if not path.exists():
        source, made, prior = networks.deployed_with_prior(name, kept)
        path.write_bytes(graph.ravel(made, deploy.card(made, source, name, prior), weights))
    return native.Model(path, isa or None)


def played(model: native.Model, method: str, x: Audio, **settings: float) -> Audio:
    engine = native.Engine(model, method, x.shape[0], max_hops=4)
    for name, value in settings.items():
        setattr(engine, name, value)
    return engine.process(x)


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("name", NAMES)
def test_it_draws_what_torch_draws_from_the_same_past(name: str, kept: int, weights: str, folder: Path) -> None:
    of_file = graph.with_weights(shell(name, kept), weights)
    assert isinstance(of_file, PriorShell)
    for isa in native.cpu_features():
        if weights == "bf16" and isa.endswith("_bf16"):
            continue  # rounds activations too
        model = load(folder, name, kept, weights, isa)
        assert "logits" in verify._drawn(native, model, of_file)
        assert model.selftest()["prior"] <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_temperature_are_those_of_the_script(name: str, folder: Path) -> None:
    model, script = load(folder, name), copy.deepcopy(shell(name, networks.KEPT))
    for seed, temperature in ((0, 0.0), (3, 0.5), (7, 1.0)):
        script.reset()
        script.set_seed(seed)
        script.set_prior_temperature(temperature)
        want = script.prior(torch.from_numpy(STILL)).numpy()
        assert np.abs(played(model, "prior", STILL, seed=seed, prior_temperature=temperature) - want).max() <= 1e-6
        warm = np.full_like(STILL, temperature)
        assert np.abs(played(model, "prior", warm, seed=seed, prior_temperature=0.0) - want).max() <= 1e-6


def test_another_prior_than_the_files_is_noticed(folder: Path) -> None:
    model, other = load(folder, "low"), copy.deepcopy(shell("low", networks.KEPT))
    other.prior_net.dilated[2].weight[:, 0] *= 1.5  # the oldest row that is heard
    with pytest.raises(RavelError, match="prior, logits, engine against torch differs"):
        verify._drawn(native, model, other)


def test_a_draw_is_explained_by_its_share_or_by_one_next_to_it() -> None:
    logits = torch.tensor([[[0.0], [1.0], [2.0]]])
    edge = float(logits.softmax(1)[0, 0])
    drawn = torch.ones(1, 1)
    assert verify.explained(logits, drawn, torch.tensor([[edge + 0.01]]))
    assert verify.explained(logits, drawn, torch.tensor([[edge - 0.5 * verify.DOUBT]]))
    assert not verify.explained(logits, drawn, torch.tensor([[edge - 2 * verify.DOUBT]]))
    assert not verify.explained(logits, drawn, torch.tensor([[0.99]]))


@pytest.mark.parametrize("name", NAMES)
def test_the_amount_turns_what_comes_in_into_what_it_plays(name: str, folder: Path) -> None:
    model = load(folder, name)
    x = np.random.default_rng(1).normal(0, 0.3, (1, 1, 40 * model.hop_samples)).astype(np.float32)
    alone = played(model, "decode", played(model, "prior", STILL))
    whole = played(model, "forward", x, prior=1.0)
    assert np.array_equal(whole, alone)
    assert np.array_equal(whole, played(model, "forward", -x, prior=1.0))
    assert np.array_equal(played(model, "forward", x, prior=0.0), played(model, "forward", x))
    assert not np.array_equal(played(model, "forward", x, prior=0.5), played(model, "forward", -x, prior=0.5))


def test_what_python_asks_is_checked(folder: Path, tmp_path: Path) -> None:
    model = load(folder, "low")
    engine = native.Engine(model, "prior")
    assert (engine.method, engine.in_frames, engine.out_frames) == ("prior", 1, 1)
    assert engine.delay == networks.QUANTISERS - 1
    assert {op["kind"] for op in engine.ops()} >= {"codebook", "gated_tanh", "draw"}
    for name, value, message in (("prior", 1.5, "prior: 0 to 1"), ("prior_temperature", -1.0, "0 to 10")):
        with pytest.raises(ValueError, match=message):
            setattr(engine, name, value)
    with pytest.raises(native.Error, match="there are ops 0 to"):
        engine.latest(1000)
    source, without = networks.deployed("low")
    path = tmp_path / "none.ravel"
    path.write_bytes(graph.ravel(without, deploy.card(without, source, "none"), "fp32"))
    none = native.Model(path)
    assert "prior" not in none.methods
    with pytest.raises(native.Error, match="none has no method prior; `ravel train-prior` teaches one"):
        native.Engine(none, "prior")
    with pytest.raises(ValueError, match="prior: the model has none"):
        native.Engine(none).prior = 0.5
    player = native.Player("prior")
    with pytest.raises(native.Error, match="no method prior"):
        player.load(none)
        player.prepare(44100)


@pytest.mark.parametrize("name", NAMES)
def test_the_player_gives_its_frames_and_has_its_controls(name: str, folder: Path) -> None:
    model = load(folder, name)
    player = native.Player("prior")
    player.load(model)
    player.prepare(model.sample_rate_hz, 512, offline=True)
    frames = played(model, "prior", STILL)[0]
    held = player.process(np.zeros((1, 40 * model.hop_samples), np.float32))
    late = player.latency_samples - model.methods["prior"]["delay_samples"]
    shown = held[:, late :: model.hop_samples]
    assert shown.shape[1] > 30
    assert np.array_equal(shown, frames[:, : shown.shape[1]])
    controls = {control["name"]: control for control in native.Player.controls()}
    assert controls["prior"]["maximum"] == 1
    assert controls["prior_temperature"]["default"] == 1
    whole = native.Player()
    whole.set("prior", 1.0)
    whole.load(model)
    whole.prepare(model.sample_rate_hz, fixed_block=model.hop_samples, offline=True)
    x = np.random.default_rng(1).normal(0, 0.3, (1, 40 * model.hop_samples)).astype(np.float32)
    assert np.array_equal(whole.process(x), played(model, "forward", x[None], prior=1.0)[0])
