"""Laws of `ravel export`: both files or neither, each proved before it stands there, and one line for a bad option."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from python import card, export, runs
from python.cli import run_verb
from python.errors import RavelError
from python.runs import Run, Trained
from python.streaming import deploy, graph, verify
from python.streaming.nn_tilde import Shell
from tests import contract
from tests.networks import SIZE, trained

Go = Callable[..., int]


@pytest.fixture
def source() -> Trained:
    return trained()


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Trained) -> Go:
    """`ravel export` of a run called violin, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "find", lambda name, root: Run(Path("violin")))
    monkeypatch.setattr(runs, "load", lambda run, which: source)
    monkeypatch.setattr(deploy, "_script", card_alone)
    monkeypatch.setitem(sys.modules, "python._native", None)
    return lambda *words: run_verb("export", export.main, list(words))


def card_alone(shell: Shell, about: dict[str, Any], trained: Trained) -> tuple[bytes, list[str]]:
    """A `.ts` without its module, which takes seconds; test_streaming.py has the whole."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("violin/extra/ravel.json", json.dumps(about))
    return packed.getvalue(), ["forward against the trained network"]


def there(folder: Path = Path()) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- what is written -------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "files"),
    [
        ([], ["violin.ravel", "violin.ts"]),
        (["--out", "cello.ts"], ["cello.ravel", "cello.ts"]),
        (["--out", "cello.ravel"], ["cello.ravel", "cello.ts"]),
        (["--out", "in/my.cello.ravel"], ["in/my.cello.ravel", "in/my.cello.ts"]),
        (["--out", "in"], ["in/violin.ravel", "in/violin.ts"]),
    ],
)
def test_streaming_writes_both(go: Go, words: list[str], files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert go("--streaming", *words) == 0
    assert there() == files
    said = capsys.readouterr().out
    assert all(f"{name}: fp32 weights" in said for name in files)
    assert "against the trained network" in said
    assert "the golden pair read back" in said
    assert "not played: the engine is not built here" in said
    script, engine = (card.read_card(name) for name in reversed(files))
    assert engine == script | {"weights": "fp32"}
    assert engine["name"] == Path(files[0]).stem


def test_offline_writes_a_ts_and_says_so(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    assert go() == 0
    assert there() == ["violin.ts"]
    assert "no .ravel" in capsys.readouterr().out


def test_bf16_is_for_the_ravel_alone(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    assert go("--streaming", "--weights", "bf16") == 0
    said = capsys.readouterr().out
    assert "violin.ts: fp32 weights" in said
    assert "violin.ravel: bf16 weights" in said
    for method in ("forward", "encode", "decode"):
        line = next(line for line in said.splitlines() if f"{method}, torch with rounded weights" in line)
        assert 30 < float(line.split()[-5]) < 80
    assert card.read_card("violin.ravel")["weights"] == "bf16"
    assert "weights" not in card.read_card("violin.ts")


def test_force_replaces_both(go: Go) -> None:
    for name in ("violin.ts", "violin.ravel"):
        Path(name).write_text("old")
    assert go("--streaming", "--force", "--latents", "3") == 0
    assert [card.read_card(name)["latents"] for name in there()] == [3, 3]


# -- what is refused -------------------------------------------------------


@pytest.mark.parametrize("old", ["violin.ts", "violin.ravel"])
def test_what_exists_is_kept(go: Go, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(old).write_text("old")
    assert go("--streaming") == 2
    assert f"{old} exists: choose another --out, or replace it with --force" in capsys.readouterr().err
    assert there() == [old]
    assert Path(old).read_text() == "old"


def test_a_ravel_is_in_nobodys_way_offline(go: Go) -> None:
    Path("violin.ravel").write_text("old")
    assert go() == 0
    assert Path("violin.ravel").read_text() == "old"


@pytest.mark.parametrize("words", [["--weights", "bf16"], ["--out", "cello.ravel"]])
def test_a_ravel_is_always_streaming(go: Go, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert go(*words) == 2
    error = capsys.readouterr().err
    assert "add --streaming" in error
    assert len(error.splitlines()) == 1
    assert there() == []


def test_weights_that_do_not_exist(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        go("--streaming", "--weights", "int8")
    assert "--weights" in capsys.readouterr().err


# -- both or neither -------------------------------------------------------


def broken_writer(monkeypatch: pytest.MonkeyPatch, change: Callable[[Shell], None]) -> None:
    """A `.ravel` of something else than the shell that it is to hold."""
    write = graph.ravel

    def other(shell: Shell, about: dict[str, Any], weights: str) -> bytes:
        copied = graph.with_weights(shell, "fp32")
        change(copied)
        return write(copied, about, weights)

    monkeypatch.setattr(graph, "ravel", other)


def wrong_weight(shell: Shell) -> None:
    shell.back.layers[0].layers[0].weight.view(-1)[0] += 0.01


def wrong_hold(shell: Shell) -> None:
    shell.front.layers[0].hold += 1


def wrong_rotation(shell: Shell) -> None:
    shell.latent.rotation[0, 0] += 1.0  # the golden pair, at temperature 0, knows nothing of it


@pytest.mark.parametrize("change", [wrong_weight, wrong_hold, wrong_rotation])
def test_a_bad_ravel_leaves_no_ts_either(
    go: Go, monkeypatch: pytest.MonkeyPatch, change: Callable[[Shell], None], capsys: pytest.CaptureFixture[str]
) -> None:
    broken_writer(monkeypatch, change)
    assert go("--streaming") == 2
    error = capsys.readouterr().err
    assert "read back" in error
    assert len(error.splitlines()) == 1
    assert there() == []


def test_a_place_that_is_taken_leaves_the_old_file(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    Path("violin.ts").write_text("old")
    Path("violin.ravel").mkdir()
    assert go("--streaming", "--force") == 2
    assert "violin.ravel" in capsys.readouterr().err
    assert there() == ["violin.ts"]
    assert Path("violin.ts").read_text() == "old"


# -- the engine is asked, where it is there --------------------------------


class FakeEngine:
    """Plays the deployed network in torch in the place of the native engine; `flaw` is added to what it plays."""

    def __init__(self, shell: Shell, flaw: float, golden: float) -> None:
        self.shell, self.flaw, self.golden = shell, flaw, golden
        self.asked: list[str] = []
        self.Error = ValueError

    def cpu_features(self) -> list[str]:
        return ["reference", "avx2", "avx512_bf16"]

    def Model(self, path: Path, isa: str) -> SimpleNamespace:
        assert path.suffix == ".ravel"
        assert path.exists()
        assert isa == "avx2"  # the native bf16 dot product rounds activations too
        return SimpleNamespace(selftest=lambda: dict.fromkeys(("forward", "encode", "decode"), self.golden))

    def Engine(self, model: object, method: str, streams: int, max_hops: int) -> SimpleNamespace:
        self.asked.append(method)

        def process(x: np.ndarray) -> np.ndarray:
            player = graph.with_weights(self.shell, "fp32")
            player.reset()
            with torch.no_grad():
                return getattr(player, method)(torch.from_numpy(x)).numpy() + np.float32(self.flaw)

        return SimpleNamespace(process=process)


@pytest.mark.parametrize(("flaw", "golden", "status"), [(0, 0, 0), (1e-3, 0, 2), (0, 1e-3, 2), (float("nan"), 0, 2)])
def test_the_engine_has_the_last_word(
    go: Go,
    source: Trained,
    monkeypatch: pytest.MonkeyPatch,
    flaw: float,
    golden: float,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake = FakeEngine(deploy.deploy(source, SIZE, True), flaw, golden)
    monkeypatch.setattr(verify, "engine_module", lambda: fake)
    assert go("--streaming") == status
    said = capsys.readouterr()
    if status == 0:
        assert fake.asked == ["forward", "encode", "decode"]
        assert "decode, engine (avx2) against torch" in said.out
        assert there() == ["violin.ravel", "violin.ts"]
    else:
        assert "engine (avx2)" in said.err
        assert there() == []


def test_the_card_of_a_ravel_survives_its_header(go: Go) -> None:
    assert go("--streaming") == 0
    header = Path("violin.ravel").read_bytes()
    length = int.from_bytes(header[:8], "little")
    metadata = json.loads(header[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["card"]) == card.read_card("violin.ravel")


def test_exporting_leaves_the_shell_as_it_was(tmp_path: Path, source: Trained) -> None:
    shell = deploy.deploy(source, SIZE, True)
    shell.set_temperature(0.5)
    before = {name: tensor.clone() for name, tensor in graph.graph(shell)[1].items()}
    graph.ravel(shell, deploy.card(shell, source, "violin"), "bf16")
    after = graph.graph(shell)[1]
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert shell.get_temperature() == 0.5
    assert shell.encode_state == shell.decode_state == []


def test_rounding_costs_what_it_should(source: Trained) -> None:
    shell = deploy.deploy(source, SIZE, True)
    x = 0.3 * torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(0))
    exact, halved = graph.with_weights(shell, "fp32")(x), graph.with_weights(shell, "bf16")(x)
    with pytest.raises(AssertionError):
        contract.assert_close(halved, exact, "rounded")
    contract.assert_close(halved, exact, "rounded", 0.03)


def test_the_message_of_a_failure_has_numbers() -> None:
    with pytest.raises(RavelError, match=r"x differs by 0.5 at a peak of 1; nothing was written"):
        verify._close("x", torch.tensor([0.5]), torch.tensor([1.0]))
