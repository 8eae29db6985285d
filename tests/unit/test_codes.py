"""A discrete model deployed: codes by nn~, the dial of its quantisers, its card, what it refuses, and in the engine."""

from __future__ import annotations

import io
import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from python import _native as native
from python import card, export, info, render, runs
from python.cli import run_verb
from python.errors import RavelError
from python.model.quantise import Codebooks
from python.runs import Run, Trained
from python.streaming import deploy, graph, verify
from python.streaming.nn_tilde import Shell
from tests import contract
from tests.networks import CODES, QUANTISERS, SIZE, trained

KEPT = 4
Go = Callable[..., int]


@pytest.fixture(scope="module", autouse=True)
def plain_executor() -> Iterator[None]:
    """Neither what hosts run nor settled: test_streaming.py has both, which take seconds."""
    with torch.jit.optimized_execution(False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(deploy, "_settled", lambda scripted: scripted)
        yield


@pytest.fixture(scope="module")
def source() -> Trained:
    return trained("low-discrete", channels=2)


@pytest.fixture
def shell(source: Trained) -> Shell:
    return deploy.deploy(source, KEPT, True)


@pytest.fixture(scope="module")
def files(source: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the verified model.ts and model.ravel of four quantisers."""
    path = tmp_path_factory.mktemp("codes") / "model.ts"
    shell = deploy.deploy(source, KEPT, True)
    lines = deploy.write(shell, path, deploy.card(shell, source, "model"), source)
    assert any("encode, engine" in line for line in lines[".ravel"])
    return path.parent


@pytest.fixture(scope="module")
def ts(files: Path) -> torch.jit.ScriptModule:
    return torch.jit.load(files / "model.ts")


def sound(shell: Shell, hops: int = 20, seed: int = 0) -> Tensor:
    return graph.sounding(shell, 2, hops * shell.hop_samples, seed)


def numbers(hops: int = 20, seed: int = 0) -> Tensor:
    return torch.randint(CODES, (2, KEPT, hops), generator=torch.Generator().manual_seed(seed)).float()


# -- the protocol ------------------------------------------------------------


def test_encode_gives_numbers_that_decode_takes(ts: torch.jit.ScriptModule, shell: Shell) -> None:
    x = sound(shell)
    for module in (ts, shell):
        module.reset()
    codes = ts.encode(x)
    assert codes.shape == (2, KEPT, 20)
    assert torch.equal(codes, codes.round())
    assert codes.min() >= 0
    assert codes.max() < CODES
    assert len(codes.unique()) > CODES / 2
    assert torch.equal(codes, shell.encode(x))
    contract.assert_close(ts.decode(codes), ts.forward(x), "forward is decode after encode")


def test_methods_are_described(ts: torch.jit.ScriptModule) -> None:
    assert ts.get_methods() == ["forward", "encode", "decode"]
    assert ts.encode_params.tolist() == [2, 1, KEPT, 128]
    assert ts.decode_params.tolist() == [KEPT, 128, 2, 1]
    assert ts.encode_output_labels == [f"(signal) code {i}" for i in range(KEPT)]
    assert ts.get_attributes() == ["noise", "seed", "scale", "bias", "reset"]
    assert (ts.set_temperature(0.0), ts.set_temperature(0.5), ts.set_fill(0.5)) == (0, -1, -1)


def decoded(module: Any, codes: Tensor) -> Tensor:
    module.reset()
    return module.decode(codes)


def test_numbers_are_rounded_and_kept_in_range(ts: torch.jit.ScriptModule) -> None:
    codes = numbers()
    want = decoded(ts, codes)
    near = codes + 0.98 * (torch.rand(codes.shape, generator=torch.Generator().manual_seed(1)) - 0.5)
    assert torch.equal(decoded(ts, near), want)
    codes[:, 0, 3], codes[:, 1, 5], codes[:, 2, 7] = CODES - 1, 0, CODES - 1
    want = decoded(ts, codes)
    codes[:, 0, 3], codes[:, 1, 5], codes[:, 2, 7] = 1e9, math.nan, math.inf
    assert torch.equal(decoded(ts, codes), want)
    assert not torch.equal(decoded(ts, codes + 1), want)


def test_below_zero_a_quantiser_is_silent(files: Path, source: Trained) -> None:
    """So the dial can be turned while playing: all but the first two at -1 is the export of two."""
    full, two = (deploy.deploy(source, kept, True) for kept in (KEPT, 2))
    codes = numbers()
    codes[:, 2:] = -1
    contract.assert_close(decoded(full, codes), decoded(two, codes[:, :2]), "torch")
    codes[:, 2:] = torch.tensor([-3.0, -math.inf])[None, :, None]
    contract.assert_close(decoded(full, codes), decoded(two, codes[:, :2]), "torch, far below")
    codes[:, 2:] = -7
    got = native.Engine(native.Model(files / "model.ravel"), "decode", 2, 4).process(codes.numpy())
    contract.assert_close(torch.from_numpy(got), decoded(two, codes[:, :2]), "engine")


def test_the_first_quantisers_are_those_of_the_whole(source: Trained) -> None:
    whole, few = (deploy.deploy(source, kept, True) for kept in (QUANTISERS, 3))
    x = sound(whole)
    assert torch.equal(few.encode(x), whole.encode(x)[:, :3])


def test_scale_and_bias_shape_the_vectors(source: Trained) -> None:
    """As if the components of the sum had been moved in the trained network."""
    shell = deploy.deploy(source, KEPT, True)
    shell.set_noise(False)
    assert (shell.set_scale(1, -2.0), shell.set_bias(SIZE - 1, 0.5), shell.set_bias(SIZE, 0.5)) == (0, 0, -1)
    codes, p, net = numbers(), source.principal, source.net
    z = p.components @ (net.latent.vectors(codes.long()) - p.mean[:, None])
    z[:, 1] *= -2.0
    z[:, SIZE - 1] += 0.5
    state = net.decoder.initial_state(z)
    state[0] = p.mean.expand_as(state[0])
    want = net.synthesis(net.decoder.step(p.components.T @ z + p.mean[:, None], state)[0])
    contract.assert_close(shell.decode(codes), want, "shaped")


def test_a_rounded_file_takes_the_same_codes(source: Trained, tmp_path: Path) -> None:
    shell = deploy.deploy(source, KEPT, True)
    halved = graph.with_weights(shell, "bf16")
    x = sound(shell)
    assert torch.equal(halved.encode(x), shell.encode(x))
    assert not torch.equal(halved.decode(numbers()), shell.decode(numbers()))
    path = tmp_path / "half.ravel"
    path.write_bytes(graph.ravel(shell, deploy.card(shell, source, "half"), "bf16"))
    for isa in native.cpu_features():
        model = native.Model(path, isa)
        assert model.selftest()["encode"] == 0.0, isa
        got = native.Engine(model, "encode", 2, 4).process(x.numpy())
        assert np.array_equal(got, shell_codes(shell, x)), isa


def shell_codes(shell: Shell, x: Tensor) -> np.ndarray:
    shell.reset()
    return shell.encode(x).numpy()


# -- near ties ---------------------------------------------------------------


def apart(shell: Shell, x: Tensor, got: np.ndarray) -> tuple[int, float]:
    """How many frames took other codes than torch's, and how far, of the largest |h|, the worst one was from a tie."""
    h = shell.front(x)
    rest, largest = h.transpose(1, 2).double(), h.norm(dim=1).max()
    want = torch.from_numpy(shell_codes(shell, x)).long()
    other = torch.from_numpy(got).long()
    first = torch.zeros(want[:, 0].shape, dtype=torch.bool)
    worst = 0.0
    for i, book in enumerate(shell.latent.codebooks.double()):
        a, b = book[want[:, i]], book[other[:, i]]
        here = (want[:, i] != other[:, i]) & ~first
        gap = ((rest - b).square().sum(2) - (rest - a).square().sum(2)).abs() / 2
        distance = gap / (a - b).norm(dim=2).clamp_min(1e-12) / largest
        worst = max(worst, float((distance * here).max()))
        first |= here
        rest = rest - a
    return int(first.sum()), worst


def test_any_sound_takes_the_same_codes_but_at_near_ties(files: Path, shell: Shell) -> None:
    """Frames as they come; one that lands within rounding of a boundary may fall on either side."""
    x = 0.3 * torch.randn(2, 2, 400 * shell.hop_samples, generator=torch.Generator().manual_seed(7))
    for isa in native.cpu_features():
        model = native.Model(files / "model.ravel", isa)
        got = native.Engine(model, "encode", 2, 8).process(x.numpy())
        frames, distance = apart(shell, x, got)
        assert frames <= 8, f"{isa}: {frames} of 800 frames differ"
        assert distance < 1e-5, f"{isa}: a code differs {distance:.2g} away from a tie"
    got[:, 1] = (got[:, 1] + 1) % CODES
    assert apart(shell, x, got)[1] > 1e-3, "other codes would have been noticed"


# -- the player --------------------------------------------------------------


def test_a_performer_moves_vectors_not_codes(files: Path) -> None:
    model = native.Model(files / "model.ravel")
    assert (model.latents, model.latent_size, model.quantisers, model.codes) == (SIZE, SIZE, KEPT, CODES)
    x = (0.3 * np.random.default_rng(0).standard_normal((2, 40 * 128))).astype(np.float32)

    def plays(method: str, x: np.ndarray, **latent: float) -> np.ndarray:
        player = native.Player()
        player.load(model)
        player.set_method(method)
        player.set_mode("inline")
        if latent:
            player.set_latent(0, **latent)
        channels = model.methods[method]
        player.prepare(44100, 128, in_channels=channels["in_channels"], out_channels=channels["out_channels"])
        return player.process(x)

    codes = plays("encode", x)
    assert np.array_equal(codes, plays("encode", x, bias=2.0)), "codes are not bent"
    for method, given in (("forward", x), ("decode", codes)):
        assert not np.allclose(plays(method, given), plays(method, given, bias=2.0), atol=1e-3)


def test_the_profile_knows_the_ops(files: Path) -> None:
    ops = native.Engine(native.Model(files / "model.ravel"), "forward").ops()
    found = [op for op in ops if op["kind"] == "quantise"]
    assert [op["name"] for op in found] == [f"latent.{i}" for i in range(KEPT)]
    assert all(op["flops"] == 2 * CODES * SIZE and op["weight_bytes"] == 4 * CODES * SIZE for op in found)
    assert [op["name"] for op in ops if op["kind"] == "codebook"] == ["completion"]


# -- card, page, options -----------------------------------------------------


def test_the_card_counts_bits(files: Path) -> None:
    for name in ("model.ts", "model.ravel"):
        about = card.read_card(files / name)
        assert about["codes"] == {
            "kind": "rvq", "quantisers": KEPT, "codes": CODES,
            "bits_per_frame": 16.0, "bits_per_second": pytest.approx(16 * 44100 / 128),
        }  # fmt: skip
        assert (about["latents"], about["latent_size"], about["methods"]["encode"]["out_channels"]) == (
            SIZE,
            SIZE,
            KEPT,
        )
        page = info.page(about | {"training": {}})
        assert f"{KEPT} quantisers of {CODES} codes, 16 bits a frame, 5.5 kbit/s" in page
        assert "temperature" not in page


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Trained) -> Go:
    """`ravel export` of a run without its script and engine, which take seconds; `name=` another preset."""

    def run(*words: str, name: str | None = None) -> int:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(runs, "find", lambda name, root=None: Run(Path("violin")))
        monkeypatch.setattr(runs, "load", lambda run, which="best": trained(name) if name else source)
        monkeypatch.setattr(deploy, "_script", card_alone)
        monkeypatch.setitem(sys.modules, "python._native", None)
        return run_verb("export", export.main, ["--streaming", *words])

    return run


def card_alone(shell: Shell, about: dict[str, Any], trained: Trained) -> tuple[bytes, list[str]]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("violin/extra/ravel.json", json.dumps(about))
    return packed.getvalue(), []


def test_the_dial_is_the_number_of_quantisers(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    assert go("--quantisers", "2") == 0
    assert "low-discrete, 2 of 6 quantisers, 8 bits a frame, 2.8 kbit/s" in capsys.readouterr().out
    assert card.read_card("violin.ravel")["codes"]["quantisers"] == 2


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        (None, ("--latents", "3"), "--latents 3: this model has codes; --quantisers keeps the first 1 to 6"),
        (None, ("--fidelity", "0.9"), "--fidelity 0.9: this model has codes; --quantisers"),
        (None, ("--quantisers", "7"), "--quantisers 7: this model has 1 to 6"),
        (None, ("--quantisers", "0"), "--quantisers 0: this model has 1 to 6"),
        ("low", ("--quantisers", "2"), "--quantisers 2: this model has no codes; --latents or --fidelity"),
    ],
)
def test_the_wrong_dial_is_one_clear_line(
    go: Go, name: str | None, words: tuple[str, ...], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(*words, name=name) == 2
    assert line in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".ts", ".ravel"])
