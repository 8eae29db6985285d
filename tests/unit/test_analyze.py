"""Laws: a linear autoencoder finds what PCA finds; what is planted in latents is what the report says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("librosa")
pytest.importorskip("pyloudnorm")

from python import analyze, runs
from python.audio import write_wav
from python.card import delay_samples
from python.cli import FAILED, run_verb
from python.evaluation import analysis, codebooks, coders
from python.evaluation.clips import Clip
from python.evaluation.coders import EngineCoder, run_coder
from python.evaluation.folder import Work
from python.evaluation.subspace import angles_degrees, pca
from python.evaluation.tracks import level_dba
from python.runs import Run, Trained
from python.streaming import deploy, graph
from tests.networks import CODES, QUANTISERS, SIZE, trained

MakeTs = Callable[..., Path]
RATE = 44100


def melody(seconds: float = 0.8, hz: float = 220.0) -> NDArray[np.float32]:
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * k * hz * time) / k for k in range(1, 8)) * np.exp(-4 * (time % 0.3)) * 0.2
    hiss = 1e-3 * np.random.default_rng(0).standard_normal(len(time))
    return (tone + hiss)[None].astype(np.float32)


def run_analyze(*words: object) -> int:
    return run_verb("analyze", analyze.main, [str(word) for word in words] + ["--quiet"])


def report(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "report.json").read_text()))


# -- the textbook identity ----------------------------------------------------------------------------------


def test_a_linear_autoencoder_spans_the_principal_subspace() -> None:
    """Baldi and Hornik, 1989: at its minimum the decoder's columns span the strongest principal components."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((10, 10)) * 0.8 ** np.arange(10)
    rows = rng.standard_normal((600, 10)) @ mixing.T
    mean, components, variances = pca(rows)
    x = torch.from_numpy(rows - mean)
    torch.manual_seed(0)
    encoder, decoder = (torch.nn.Linear(i, o, bias=False, dtype=torch.float64) for i, o in ((10, 3), (3, 10)))
    weights = [*encoder.parameters(), *decoder.parameters()]

    def angles() -> NDArray[np.float64]:
        return angles_degrees(decoder.weight.detach().numpy().T, components[:3])

    assert angles().max() > 20  # the law can fail
    optimiser = torch.optim.LBFGS(
        weights, max_iter=300, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        error = (decoder(encoder(x)) - x).square().mean()
        error.backward()
        return error

    optimiser.step(loss)
    assert angles().max() < 0.1
    assert loss().item() == pytest.approx(variances[3:].sum() / 10, rel=1e-5)  # what PCA leaves over
    assert angles_degrees(decoder.weight.detach().numpy().T, components[1:4]).max() > 20


# -- coders -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instrument() -> Trained:
    return trained()


def test_run_and_engine_code_alike(instrument: Trained, tmp_path: Path) -> None:
    pytest.importorskip("python._native")
    shell = deploy.deploy(instrument, SIZE, streaming=True)
    (tmp_path / "a.ravel").write_bytes(graph.ravel(shell, deploy.card(shell, instrument, "a"), "fp32"))
    sound = melody(0.2)
    of_run = run_coder(instrument, "a")
    z = of_run.encode(sound)
    y = of_run.decode(z)
    assert y.shape[1] - sound.shape[1] in range(of_run.hop)
    other = coders.coder(tmp_path / "a.ravel")
    assert isinstance(other, EngineCoder)
    assert np.abs(other.encode(sound) - z).max() < 1e-4 * np.abs(z).max()
    assert np.abs(other.decode(z) - y).max() < 1e-4 * np.abs(y).max()


def test_delays_are_removed_from_either_side(make_ts: MakeTs) -> None:
    model = coders.coder(make_ts(delay=53))
    sound = melody(0.1)
    assert np.array_equal(model.decode(model.encode(sound))[:, : sound.shape[1]], sound)


def test_divergence_is_that_of_gaussians(instrument: Trained) -> None:
    sound = melody(0.2)
    net = instrument.net
    whole = sound.shape[1] // net.hop_samples * net.hop_samples
    found = coders.divergence(instrument, [sound[:, :whole]])
    with torch.no_grad():
        h = net.encoder(net.analysis(torch.from_numpy(sound[None, :, :whole])))
        posterior = torch.distributions.Normal(net.latent.centre(h), net.latent.spread(h))  # type: ignore[operator]
        expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).mean((0, 2))
    assert found.cost == pytest.approx(expected.numpy(), rel=1e-4)
    assert found.spread == pytest.approx(net.latent.centre(h).var((0, 2), unbiased=False).numpy(), rel=1e-3)
    noise = net.latent.spread(h).double().square().mean((0, 2)).numpy()  # type: ignore[operator]
    rotation, variances = (
        t.double().numpy() for t in (instrument.principal.components, instrument.principal.variances)
    )
    turned = np.diag(rotation @ np.diag(noise) @ rotation.T)
    assert found.bits == pytest.approx(0.5 * np.log2(1 + variances / turned), rel=1e-5)


