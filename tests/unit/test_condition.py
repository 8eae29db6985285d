"""Labels: which recordings have which, what the network is told of them, and what a player may ask of a blend."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from python import card, export, info, render, runs, train
from python.audio import read_audio, write_wav
from python.cli import run_verb
from python.errors import RavelError
from python.evaluation.clips import corpus_of
from python.model import layers as L
from python.model.condition import Condition, one_hot
from python.model.config import preset
from python.streaming import deploy, verify
from python.training.corpus import build_corpus
from python.training.crops import Crops
from python.training.objective import Objective
from tests import contract
from tests.networks import KEPT, trained


@pytest.fixture(scope="module", autouse=True)
def plain_executor() -> Iterator[None]:
    """The same graphs without the seconds that optimising them takes."""
    with torch.jit.optimized_execution(False):
        yield


LABELS = ("flute", "reed", "7")
TINY = [
    *("--capacity=4", "--latent=4", "--crop-samples=4096", "--batch=2", "--precision=fp32", "--phase-1=0.5"),
    *("--validation-seconds=1", "--validate-every=2", "--threads=1", "--devices=1", "--warmup-steps=1"),
    "--discriminator-capacity=16",
]


def sound(streams: int, samples: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(streams, 1, samples, generator=torch.Generator().manual_seed(seed))


# -- the layer -----------------------------------------------------------------------------------------------


def test_it_is_a_streaming_layer() -> None:
    torch.manual_seed(0)
    contract.check(L.Serial(L.Conv1d(3, 5, 3), Condition(5, 3), L.LeakyReLU(5)), delay_in=2)


class Forgetful(Condition):
    """The label of the second block is another one."""

    state_shapes: list[list[int]]

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, state = super().step(x, state)
        return y, [state[0].roll(1, 2)]


def test_a_layer_that_forgets_its_label_fails_the_law() -> None:
    with pytest.raises(AssertionError, match="law 1"):
        contract.check(Forgetful(5, 3))


@torch.no_grad()
def test_a_blend_is_the_weighted_sum_at_the_bias_and_streams_have_weights_of_their_own() -> None:
    net = trained(labels=LABELS).net
    head = net.decoder.children_in_order()[:2]
    z = torch.randn(3, 8, 6)
    weights = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0.25, 0.75, 0]])
    state = net.decoder_state(z, weights, 0)
    y = head[0](z)
    given, _ = head[1].step(y, state[len(head[0].state_shapes) :][:1])
    brought = given - y
    assert torch.allclose(brought[2], 0.25 * brought[0] + 0.75 * brought[1], atol=1e-6)
    assert not torch.allclose(brought[0], brought[1], atol=0.1)
    assert torch.equal(brought.std(2) < 1e-6, torch.ones(3, y.shape[1], dtype=torch.bool)), "the same in every frame"


@torch.no_grad()
def test_labels_exchanged_are_rows_exchanged() -> None:
    net = trained(labels=LABELS).net
    z = torch.randn(1, 8, 12)
    condition = next(m for m in net.modules() if isinstance(m, Condition))
    before = [net.decode(z, one_hot(torch.tensor([i]), 3)) for i in range(3)]
    assert torch.equal(before[0], net.decode(z)), "the first plays where nothing is said"
    assert (before[0] - before[1]).abs().max() > 0.01 * before[0].abs().max()
    condition.table.copy_(condition.table[[2, 0, 1]])
    for i, was in enumerate((2, 0, 1)):
        assert torch.equal(net.decode(z, one_hot(torch.tensor([i]), 3)), before[was])


@pytest.mark.parametrize("name", ["low", "low-discrete"])
def test_only_the_decoder_is_told(name: str) -> None:
    source = trained(name, labels=LABELS, crop_samples=4096)
    net = source.net.requires_grad_(True)
    objective = Objective(net, source.config.training, bf16=False).eval()
    x, eps = sound(2, 4096), torch.zeros(2, 8, 4096 // net.hop_samples)
    terms = {}
    for label in (0, 1):
        weights = one_hot(torch.tensor([label, label]), 3)
        terms[label] = objective(x, eps, 1.0, labels=weights).terms
    assert torch.equal(terms[0]["latent"], terms[1]["latent"])
    assert not torch.equal(terms[0]["spectral"], terms[1]["spectral"])
    terms[1]["spectral"].backward()
    table = next(m for m in net.modules() if isinstance(m, Condition)).table
    assert table.grad is not None
    learned = table.grad.abs().amax(1)
    assert learned[1] > 0
    assert learned[[0, 2]].max() == 0, "a label that is not in the batch learns nothing"


# -- recordings ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two instruments of three recordings each, constant where they sound: flute 0.1, reed 0.2."""
    root = tmp_path_factory.mktemp("instruments")
    for label, level in (("flute", 0.1), ("reed", 0.2)):
        for i, seconds in enumerate((0.5, 0.6, 0.7)):
            samples = np.full((1, round(44100 * seconds)), level + 0.001 * i, np.float32)
            write_wav(root / label / "takes" / f"{i}.wav", samples, 44100)
    return root


