"""The codec with a prior: whole numbers that no machine computes differently, what they cost, files that need them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("constriction")

from python import _native as native
from python import codec
from python.cli import run_verb
from python.codec import Codec, compress, expand
from python.coding import container
from python.coding.integer_prior import BLOCK, EXACT, IntegerPrior, Weights
from python.coding.levels import Levels
from python.coding.predicted import Predicted
from python.coding.statistics import TOTAL, Numbers
from python.coding.stored import content_hash, prior_in
from python.coding.tables import mass_table, tanh_table
from python.errors import RavelError
from python.model.prior import Prior, PriorConfig
from python.runs import Run
from python.streaming import deploy, graph
from tests.integer_network import rows, weights
from tests.networks import CODES, KEPT, QUANTISERS, prior_of, trained

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ("a757a7d380a8a2392c49c1a72db7d10e", "596854e183beed02a23875e3fd168ecc")  # of tests/integer_network.py
GOLDEN_STREAM = (360, 1448975166)  # bytes and CRC-32
OPENBLAS = ("Prescott", "Haswell", "Zen", "SkylakeX")


# -- whole numbers, by hand --------------------------------------------------


@cache
def e_to(x: Fraction) -> Decimal:
    with localcontext(Context(prec=40)):
        return (Decimal(x.numerator) / Decimal(x.denominator)).exp()  # rounded correctly, by its definition


@cache
def tanh(k: int) -> int:
    """4096 tanh(k / 512), rounded."""
    with localcontext(Context(prec=40)):
        e = e_to(Fraction(-abs(k), 256))
        return int(math.copysign(int(4096 * (1 - e) / (1 + e) + Decimal("0.5")), k))


@cache
def mass(down: int) -> int:
    """2^24 e^(-down / 256), rounded."""
    return int(e_to(Fraction(-down, 256)) * 2**24 + Decimal("0.5"))


class ByHand:
    """The same network in Python's integers and fractions, one row at a time over its whole past."""

    def __init__(self, of: Weights) -> None:
        self.of = of
        self.peaks: dict[str, int] = {}

    def frequencies(self, rows: list[list[int]]) -> list[list[list[int]]]:
        w, signals = self.of, [[] for _ in self.of.dilations]
        channels, found = w.embedding.shape[2], []
        for row in rows:
            heard = [[units(v, 10) for v in w.embedding[q, n].tolist()] for q, n in enumerate(row) if n >= 0]
            x = [sum(column) for column in zip([units(v, 10) for v in w.offset.tolist()], *heard)]
            h = self.dense("entry", x, w.entry, 26, 16)
            for i, dilation in enumerate(w.dilations):
                signal, now = signals[i], h[:channels]
                past = signal[-dilation] if len(signal) >= dilation else [0] * channels
                signal.append(now)
                halved = np.repeat([1.0, 0.5], channels)
                weight, bias = w.dilated[i]
                gates = (weight * halved[:, None, None], bias * halved)
                gates = self.dense(f"dilated.{i}", past + now, gates, 26, 17)
                t = [tanh(max(-4096, min(4096, k))) for k in gates]
                product = [a * (4096 + b) for a, b in zip(t[:channels], t[channels:])]
                h = [a + b for a, b in zip(h, self.dense(f"mixing.{i}", product, w.mixing[i], 41, 31))]
            hidden = self.dense("hidden", leaky(h[channels:]), w.hidden, 26, 16, 5)
            narrow = [clipped(x) for x in self.dense("narrow", leaky(hidden), w.narrow, 26, 16, 5)]
            found.append(self.outputs(narrow))
        return found

    def outputs(self, narrow: list[int]) -> list[list[int]]:
        weight, bias = self.of.last
        codes, rank, found = self.of.embedding.shape[1], weight.shape[2], []
        for q in range(self.of.embedding.shape[0]):
            here = slice(q * codes, (q + 1) * codes)
            logits = self.dense("last", narrow[q * rank : (q + 1) * rank], (weight[here], bias[here]), 26, 18)
            masses = [mass(max(logits) - x) for x in logits]
            share = ((TOTAL - codes) << 34) // sum(masses)
            frequencies = [1 + (m * share >> 34) for m in masses]
            frequencies[logits.index(max(logits))] += TOTAL - sum(frequencies)
            found.append(frequencies)
        return found

    def dense(self, name: str, x: list[int], layer: Any, bits: int, shift: int, by: int = 1) -> list[int]:
        weight, bias = layer
        out = []
        for taps, offset in zip(weight.reshape(len(weight), -1).tolist(), bias.tolist()):
            terms = [units(Fraction(v) / by, 16) * a for v, a in zip(taps, x, strict=True)] + [units(offset, bits)]
            self.peaks[name] = max(self.peaks.get(name, 0), sum(map(abs, terms)))
            out.append((sum(terms) + (1 << (shift - 1))) >> shift)
        return out