# -- the report ---------------------------------------------------------------------------------------------


class Planted:
    """A coder whose first latent is the level, whose second is noise, and whose third shakes the louder it is."""

    def __init__(self, hop: int = 128) -> None:
        self.card: dict[str, Any] = {"hop_samples": hop, "sample_rate_hz": RATE, "channels": 1}
        self.hop = hop

    def encode(self, sound: NDArray[np.float32], temperature: float = 0.0) -> NDArray[np.float32]:
        frames = sound.shape[1] // self.hop
        padded = np.pad(sound, ((0, 0), (1024, 1024)))
        level = level_dba(padded, RATE, 2048, self.hop)[:frames]
        random = np.random.default_rng(0).standard_normal((2, frames))
        return np.stack([level / 10, random[0], 0.1 * 10 ** (level / 20) * random[1]]).astype(np.float32)


def test_a_planted_correlation_is_found_and_only_that(tmp_path: Path) -> None:
    subject = analysis.Subject("planted", Planted(), None, None)  # type: ignore[arg-type]
    clips = [Clip("one", melody(1.5), RATE)]
    latents = [subject.coder.encode(clip.sound) for clip in clips]
    (tmp_path / "pictures").mkdir()
    found = analysis.correlation(subject, clips, latents, Work(tmp_path))
    loudness = [row[0] for row in found["stands"]]
    assert loudness[0] > 0.95
    assert abs(loudness[1]) < 0.4
    assert found["moves"][2][0] > 0.8
    assert abs(found["moves"][1][0]) < 0.5
    assert found["fast_share"][0] < 0.3
    assert found["fast_share"][1] > 0.8
    assert (tmp_path / "pictures" / "correlation.png").stat().st_size > 5000


