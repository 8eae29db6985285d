"""The prior: what it may hear, one row at a time against all at once, the delay pattern, what it learns and draws."""

from __future__ import annotations

import copy
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from python import export, generate, runs, train_prior
from python.card import read_card
from python.errors import RavelError
from python.model.noise import hashed
from python.model.prior import NODE, Prior, PriorConfig, delayed, draw, undelayed
from python.runs import TrainedPrior
from python.streaming import deploy
from python.streaming.nn_tilde import PriorShell
from python.training import checkpoint
from python.training import prior as learning
from tests import networks

Q, CODES = 3, 10
CONFIG = PriorConfig(Q, CODES, channels=8, skip=12, dilations=(1, 2, 4))


def small(config: PriorConfig = CONFIG) -> Prior:
    torch.manual_seed(3)
    return Prior(config).eval().requires_grad_(False)


def some_rows(count: int = 40, streams: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, CODES, (streams, Q, count), generator=generator).float()


def by_frames(prior: Prior, rows: Tensor) -> Tensor:
    state, found = prior.begin(rows), []
    for t in range(rows.shape[2]):
        state = prior.follow(rows[:, :, t], state)
        found.append(prior.logits(prior.frame(state)).flatten(1))
    return torch.stack(found, 2)


# -- the pattern -------------------------------------------------------------


def test_the_pattern_holds_code_q_of_a_frame_q_rows_later_and_gives_it_back() -> None:
    codes = torch.arange(2 * Q * 7).view(2, Q, 7).float()
    rows = delayed(codes)
    assert rows.shape == (2, Q, 7 + Q - 1)
    for q in range(Q):
        assert torch.equal(rows[:, q, q : q + 7], codes[:, q])
        assert (rows[:, q, :q] == -1).all()
        assert (rows[:, q, q + 7 :] == -1).all()
    assert torch.equal(undelayed(rows), codes)
    assert not torch.equal(undelayed(rows.roll(1, 2)), codes)


# -- what it hears -----------------------------------------------------------


def test_logits_hear_the_receptive_field_and_nothing_later() -> None:
    prior, rows = small(), some_rows(30)
    before, at = prior(rows), 9
    changed = rows.clone()
    changed[:, :, at] = (changed[:, :, at] + 1) % CODES
    moved = (prior(changed) - before).abs().amax((0, 1)).nonzero().flatten()
    assert (int(moved[0]), int(moved[-1])) == (at, at + prior.receptive_field - 1)
    assert prior.inputs_of(20, 20) == (20 - prior.receptive_field + 1, 20)


def test_a_row_at_a_time_and_any_blocks_equal_all_at_once() -> None:
    prior, rows = small(), some_rows()
    whole = prior(rows)
    assert_close(by_frames(prior, rows), whole)
    state, parts = prior.initial_state(rows), []
    for part in rows.split([1, 7, 2, 30], 2):
        y, state = prior.step(part, state)
        parts.append(y)
    assert_close(torch.cat(parts, 2), whole)


def assert_close(got: Tensor, want: Tensor) -> None:
    assert float((got - want).abs().max()) <= 1e-5 * float(want.abs().max())


def test_a_ring_of_another_length_is_noticed() -> None:
    prior, rows = small(), some_rows()
    whole = prior(rows)
    prior.state_shapes[2][1] += 1
    with pytest.raises(AssertionError):
        assert_close(by_frames(prior, rows), whole)


def test_minus_one_is_no_code_and_the_equations_are_those_of_the_paper() -> None:
    """In numpy, from the weights, for one row of silence and two of codes."""
    prior = small(PriorConfig(Q, CODES, channels=4, skip=5, rank=3, dilations=(1,)))
    rows = torch.tensor([[[-1, 3], [-1, 0], [-1, -1]]]).float()
    w = {name: value.double().numpy() for name, value in prior.state_dict().items()}

    def layer(x: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"].reshape(len(w[f"{name}.weight"]), -1) @ x + w[f"{name}.bias"]

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.2 * x)

    past, got = np.zeros(4), []
    for t in range(2):
        e = w["offset"] + sum(w["embedding"][q, int(rows[0, q, t])] for q in range(Q) if rows[0, q, t] >= 0)
        h = layer(e, "entry")
        a = layer(np.concatenate([past, h[:4]]), "dilated.0")
        past = h[:4]
        h = h + layer(np.tanh(a[:4]) / (1 + np.exp(-a[4:])), "mixing.0")
        narrow = w["narrow.weight"][:, 0] @ leaky(layer(leaky(h[4:]), "hidden"))
        each = w["last.weight"].reshape(Q, CODES, 3), narrow.reshape(Q, 3)
        got.append(np.einsum("qkr,qr->qk", *each).flatten() + w["last.bias"])
    assert_close(torch.from_numpy(np.stack(got, 1)).float(), prior(rows)[0])


