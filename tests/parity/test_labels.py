"""Labels in the engine and player are those of the network: any weights, any instruction set, ramped while playing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from python import _native as native
from python.runs import Trained
from python.streaming import deploy, graph, verify
from python.streaming.nn_tilde import Shell
from tests import contract
from tests.networks import KEPT, deployed

LABELS = ("flute", "reed", "voice")
WEIGHTS = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.25, 0.75, 0.0), (-0.5, 1.0, 2.0), (0.0, 0.0, 0.0)]
Made = tuple[Trained, Shell, native.Model, Path]


@pytest.fixture(scope="module", params=["low", "v2-small", "low-discrete"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with torch.jit.optimized_execution(False):
        source, shell = deployed(request.param, labels=LABELS)
        path = tmp_path_factory.mktemp("labels") / "model.ravel"
        path.write_bytes(graph.ravel(shell, deploy.card(shell, source, request.param), "fp32"))
        yield source, shell, native.Model(path), path


def weighed(it: native.Engine | native.Player, weights: tuple[float, ...]) -> None:
    for label, weight in enumerate(weights):
        it.set_label_weight(label, weight)


def test_the_model_knows_its_labels_and_itself(made: Made) -> None:
    _, _, model, _ = made
    assert model.labels == list(LABELS)
    assert max(model.selftest().values()) <= 1e-5


def test_every_instruction_set_plays_every_blend(made: Made) -> None:
    source, shell, _, path = made
    x = graph.sounding(shell, 2, 40 * shell.hop_samples, 3)
    wants = [verify.reference(source, KEPT, x, torch.tensor(weights)) for weights in WEIGHTS]
    peak = float(wants[0].abs().max())
    assert all((want - wants[0]).abs().max() > 0.01 * peak for want in wants[1:]), "labels are heard"
    for isa in native.cpu_features():
        for weights, want in zip(WEIGHTS, wants, strict=True):
            engine = native.Engine(native.Model(path, isa), "forward", streams=2, max_hops=3)
            engine.temperature, engine.noise = 0.0, False
            weighed(engine, weights)
            contract.assert_close(torch.from_numpy(engine.process(x.numpy())), want, f"{isa}, {weights}")


def test_blocks_and_slices_change_no_bit(made: Made) -> None:
    _, shell, model, _ = made
    x = graph.sounding(shell, 1, 24 * shell.hop_samples, 4).numpy()

    def engine(**how: int) -> native.Engine:
        it = native.Engine(model, "forward", **how)
        weighed(it, (0.3, 0.6, 0.1))
        return it

    want = engine().process(x)
    assert np.array_equal(engine(max_hops=5).process(x), want)
    sliced = engine(slices=4, core_slices=3)
    got = sliced.process_sliced(x)
    assert np.array_equal(got[:, :, sliced.sliced_delay :], want[:, :, : got.shape[2] - sliced.sliced_delay])


def test_the_player_ramps_and_arrives(made: Made) -> None:
    _, shell, model, _ = made
    x = graph.sounding(shell, 1, 300 * shell.hop_samples, 5).numpy()[0]

    def player(*weights: float) -> native.Player:
        it = native.Player()
        it.load(model)
        weighed(it, weights)
        it.set_mode("inline")
        it.prepare(model.sample_rate_hz, shell.hop_samples, offline=True)
        return it

    first, second = player(1, 0, 0).process(x), player(0, 1, 0).process(x)
    turned, middle = player(), x.shape[1] // 3
    assert [turned.label_weight(i) for i in range(3)] == [1, 0, 0]
    got = turned.process(x[:, :middle])
    assert np.array_equal(got, first[:, :middle]), "at first the first plays"
    turned.set_label(1)
    rest = turned.process(x[:, middle:])
    assert not np.allclose(rest[:, :4096], second[:, middle : middle + 4096], atol=1e-3 * np.abs(second).max())
    end = slice(-4096, None)
    assert np.abs(rest[:, end] - second[:, end]).max() <= 1e-5 * np.abs(second).max()
    assert np.abs(first[:, end] - second[:, end]).max() > 1e-3 * np.abs(second).max()


def test_what_is_refused(made: Made, tmp_path: Path) -> None:
    _, _, model, _ = made
    engine, player = native.Engine(model), native.Player()
    player.load(model)
    for it in (engine, player):
        for label in (-1, 3):
            with pytest.raises(ValueError, match="labels are 0 to 2"):
                it.set_label_weight(label, 1.0)
    for weight in (11.0, float("nan")):
        with pytest.raises(ValueError, match="-10 to 10"):
            engine.set_label_weight(0, weight)
    with pytest.raises(ValueError, match="weight"):
        player.set_label_weight(0, float("nan"))
    source, shell = deployed("low")
    (tmp_path / "plain.ravel").write_bytes(graph.ravel(shell, deploy.card(shell, source, "plain"), "fp32"))
    plain = native.Model(tmp_path / "plain.ravel")
    assert plain.labels == []
    with pytest.raises(ValueError, match="the model has no labels"):
        native.Engine(plain).set_label_weight(0, 1.0)
    player.load(plain)
    with pytest.raises(ValueError, match="the model has no labels"):
        player.set_label(0)


def test_a_wrong_table_fails(made: Made) -> None:
    source, shell, model, _ = made
    x = graph.sounding(shell, 1, 40 * shell.hop_samples, 3)
    engine = native.Engine(model)
    engine.temperature, engine.noise = 0.0, False
    weighed(engine, (0.26, 0.74, 0.0))
    want = verify.reference(source, KEPT, x, torch.tensor((0.25, 0.75, 0.0)))
    with pytest.raises(AssertionError, match="off by a hundredth"):
        contract.assert_close(torch.from_numpy(engine.process(x.numpy())), want, "off by a hundredth")
