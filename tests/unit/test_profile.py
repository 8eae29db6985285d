"""Laws: statistics are those of the times given, a late callback is seen, every kind of model is profiled."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image

from python import bench, profile
from python.benchmarks import clocks
from python.benchmarks.clocks import BINS_A_DECADE, Spread, spread
from python.benchmarks.contestants import EngineContestant, noise, plain_contestant
from python.benchmarks.roofline import Roofline, rows
from python.cli import run_verb
from python.streaming import deploy, graph
from tests import networks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny networks: the `.ravel` of each, fp32 and bf16, and the `.ts` of one."""
    pytest.importorskip("python._native", reason="the engine is not built")
    folder = tmp_path_factory.mktemp("models")
    paths: dict[str, Path] = {}
    for name in ("low", "v2-small"):
        shell, trained = bench.deployed_from(name, capacity=4, latent=6)
        about = deploy.card(shell, trained, name)
        for weights in ("fp32", "bf16"):
            paths[f"{name} {weights}"] = folder / f"{name}-{weights}.ravel"
            paths[f"{name} {weights}"].write_bytes(graph.ravel(shell, about, weights))
        if name == "low":
            paths["low ts"] = folder / "low.ts"
            scripted = deploy._settled(torch.jit.script(shell))
            torch.jit.save(scripted, str(paths["low ts"]), _extra_files={"ravel.json": json.dumps(about)})
    return paths


def run(*words: object) -> int:
    return run_verb("profile", profile.main, [str(word) for word in (*words, "--quiet")])


# ---- statistics --------------------------------------------------------------------------------------


def test_a_spread_is_that_of_its_times() -> None:
    times = np.random.default_rng(0).lognormal(-7, 1, 5000)
    found = spread(times)
    assert found.median == np.median(times)
    assert found.largest == times.max()
    assert sum(found.histogram) == found.count == 5000
    edges = found.first_edge * 10 ** (np.arange(len(found.histogram) + 1) / BINS_A_DECADE)
    assert np.array_equal(np.histogram(times, edges)[0], found.histogram)


def test_one_late_callback_is_seen_in_a_thousand() -> None:
    usual, late = np.full(1000, 1e-4), np.full(1, 5e-3)
    line = profile.sparkline(spread(np.concatenate([usual, late])), 1e-3, 1e-4, 1e-2)
    before, after = line.split("│")
    assert before.strip()
    assert after.strip()
    assert not profile.sparkline(spread(usual), 1e-3, 1e-4, 1e-2).split("│")[1].strip()


def test_turns_are_even_and_the_caches_are_emptied_before_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    clocks.alternate([lambda: said.append("a"), lambda: said.append("b")], 0.0, before=lambda: said.append("-"))
    assert "".join(said) == "-a-b"
    monkeypatch.setattr(clocks, "_quickest", lambda call: clocks.TURN_SECONDS / 3)
    said.clear()
    a, b = clocks.alternate([lambda: said.append("a"), lambda: said.append("b")], 0.0)
    assert "".join(said) == "aaaabbbb"
    assert len(a) == len(b) == 3  # the first of a turn finds the caches full of the other's weights


def test_a_call_may_tell_of_callbacks_inside() -> None:
    (times,) = clocks.alternate([lambda: np.array([1.0, 2.0, 3.0])], 0.0)
    assert np.array_equal(times[0], [1, 2, 3])


# ---- roofline ----------------------------------------------------------------------------------------


def test_the_floor_of_an_op_is_the_slower_of_its_two_roofs() -> None:
    roof = Roofline("avx2", gflops=100.0, dot_gflops=400.0, seconds=0.01)
    ops = [
        {"name": "decoder.1", "flops": 1e9, "weight_bytes": 1e6},
        {"name": "decoder.2", "flops": 1e6, "weight_bytes": 1e9},
        {"name": "synthesis", "flops": 1e9, "weight_bytes": 1e6},
    ]
    assert roof.floors(ops, 20.0, halved=False) == pytest.approx([0.01, 0.05, 0.01])
    assert roof.floors(ops, 20.0, halved=True) == pytest.approx([0.0025, 0.05, 0.01])  # the filter bank stays fp32