def test_numbers_beyond_the_codes_are_the_last_one() -> None:
    prior, rows = small(), some_rows()
    assert torch.equal(prior(rows + 100 * (rows == CODES - 1)), prior(rows))


# -- what it draws -----------------------------------------------------------


def test_codes_are_drawn_as_often_as_their_logits_say() -> None:
    logits = torch.tensor([0.0, 1.0, -2.0, 0.5])
    count = 20000
    bits = hashed(torch.tensor([5, 0, 1]), NODE, 1, 1, 0, count)[0, 0]
    codes = draw(logits.expand(count, 1, 4), torch.full((count,), 0.7), bits[:, None])
    share = torch.bincount(codes.flatten(), minlength=4) / count
    torch.testing.assert_close(share, torch.softmax(logits / 0.7, 0), atol=0.01, rtol=0)
    assert (draw(logits.expand(count, 1, 4), torch.zeros(count), bits[:, None]) == 1).all()
    never = torch.tensor([-math.inf, 0.0, -math.inf])
    assert (draw(never.expand(2, 1, 3), torch.ones(2), torch.tensor([[0], [2**32 - 1]])) == 1).all()


def test_equal_seeds_draw_equal_codes_in_any_blocks() -> None:
    prior = small()
    warm = torch.ones(2, 30)

    def played(seed: int, blocks: list[int]) -> Tensor:
        state = prior.begin(warm[:, None])
        state[-1][0] = seed
        parts = []
        for part in warm.split(blocks, 1):
            codes, state = prior.generate(part, state)
            parts.append(codes)
        return torch.cat(parts, 2)

    first = played(1, [30])
    assert torch.equal(first, played(1, [1, 4, 25]))
    assert not torch.equal(first, played(2, [30]))
    assert (first[:, :, Q - 1 :] >= 0).all()
    assert (first[:, :, 0] < 0).any()
    assert not torch.equal(first[0], first[1])  # streams of a batch go their own ways


def test_what_was_heard_decides_how_it_goes_on() -> None:
    prior = small()
    heard = some_rows(20, 1).clamp(min=0)

    def after(codes: Tensor) -> Tensor:
        state = prior.prime(codes, prior.begin(codes))
        return prior.generate(torch.zeros(1, 10), state)[0]

    other = heard.clone()
    other[:, :, -1] = (other[:, :, -1] + 1) % CODES
    assert torch.equal(after(heard), after(heard.clone()))
    assert not torch.equal(after(heard), after(other))


# -- what it learns ----------------------------------------------------------


def source(frames: int, seed: int) -> tuple[Tensor, float]:
    """A known chain: the first quantiser is Markov of order 1 over 4 codes, the second a noisy copy of it.

    Its entropy in bits a frame goes along.
    """
    rng = np.random.default_rng(seed)
    move = np.array([[0.8, 0.1, 0.05, 0.05], [0.1, 0.1, 0.7, 0.1], [0.05, 0.05, 0.1, 0.8], [0.7, 0.1, 0.1, 0.1]])
    codes = np.zeros((2, frames), np.int64)
    at = 0
    for t in range(frames):
        at = rng.choice(4, p=move[at])
        codes[:, t] = at, (at + (rng.random() < 0.2)) % 4
    values, vectors = np.linalg.eig(move.T)
    rest = np.real(vectors[:, np.argmax(np.real(values))])
    rest = rest / rest.sum()
    noise = -(0.2 * math.log2(0.2) + 0.8 * math.log2(0.8))
    return torch.from_numpy(codes), float(-(rest[:, None] * move * np.log2(move)).sum()) + noise


def test_a_known_source_is_learned_to_its_entropy() -> None:
    train, entropy = source(12000, 0)
    held_out, _ = source(4000, 1)
    config = PriorConfig(2, 4, channels=16, skip=16, dilations=(1, 2))
    training = learning.PriorTraining(steps=250, batch=8, rows=64, dropout=0.0, validate_every=125, learning_rate=1e-2)
    trainer = learning.PriorTrainer(config, training, [train], [held_out])
    frequencies = float(learning.bits_per_frame(trainer.prior, [held_out]).sum())
    trainer.fit(lambda t: None, lambda line: None)
    markov = float(learning.markov_bits([train], [held_out], 4).sum())
    assert trainer.progress.best == pytest.approx(entropy, rel=0.03)
    assert trainer.progress.best < markov - 0.3  # the chain cannot hear the first quantiser's code
    assert frequencies > entropy + 0.5