@pytest.fixture
def a_run(instrument: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose recordings exist, and whose network is the untrained one."""
    for n in range(3):
        write_wav(tmp_path / "corpus" / f"{n}.wav", melody(0.6 + n / 10, 220 * (1 + n)), RATE)
    run = Run(tmp_path / "runs" / "violin")
    run.write_about(instrument.config, tmp_path / "corpus")
    monkeypatch.setattr(runs, "load", lambda run: instrument)
    return run


def test_a_run_is_analysed_on_what_it_held_out(a_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run_analyze(a_run.folder, "--out", out) == 0
    found = report(out)
    assert len(found["about"]["files"]) == 1
    assert found["variance"]["dimensions"]["1"] == SIZE
    assert [row["fidelity"] for row in found["fidelity"]["rows"]] == list(analysis.FIDELITIES)
    assert len(found["collapse"]["kl_nats"]) == SIZE
    page = (out / "index.html").read_text()
    for name in ("variance", "fidelity", "heard", "collapse", "correlation", "traversal"):
        assert f"pictures/{name}.png" in page
        assert (out / "pictures" / f"{name}.png").stat().st_size > 5000
    sounds = sorted(path.name for path in (out / "audio").iterdir())
    assert all(f"audio/{name}" in page for name in sounds)
    assert len(sounds) == len(found["fidelity"]["sounds"]) + 1 + analysis.TRAVERSED
    material = a_run.read_material()
    assert material is not None
    low, middle, high = material["pitch_hz"]
    assert 200 < low <= middle <= high < 700
    assert "dimensions hold 95 %" in capsys.readouterr().out
    assert run_analyze(a_run.folder, "--out", out) == FAILED
    assert "--force" in capsys.readouterr().err


def test_a_file_is_analysed_as_far_as_it_goes(make_ts: MakeTs, tmp_path: Path) -> None:
    model, out = (
        make_ts(hop=16, delay=21, fidelity_curve=[1 - 0.5 ** (n + 1) for n in range(15)] + [1.0]),
        tmp_path / "out",
    )
    write_wav(tmp_path / "in.wav", melody(0.4), RATE)
    assert run_analyze(model, tmp_path / "in.wav", "--out", out) == 0
    found = report(out)
    rows = found["fidelity"]["rows"]
    assert rows[-1]["distance"] == 0  # every sample is a latent of this one
    assert rows[0]["distance"] > 0.1
    assert "collapse" not in found
    assert "analyse the run" in (out / "index.html").read_text()


BAD = {
    "no sound": ([], "give recordings, or the run"),
    "silence": (["{tmp}/silent.wav"], "silent"),
    "missing": (["{tmp}/nothing"], "there is no"),
    "not sound": (["{tmp}/text.wav"], "not a readable sound file"),
}


@pytest.mark.parametrize(("words", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    make_ts: MakeTs, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], says: str
) -> None:
    write_wav(tmp_path / "silent.wav", np.zeros((1, 30000), np.float32), RATE)
    (tmp_path / "text.wav").write_text("not sound")
    assert run_analyze(make_ts(), *[w.format(tmp=tmp_path) for w in words], "--out", tmp_path / "out") == FAILED
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("out*"))


# -- codes --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coded() -> Trained:
    return trained("low-discrete")


def test_the_use_of_codes_is_that_of_their_shares() -> None:
    even = np.repeat(np.arange(4), 50)
    rare = np.where(np.arange(200) < 100, 7, even)
    found = codebooks.use(np.stack([even, rare, np.zeros(200)]).astype(np.float32), 8)
    assert found["taken"] == [4, 3, 1]
    assert found["entropy_bits"] == pytest.approx([2, 1.5, 0])  # a half, and two quarters
    assert found["perplexity"] == pytest.approx([4, 2**1.5, 1])


def test_the_dial_begins_with_one_and_ends_with_all() -> None:
    for quantisers in (1, 2, 7, 16, 64):
        counts = codebooks.dial(quantisers)
        assert (counts[0], counts[-1]) == (1, quantisers)
        assert counts == sorted(set(counts))


def test_codes_of_run_and_engine_are_the_same_latents(coded: Trained, tmp_path: Path) -> None:
    """As the network sums them. A sweep of no reach is the sound itself, one with reach a bias while it plays."""
    pytest.importorskip("python._native")
    shell = deploy.deploy(coded, QUANTISERS, streaming=True)
    (tmp_path / "a.ravel").write_bytes(graph.ravel(shell, deploy.card(shell, coded, "a"), "fp32"))
    of_run, of_file = run_coder(coded, "a"), coders.coder(tmp_path / "a.ravel")
    codes = of_run.encode(melody(0.8))
    codes[2:, 5:9] = codebooks.NONE
    summed = shell.completion.step(torch.from_numpy(codes)[None], shell.completion.initial_state(torch.zeros(1, 1, 1)))
    for one in (of_run, of_file):
        assert np.abs(one.latents(codes) - summed[0][0].numpy()).max() < 1e-6
        still = one.decode(codes)
        assert np.abs(one.swept(codes, 1, 0.0) - still).max() < 1e-5 * np.abs(still).max()
    reach = 2 * float(of_run.latents(codes)[0].std())
    pushed = of_run.swept(codes, 0, reach)
    assert np.abs(of_file.swept(codes, 0, reach) - pushed).max() < 1e-4 * np.abs(pushed).max()
    assert np.abs(of_run.decode(codes) - still).max() < 1e-5 * np.abs(still).max()  # the hand is taken away again
    of_run.begin("decode")
    of_run.bias(0, -reach)
    first = codes.shape[1] // coders.SWEEP_STEPS  # frames of the first step
    held = of_run.run(codes)[:, delay_samples(of_run.card, "decode") : first * of_run.hop]
    assert np.abs(pushed[:, : held.shape[1]] - held).max() < 1e-6
    assert np.abs(pushed[:, : held.shape[1]] - still[:, : held.shape[1]]).max() > 1e-4


def test_codes_are_analysed_by_quantisers(
    coded: Trained, a_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "load", lambda run: coded)
    out = tmp_path / "out"
    assert run_analyze(a_run.folder, "--out", out) == 0
    found = report(out)
    rows, use = found["rate"]["rows"], found["codes"]
    assert [row["quantisers"] for row in rows] == [1, 2, 3, 4, QUANTISERS]
    assert [row["kbps"] for row in rows] == pytest.approx([row["quantisers"] * 4 * RATE / 128 / 1000 for row in rows])
    assert rows[-1]["entropy_kbps"] == pytest.approx(sum(use["entropy_bits"]) * RATE / 128 / 1000)
    assert len({row["distance"] for row in rows}) == len(rows)  # every quantiser is heard
    assert all(1 <= p <= t <= CODES for p, t in zip(use["perplexity"], use["taken"], strict=True))
    assert np.shape(found["variance"]["codebooks"]) == (QUANTISERS, SIZE)
    assert "collapse" not in found
    page = (out / "index.html").read_text()
    for name in ("codes", "rate", "heard", "variance", "correlation", "traversal"):
        assert f"pictures/{name}.png" in page
        assert (out / "pictures" / f"{name}.png").stat().st_size > 5000
    sounds = sorted(path.name for path in (out / "audio").iterdir())
    assert all(f"audio/{name}" in page for name in sounds)
    assert len(sounds) == len(found["rate"]["sounds"]) + 1 + analysis.TRAVERSED
    assert "perplexity" in capsys.readouterr().out


def test_codes_that_cannot_be_swept_are_refused(
    make_ts: MakeTs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_ts(codes={"quantisers": 8, "codes": 1024}, streaming=False)
    assert run_analyze(model, tmp_path, "--out", tmp_path / "out") == FAILED
    assert "export it with --streaming" in capsys.readouterr().err


# -- labels -------------------------------------------------------------------------------------------------


def test_a_clip_is_decoded_as_its_label(capsys: pytest.CaptureFixture[str]) -> None:
    subject = analysis.Subject("duo", run_coder(trained(labels=("flute", "reed")), "duo"), None, None)
    z = subject.coder.encode(melody(0.1))
    flute, reed, again = (
        subject.decoded(z, Clip("one", melody(0.1), RATE, label)) for label in ("flute", "reed", "flute")
    )
    assert np.abs(flute - reed).max() > 1e-3
    assert np.array_equal(flute, again)


# -- what a run keeps ---------------------------------------------------------------------------------------


def test_a_corpus_that_is_gone_is_named(a_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus").rename(tmp_path / "moved")
    assert run_analyze(a_run.folder, "--out", tmp_path / "out") == FAILED
    assert "is gone" in capsys.readouterr().err


def test_what_analyze_wrote_down_reaches_the_card(a_run: Run) -> None:
    assert a_run.read_material() is None
    (a_run.folder / "material.json").write_text('{"loudness_lufs": -20.0}')
    assert a_run.read_material() == {"loudness_lufs": -20.0}


def test_torn_material_is_no_material(a_run: Run) -> None:
    (a_run.folder / "material.json").write_text('{"loudness')
    assert a_run.read_material() is None