def test_rows_are_those_of_the_network(models: dict[str, Path]) -> None:
    """`low`: 1, 2, 4 and 8 frames a hop from the latent up, in fp32 as in bf16; the filter bank has 8 too."""
    for weights in ("fp32", "bf16"):
        model = EngineContestant(models[f"low {weights}"])
        found = [rows(op, model.halved) for op in model.engine("decode").ops()]
        assert sorted(set(found)) == [0, 1, 2, 4, 8]


# ---- what is compared ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method"), [("low", "forward"), ("v2-small", "encode"), ("v2-small", "decode")])
def test_the_plain_script_of_a_file_is_the_same_network(models: dict[str, Path], name: str, method: str) -> None:
    path = models[f"{name} fp32"]
    about, plain = EngineContestant(path), plain_contestant(path).load()
    engine, x = about.engine(method), noise(about.card, method, 1)
    for _ in range(4):
        ours = engine.process(x)
        with torch.no_grad():
            theirs = getattr(plain, method)(torch.from_numpy(x)).numpy()
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
    assert np.abs(ours).max() > 0


@pytest.mark.parametrize("block", [64, 128, 512])
def test_latency_is_what_the_engine_says(models: dict[str, Path], block: int) -> None:
    model = EngineContestant(models["v2-small fp32"])
    hop = model.card["hop_samples"]
    for method in ("forward", "decode"):
        slices = hop // block
        engine = model.engine(method, slices=slices, core_slices=slices)
        assert profile.latency(model, method, block, "sliced") == engine.delay + engine.sliced_delay
    assert profile.latency(model, "forward", block, "whole") == model.engine("forward").delay + hop - block


def test_a_prior_is_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, shell, prior = networks.deployed_with_prior("low-discrete")
    path = tmp_path / "dream.ravel"
    path.write_bytes(graph.ravel(shell, deploy.card(shell, source, "dream", prior), "fp32"))
    options = ["--seconds", "0.01", "--blocks", "64", "128", "--instances", "0", "--ops", "100"]
    assert run(path, *options, "--method", "prior", "decode", "--prior", "1", "--json", tmp_path / "a.json") == 0
    said = capsys.readouterr().out
    assert all(f"prior.{op}" in said for op in ("draw", "hear", "network.0", "network.3.body.2"))
    tables = {table["method"]: table for table in json.loads((tmp_path / "a.json").read_text())["ops"]}
    assert {op["kind"] for op in tables["prior"]["ops"]} == {"codebook", "conv", "gated_tanh", "draw"}
    model = EngineContestant(path)
    late = (networks.QUANTISERS - 1) * model.card["hop_samples"]
    assert [profile.latency(model, "prior", 64, schedule) for schedule in ("whole", "sliced")] == [late, late + 64]
    source, shell = networks.deployed("low")
    path.write_bytes(graph.ravel(shell, deploy.card(shell, source, "dream"), "fp32"))
    assert run(path, *options, "--method", "prior") == 2
    assert "dream.ravel has no method prior: it has forward, encode, decode" in capsys.readouterr().err


# ---- the whole ---------------------------------------------------------------------------------------