def test_a_crop_is_of_one_label_and_every_label_is_held_out(folder: Path, tmp_path: Path) -> None:
    corpus = build_corpus(folder, tmp_path, quiet=True, labelled=True)
    assert corpus.labels == ("flute", "reed")
    for part in (corpus.train, corpus.validation):
        assert {r.label for r in part} == {0, 1}
        assert all(r.name.startswith(corpus.labels[r.label]) for r in part)
    assert "labels: flute 1.8 s, reed 1.8 s" in corpus.report.lines()
    crops = Crops(corpus.train, 65536, 0)  # longer than a recording
    batch, labels = crops.labelled(3, 20)
    assert torch.equal(batch, crops.batch(3, 20))
    again = Crops(corpus.train, 65536, 0).labelled(9, 2)  # the number says all: a run can go on
    assert torch.equal(again[0], batch[6:8])
    assert torch.equal(again[1], labels[6:8])
    assert set(labels.tolist()) == {0, 1}

    def heard(crop: Tensor) -> tuple[bool, bool]:  # fades pass by every level, in few samples
        low, high = (int(((crop - level).abs() < 0.003).sum()) > 200 for level in (0.1, 0.2))
        return low, high

    assert [heard(crop) for crop in batch] == [(label == 0, label == 1) for label in labels.tolist()]
    mixed = Crops([replace(r, label=0) for r in corpus.train], 65536, 0).batch(3, 20)
    assert (True, True) in [heard(crop) for crop in mixed], "it can fail"


def test_a_short_instrument_is_heard_as_often_as_a_long_one(folder: Path, tmp_path: Path) -> None:
    corpus = build_corpus(folder, tmp_path, quiet=True, labelled=True)
    flute, reed = ([r for r in corpus.train if r.label == label] for label in (0, 1))
    uneven = [*flute, *10 * reed]
    batch, labels = Crops(uneven, 2048, 0).labelled(0, 400)
    assert abs(labels.float().mean() - 0.5) < 0.1, "drawn by length it would be 0.91"
    assert torch.equal((batch.amax((1, 2)) > 0.15).long(), labels)
    of_steps = labels.view(-1, 2, 4).float().mean((0, 2))  # the discriminator learns in every second step
    assert (of_steps - 0.5).abs().max() < 0.15
    again = Crops(uneven, 2048, 0).labelled(300, 100)  # a run goes on as if it had never stopped
    assert torch.equal(again[0], batch[300:])
    assert torch.equal(again[1], labels[300:])


def test_without_labels_nothing_changes(folder: Path, tmp_path: Path) -> None:
    corpus = build_corpus(folder, tmp_path, quiet=True)
    assert corpus.labels == ()
    assert {r.label for r in corpus.train} == {0}
    assert not any(line.startswith("labels") for line in corpus.report.lines())