def test_rendering_refuses_what_codes_do_not_have(files: Path, suffix: str) -> None:
    path = files / f"model{suffix}"
    with pytest.raises(RavelError, match="holds codes, which --latents and --fidelity do not choose from"):
        render.Instrument(path, latents=2)
    with pytest.raises(RavelError, match=r"does not take the temperature 0\.5"):
        render.Instrument(path, temperature=0.5)
    with (
        pytest.raises(RavelError, match="keeps its quantisers: name its run"),
        render.exported(str(path), None, None, 2),
    ):
        pass


# -- proofs that the proofs can fail -----------------------------------------


def test_export_refuses_codes_of_another_book(source: Trained, tmp_path: Path) -> None:
    shell = deploy.deploy(source, KEPT, True)
    assert isinstance(shell.completion, Codebooks)
    shell.completion.books[0, 0] += 1.0
    shell.completion.books[0, 1:] += 0.1
    with pytest.raises(RavelError, match="forward against the trained network"):
        deploy.write(shell, tmp_path / "a.ts", deploy.card(shell, source, "a"), source)
    assert not list(tmp_path.iterdir())
    x = sound(shell)
    got, want = shell.forward(x)[:1], verify.reference(source, KEPT, x)[:1]
    with pytest.raises(AssertionError):
        contract.assert_close(got, want, "another book")


@pytest.mark.parametrize(
    ("node", "key"), [("latent", "codebook"), ("completion", "codebook"), ("completion", "offset")]
)
def test_a_wrong_code_fails_the_golden_pair(files: Path, tmp_path: Path, node: str, key: str) -> None:
    data = bytearray((files / "model.ravel").read_bytes())
    length = int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8 : 8 + length])[f"{node}.{key}"]["data_offsets"]
    values = np.frombuffer(data, np.float32, (last - first) // 4, 8 + length + first)
    values += 0.2 * np.abs(values).max() * np.sign(np.sin(np.arange(len(values)))).astype(np.float32)
    path = tmp_path / "wrong.ravel"
    path.write_bytes(data)
    errors = native.Model(path).selftest()
    assert max(errors["encode"] if node == "latent" else errors["decode"], errors["forward"]) > 1e-4