def test_everything_is_profiled(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two precisions, a `.ts` and the plain script; figures, picture and page agree about who was there."""
    name, page, picture = "low", tmp_path / "profile.json", tmp_path / "profile.png"
    words = [models[f"{name} {kind}"] for kind in ("ts", "fp32", "bf16")]
    options = ["--seconds", "0.01", "--blocks", "50", "64", "128"]
    options += ["--against", "plain", "--instances", "1", "--ops", "3", "--json", page, "--picture", picture]
    assert run(*words, *options) == 0
    said = capsys.readouterr().out
    figures = json.loads(page.read_text())
    labels = [f"{name}-fp32.ravel", f"{name}-bf16.ravel", f"{name}.ts", "plain script"]
    for part in ("forward, hot caches", "forward, cold caches", "of the roofline", "core over", "instances at once"):
        assert part in said
    assert all(label in said for label in labels)
    rows = figures["rows"]
    hot = {(r["model"], r["block"], r["schedule"]) for r in rows if (r["caches"], r["method"]) == ("hot", "forward")}
    assert {(label, block, "whole") for label in labels for block in (50, 64, 128)} <= hot
    assert {block for _, block, schedule in hot if schedule == "sliced"} == {64}  # 50 does not divide a hop
    assert all(r["ratio"] == 1 for r in rows if r["model"] == "plain script")
    assert [table["model"] for table in figures["ops"]] == labels[:2]
    assert all(op["floor"] >= 0 and op["seconds"] > 0 for table in figures["ops"] for op in table["ops"])
    assert [p["core_slices"] for p in figures["curve"]] == [1, 2] * 2
    assert figures["roof"]["gflops"] > 0
    assert image.imread(picture).std() > 0.05


@pytest.mark.parametrize("kind", ["ts", "fp32"])
def test_a_model_alone(models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """A `.ts` needs no engine; only forward has a latency curve."""
    picture = tmp_path / "alone.png"
    options = [
        "--seconds",
        "0.01",
        "--blocks",
        "128",
        "300",
        "--instances",
        "0",
        "--method",
        "decode",
        "--picture",
        picture,
    ]
    assert run(models[f"low {kind}"], *options) == 0
    assert picture.exists()


def test_a_ravel_is_profiled_without_torch(models: dict[str, Path]) -> None:
    program = (
        "import sys; from python import profile; status = profile.main(sys.argv[1:]); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    words = [str(models["low fp32"]), "--seconds", "0.01", "--blocks", "128", "--instances", "1", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_profiler_of_python_is_still_found() -> None:
    program = "import cProfile, profile; print(profile.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ROOT not in Path(done.stdout.strip()).parents


def test_instances_run_at_once_and_end() -> None:
    most = threading.active_count()
    meeting = threading.Barrier(3)

    def call() -> None:
        meeting.wait(10)

    late = profile.at_once([call] * 3, 0.001, 5)
    assert late > 0
    assert threading.active_count() == most


def test_the_deadline_that_breaks_ends_the_search(monkeypatch: pytest.MonkeyPatch, models: dict[str, Path]) -> None:
    """With a machine that carries exactly n, n is found."""
    model = EngineContestant(models["low fp32"])
    about = profile.Profile({}, 44100, 128)
    for carried in (0, 1, 5, 8, 20):
        monkeypatch.setattr(
            profile, "at_once", lambda calls, period, _, n=carried: period * (0.5 if len(calls) <= n else 2)
        )
        assert profile.crowd(model, about, 16, 0.01).kept == min(carried, 16)


# ---- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["missing.ravel"], "there is no missing.ravel"),
        (["low fp32", "v2-small fp32"], "has hop_samples 128, v2-small-fp32.ravel has 512"),
        (["low ts", "--against", "plain"], "--against plain is made from a .ravel"),
        (["low fp32", "--isa", "mmx"], "mmx"),
    ],
)
def test_bad_words_are_explained(
    models: dict[str, Path], words: list[str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*(models.get(word, word) for word in words)) == 2
    error = capfd.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1


def test_an_offline_script_is_explained(make_ts: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(make_ts(streaming=False)) == 2
    assert "export it with --streaming" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--blocks", "0"], ["--seconds", "nan"]])
def test_bad_values_are_refused_before_any_work(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("violin.ravel", *words)
    assert stop.value.code == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_damaged_file_is_explained(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.ravel"
    broken.write_bytes(models["low fp32"].read_bytes()[:-100])
    assert run(broken) == 2
    assert "broken.ravel" in capfd.readouterr().err


def test_an_interrupt_is_one_line(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> Spread:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile, "spread", interrupted)
    assert run(models["low fp32"], "--seconds", "0.01", "--blocks", "128") == 130
    assert "stopped" in capfd.readouterr().err
