"""The player of Python is the engine, late by what it says: for any split of the calls, mode, method, rate and control.

At the model's rate: the same bits. The C++ tests hold the player to its other laws; here is what Python adds to them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from python import _native as native
from python.streaming import deploy, graph
from tests.networks import trained

Audio = NDArray[np.float32]
RATE, HOP, KEPT = 44100, 128, 5
METHODS, MODES = ("forward", "encode", "decode"), ("inline", "sliced", "threaded")


@cache
def data(preset: str, channels: int) -> bytes:
    source = trained(preset, channels=channels)
    shell = deploy.deploy(source, KEPT, True)
    return graph.ravel(shell, deploy.card(shell, source, preset), "fp32")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("models")

    def make(preset: str = "low", channels: int = 1) -> Path:
        path = folder / f"{preset}-{channels}.ravel"
        if not path.exists():
            path.write_bytes(data(preset, channels))
        return path

    return make


@pytest.fixture(scope="module")
def model(file: Callable[..., Path]) -> native.Model:
    return native.Model(file())


def sound(channels: int = 1, frames: int = 20 * HOP, seed: int = 0) -> Audio:
    return (0.3 * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def prepared(
    model: native.Model | Path, method: str = "forward", mode: str = "inline", rate: float = RATE, **host: Any
) -> native.Player:
    player = native.Player(method)
    player.load(model)
    player.set_mode(mode)
    player.prepare(rate, offline=True, **host)
    return player


def played(player: native.Player, x: Audio, blocks: list[int]) -> Audio:
    """In blocks of these lengths, again and again."""
    parts, at, i = [], 0, 0
    while at < x.shape[1]:
        parts.append(player.process(np.ascontiguousarray(x[:, at : at + blocks[i % len(blocks)]])))
        at += blocks[i % len(blocks)]
        i += 1
    return np.concatenate(parts, axis=1)


def by_the_engine(model: native.Model, method: str, x: Audio, streams: int = 1) -> Audio:
    """(rows, samples) of all streams; latents are read at the end of their hop and held for one."""
    hop = model.hop_samples
    rows = x[:, hop - 1 :: hop] if method == "decode" else x
    y = native.Engine(model, method, streams=streams).process(
        np.ascontiguousarray(rows.reshape(streams, -1, rows.shape[1]))
    )
    y = y.reshape(-1, y.shape[2])
    return np.repeat(y, hop, axis=1) if method == "encode" else y


def late(model: native.Model, method: str, player: native.Player) -> int:
    """Of the player behind the engine. Decode counts from the last sample of a hop."""
    read = model.hop_samples - 1 if method == "decode" else 0
    return player.latency_samples + read - model.methods[method]["delay_samples"]


def fitting(model: native.Model, method: str, frames: int = 20 * HOP) -> Audio:
    return sound(model.methods[method]["in_channels"], frames // model.hop_samples * model.hop_samples)


# -- the same numbers as the engine -------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("preset", "channels"), [("low", 1), ("v2-small", 2)])
def test_it_is_the_engine_as_late_as_it_says(
    file: Callable[..., Path], preset: str, channels: int, method: str, mode: str
) -> None:
    model = native.Model(file(preset, channels))
    player = prepared(model, method, mode, max_block=64)
    assert player.active_mode == mode
    x = fitting(model, method, 24 * model.hop_samples)
    want, wait = by_the_engine(model, method, x), late(model, method, player)
    got = player.process(x)
    assert np.array_equal(got[:, wait:], want[:, : want.shape[1] - wait])
    assert np.abs(want).max() > 0
    assert not np.array_equal(got[:, wait + 1 :], want[:, : want.shape[1] - wait - 1]), "a sample off is seen"


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.sampled_from(MODES),
    st.lists(st.integers(1, 700), min_size=1, max_size=8),
    st.sampled_from([1, 64, 512]),
)
def test_any_split_gives_the_same_bits(
    model: native.Model, method: str, mode: str, blocks: list[int], max_block: int
) -> None:
    x = fitting(model, method, 12 * HOP)
    host = {"max_block": max_block, "rate": 48000 if max_block == 64 else RATE}
    whole = prepared(model, method, mode, **host).process(x)
    assert np.array_equal(played(prepared(model, method, mode, **host), x, blocks), whole)


@pytest.mark.parametrize("block", [1, 16, 64, 100, 128, 192, 256, 1000])
def test_a_fixed_block_shortens_the_wait(model: native.Model, block: int) -> None:
    x, delay = sound(), model.methods["forward"]["delay_samples"]
    player = prepared(model, fixed_block=block)
    assert player.latency_samples == delay + HOP - np.gcd(HOP, block)
    got, wait = played(player, x[:, : x.shape[1] // block * block], [block]), late(model, "forward", player)
    assert np.array_equal(got[:, wait:], by_the_engine(model, "forward", x)[:, : got.shape[1] - wait])


def test_a_block_of_seconds_is_a_block(file: Callable[..., Path]) -> None:
    """Broken once: frames times rate did not fit 31 bits, and a long block ran hop by hop, or in slices of a sample."""
    model = native.Model(file())
    for mode in ("automatic", "sliced"):
        assert prepared(model, mode=mode, max_block=65536).active_mode == "inline"


@pytest.mark.parametrize("streams", [2, 5, 70])
def test_a_mono_model_plays_every_channel(model: native.Model, streams: int) -> None:
    x = sound(streams)
    player = prepared(model, in_channels=streams, out_channels=streams)
    wait = late(model, "forward", player)
    want = by_the_engine(model, "forward", x, streams)
    assert np.array_equal(player.process(x)[:, wait:], want[:, : x.shape[1] - wait])


def test_a_stereo_model_in_mono_is_the_mean(file: Callable[..., Path]) -> None:
    model, x = native.Model(file("v2-small", 2)), sound(frames=20 * 512)
    player = prepared(model, in_channels=1, out_channels=1)
    wait = late(model, "forward", player)
    want = by_the_engine(model, "forward", np.repeat(x, 2, axis=0)).mean(axis=0, keepdims=True)
    assert np.abs(player.process(x)[:, wait:] - want[:, : x.shape[1] - wait]).max() <= 1e-6 * np.abs(want).max()


def band(rate: int, seconds: float = 4.0) -> Audio:
    """The same noise below 1.8 kHz at any rate, with soft ends."""
    slow = np.random.default_rng(5).standard_normal(int(4000 * seconds)) * np.hanning(int(4000 * seconds))
    return soxr.resample(0.5 * slow, 4000, rate, "VHQ")[None].astype(np.float32)


def seconds_between(a: Audio, a_hz: int, b: Audio, b_hz: int) -> float:
    """By how much b is later: the slope of the phase between their spectra, weighted by how strong they are."""
    seconds = 3.9  # whole samples at every rate
    bins = int(1500 * seconds)
    first, second = (np.fft.rfft(x[0, : round(seconds * hz)])[:bins] for x, hz in ((a, a_hz), (b, b_hz)))
    cross, hz = first * second.conj(), np.arange(bins) / seconds
    rough = np.angle((cross[1:] * cross[:-1].conj()).sum()) * seconds  # from bin to bin no phase wraps
    cross *= np.exp(-1j * rough * hz)
    fine = np.sum(np.angle(cross) * hz * np.abs(cross)) / np.sum(hz**2 * np.abs(cross))
    return float(rough + fine) / (2 * np.pi)


@pytest.fixture(scope="module")
def at_its_own_rate(model: native.Model) -> Audio:
    return through(model, RATE, "inline")


def through(model: native.Model, rate: int, mode: str) -> Audio:
    player = prepared(model, mode=mode, rate=rate, max_block=256)
    player.set("noise", False)
    tail = np.zeros((1, player.latency_samples), np.float32)
    return player.process(np.concatenate([band(rate), tail], axis=1))[:, player.latency_samples :]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", [8000, 22050, 48000, 96000, 192000])
def test_the_latency_is_exact_at_every_rate(model: native.Model, at_its_own_rate: Audio, rate: int, mode: str) -> None:
    """The same sound at another rate comes out at the same time, to a tenth of a sample."""
    sound = through(model, rate, mode)
    assert np.corrcoef(sound[0], band(rate)[0])[0, 1] < 0.9, "it is the network that is heard"
    assert abs(seconds_between(at_its_own_rate, RATE, sound, rate)) * rate < 0.1
    assert abs(seconds_between(at_its_own_rate, RATE, sound[:, 1:], rate)) * rate > 0.9, "a sample off is seen"


# -- controls -----------------------------------------------------------------------------------------


def test_controls_say_what_they_are_and_hold_what_they_are_given(model: native.Model) -> None:
    about = {one["name"]: one for one in native.Player.controls()}
    assert about["input_gain"] == {"name": "input_gain", "unit": "dB", "minimum": -60, "maximum": 24, "default": 0}
    assert set(native.Player.switches()) == {"bypass", "freeze", "noise", "morphing"}
    player = native.Player()
    for name, one in about.items():
        assert player.get(name) == one["default"]
        for value in (one["minimum"], one["maximum"]):
            player.set(name, value)
            assert player.get(name) == value
        player.set(name, one["maximum"] + 1)
        assert player.get(name) == one["maximum"]
    assert [player.get(name) for name in ("bypass", "freeze", "noise", "morphing")] == [False, False, True, False]
    for name in native.Player.switches():
        player.set(name, True)
        assert player.get(name) is True
        player.set(name, False)
        assert player.get(name) is False
    player.load(model)
    player = native.Player()
    player.load(model)
    assert player.get("temperature") == np.float32(model.temperature), "the model's own, until it is set"


def test_what_is_turned_is_heard_as_the_engine_means_it(model: native.Model) -> None:
    x, rest = sound(), prepared(model).process(sound())
    engine, player = native.Engine(model), native.Player()
    engine.temperature, engine.seed = 0.7, 12
    player.set("temperature", 0.7)
    player.seed = 12
    for latent, scale, bias in ((0, -2.0, 0.0), (2, 1.0, 0.5)):
        engine.set_scale(latent, scale)
        engine.set_bias(latent, bias)
        player.set_latent(latent, scale=scale, bias=bias)
    engine.reset()
    player.load(model)
    player.set_mode("inline")
    player.prepare(RATE)
    wait = late(model, "forward", player)
    got, want = player.process(x)[:, wait:], engine.process(x[None])[0, :, : x.shape[1] - wait]
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
    assert np.abs(got - rest[:, wait:]).max() > 0.01 * np.abs(want).max()


def test_dry_wet_bypass_and_gain(model: native.Model) -> None:
    x = sound()
    for turn, factor in (
        ({"drywet": 0}, 1),
        ({"bypass": 1, "output_gain": -6}, 1),
        ({"drywet": 0, "output_gain": -20}, 0.1),
    ):
        player = native.Player()
        for name, value in turn.items():
            player.set(name, value)
        player.load(model)
        player.prepare(RATE)
        wait = player.latency_samples
        assert np.allclose(player.process(x)[:, wait:], factor * x[:, :-wait], rtol=1e-5, atol=0)


def test_latents_are_read_held_and_stored(model: native.Model) -> None:
    player = prepared(model, "decode", max_block=HOP)
    hold = lambda values, hops=12: player.process(np.repeat(np.float32(values)[:, None], hops * HOP, axis=1))  # noqa: E731
    first, second = np.arange(KEPT) - 2.0, 0.5 * np.ones(KEPT)
    hold(first)
    assert np.array_equal(player.latent_values(), first)
    player.store_snapshot(0)
    hold(second)
    player.store_snapshot(1)
    player.set("morphing", True)
    player.set("morph", 0.25)
    hold(second)
    assert np.allclose(player.latent_values(), 0.75 * first + 0.25 * second, atol=1e-6)
    player.set("morphing", False)
    player.recall_snapshot(0)
    hold(second)
    assert np.allclose(player.latent_values(), first, atol=1e-6)
    assert player.get("freeze") is True
    player.set("freeze", False)
    player.set_latent(3, override=1.5)
    hold(second)
    assert np.allclose(player.latent_values(), [0.5, 0.5, 0.5, 1.5, 0.5])
    assert player.latent(3) == {"scale": 1.0, "bias": 0.0, "override": 1.5}
    player.set_latent(3)
    assert player.latent(3)["override"] is None


def test_reset_begins_anew(model: native.Model) -> None:
    player, x = prepared(model), sound()
    first = player.process(x)
    player.process(sound(seed=1))
    player.reset()
    again = player.process(x)
    assert np.array_equal(again[:, player.latency_samples :], first[:, player.latency_samples :])
    player.prepare(RATE, offline=True)
    assert np.array_equal(player.process(x), first), "and prepare to the first bit"


def test_meters(model: native.Model) -> None:
    player, x = prepared(model), sound()
    y = player.process(x)
    meters = player.meters()
    assert meters["input_peak"] == np.abs(x).max()
    assert meters["output_peak"] == np.abs(y).max()
    assert 0 < meters["load"] <= meters["worst_load"]
    assert meters["late_hops"] == 0
    player.reset_meters()
    assert player.meters()["output_peak"] == 0


def test_what_is_not_finite_is_silence(model: native.Model) -> None:
    x = sound()
    x[0, 300:310] = [np.nan, np.inf, -np.inf, *[np.nan] * 7]
    clean = np.where(np.isfinite(x), x, 0)
    assert np.array_equal(prepared(model).process(x), prepared(model).process(clean))


# -- loading ------------------------------------------------------------------------------------------


def test_without_a_model_there_is_silence_and_the_first_one_plays(
    file: Callable[..., Path], model: native.Model
) -> None:
    player = native.Player()
    assert (player.model, player.path, player.latents, player.latency_samples) == (None, None, 0, 0)
    player.prepare(RATE)
    assert not player.process(sound()).any()
    player.load(str(file()))
    assert player.path == str(file())
    assert player.model is not None
    assert (player.model.name, player.latents) == ("low", KEPT)
    assert player.latency_samples > 0
    assert np.abs(player.process(sound(frames=44100))).max() > 0


@pytest.mark.parametrize("kind", ["missing", "text", "cut short", "a folder"])
def test_a_load_that_fails_says_why_and_changes_nothing(file: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    bad, x = tmp_path / "bad.ravel", sound()
    match = {"missing": "no such file", "text": "not a .ravel", "cut short": "truncated", "a folder": "bad.ravel"}[kind]
    if kind == "a folder":
        bad.mkdir()
    elif kind != "missing":
        bad.write_bytes(b"Dear diary, " * 9 if kind == "text" else file().read_bytes()[:-9])
    player, twin = prepared(file()), prepared(file())
    player.process(x)
    twin.process(x)
    with pytest.raises(native.Error, match=match):
        player.load(bad)
    assert player.take_message() is None, "it was raised"
    player.load(bad, wait=False)
    deadline = time.monotonic() + 20
    while player.loading and time.monotonic() < deadline:
        time.sleep(0.005)
    message = player.take_message()
    assert message is not None
    assert "bad.ravel" in message
    assert player.take_message() is None
    assert player.path == str(file())
    assert np.array_equal(player.process(x), twin.process(x))
    with pytest.raises(native.Error):
        native.Player().load(bad)


def test_a_later_model_asks_for_another_prepare(file: Callable[..., Path], model: native.Model) -> None:
    player = prepared(model)
    early = player.latency_samples
    player.load(file("v2-small", 2))
    assert player.latency_samples == early, "constant until the next prepare"
    assert player.wants_prepare
    assert "later than the latency" in str(player.take_message())
    player.load(file("v2-small", 2))  # a warning is no failure
    player.prepare(RATE)
    assert player.latency_samples > early
    assert not player.wants_prepare


def test_the_method_and_the_mode_are_those_of_the_next_prepare(model: native.Model) -> None:
    player = prepared(model)
    player.set_method("encode")
    player.set_mode("threaded")
    assert (player.method, player.active_mode) == ("forward", "inline")
    player.prepare(RATE, offline=True)
    assert (player.method, player.active_mode) == ("encode", "threaded")
    assert (player.in_channels, player.out_channels) == (1, KEPT)
    player.set_method("decode")
    player.prepare(RATE)
    assert (player.in_channels, player.out_channels) == (KEPT, 1)


# -- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "kind", "match"),
    [
        (np.zeros((1, 9)), ValueError, r"expects float32\(1, frames\), got float64\(1, 9\)"),
        (np.zeros((2, 9), np.float32), ValueError, r"got float32\(2, 9\)"),
        (np.zeros(9, np.float32), ValueError, r"got float32\(9,\)"),
        (np.zeros((1, 1, 9), np.float32), ValueError, r"got float32\(1, 1, 9\)"),
        ([[0.0]], TypeError, "got list"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_what_is_no_sound_is_refused(model: native.Model, x: Any, kind: type[Exception], match: str) -> None:
    player, twin = prepared(model), prepared(model)
    with pytest.raises(kind, match=match):
        player.process(x)
    assert np.array_equal(player.process(sound()), twin.process(sound()))


def test_the_output_goes_where_it_is_told(model: native.Model) -> None:
    x, want = sound(), prepared(model).process(sound())
    out = np.full_like(x, np.nan)
    assert prepared(model).process(x, out) is out
    assert np.array_equal(out, want)
    assert prepared(model).process(x, out=x) is x
    assert np.array_equal(x, want), "in place"
    for same in (np.asfortranarray(np.repeat(sound(), 2, 0))[:1], sound(frames=40 * HOP)[:, ::2]):
        assert np.array_equal(prepared(model).process(same), prepared(model).process(same.copy()))
    assert prepared(model).process(sound()[:, :0]).shape == (1, 0)
    read_only, memory = sound(), np.zeros((1, 4000), np.float32)
    read_only.setflags(write=False)
    for source, wrong, match in (
        (sound(), read_only, "read-only"),
        (sound(), np.zeros((2, 20 * HOP), np.float32), r"out must be float32\(1, 2560\)"),
        (sound(), np.zeros((1, 40 * HOP), np.float32)[:, ::2], "contiguous"),
        (memory[:, :2560], memory[:, 1:2561], "overlaps"),
    ):
        with pytest.raises(ValueError, match=match):
            prepared(model).process(source, wrong)
    with pytest.raises(TypeError, match="got str"):
        prepared(model).process(sound(), "out")


def test_hosts_that_cannot_be_are_refused_and_nothing_plays_then(model: native.Model) -> None:
    player = prepared(model)
    for host in (
        {"sample_rate_hz": 0.0},
        {"sample_rate_hz": float("nan")},
        {"sample_rate_hz": 1e9},
        {"max_block": 0},
        {"max_block": 2**20},
        {"fixed_block": -1},
        {"in_channels": -1},
        {"out_channels": 10**6},
    ):
        with pytest.raises(native.Error, match=next(iter(host)).split("_")[-1]):
            player.prepare(**{"sample_rate_hz": RATE, **host})
        with pytest.raises(native.Error, match="prepare"):
            player.process(sound())
    player.prepare(RATE)
    assert np.array_equal(player.process(sound()), prepared(model).process(sound()))
    with pytest.raises(native.Error, match="prepare"):
        native.Player().process(sound())


def test_words_and_numbers_that_mean_nothing_are_refused(model: native.Model) -> None:
    player = prepared(model)
    with pytest.raises(ValueError, match=r"'play'.*forward, encode, decode"):
        native.Player("play")
    with pytest.raises(ValueError, match=r"'play'"):
        player.set_method("play")
    with pytest.raises(native.Error, match=r"automatic, inline, sliced or threaded"):
        player.set_mode("fast")
    with pytest.raises(ValueError, match="core_slices"):
        player.set_mode("sliced", -1)
    for call in (lambda: player.set("loudness", 1), lambda: player.get("loudness")):
        with pytest.raises(ValueError, match=r"'loudness': there is input_gain, .*, morphing"):
            call()
    for value in (float("nan"), float("inf"), 1e300):
        with pytest.raises(ValueError, match="finite"):
            player.set("drywet", value)
        for what in ("scale", "bias", "override"):
            with pytest.raises(ValueError, match=what):
                player.set_latent(0, **{what: value})
    for latent in (-1, KEPT):
        for call in (player.latent, player.set_latent):
            with pytest.raises(ValueError, match="latents are 0 to 4"):
                call(latent)
    for call in (player.store_snapshot, player.recall_snapshot):
        with pytest.raises(ValueError, match="got 2"):
            call(2)
    for wrong in (
        lambda: player.load(None),
        lambda: player.load(3),
        lambda: player.set("drywet", "wet"),
        lambda: player.set("bypass", None),
        lambda: setattr(player, "seed", 2**63),
        lambda: player.prepare("44100"),
        lambda: player.prepare(RATE, 1.5),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_one_player_in_two_threads_is_refused_not_undefined(model: native.Model) -> None:
    """While controls are turned and models come from a third."""
    player, x, refusals = prepared(model), sound(frames=400 * HOP), []

    def play() -> None:
        for _ in range(4):
            try:
                assert np.isfinite(player.process(x)).all()
            except native.Error as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=play) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        player.set("drywet", 0.5)
        player.set_latent(0, bias=1.0)
        player.load(model)
        player.meters()
    for thread in threads:
        thread.join()
    assert all("another thread" in text for text in refusals)


def test_the_interpreter_is_free_while_it_plays(model: native.Model) -> None:
    """Only while one call runs is another refused; Python can see that only if it runs meanwhile."""
    player, x, seen = prepared(model), sound(frames=400 * HOP), threading.Event()

    def play() -> None:
        for _ in range(1000):
            if seen.is_set():
                break
            with suppress(native.Error):
                player.process(x)

    thread = threading.Thread(target=play)
    thread.start()
    while thread.is_alive() and not seen.is_set():
        try:
            player.process(x[:, :0])
        except native.Error:
            seen.set()
    thread.join()
    assert seen.is_set()
