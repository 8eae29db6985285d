"""The loop: what learns when, what is logged, and that a run that was interrupted is the run that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from python import runs
from python.errors import RavelError
from python.model.autoencoder import Autoencoder
from python.model.config import PRESETS, preset
from python.runs import Run
from python.train import train
from python.training import checkpoint, loop
from python.training.loop import Trainer
from python.training.objective import Objective
from python.training.pca import principal_components
from python.training.strings import synthesise_corpus

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "capacity": 4,
    "latent": 4,
    "crop_samples": 8192,
    "batch": 2,
    "steps": 8,
    "phase_1": "0.5",
    "validate_every": 1000,
    "validation_seconds": 1.0,
    "precision": "fp32",
    "warmup_steps": 1,
    "discriminator_capacity": 16,
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strings")
    synthesise_corpus(folder, 12.0)
    return folder


@pytest.fixture
def run_of(corpus: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """run_of(name, preset, **fields) trains runs/name on the synthesised corpus, one thread."""
    threads = torch.get_num_threads()

    def make(name: str = "a", preset_name: str | None = "low", fresh: bool = False, **fields: Any) -> Run:
        chosen = {**TINY, **fields} if preset_name else fields
        train(corpus, tmp_path / name, preset_name, chosen, fresh, corpus.parent / "strings-cache", "1", threads=1)
        return Run(tmp_path / name)

    yield make
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


def equal(a: Any, b: Any) -> bool:
    """Bit-equal trees of tensors and numbers."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def at_step(step: int, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something while a step is computed."""
    original = Trainer.train_step

    def wrapped(self: Trainer, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        if self.progress.step == step:
            action()
        return original(self, x, labels)

    monkeypatch.setattr(Trainer, "train_step", wrapped)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


# -- learning -------------------------------------------------------------------------------------------------


def test_loss_falls_on_the_synthesised_corpus(run_of: Callable[..., Run]) -> None:
    run = run_of(steps=60, phase_1="1.0", validate_every=20, learning_rate=5e-3, augment_phase=0.0)
    distances = [row["validation"]["distance"] for row in run.read_history()]
    assert len(distances) == 3
    assert distances[-1] < 0.95 * distances[0]
    losses = [row["train"]["spectral"] for row in run.read_history()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["low", "v1"])
def test_phase_2_moves_the_decoder_and_leaves_the_encoder_alone(
    run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Batch statistics included: v1's encoder stays in eval."""
    begun: dict[str, Any] = {}
    original = Trainer._begin_phase_2

    def spy(self: Trainer) -> None:
        original(self)
        begun.update({k: v.clone() for k, v in self.net.state_dict().items()})

    monkeypatch.setattr(Trainer, "_begin_phase_2", spy)
    content = checkpoint.load(run_of(preset_name=name, steps=8).last)
    assert content["progress"]["phase"] == 2
    learned = ("decoder.", "encoder.")
    for key, before in begun.items():
        if key.startswith("encoder."):
            assert torch.equal(content["net"][key], before), key
            assert torch.equal(content["ema"][key], before), key
        elif not key.startswith(learned):
            assert torch.equal(content["net"][key], before), key
    moved = [k for k in begun if k.startswith("decoder.") and not torch.equal(content["net"][k], begun[k])]
    assert len(moved) > 10


def test_both_networks_learn_in_phase_2_and_only_the_generator_in_phase_1(run_of: Callable[..., Run]) -> None:
    contents = {share: checkpoint.load(run_of(f"run-{share}", steps=4, phase_1=share).last) for share in ("1.0", "0.5")}
    torch.manual_seed(0)
    net = Autoencoder(preset("low", **{k: TINY[k] for k in ("capacity", "latent")}).model)
    start = net.state_dict()
    moved = [not torch.equal(start[k], contents["1.0"]["net"][k]) for k in start if "original1" in k]
    assert all(moved)
    first, second = (contents[share]["discriminator"] for share in ("1.0", "0.5"))
    assert not equal(first, second)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("name", PRESETS)
def test_bands_are_compared_where_the_audio_is(name: str, centred: bool) -> None:
    """The lag of the decoder's bands is the audio's, negative ones, which free look-ahead makes, included."""
    config = preset(name, capacity=4, latent=4, centred=centred)
    net = Autoencoder(config.model).eval()
    objective = Objective(net, config.training, False)
    bank = net.synthesis.lookahead + net.config.bands * net.analysis.delay
    assert net.delay == bank + net.config.bands * objective.band_delay
    crop = -(-(net.delay + 4096) // net.hop_samples) * net.hop_samples
    x = 0.1 * torch.randn(1, 1, crop)
    eps = torch.zeros(1, 4, crop // net.hop_samples)
    result = objective(x, eps, 0.1)
    assert result.real.shape == result.fake.shape == (1, 1, crop - net.delay)
    assert torch.equal(result.real, x[..., : crop - net.delay])
    perfect = net.analysis(x).roll(objective.band_delay, 2)
    net.decoder.step = lambda z, state: (perfect, state)  # a perfect, late decoder
    terms = objective(x, eps, 0.1).terms
    assert terms["multiband"] < 0.2
    assert terms["spectral"] < 0.5


# -- what is logged -------------------------------------------------------------------------------------------


def test_logged_terms_are_what_is_minimised(run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """RAVE multiplies its weights in twice and logs a third thing."""
    minimised: list[float] = []
    logged: list[dict[str, Tensor]] = []
    optimise, step = Trainer._optimise, Trainer.train_step

    def spy_optimise(self: Trainer, loss: Tensor, *rest: Any) -> None:
        minimised.append(loss.item())
        optimise(self, loss, *rest)

    def spy_step(self: Trainer, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logged.append(step(self, x, labels))
        return logged[-1]

    monkeypatch.setattr(Trainer, "_optimise", spy_optimise)
    monkeypatch.setattr(Trainer, "train_step", spy_step)
    run_of(steps=8, beta=0.3, multiband_weight=0.5, feature_weight=7.0, adversarial_weight=2.0)
    assert len(minimised) == len(logged) == 8
    for loss, terms in zip(minimised, logged):
        assert sum(float(v) for v in terms.values()) == pytest.approx(loss, rel=1e-5)
    assert set(logged[0]) == {"spectral", "multiband", "latent"}
    assert set().union(*logged[4:]) == {"spectral", "multiband", "adversarial", "features", "discriminator"}


def test_each_weight_counts_once() -> None:
    config = preset("low", capacity=4, latent=4)
    net, x, eps = Autoencoder(config.model).eval(), 0.1 * torch.randn(2, 1, 8192), torch.randn(2, 4, 64)

    def terms(**weights: float) -> dict[str, float]:
        chosen = preset("low", **weights).training
        return {k: v.item() for k, v in Objective(net, chosen, False)(x, eps, 0.1).terms.items()}

    base = terms()
    assert terms(multiband_weight=3.0)["multiband"] == pytest.approx(3 * base["multiband"], rel=1e-5)
    parts = [terms(log_weight=0.0)["spectral"], terms(relative_weight=0.0)["spectral"]]
    assert sum(parts) == pytest.approx(base["spectral"], rel=1e-5)
    assert terms(log_weight=2.0)["spectral"] == pytest.approx(parts[0] + 2 * parts[1], rel=1e-5)
    assert "multiband" not in terms(multiband_weight=0.0)


def test_average_follows_the_weights(run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    update = Trainer._update_ema
    watched = "decoder.layers.0.parametrizations.weight.original1"

    def spy(self: Trainer) -> None:
        if not seen:
            seen.append(self.ema.state_dict()[watched].clone())
        seen.append(self.net.state_dict()[watched].clone())
        update(self)

    monkeypatch.setattr(Trainer, "_update_ema", spy)
    run = run_of(steps=6, phase_1="1.0", ema=0.3)
    content = checkpoint.load(run.last)
    average = seen[0]
    for step, value in enumerate(seen[1:]):
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
    torch.testing.assert_close(content["ema"][watched], average)
    trained = runs.load(run, "last")
    assert torch.equal(trained.net.state_dict()[watched], content["ema"][watched])  # what is exported


# -- going on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [(2,), (4,), (5,), (1, 4, 6)], ids=["phase 1", "border", "phase 2", "thrice"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    run_of: Callable[..., Run], tmp_path: Path, stops: tuple[int, ...], uninterrupted: dict[str, Any]
) -> None:
    """Ctrl-C finishes the step in hand, saves, and the same command goes on."""
    for stop in stops:
        with pytest.MonkeyPatch.context() as patch:
            at_step(stop - 1, press_ctrl_c, patch)
            with pytest.raises(KeyboardInterrupt):
                run_of()
        assert checkpoint.load(tmp_path / "a" / "last.pt")["progress"]["step"] == stop
    resumed = checkpoint.load(run_of().last)
    for part in ("net", "ema", "discriminator", "generator_optimiser", "discriminator_optimiser", "principal"):
        assert equal(resumed[part], uninterrupted[part]), part


@pytest.fixture(scope="module")
def uninterrupted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole") / "a"
    train(corpus, folder, "low", TINY, False, corpus.parent / "strings-cache", "1", threads=1)
    return checkpoint.load(folder / "last.pt")


def test_codes_resume_bit_for_bit_and_rest_in_phase_2(run_of: Callable[..., Run]) -> None:
    fields: dict[str, Any] = {"preset_name": "low-discrete", "quantisers": 3, "codes": 8, "code_revival": 0.5}
    whole = checkpoint.load(run_of("whole", **fields).last)
    for stop in (3, 5):
        with pytest.MonkeyPatch.context() as patch:
            at_step(stop - 1, press_ctrl_c, patch)
            with pytest.raises(KeyboardInterrupt):
                run_of(**fields)
    resumed = checkpoint.load(run_of(**fields).last)
    for part in ("net", "ema", "generator_optimiser", "principal"):
        assert equal(resumed[part], whole[part]), part
    assert whole["net"]["latent.batches"] == 3  # the first of 4 batches in phase 1 began the books
    assert 1 <= whole["summary"]["validation"]["perplexity"] <= 8
    assert torch.equal(whole["net"]["latent.codebooks"], whole["ema"]["latent.codebooks"])


def test_more_steps_go_on_from_the_end(run_of: Callable[..., Run]) -> None:
    run_of(steps=3, phase_1="1.0")
    content = checkpoint.load(run_of(steps=5, phase_1="1.0").last)
    assert content["progress"]["step"] == 5


def test_a_kill_while_writing_a_checkpoint_loses_nothing(corpus: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of torch.save: the checkpoint before is there and whole, and training goes on."""
    script = f"""
import os, signal, sys, torch
from pathlib import Path
from python.train import train
save, count = torch.save, 0
def dying(content, path):
    global count
    count += 1
    save(content, path)
    if count > 2:  # last and best of the first validation are written
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = dying
train(Path({str(corpus)!r}), Path({str(tmp_path / "a")!r}), "low", { ({**TINY, "validate_every": 2})!r},
      cache=Path({str(corpus.parent / "strings-cache")!r}), devices="1", threads=1)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=one_thread(), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    for name in ("last.pt", "best.pt"):
        assert checkpoint.load(tmp_path / "a" / name)["progress"]["step"] == 2
    train(corpus, tmp_path / "a", None, {"steps": 4}, cache=corpus.parent / "strings-cache", devices="1", threads=1)
    assert checkpoint.load(tmp_path / "a" / "last.pt")["progress"]["step"] == 4
    torch.set_flush_denormal(False)


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_a_broken_checkpoint_is_one_clear_line(run_of: Callable[..., Run]) -> None:
    run = run_of(steps=2)
    run.last.write_bytes(run.last.read_bytes()[:1000])
    with pytest.raises(RavelError, match=r"last\.pt: not a readable checkpoint"):
        run_of(steps=3)
    torch.save({"format": 99}, run.last)
    with pytest.raises(RavelError, match="checkpoint format 99, this Ravel reads 1"):
        run_of(steps=3)


# -- several processes ----------------------------------------------------------------------------------------


def test_two_processes_are_one_with_the_doubled_batch(corpus: Path, tmp_path: Path) -> None:
    """The relative term is a norm over a process's batch, and clipping sees one gradient: both off."""
    fields = {**TINY, "relative_weight": 0.0, "gradient_clip": 0.0, "steps": 6, "learning_rate": 1e-3}
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in fields.items() if k != "batch"]
    contents = []
    for devices, batch in (("1", 4), ("2", 2)):
        name = f"by-{devices}"
        words = [corpus, "--name", name, "--runs", tmp_path, "--cache", corpus.parent / "strings-cache"]
        subprocess.run(
            [
                *(sys.executable, "-m", "python.train", *map(str, words)),
                *(f"--devices={devices}", f"--batch={batch}", "--preset=low", "--threads=1", *flags),
            ],
            cwd=ROOT,
            env=one_thread(),
            check=True,
            capture_output=True,
            timeout=240,
        )
        contents.append(checkpoint.load(tmp_path / name / "last.pt"))
    one, two = contents
    assert one["progress"]["step"] == two["progress"]["step"] == 6
    torch.manual_seed(0)
    start = Autoencoder(preset("low", capacity=4, latent=4).model).state_dict()
    keys = [k for k in start if "original1" in k]
    apart = sum(float((one["net"][k] - two["net"][k]).square().sum()) for k in keys) ** 0.5
    moved = sum(float((one["net"][k] - start[k]).square().sum()) for k in keys) ** 0.5
    assert apart < 0.02 * moved


# -- principal components -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [200, 3, 1])
def test_components_are_those_of_numpy(frames: int) -> None:
    """Fewer frames than latents included: RAVE crashes on a corpus of three minutes."""
    torch.manual_seed(0)
    net = Autoencoder(preset("low", capacity=4, latent=6).model).eval()
    crops = [0.3 * torch.randn(1, 1, 128 * n) for n in ((frames,) if frames < 10 else (frames // 2, frames // 2))]
    found = principal_components(net, crops)
    with torch.no_grad():
        z = torch.cat([net.latent.centre(net.encoder(net.analysis(x)))[0] for x in crops], 1).double().numpy()
    np.testing.assert_allclose(found.mean, z.mean(1), atol=1e-5)
    covariance = np.cov(z, bias=True) if frames > 1 else np.zeros((6, 6))
    variances = np.sort(np.linalg.eigvalsh(covariance))[::-1].clip(0)
    np.testing.assert_allclose(found.variances, variances, atol=1e-6 * max(1.0, variances[0]))
    p = found.components.double().numpy()
    np.testing.assert_allclose(p @ p.T, np.eye(6), atol=1e-5)
    np.testing.assert_allclose(p @ covariance @ p.T, np.diag(variances), atol=1e-6 * max(1.0, variances[0]))
    assert found.fidelity_curve == sorted(found.fidelity_curve)
    if frames > 1:
        assert found.fidelity_curve[-1] == pytest.approx(1.0)
    signs = p[np.arange(6), np.abs(p).argmax(1)]
    assert (signs > 0).all()


def test_components_are_those_of_the_weights_that_are_exported(run_of: Callable[..., Run]) -> None:
    """Phase 2 starts between two validations: the components of the one before are stale by then."""
    run = run_of(steps=8, phase_1="0.75", validate_every=4, learning_rate=5e-3)
    trained = runs.load(run, "last")
    fresh = analysed_again(run, trained)
    torch.testing.assert_close(trained.principal.mean, fresh.mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(trained.principal.variances, fresh.variances, rtol=1e-3, atol=1e-7)


def analysed_again(run: Run, trained: runs.Trained) -> Any:
    from lightning_fabric import Fabric

    from python.training.corpus import build_corpus

    about = run.read_about()
    folder = Path(about["corpus"])
    corpus = build_corpus(folder, folder.parent / "strings-cache", trained.config.model.sample_rate_hz, 1, quiet=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(fabric, run, trained.config, corpus, checkpoint.load(run.last))
    return principal_components(trained.net, trainer.validation.analysis_crops(trainer.crops))


# -- the rest -------------------------------------------------------------------------------------------------


def test_a_crop_shorter_than_the_receptive_field_warns_and_trains(
    run_of: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(steps=2, crop_samples=4096)
    assert "shorter than the receptive field of 22939" in capsys.readouterr().err
    assert run.last.exists()


def test_half_precision_trains_full_precision_weights(run_of: Callable[..., Run]) -> None:
    content = checkpoint.load(run_of(steps=4, precision="bf16").last)
    assert all(torch.isfinite(v).all() for v in content["net"].values())
    assert all(v.dtype == torch.float32 for v in content["net"].values())


def test_stereo_trains(run_of: Callable[..., Run]) -> None:
    content = checkpoint.load(run_of(steps=4, channels=2).last)
    assert content["config"]["model"]["channels"] == 2


def test_history_and_summary_tell_the_run(run_of: Callable[..., Run]) -> None:
    run = run_of(steps=8, validate_every=4)
    rows = run.read_history()
    assert [(row["step"], row["phase"]) for row in rows] == [(4, 1), (8, 2)]
    trained = runs.load(run)
    summary = trained.summary
    assert (summary["steps"], summary["phase"]) == (8, 2)
    assert summary["validation"]["distance"] == rows[-1]["validation"]["distance"]
    assert summary["corpus"]["recordings"] == 2
    assert trained.net.latent.temperature == rows[-1]["temperature"] in (0.0, 0.5, 1.0)
    assert list(run.folder.glob("events.out.tfevents*"))
    run.history.open("a").write('{"step": 9, "ph')  # a kill in the middle of a line
    assert len(run.read_history()) == 2
    json.dumps(summary)


def test_phase_1_ends_when_validation_stops_improving(
    run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 2)
    run = run_of(steps=6, phase_1="auto", validate_every=1, learning_rate=0.0)
    phases = [row["phase"] for row in run.read_history()]
    assert phases == [1, 1, 1, 2, 2, 2]
