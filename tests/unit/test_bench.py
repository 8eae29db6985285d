"""The benchmark compares equals: every plain form computes what ours does, and a broken one is noticed."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from python import bench
from python.benchmarks.engine import Figure, figures
from python.benchmarks.plain import History, plain_shell
from python.benchmarks.plain_training import PlainTraining, aligned, distance
from python.errors import RavelError
from python.streaming.nn_tilde import Shell
from python.training.losses import SpectralDistance, feature_matching

PRESETS = ("v1", "v2", "v2-small", "low")


def small(name: str) -> Shell:
    return bench.deployed(name, capacity=4, latent=6)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", ["encode", "decode", "forward"])
def test_plain_form_agrees(name: str, method: str) -> None:
    shell = small(name)
    hop = shell.hop_samples
    x = torch.randn(1, shell.latents, 2) if method == "decode" else torch.randn(1, 1, 2 * hop)
    plain = plain_shell(shell)
    with torch.no_grad():
        bench.check_agreement(name, [bench.bound(m, method, x) for m in (shell, plain)], shell)


def test_a_broken_plain_form_is_noticed() -> None:
    """Histories lost between blocks: the first block still agrees, the second does not."""
    shell = small("low")
    plain = plain_shell(shell)
    for module in plain.modules():
        if isinstance(module, History):
            module.cached = False
    x = torch.randn(1, 1, shell.hop_samples)
    with torch.no_grad(), pytest.raises(RavelError, match="low and its plain form differ"):
        bench.check_agreement("low", [bench.bound(m, "forward", x) for m in (shell, plain)], shell)


@pytest.mark.parametrize("name", ["low", "v2"])
def test_plain_training_computes_the_same(name: str) -> None:
    with bench.trainer_for(name, 1, capacity=4, latent=6, crop_samples=32768, discriminator_capacity=4) as trainer:
        net, t = trainer.net, trainer.config.training
        plain = PlainTraining(net, trainer.discriminator, t)
        x, eps = 0.1 * torch.randn(1, 1, t.crop_samples), torch.randn(1, 6, t.crop_samples // net.hop_samples)
        bench.check_training(name, trainer, plain, x, eps)
        before = [p.clone() for p in plain.decoder.parameters()]
        for step in (plain.phase_1, plain.discriminator, plain.generator):
            step(x, eps)
        assert any((a != b).any() for a, b in zip(before, plain.decoder.parameters(), strict=True))
        with pytest.raises(RavelError, match="differ"):
            bench.check_training(name, trainer, plain, x, eps)  # it has moved on


def test_plain_losses_are_the_same() -> None:
    torch.manual_seed(0)
    y, x = torch.randn(2, 1, 1, 8192).squeeze(1), torch.randn(2, 1, 8192)
    assert distance(y, x).item() == pytest.approx(SpectralDistance()(y, x).item(), rel=1e-3)
    with bench.trainer_for("low", 1, capacity=4, discriminator_capacity=4, feature_relative=True) as trainer:
        plain = PlainTraining(trainer.net, trainer.discriminator, trainer.config.training)
        with torch.no_grad():
            real, fake = trainer.discriminator(x), trainer.discriminator(y)
            theirs = torch.stack([plain._matching(r, f) for r, f in zip(real, fake, strict=True)]).mean()
            assert theirs.item() == pytest.approx(feature_matching(real, fake, True).item(), rel=1e-4)


def test_alignment_undoes_a_delay_of_either_sign() -> None:
    x = torch.arange(20.0)
    for delay in (0, 3, -3):
        a, b = aligned(torch.roll(x, delay), x, delay)
        assert len(a) == 20 - abs(delay)
        assert torch.equal(a, b)


def test_rows_say_the_ratio_and_the_json_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "2.00x" in bench.Row("part", "what", 1.0, 2.0).line()
    row = bench.Row("part", "alone", 4.0)
    monkeypatch.setitem(bench.PARTS, "overhead", ("heading", lambda args: iter([row])))
    assert bench.main(["--only", "overhead", "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["rows"][0]["ours_ms"] == 4.0
    assert figures["rows"][0]["ratio"] is None
    assert figures["machine"]["torch"] == torch.__version__


def test_calls_are_taken_in_turns() -> None:
    order: list[str] = []
    bench.alternate([lambda: order.append("a"), lambda: order.append("b")], 0.0, rounds=3)
    assert order == ["a", "b"] * 4


def test_blocks_run_from_the_hop_to_the_largest() -> None:
    assert list(bench.blocks(2048)) == [2048, 4096, 8192, 16384]


def test_the_table_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure of one preset, on a tiny form of it: what has a goal has a verdict, and the rounding is seen."""
    pytest.importorskip("python._native", reason="the engine is not built")
    monkeypatch.setattr("python.benchmarks.engine.ROUNDS", 1)
    tiny = partial(bench.deployed_from, capacity=4, latent=6)
    table = {figure.what: figure for figure in figures(0.001, ["low"], tiny, [plain_shell, plain_shell])}
    for weights in ("fp32", "bf16"):
        assert f"low decode 128 samples, {weights}" in table
        assert f"low forward, {weights}, of the roofline" in table
    assert all((figure.met is None) == (not figure.goal) for figure in table.values())
    assert all(figure.value > 0 and figure.what in figure.line() for figure in table.values())
    assert 30 < table["low encode, bf16 against fp32"].value < 80
    assert not any(figure.what.startswith(("v1", "v2")) for figure in table.values())


def test_a_prior_is_timed_against_the_decode_of_its_frame() -> None:
    pytest.importorskip("python._native", reason="the engine is not built")
    tiny = partial(bench.deployed_from, capacity=4, latent=6, quantisers=3, codes=8)
    rows = [figure for figure in figures(0.001, ["low-discrete"], tiny, []) if "prior" in figure.what]
    assert [figure.what for figure in rows] == [f"low-discrete prior, {w}, of a decode" for w in ("fp32", "bf16")]
    assert all(figure.value > 0 and figure.goal == "30 %" and "with it inside" in figure.detail for figure in rows)


def test_a_goal_that_is_missed_says_so() -> None:
    assert " NO " in Figure("x", 1.0, "", "2", False, "why").line()
    assert " yes " in Figure("x", 3.0, "", "2", True, "why").line()