def test_the_chain_to_beat_is_the_true_one_on_a_chain() -> None:
    train, entropy = source(40000, 2)
    held_out, _ = source(8000, 3)
    noise = -(0.2 * math.log2(0.2) + 0.8 * math.log2(0.8))
    bits = learning.markov_bits([train], [held_out], 4)
    assert float(bits[0]) == pytest.approx(entropy - noise, rel=0.03)


def test_bits_are_those_of_the_whole_pattern_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = small()
    codes = [some_rows(50, 1, seed)[0].clamp(min=0).long() for seed in range(2)]
    want = torch.zeros(Q, dtype=torch.float64)
    for recording in codes:
        rows = torch.nn.functional.pad(delayed(recording[None].float()), (1, 0), value=-1.0)
        odds = prior(rows[:, :, :-1]).view(1, Q, CODES, -1).log_softmax(2)[0]
        for q in range(Q):
            for t, code in enumerate(recording[q].tolist()):
                want[q] -= float(odds[q, code, t + q]) / math.log(2) / 100
    monkeypatch.setattr(learning, "SCORE_ROWS", 7)
    torch.testing.assert_close(learning.bits_per_frame(prior, codes), want, rtol=1e-5, atol=0)


def test_items_grow_and_some_have_only_their_first_numbers() -> None:
    train = [torch.arange(3)[:, None].expand(3, 400) + 4]
    training = learning.PriorTraining(steps=100, batch=16, rows=8, dropout=0.25)
    trainer = learning.PriorTrainer(PriorConfig(3, 8, 4, 4, dilations=(1,)), training, train, train)
    shapes = {0: (16, 3, 9), 69: (16, 3, 9), 80: (8, 3, 17), 99: (2, 3, 65)}
    for step, shape in shapes.items():
        trainer.progress.step = step
        assert trainer.batch(step).shape == shape
    trainer.progress.step = 0
    items = torch.cat([trainer.batch(step) for step in range(100)])
    assert not torch.equal(items[:16], items[16:32])
    assert torch.equal(items[:16], trainer.batch(0))
    there = (items >= 0).any(2)
    counts = torch.bincount(there.sum(1), minlength=4)
    assert int(counts[3]) / len(items) == pytest.approx(0.75, abs=0.05)
    assert int(counts[1]) / len(items) == pytest.approx(0.125, abs=0.05)
    assert (there[:, :-1] | ~there[:, 1:]).all()  # the first ones
    inside = (items >= 0)[:, 0].all(1)  # clear of the ends of the pattern
    for item, first in zip(items[inside], there[inside], strict=True):
        assert (item[first, 3:] == (torch.arange(3) + 4)[first, None]).all()


def test_going_on_equals_not_having_stopped() -> None:
    train, _ = source(600, 0)
    config = PriorConfig(2, 4, channels=4, skip=4, dilations=(1,))

    def run(steps: int, resume: dict[str, Any] | None = None) -> learning.PriorTrainer:
        training = learning.PriorTraining(steps=8, batch=2, rows=16, validate_every=4)
        trainer = learning.PriorTrainer(config, training, [train], [train[:, :50]], resume=resume)
        while trainer.progress.step < steps:
            trainer.step()
            trainer.progress.step += 1
        return trainer

    straight = run(8)
    content = io.BytesIO()
    torch.save(run(4).state(), content)
    resumed = run(8, torch.load(io.BytesIO(content.getvalue()), weights_only=True))
    for name, value in straight.prior.state_dict().items():
        assert torch.equal(value, resumed.prior.state_dict()[name]), name


# -- leaving, and what people do wrong ---------------------------------------

SUMMARY = {"bits_per_frame": 9.0, "markov_bits_per_frame": 10.0}


@pytest.fixture(scope="module", params=["low-discrete", "low"])
def made(request: pytest.FixtureRequest) -> tuple[runs.Trained, TrainedPrior]:
    """A prior over codes and one over levels; both are 6 numbers of 16."""
    source = networks.trained(request.param)
    torch.manual_seed(5)
    config = PriorConfig(networks.QUANTISERS, networks.CODES, channels=8, skip=8, dilations=(1, 2))
    prior = Prior(config).eval().requires_grad_(False)
    prior.last.weight.mul_(4.0)
    latents = torch.randn(networks.QUANTISERS, 1000)
    return source, TrainedPrior(prior, train_prior.new_alphabet(source, latents, networks.CODES), SUMMARY)