def units(x: float | Fraction, bits: int) -> int:
    return round(Fraction(x) * 2**bits)


def leaky(x: list[int]) -> list[int]:
    return [max(5 * v, v) for v in map(clipped, x)]


def clipped(x: int) -> int:
    return max(-(512 << 10), min(512 << 10, x))


@pytest.mark.parametrize("loudness", [0.3, 1.0, 6.0, 40.0])
def test_the_frequencies_are_those_of_python_s_integers(loudness: float) -> None:
    """Gates that are shut, wide open and between, activations that are clipped: every sum within what is promised."""
    network = weights(loudness=loudness)
    prior, hand = IntegerPrior(network), ByHand(network)
    heard = rows(24, 1, 3, 7)
    found = prior.frequencies(prior.logits(heard, prior.begin(1), 3))
    assert found[:, 0].tolist() == hand.frequencies(heard[:, 0].tolist())
    promised = prior.magnitudes()
    assert all(hand.peaks[name] <= promised[name] < EXACT for name in hand.peaks)
    assert set(promised) == {"embedding", *hand.peaks}


def test_tables_are_the_nearest_whole_numbers() -> None:
    table = tanh_table()
    assert len(table) == 2 * 4096 + 1
    assert [tanh(k) for k in range(-4096, 4097, 7)] == table[::7].astype(int).tolist()
    table = mass_table()
    assert [mass(k) for k in range(0, len(table), 5)] == table[::5].tolist()
    assert (table[0], table[-1], table[-2]) == (1 << 24, 0, 1)


def test_weights_that_could_leave_the_exact_numbers_are_refused() -> None:
    for name, factor in (("entry", 1e9), ("hidden", 1e9), ("last", 1e9)):
        weight, bias = getattr(weights(), name)
        with pytest.raises(RavelError, match=f"the weights of {name} are too large to be coded with"):
            IntegerPrior(replace(weights(), **{name: (weight * np.float32(factor), bias)}))
    network = weights()
    broken = np.array(network.offset)
    broken[1] = np.nan
    with pytest.raises(RavelError, match="weights that are no numbers"):
        IntegerPrior(replace(network, offset=broken))


# -- everywhere ---------------------------------------------------------------


def digests(*emulator: str, **environment: str) -> tuple[str, ...]:
    words = [*emulator, sys.executable, "-m", "tests.integer_network"]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return tuple(subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_every_instruction_set_and_thread_count_gives_the_same_frequencies() -> None:
    """Where another kernel rounds another way, so that a prior in floats would differ."""
    found = [digests(OPENBLAS_CORETYPE=core) for core in OPENBLAS]
    found += [digests(OPENBLAS_NUM_THREADS="2"), digests(NPY_DISABLE_CPU_FEATURES="AVX2,FMA3")]
    assert {(frequencies, fingerprint) for frequencies, fingerprint, _ in found} == {GOLDEN}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    if "openblas" in blas and platform.machine() == "x86_64":
        assert len({rounding for _, _, rounding in found}) > 1


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not shutil.which("qemu-x86_64"), reason="emulates another x86-64: qemu-user"
)
def test_a_processor_of_2010_gives_the_same_frequencies() -> None:
    assert digests("qemu-x86_64", "-cpu", "Westmere", OPENBLAS_NUM_THREADS="1")[:2] == GOLDEN


def test_blocks_and_streams_do_not_matter() -> None:
    prior, heard = IntegerPrior(weights()), rows(200, 3, 3, 7)
    whole = [
        prior.logits(heard[first : first + BLOCK], histories, 3)
        for histories in [prior.begin(3)]
        for first in range(0, 200, BLOCK)
    ]
    whole = np.concatenate(whole)
    for sizes in ([1] * 200, [3, 1, 60, 64, 2, 5, 1, 64]):
        histories, ends = prior.begin(3), np.cumsum(sizes)
        parts = [prior.logits(heard[e - n : e], histories, 3) for n, e in zip(sizes, ends)]
        assert np.array_equal(np.concatenate(parts), whole)
    for stream in range(3):
        histories = prior.begin(1)
        alone = [prior.logits(heard[t : t + 1, stream : stream + 1], histories, 2) for t in range(200)]
        assert np.array_equal(np.concatenate(alone), whole[:, stream : stream + 1, :2])