def test_recordings_without_a_label_and_labels_without_another(folder: Path, tmp_path: Path) -> None:
    def refused(root: Path, *words: str) -> None:
        with pytest.raises(RavelError) as caught:
            build_corpus(root, tmp_path / "cache", quiet=True, labelled=True)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)

    refused(folder / "flute", "one label only, takes", "leave --labels out")
    refused(folder / "flute" / "takes", "3 of 3 recordings lie in", "0.wav the first", "sub-folder of its label")
    (tmp_path / "silent" / "flute").mkdir(parents=True)
    (tmp_path / "silent" / "reed").mkdir()
    write_wav(tmp_path / "silent" / "flute" / "a.wav", np.full((1, 4410), 0.5, np.float32), 44100)
    write_wav(tmp_path / "silent" / "reed" / "a.wav", np.zeros((1, 4410), np.float32), 44100)
    refused(tmp_path / "silent", "of the label reed", "a.wav: silent", "take the sub-folder out")
    shutil.copy(tmp_path / "silent" / "flute" / "a.wav", tmp_path / "silent" / "reed" / "a.wav")
    refused(tmp_path / "silent", "of the label reed", "the same as flute/a.wav")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("a",), "labels: 2 to 256, got 1"),
        (("a", "b", "a"), "each once"),
        (("a", "b,c"), "label 'b,c': 1 to 80 characters without comma and colon; rename it"),
        (("a", "b:1"), "without comma and colon"),
        (("a", "b" * 81), "1 to 80 characters"),
    ],
)
def test_labels_that_cannot_be(labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(RavelError, match=words):
        preset("low", labels=labels)


# -- runs ----------------------------------------------------------------------------------------------------

Ravel = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def run_in(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which runs/duo was trained for four steps, two of them in phase 2."""
    home, threads = tmp_path_factory.mktemp("duo"), torch.get_num_threads()
    words = [str(folder), "--labels=folders", "--name=duo", f"--runs={home / 'runs'}", "--steps=4", *TINY]
    assert run_verb("train", train.main, words) == 0
    yield home
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


@pytest.fixture
def ravel(run_in: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ravel:
    monkeypatch.chdir(run_in)

    def call(module: Any, *words: object) -> tuple[int, str]:
        capsys.readouterr()
        status = run_verb("verb", module.main, [str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out if status == 0 else err

    return call


def test_a_run_remembers_its_labels(ravel: Ravel, run_in: Path, folder: Path) -> None:
    row = runs.Run(run_in / "runs" / "duo").read_history()[-1]
    each = [row["validation"][f"distance of {label}"] for label in ("flute", "reed")]
    assert row["validation"]["distance"] == pytest.approx(np.mean(each), rel=1e-5)
    status, page = ravel(info, "duo")
    assert status == 0
    assert "labels            flute, reed" in page
    about = json.loads(ravel(info, "duo", "--json")[1])
    assert about["labels"] == ["flute", "reed"]
    assert about["attributes"]["label"].items() >= {"type": "str", "default": "flute"}.items()
    assert about["training"]["corpus"]["labels"] == {"flute": pytest.approx(1.8), "reed": pytest.approx(1.8)}


def test_what_a_run_with_labels_refuses(ravel: Ravel, run_in: Path, folder: Path, tmp_path: Path) -> None:
    def refused(status_and_text: tuple[int, str], *words: str) -> None:
        status, text = status_and_text
        assert status == 2, text
        for word in words:
            assert word in text.strip().splitlines()[-1]

    third = folder / "violin"
    write_wav(third / "a.wav", np.full((1, 44100), 0.3, np.float32), 44100)
    try:
        refused(ravel(train, "--name=duo", "--steps=6"), "knows the labels flute, reed", "now has flute, reed, violin")
    finally:
        (third / "a.wav").unlink()
        third.rmdir()
    refused(ravel(train, folder / "flute", "--labels=folders", "--name=one", *TINY), "one label only")
    assert not (run_in / "runs" / "one").exists()
    with pytest.raises(SystemExit):
        train.main([str(folder), "--labels=names"])


def test_a_run_without_labels_gets_none(ravel: Ravel, folder: Path, run_in: Path) -> None:
    home = run_in / "runs" / "plain"
    home.mkdir()
    config = preset("low", capacity=4, latent=4)
    runs.Run(home).write_about(config, folder)
    status, text = ravel(train, "--name=plain", "--labels=folders", *TINY)
    assert status == 2
    assert "was trained without labels" in text


# -- playing -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> torch.jit.ScriptModule:
    source = trained(labels=LABELS)
    shell = deploy.deploy(source, KEPT, streaming=True)
    buffer = io.BytesIO()
    with torch.jit.optimized_execution(False):
        torch.jit.save(torch.jit.script(shell), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


@torch.no_grad()
def test_attributes_of_the_script(script: torch.jit.ScriptModule) -> None:
    assert [a for a in script.get_attributes() if a.startswith("label")] == ["label", "label_weight"]
    assert script.label_params.tolist() == [3]
    assert script.label_weight_params.tolist() == [3, 2]
    source, x = trained(labels=LABELS), sound(2, 40 * 128)
    script.set_noise(False)

    def plays(*weights: float) -> None:
        script.reset()
        want = verify.reference(source, KEPT, x, torch.tensor(weights))
        contract.assert_close(script.forward(x), want, f"weights {weights}")

    assert script.get_label() == "flute"
    plays(1, 0, 0)
    assert script.set_label("reed") == 0
    assert script.get_label() == "reed"
    plays(0, 1, 0)
    assert script.set_label("0") == 0  # by number
    plays(1, 0, 0)
    assert script.set_label("7") == 0  # a name before a number
    plays(0, 0, 1)
    for label in ("cello", "", "3", "-1", "99999999999999999999"):
        assert script.set_label(label) == -1
        assert script.set_label_weight(label, 0.5) == -1
    for weight in (11.0, -11.0, float("nan"), float("inf")):
        assert script.set_label_weight("reed", weight) == -1
    plays(0, 0, 1)
    assert script.set_label_weight("reed", 0.25) == 0
    assert script.get_label_weight() == ("reed", 0.25)
    plays(0, 0.25, 1)
    assert script.set_label("flute") == 0


@torch.no_grad()
def test_a_label_set_while_playing_leaves_the_past_alone(script: torch.jit.ScriptModule) -> None:
    x, hop = sound(1, 230 * 128), 128
    script.set_label("flute")
    script.reset()
    first = script.forward(x)
    latents = script.encode(x)
    script.reset()
    parts = [script.forward(x[:, :, : 30 * hop])]
    script.set_label("reed")
    parts.append(script.forward(x[:, :, 30 * hop :]))
    contract.assert_close(parts[0], first[:, :, : 30 * hop], "before")
    assert (parts[1] - first[:, :, 30 * hop :]).abs().max() > 0.01 * first.abs().max()
    # from when the decoder sees no frame of the first label any more, it is the second's alone
    script.reset()
    other = script.forward(x)
    error = (parts[1] - other[:, :, 30 * hop :]).abs().amax((0, 1))
    assert error[0] > 1e-4 * other.abs().max()
    assert error[-hop:].max() <= 1e-5 * other.abs().max()
    script.reset()
    assert torch.equal(script.encode(x), latents), "what is encoded has no label"
    script.set_label("flute")


def test_a_model_without_labels_has_none_to_set() -> None:
    shell = deploy.deploy(trained(), KEPT, streaming=True)
    assert not {"label", "label_weight"} & set(shell.get_attributes())
    assert shell.set_label("0") == -1
    assert shell.set_label_weight("0", 1.0) == -1


def test_weights_from_words() -> None:
    about = {"name": "duo", "labels": ["flute", "bass reed", "7"]}
    assert card.label_weights(about, "flute") == [1, 0, 0]
    assert card.label_weights(about, "1") == [0, 1, 0]
    assert card.label_weights(about, "7") == [0, 0, 1]
    assert card.label_weights(about, "flute:0.3, bass reed:0.7") == [0.3, 0.7, 0]
    for text, word in {
        "cello": "no label 'cello'; duo has flute, bass reed, 7",
        "": "no label ''",
        "flute:": "a weight is a number from -10 to 10, got ''",
        "flute:loud": "got 'loud'",
        "flute:11": "got '11'",
        "flute:nan": "got 'nan'",
        "3": "no label '3'",
    }.items():
        with pytest.raises(RavelError, match="--label") as caught:
            card.label_weights(about, text)
        assert word in str(caught.value)
    with pytest.raises(RavelError, match="duo has no labels"):
        card.label_weights({"name": "duo"}, "flute")


def test_render_plays_a_label(ravel: Ravel, run_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "_settled", lambda scripted: scripted)  # quicker to load
    write_wav(tmp_path / "in.wav", sound(1, 8000)[0].numpy(), 44100)

    def rendered(model: str, *words: str) -> np.ndarray:
        assert ravel(render, model, tmp_path / "in.wav", "--out", tmp_path / "out", "--force", *words)[0] == 0
        return read_audio(tmp_path / "out" / "in.wav")[0]

    assert ravel(export, "duo", "--streaming", "--force")[0] == 0
    first = rendered("duo.ts")
    assert np.array_equal(rendered("duo.ts", "--label", "flute"), first)
    peak = np.abs(first).max()
    for label in ("reed", "flute:0.4,reed:0.6"):
        heard = rendered("duo.ts", "--label", label)
        assert np.abs(heard - first).max() > 1e-3 * peak
        assert np.abs(rendered("duo.ravel", "--label", label) - heard).max() <= 1e-5 * np.abs(heard).max()
    status, text = ravel(render, "duo.ravel", tmp_path / "in.wav", "--out", tmp_path / "no", "--label", "cello")
    assert status == 2
    assert "no label 'cello'; duo has flute, reed" in text
    assert not (tmp_path / "no").exists()


def test_what_a_run_with_labels_held_out_is_found_again(run_in: Path, folder: Path) -> None:
    corpus = corpus_of(runs.Run(run_in / "runs" / "duo"))
    assert {r.label for r in corpus.validation} == {0, 1}, "split as a whole, one recording in six is held out"