def a_run(folder: Path, made: tuple[runs.Trained, TrainedPrior], **content: Any) -> runs.Run:
    """A run on disk with a prior that learned nothing."""
    trained, prior = made
    run = runs.Run(folder / "runs" / "piece")
    run.folder.mkdir(parents=True)
    (folder / "sounds").mkdir()
    rate, rng = trained.config.model.sample_rate_hz, np.random.default_rng(0)
    for i in range(3):
        soundfile.write(folder / "sounds" / f"{i}.wav", 0.1 * rng.standard_normal(rate // 2), rate)
    run.write_about(trained.config, folder / "sounds")
    summary = {"steps": 1, "phase": 1, "seconds": 1.0, "validation": {}, "temperature": 0.0}
    summary |= {"corpus": {"recordings": 3, "seconds": 1.5}}
    state = {"config": trained.config.to_dict(), "ema": trained.net.state_dict(), "summary": summary}
    checkpoint.save(run.last, state | {"principal": trained.principal.state()})
    progress = {"step": 3, "seconds": 1.0, "best": 9.0, "best_step": 3, "quantisers": [9.0]}
    checkpoint.save(
        run.prior,
        {
            "prior_config": vars(prior.prior.config),
            "progress": progress,
            "best": prior.prior.state_dict(),
            "fingerprint": prior.alphabet.bound,
            **prior.alphabet.state(),
            "markov": [10.0],
            "frames": 5,
        }
        | content,
    )
    return run


@pytest.fixture(scope="module")
def exported(
    made: tuple[runs.Trained, TrainedPrior], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A run's folder, its export beside it and what was said of that."""
    folder = tmp_path_factory.mktemp("exported")
    run = a_run(folder, made)
    return folder, export.export(run, folder / "piece.ts")


def test_the_script_draws_what_the_network_draws(
    made: tuple[runs.Trained, TrainedPrior], exported: tuple[Path, list[str]]
) -> None:
    folder, lines = exported
    assert any("prior, logits of a step against the offline network" in line for line in lines)
    card = read_card(folder / "piece.ts")
    assert card["methods"]["prior"]["out_channels"] == card["methods"]["decode"]["in_channels"]
    assert (card["prior"]["quantisers"], card["prior"]["codes"]) == (networks.QUANTISERS, networks.CODES)
    assert card["methods"]["prior"]["delay_samples"] == (networks.QUANTISERS - 1) * card["hop_samples"]
    assert read_card(folder / "piece.ravel") == card | {"weights": "fp32"}
    assert any("prior, logits, engine against torch" in line for line in lines)
    loaded = torch.jit.load(str(folder / "piece.ts"))
    shell = deploy.deploy(made[0], made[0].net.latent.kept, True, made[1])
    still = torch.zeros(2, 1, 24)
    for module in (loaded, shell):
        module.set_seed(7)
        assert module.get_methods() == ["forward", "encode", "decode", "prior"]
        assert module.set_prior_temperature(-1.0) == -1
        assert module.set_prior_temperature(0.8) == 0
    codes = loaded.prior(still)
    assert torch.equal(codes, shell.prior(still))
    assert len(codes[:, :, networks.QUANTISERS :].unique()) > 4
    assert loaded.decode(codes).shape == (2, 1, 24 * card["hop_samples"])
    loaded.reset()
    assert torch.equal(torch.cat([loaded.prior(still[:, :, :5]), loaded.prior(still[:, :, 5:])], 2), codes)
    loaded.reset()
    assert not torch.equal(loaded.prior(still + 0.7), codes)  # the input warms
    few = deploy.deploy(made[0], 2, True, made[1])
    few.set_seed(7)
    few.set_prior_temperature(0.8)
    assert torch.equal(few.prior(still), codes[:, :2])


def test_an_offline_script_gives_whole_frames_at_once(made: tuple[runs.Trained, TrainedPrior]) -> None:
    live, whole = (deploy.deploy(made[0], made[0].net.latent.kept, s, made[1]) for s in (True, False))
    late = networks.QUANTISERS - 1
    assert torch.equal(whole.prior(torch.zeros(1, 1, 9)), live.prior(torch.zeros(1, 1, 9 + late))[:, :, late:])
    assert torch.equal(whole.prior(torch.zeros(1, 1, 9)), whole.prior(torch.zeros(1, 1, 9)))


def test_export_notices_a_script_that_draws_otherwise(
    made: tuple[runs.Trained, TrainedPrior], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = deploy.deploy(made[0], made[0].net.latent.kept, True, made[1])
    assert isinstance(shell, PriorShell)
    broken = copy.deepcopy(shell)
    broken.prior_net.offset.add_(1.0)
    from python.streaming import verify

    assert "logits" in verify._prior(copy.deepcopy(shell), shell)  # type: ignore[arg-type]
    with pytest.raises(RavelError, match="prior draws other codes than the network"):
        verify._prior(broken, shell)  # type: ignore[arg-type]


def test_generate_repeats_goes_on_and_says_what_is_wrong(
    made: tuple[runs.Trained, TrainedPrior], exported: tuple[Path, list[str]], tmp_path: Path
) -> None:
    there = exported[0]
    run, piece = runs.Run(there / "runs" / "piece"), there / "piece.ts"
    prime = there / "sounds" / "0.wav"

    def sound(name: str, *words: str, model: Path = run.folder) -> np.ndarray:
        out = tmp_path / name
        assert generate.main([str(model), "--seconds", "0.2", "--out", str(out), *words]) == 0
        return soundfile.read(out, dtype="float32")[0]

    first = sound("a.wav")
    assert len(first) == round(0.2 * made[0].config.model.sample_rate_hz)
    assert np.abs(first).max() > 0
    assert np.array_equal(first, sound("b.wav"))
    assert not np.array_equal(first, sound("c.wav", "--seed", "1"))
    assert not np.array_equal(first, sound("d.wav", "--temperature", "0"))
    primed = sound("e.wav", "--prime", str(prime))
    assert not np.array_equal(first, primed)
    torch.testing.assert_close(sound("f.wav", model=piece), first, rtol=0, atol=1e-5)
    torch.testing.assert_close(sound("g.wav", "--prime", str(prime), model=piece), primed, rtol=0, atol=1e-5)
    few = deploy.deploy(made[0], 2, True, made[1])
    with pytest.raises(RavelError, match=r"plays 2 of 6 (quantisers|latents)"):
        generate.generate(generate.ScriptImproviser(few, deploy.card(few, made[0], "few", made[1])), 0.1, prime=prime)
    none = tmp_path / "none.ts"
    with zipfile.ZipFile(none, "w") as archive:
        card = {k: v for k, v in read_card(piece).items() if k != "prior"}
        archive.writestr("none/extra/ravel.json", json.dumps(card))
    for said, words in {
        "has no prior: `ravel train-prior`": [none],
        "above 0": [piece, "--seconds", "0"],
        "0 to 10": [piece, "--temperature", "-1"],
        "exists": [piece, "--out", tmp_path / "a.wav"],
    }.items():
        with pytest.raises(RavelError, match=said):
            generate.main([str(words[0]), "--out", str(tmp_path / "x.wav"), *map(str, words[1:])])
    assert not (tmp_path / "x.wav").exists()


def test_the_engine_generates_what_the_script_does_and_hears(
    made: tuple[runs.Trained, TrainedPrior], exported: tuple[Path, list[str]], tmp_path: Path
) -> None:
    pytest.importorskip("python._native")
    piece = exported[0] / "piece.ts"
    script, engine = (generate.load(str(file)) for file in (piece, piece.with_suffix(".ravel")))
    first = generate.generate(engine, 0.2, 3, 0.9)
    np.testing.assert_allclose(first, generate.generate(script, 0.2, 3, 0.9), rtol=0, atol=1e-5)
    rate, sounds = made[0].config.model.sample_rate_hz, []
    for name, end in {"a": 0.3, "b": -0.3}.items():
        prime = tmp_path / f"{name}.wav"
        noise = np.random.default_rng(1).standard_normal(rate // 4)
        soundfile.write(prime, np.concatenate([0.1 * noise, end * noise[:2000]]), rate)
        sounds.append(generate.generate(engine, 0.2, 3, 0.9, prime))
        assert np.array_equal(sounds[-1], generate.generate(engine, 0.2, 3, 0.9, prime))
    assert not np.array_equal(first, sounds[0])
    assert not np.array_equal(*sounds)


def refused_everywhere(run: runs.Run, folder: Path, said: str) -> None:
    for does in (
        lambda: export.export(run, folder / "piece.ts"),
        lambda: generate.main([str(run.folder), "--out", str(folder / "x.wav")]),
        lambda: train_prior.train_prior(run, {"steps": 1}),
    ):
        with pytest.raises(RavelError, match=said) as refusal:
            does()
        assert "\n" not in str(refusal.value)
    assert not (folder / "piece.ts").exists()
    assert not (folder / "x.wav").exists()


OTHER = r"other (codes|latents) than run piece has now.*--fresh"


def test_a_prior_of_other_codes_is_refused_everywhere(made: tuple[runs.Trained, TrainedPrior], tmp_path: Path) -> None:
    refused_everywhere(a_run(tmp_path, made, fingerprint="0" * 32), tmp_path, OTHER)


def test_a_prior_of_the_other_kind_is_refused_everywhere(
    made: tuple[runs.Trained, TrainedPrior], tmp_path: Path
) -> None:
    other = networks.trained("low" if made[0].net.latent.discrete else "low-discrete")
    refused_everywhere(a_run(tmp_path, (other, made[1])), tmp_path, OTHER)


def test_a_prior_is_refused_once_what_it_speaks_of_has_been_trained_further(
    made: tuple[runs.Trained, TrainedPrior], tmp_path: Path
) -> None:
    run = a_run(tmp_path, made)
    assert runs.load_prior(run, runs.load(run)) is not None
    content = checkpoint.load(run.last)
    content["principal"]["components"] = content["principal"]["components"].flip(0)
    if made[0].net.latent.discrete:
        content["ema"]["latent.codebooks"] += 0.1
    checkpoint.save(run.last, content)
    refused_everywhere(run, tmp_path, OTHER)


@pytest.mark.parametrize("damage", ["short", "empty", "best", "prior_config", "progress", "optimiser"])
def test_a_damaged_prior_is_refused(made: tuple[runs.Trained, TrainedPrior], tmp_path: Path, damage: str) -> None:
    run = a_run(tmp_path, made)
    if damage == "short":
        run.prior.write_bytes(run.prior.read_bytes()[:-1000])
    elif damage == "empty":
        checkpoint.save(run.prior, {})
    elif damage != "optimiser":  # which that run lacks: it plays, but cannot go on learning
        content = checkpoint.load(run.prior)
        if damage == "best":
            content["best"]["offset"] = torch.zeros(3)
        else:
            del content[damage]
        checkpoint.save(run.prior, content)
    said = "not a readable checkpoint" if damage == "short" else "is no whole prior.*--fresh"
    if damage != "optimiser":
        with pytest.raises(RavelError, match=said):
            generate.main([str(run.folder), "--out", str(tmp_path / "x.wav")])
    with pytest.raises(RavelError, match=said):
        train_prior.train_prior(run, {"steps": 1}, cache=tmp_path / "cache")


def test_a_corpus_shorter_than_an_item_is_refused(made: tuple[runs.Trained, TrainedPrior], tmp_path: Path) -> None:
    run = a_run(tmp_path, made)
    run.prior.unlink()
    with pytest.raises(RavelError, match=r"sounds gives \d+ frames of \d+ samples to learn from, an item has 9999"):
        train_prior.main([str(run.folder), "--cache", str(tmp_path / "cache"), "--rows", "9999"])
    assert not run.prior.exists()


def test_the_verb_learns_goes_on_and_reports(
    made: tuple[runs.Trained, TrainedPrior], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path, made)
    words = [str(run.folder), "--cache", str(tmp_path / "cache")]
    how_many = [] if made[0].net.latent.discrete else ["--latents", "6", "--levels", "16"]
    small = [*how_many, "--channels", "8", "--batch", "2", "--rows", "16", "--validate-every", "4"]
    assert train_prior.main([*words, *small, "--steps", "4", "--fresh"]) == 0
    said = capsys.readouterr()
    assert f"starts: {made[1].alphabet.words()}" in said.err
    assert "bits a frame held out" in said.out
    assert "Markov chain of order 1" in said.out
    assert train_prior.main([*words, "--steps", "6"]) == 0
    assert "goes on from step 4" in capsys.readouterr().err
    assert checkpoint.load(run.prior)["progress"]["step"] == 6
    for option, said in {"--channels": "has channels 8, not 5", "--latents": "has latents 6, not 5|has codes"}.items():
        with pytest.raises(RavelError, match=said):
            train_prior.main([*words, option, "5"])
    run.prior.unlink()
    with pytest.raises(RavelError, match="has no prior yet: `ravel train-prior piece`"):
        generate.main([str(run.folder), "--out", str(tmp_path / "x.wav")])