# -- against the network that was trained ---------------------------------------


def torch_prior(of: Weights) -> Prior:
    quantisers, codes, channels = of.embedding.shape
    prior = Prior(
        PriorConfig(quantisers, codes, channels, of.hidden[0].shape[0], of.last[0].shape[2], tuple(of.dilations))
    )
    named = {"embedding": of.embedding, "offset": of.offset, "narrow.weight": of.narrow[0]}
    layers = {"entry": of.entry, "hidden": of.hidden, "last": of.last}
    layers |= {f"dilated.{i}": layer for i, layer in enumerate(of.dilated)}
    layers |= {f"mixing.{i}": layer for i, layer in enumerate(of.mixing)}
    for name, (weight, bias) in layers.items():
        named |= {f"{name}.weight": weight, f"{name}.bias": bias}
    prior.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in named.items()})
    return prior.eval().requires_grad_(False)


def silent_narrow(of: Weights) -> Weights:
    return replace(of, narrow=(of.narrow[0], np.zeros(len(of.narrow[0]), np.float32)))


def test_the_distributions_are_those_of_the_float_network() -> None:
    """What the whole numbers cost beyond it: under a thousandth of the bits."""
    network = silent_narrow(weights(4, 50, 24, 32, 12, (1, 2, 4, 8)))
    prior, heard = IntegerPrior(network), rows(BLOCK, 1, 4, 50)
    frequencies = prior.frequencies(prior.logits(heard, prior.begin(1), 4))[:, 0]
    x = torch.from_numpy(heard[:, 0].T[None].astype(np.float32))
    logits = torch_prior(network)(x)[0].T.reshape(BLOCK, 4, 50).double()
    p = logits.softmax(-1)
    entropy = float(-(p * p.log2()).sum(-1).mean())
    cost = float(-(p * torch.from_numpy(np.log2(frequencies / TOTAL))).sum(-1).mean())
    assert 0.5 < entropy < 0.9 * math.log2(50)
    assert entropy - 1e-9 <= cost <= 1.001 * entropy


# -- streams --------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_what_is_decoded_is_what_was_coded(data: st.DataObject) -> None:
    """Any number of the first quantisers, fewer hops than these, several streams."""
    coder = Predicted(IntegerPrior(weights()))
    tables, hops, streams = (data.draw(st.integers(1, most)) for most in (3, 150, 3))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    numbers = draw.integers(0, data.draw(st.sampled_from([1, 3, 7])), (tables, hops, streams)).astype(np.int32)
    stream = coder.coded(numbers)
    assert np.array_equal(coder.decoded(stream, tables, hops, streams), numbers)
    assert 8 * len(stream) <= coder.estimate(numbers).sum() * 1.001 + 96


def test_the_rate_is_that_of_the_distributions() -> None:
    """Codes drawn by the prior itself cost what it expects them to, to 2 %."""
    prior = IntegerPrior(weights())
    numbers = played(prior, 3000)
    coder = Predicted(prior)
    bits, size = float(coder.estimate(numbers).sum()), 8 * len(coder.coded(numbers))
    assert bits <= size <= 1.02 * bits
    shuffled = numbers[:, np.random.default_rng(0).permutation(3000)]
    assert coder.estimate(shuffled).sum() > 1.1 * bits, "its order is what it knows"


def played(prior: IntegerPrior, hops: int) -> Numbers:
    """Codes drawn by a prior."""
    count, draw = prior.quantisers, np.random.default_rng(0)
    found, histories = np.full((hops + count, 1, count), -1, np.int32), prior.begin(1)
    for t in range(hops + count - 1):
        cumulated = prior.frequencies(prior.logits(found[t : t + 1], histories, count))[0, 0].cumsum(-1)
        found[t + 1, 0] = (cumulated <= draw.integers(TOTAL, size=(count, 1))).sum(-1)
        there = (np.arange(count) <= t) & (t - np.arange(count) < hops)
        found[t + 1, 0, ~there] = -1
    return np.stack([found[1 + q : 1 + q + hops, :, q] for q in range(count)])


def test_streams_are_the_same_everywhere() -> None:
    """Written on one machine, read on another: these bytes may never change."""
    stream = Predicted(IntegerPrior(weights())).coded(rows(100, 2, 3, 7).clip(0).transpose(2, 0, 1))
    assert (len(stream), zlib.crc32(stream)) == GOLDEN_STREAM


# -- files ------------------------------------------------------------------------

RATE, SECONDS = 44100, 0.6
LABELS = ("cello", "flute")
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that swells, stereo."""
    path = tmp_path_factory.mktemp("sound") / "in.wav"
    swell = 0.2 * (1 + np.sin(np.arange(int(SECONDS * RATE)) / 2000))[:, None]
    noise = np.random.default_rng(0).standard_normal((len(swell), 2))
    soundfile.write(path, (swell * noise).astype(np.float32), RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, wav: Path) -> Make:
    """make(preset, prior) -> file. Priors: "none", "knowing" how often each code of the sound comes, and "foreign"."""
    folder = tmp_path_factory.mktemp("models")

    def model(preset: str = "low-discrete", prior: str = "knowing", weights: str = "fp32") -> Path:
        path = folder / prior / weights / f"{preset}.ravel"
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        source = trained(preset, labels=LABELS if preset == "low-discrete" else ())
        of_source = None if prior == "none" else prior_of(source)
        if of_source and prior == "knowing":
            codec = Codec(model(preset, "foreign"))
            assert codec.prior is not None
            values, _ = codec.encode(wav, codec.prior.levels)
            know(of_source.prior, values.astype(np.int32))
        shell = deploy.deploy(source, KEPT, True, of_source)
        path.write_bytes(graph.ravel(shell, deploy.card(shell, source, path.stem, of_source), weights))
        return path

    return model


def know(prior: Prior, codes: Numbers) -> None:
    """How often each code comes, and little more."""
    counts = torch.tensor(np.array([np.bincount(c.ravel(), minlength=CODES) for c in codes])) + 1.0
    assert prior.last.bias is not None
    prior.last.weight.mul_(0.01)
    prior.last.bias.view(QUANTISERS, CODES)[: len(codes)] = (counts / counts.sum(1, keepdim=True)).log()


def go(*words: object) -> int:
    return run_verb("codec", codec.main, [str(word) for word in words])


def sound(path: Path) -> Any:
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def played_by(model: Path, latents: Any, label_weights: Sequence[float] = ()) -> Any:
    """What an engine that never saw a file plays of (streams, channels, hops): (frames, streams)."""
    loaded = native.Model(model)
    engine = native.Engine(loaded, "decode", len(latents))
    engine.temperature = 0.0
    for label, weight in enumerate(label_weights):
        engine.set_label_weight(label, weight)
    late = loaded.methods["forward"]["delay_samples"]
    return engine.process(np.ascontiguousarray(latents))[:, 0, late : late + int(SECONDS * RATE)].T


def test_a_stereo_file_with_labels_comes_back(
    make: Make, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, rvl, target = make(), tmp_path / "a.rvl", tmp_path / "out.wav"
    assert go("encode", wav, rvl, "--model", model, "--prior", "--label", "cello:0.3,flute:0.7") == 0
    assert re.search(r"kbit/s \(entropy estimate [\d.]+, [\d.]+ without the prior\)", capsys.readouterr().out)
    header, payload = container.read(rvl)
    prior = prior_in(model).network
    assert rvl.read_bytes()[:4] == b"RVL2"
    assert (header.statistics, header.prior, header.labels) == ("prior", prior.fingerprint, [0.3, 0.7])
    values, _ = Codec(model).encode(wav)
    assert np.array_equal(expand(header, payload, prior=prior), values)
    assert go("decode", rvl, target, "--model", model) == 0
    codes = values.transpose(2, 0, 1)
    assert np.array_equal(sound(target), played_by(model, codes, [0.3, 0.7]))
    assert go("decode", rvl, target, "--model", model, "--label", "flute", "--force") == 0
    assert np.array_equal(sound(target), played_by(model, codes, [0.0, 1.0]))
    assert not np.array_equal(played_by(model, codes, [0.3, 0.7]), played_by(model, codes, [0.0, 1.0]))


def test_a_continuous_model_is_coded_by_the_levels_of_its_prior(
    make: Make, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, rvl, target = make("low"), tmp_path / "a.rvl", tmp_path / "out.wav"
    for count in (KEPT, 2):
        assert go("encode", wav, rvl, "--model", model, "--prior", "--quantisers", count, "--force") == 0
        assert f"{count} of {KEPT} latents in {CODES} levels" in capsys.readouterr().out
        assert go("decode", rvl, target, "--model", model, "--force") == 0
        latents = torch.from_numpy(Codec(model).encode(wav)[0].transpose(2, 0, 1).copy())
        source = trained("low")
        alphabet = prior_of(source).alphabet.playing(KEPT)
        numbers = alphabet.listen(torch.nn.functional.pad(latents, (0, 0, 0, alphabet.heard - KEPT)))[:, :KEPT]
        header, payload = container.read(rvl)
        got = expand(header, payload, prior=prior_in(model).network)
        assert np.array_equal(got.transpose(2, 0, 1), numbers[:, :count].numpy())
        numbers[:, count:] = -1
        assert np.array_equal(sound(target), played_by(model, alphabet.speak(numbers).numpy()))
    assert go("encode", wav, rvl, "--model", model, "--prior", "--quantisers", KEPT + 1, "--force") == 2
    assert f"this model has 1 to {KEPT}" in capsys.readouterr().err


def test_each_book_is_for_what_those_before_it_left() -> None:
    """The numbers of a sum of their vectors are these again, where later books are much smaller."""
    draw = np.random.default_rng(0)
    books = draw.standard_normal((3, 8, 5)) * 0.05 ** np.arange(3)[:, None, None]
    levels = Levels(books, np.zeros(5))
    numbers = draw.integers(0, 8, (2, 3, 40)).astype(np.float32)
    assert np.array_equal(levels.numbers(levels.latents(numbers)), numbers)
    numbers[:, 1:] = -1
    assert np.array_equal(
        levels.latents(numbers), books.astype(np.float32)[0][numbers[:, 0].astype(int)].transpose(0, 2, 1)
    )


def test_levels_are_part_of_the_fingerprint(make: Make, wav: Path, tmp_path: Path) -> None:
    """Numbers of other levels are other sounds; the statistics of a continuous model are those of its prior, always."""
    assert go("encode", wav, tmp_path / "a.rvl", "--model", make("low", "foreign"), "--prior") == 0
    header, _ = container.read(tmp_path / "a.rvl")
    stored = prior_in(make("low", "foreign"))
    assert (header.statistics, header.prior) == ("prior", stored.network.fingerprint)
    assert IntegerPrior(weights(), stored.levels.meaning()).fingerprint != IntegerPrior(weights()).fingerprint
    moved = Levels(stored.levels.books * np.float32(1.01), stored.levels.rest)
    assert moved.meaning() != stored.levels.meaning() != Levels(moved.books, moved.rest + 1).meaning()


@pytest.mark.parametrize("preset", ["low-discrete", "low"])
def test_a_prior_is_read_from_the_file_and_is_no_part_of_the_model_s_hash(make: Make, preset: str) -> None:
    found = prior_in(make(preset))
    other, halved = prior_in(make(preset, "foreign")), prior_in(make(preset, weights="bf16"))
    assert len({stored.network.fingerprint for stored in (found, other, halved)}) == 3
    assert prior_in(make(preset, "none")) is None
    assert content_hash(make(preset)) == content_hash(make(preset, "foreign")) == content_hash(make(preset, "none"))
    data = make(preset, "none").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = header.pop("__metadata__")
    plain = hashlib.sha256(json.dumps([about["graph"], header], sort_keys=True).encode() + data[8 + length :])
    assert content_hash(make(preset, "none")) == plain.hexdigest(), "as files of version 1 name it"


@pytest.mark.parametrize(("kind", "error"), [("fp32", 0.002), ("bf16", 0.01)])
def test_the_prior_of_the_file_is_that_of_the_script(make: Make, kind: str, error: float) -> None:
    """Distributions of the whole numbers against the logits of the network that was exported."""
    network, heard = prior_in(make("low-discrete", "foreign", kind)).network, rows(BLOCK, 1, QUANTISERS, CODES)
    frequencies = network.frequencies(network.logits(heard, network.begin(1), QUANTISERS))[:, 0]
    p = prior_of(trained("low-discrete", labels=LABELS)).prior(torch.from_numpy(heard[:, 0].T[None].astype(np.float32)))
    p = p[0].T.reshape(BLOCK, QUANTISERS, CODES).softmax(-1).numpy()
    assert np.abs(frequencies / TOTAL - p).max() < error < np.abs(p - 1 / CODES).max() / 20


def test_the_cheaper_statistics_are_taken(
    make: Make, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, prior = Codec(make()), prior_in(make()).network
    values, header = model.encode(wav)
    plain = compress(values, header, quantisers=4)
    helped = compress(values, header, quantisers=4, prior=prior)
    assert helped.entropy_bits < helped.adaptive_bits == plain.entropy_bits
    between = (helped.entropy_bits + plain.entropy_bits) / 2 + 64
    kbps = between / helped.seconds / 1000
    assert compress(values, header, kbps).header.tables == 3
    fitted = compress(values, header, kbps, prior=prior)
    assert (fitted.header.tables, fitted.header.statistics) == (4, "prior")
    assert fitted.kbps <= kbps
    assert go("encode", wav, tmp_path / "a.rvl", "--model", make("low-discrete", "foreign"), "--prior") == 0
    assert "the prior would need more" in capsys.readouterr().out
    assert container.read(tmp_path / "a.rvl")[0].statistics == "adaptive"


@pytest.fixture
def rvl(make: Make, wav: Path, tmp_path: Path) -> Path:
    assert go("encode", wav, tmp_path / "a.rvl", "--model", make(), "--prior") == 0
    return tmp_path / "a.rvl"


def refused(rvl: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> str:
    target = rvl.with_name("refused.wav")
    assert go("decode", rvl, target, "--model", model) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert not target.exists()
    return error


def test_a_missing_or_another_prior_says_so(
    make: Make, wav: Path, rvl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "was coded with another prior (" in refused(rvl, make("low-discrete", "foreign"), capsys)
    without = make("low-discrete", "none")
    error = refused(rvl, without, capsys)
    assert "was coded with a prior (" in error
    assert "low-discrete.ravel has none: `ravel train-prior` teaches its run one" in error
    assert go("encode", wav, rvl, "--model", without, "--prior", "--force") == 2
    assert "--prior: low-discrete.ravel has none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "fields", "line"),
    [
        ("low-discrete", {"labels": [1.0]}, "does not fit its model"),
        ("low-discrete", {"symbols": CODES + 1}, "does not fit its model"),
        ("low-discrete", {"tables": KEPT + 1}, "does not fit its model"),
        ("low-discrete", {"step": 0.5}, "does not fit its model"),
        ("low-discrete", {"statistics": "adaptive", "prior": ""}, "is not understood"),
        ("low", {"tables": KEPT + 1}, "does not fit its model"),
        ("low", {"symbols": CODES + 1}, "does not fit its model"),
        ("low", {"step": 0.5}, "does not fit its model"),
        ("low", {"statistics": "adaptive", "prior": ""}, "does not fit its model"),
    ],
)
def test_a_header_that_lies_says_so(
    make: Make, wav: Path, tmp_path: Path, preset: str, fields: dict[str, Any], line: str, capsys: Any
) -> None:
    path = tmp_path / "a.rvl"
    assert go("encode", wav, path, "--model", make(preset), "--prior") == 0
    header, payload = container.read(path)
    container.write(path, replace(header, **fields), payload)
    assert line in refused(path, make(preset), capsys)


def test_a_payload_that_no_prior_coded_says_so(make: Make, rvl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, payload = container.read(rvl)
    for junk in (b"", b"\xff" * len(payload), b"\0" * 8, payload[4:]):
        container.write(rvl, replace(header, payload_bytes=len(junk)), junk)
        assert "is not understood" in refused(rvl, make(), capsys)


def test_labels_of_the_command_line(make: Make, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, target = make(), tmp_path / "a.rvl"
    assert go("encode", wav, target, "--model", model, "--label", "oboe") == 2
    assert "no label 'oboe'; low-discrete has cello, flute" in capsys.readouterr().err
    assert go("encode", wav, target, "--model", model) == 0
    assert target.read_bytes()[:4] == b"RVL1", "the first plays, as ever"
    assert go("decode", target, tmp_path / "b.wav", "--model", model, "--prior") == 2
    assert "--prior is for encoding" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--prior",)])
def test_a_run_is_exported_for_the_occasion(
    make: Make, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Its file is gone before the last word."""
    monkeypatch.setattr("python.runs.find", lambda name: Run(Path(name)))
    monkeypatch.setattr(
        "python.export.export", lambda run, path: shutil.copyfile(make(), path.with_suffix(".ravel")) and []
    )
    assert go("encode", wav, tmp_path / "a.rvl", "--model", "cello", *words) == 0
    assert go("decode", tmp_path / "a.rvl", tmp_path / "b.wav", "--model", "cello") == 0
