"""`.ts` files in the player and in `ravel~`, in a build with libtorch: they sound as torch plays them."""

import functools
import importlib.util
import io
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

native = pytest.importorskip("python._native", reason="the engine is not built: pip install -e .")

from python.streaming import deploy, graph  # noqa: E402
from tests.hosts.conftest import ROOT, Object, Pd, build, needed  # noqa: E402
from tests.hosts.test_pd import watched  # noqa: E402
from tests.networks import KEPT, SIZE, deployed_with_prior, trained  # noqa: E402

Audio = NDArray[np.float32]
RATE, HOP, CALL = 44100, 128, 1024  # of `low`: samples of a frame, and of a call of the script
GB_TO_COMPILE = 2  # what includes torch takes 1 GB


@pytest.fixture(scope="session")
def folder() -> Path:
    """The build with libtorch, in build/torch; RAVEL_TORCH_BUILD names one that is there already."""
    if given := os.environ.get("RAVEL_TORCH_BUILD"):
        return Path(given)
    needed("c++", "it compiles ravel~")
    if hasattr(os, "sysconf") and os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") < GB_TO_COMPILE << 30:
        pytest.skip(f"what includes torch needs {GB_TO_COMPILE} GB of memory to compile")
    python = ROOT / "build" / "torch" / "python"
    options = ["-DRAVEL_WITH_LIBTORCH=ON", "-DRAVEL_PYTHON=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    options += [
        f"-DRAVEL_PYTHON_FOLDER={python}",
        f"-DRAVEL_PD={'ON' if shutil.which('pd') else 'OFF'}",
        "-DRAVEL_TESTS=ON",
    ]
    # optimised little: compiling takes longer than running
    options += ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1"]
    objects = ["ravel_pd", "ravel_watch_pd"] if sys.platform == "linux" else ["ravel_pd"]
    return build("_native", *(objects if shutil.which("pd") else []), folder="torch", options=options)


@pytest.fixture(scope="session")
def built(folder: Path) -> ModuleType:
    """python._native of that build, beside the other one."""
    path = next((folder / "python").glob("_native.*"))
    spec = importlib.util.spec_from_file_location("_native", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """low.ts with low.ravel beside it, of random weights."""
    torch.set_num_threads(1)
    source = trained("low")
    shell = deploy.deploy(source, SIZE, True)
    card = deploy.card(shell, source, "low")
    path = tmp_path_factory.mktemp("models") / "low.ts"
    torch.jit.save(torch.jit.script(shell), path, _extra_files={"ravel.json": json.dumps(card)})
    path.with_suffix(".ravel").write_bytes(graph.ravel(shell, card, "fp32"))
    return path


class Stranger(torch.nn.Module):
    """A model of someone else's: nn~'s protocol, no card, no rate; a history in a buffer, attributes of every type."""

    label: str
    pair: tuple[float, float]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("past", torch.zeros(8, 1, 100))
        for name, values in {
            "forward_params": [1, 1, 1, 1],
            "encode_params": [1, 1, 2, 64],
            "decode_params": [2, 64, 1, 1],
            "prior_params": [1, 64, 2, 64],
            "level_params": [2],
            "taps_params": [1],
            "inverted_params": [0],
            "label_params": [3],
            "pair_params": [2, 2],
            "picture_params": [4],
        }.items():
            self.register_buffer(name, torch.tensor(values))
        self.level, self.taps, self.inverted, self.label, self.pair = 1.0, 1, False, "plain", (0.0, 0.0)

    @torch.jit.export
    def get_methods(self) -> list[str]:
        return ["forward", "encode", "decode", "prior"]

    @torch.jit.export
    def get_attributes(self) -> list[str]:
        return ["level", "taps", "inverted", "label", "pair", "picture"]

    def forward(self, x: Tensor) -> Tensor:
        """The input, 100 samples later."""
        if self.label == "broken":
            raise ValueError("a string snapped")
        streams = x.size(0)
        long = torch.cat([self.past[:streams], x], 2)
        self.past[:streams].copy_(long[:, :, -100:])
        y = self.level * float(self.taps) * long[:, :, :-100] + self.pair[0] + self.pair[1]
        return -y if self.inverted else y

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        frames = x.reshape(x.size(0), -1, 64)
        return torch.stack([frames[:, :, 0], frames.abs().mean(2)], 1)

    @torch.jit.export
    def decode(self, z: Tensor) -> Tensor:
        return (z[:, :1] + z[:, 1:]).repeat_interleave(64, 2)

    @torch.jit.export
    def prior(self, x: Tensor) -> Tensor:
        return x.repeat(1, 2, 1)

    @torch.jit.export
    def get_level(self) -> float:
        return self.level

    @torch.jit.export
    def set_level(self, value: float) -> int:
        if value > 10.0:
            return -1
        self.level = value
        return 0

    @torch.jit.export
    def get_taps(self) -> int:
        return self.taps

    @torch.jit.export
    def set_taps(self, value: int) -> int:
        if value == 13:
            raise ValueError("not thirteen")
        self.taps = value
        return 0

    @torch.jit.export
    def get_inverted(self) -> bool:
        return self.inverted

    @torch.jit.export
    def set_inverted(self, value: bool) -> int:
        self.inverted = value
        return 0

    @torch.jit.export
    def get_label(self) -> str:
        return self.label

    @torch.jit.export
    def set_label(self, value: str) -> int:
        self.label = value
        return 0

    @torch.jit.export
    def get_pair(self) -> tuple[float, float]:
        return self.pair

    @torch.jit.export
    def set_pair(self, first: float, second: float) -> int:
        self.pair = (first, second)
        return 0

    @torch.jit.export
    def get_picture(self) -> Tensor:
        return self.past

    @torch.jit.export
    def set_picture(self, value: Tensor) -> int:
        return 0


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strangers") / "stranger.ts"
    torch.jit.save(torch.jit.script(Stranger()), path)
    return path


def sound(channels: int = 1, frames: int = 20 * CALL, seed: int = 0) -> Audio:
    return (0.3 * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def held(z: Audio) -> Audio:
    """Frames as signals."""
    return np.repeat(z, HOP, axis=1)


def by_torch(path: Path, method: str, x: Audio, set_up: Callable[[Any], Any] | None = None) -> Audio:
    """x (rows, frames) through the script in calls of as many frames as the player's."""
    module = torch.jit.load(path)
    if set_up:
        set_up(module)
    frames = CALL // HOP if method in ("decode", "prior") else CALL
    with torch.inference_mode(), torch.jit.optimized_execution(False):  # which would take seconds
        parts = [getattr(module, method)(part[None])[0] for part in torch.from_numpy(x).split(frames, 1)]
    y: Audio = torch.cat(parts, 1).numpy()
    return y


def make(built: ModuleType, path: Path, method: str = "forward", rate: int = RATE, **host: Any) -> Any:
    player = built.Player(method)
    player.load(path)
    player.prepare(rate, **{"max_block": 1000, "offline": True, **host})
    return player


def play(player: Any, x: Audio, seed: int = 0) -> Audio:
    """In blocks of any size."""
    ends = np.unique(np.random.default_rng(seed).integers(0, x.shape[1], 60))
    return np.concatenate([player.process(block) for block in np.split(x, ends, axis=1)], axis=1)


def close(heard: Audio, wanted: Audio, late: int, to: float) -> None:
    """heard is wanted, `late` samples later, to a share of its peak."""
    frames = min(heard.shape[1] - late, wanted.shape[1])
    peak = np.abs(wanted).max()
    assert frames > 4 * CALL
    assert peak > 1e-3
    np.testing.assert_allclose(heard[:, late : late + frames], wanted[:, :frames], rtol=0, atol=to * peak)


# ---- what it plays


@pytest.mark.parametrize("method", ["forward", "encode", "decode"])
@pytest.mark.parametrize("block", [0, 64, 1000])
def test_plays_what_torch_plays(built: ModuleType, exported: Path, method: str, block: int) -> None:
    """And what the engine plays."""
    x = sound() if method != "decode" else sound(SIZE, 20 * CALL // HOP, seed=1)
    signal = held(x) if method == "decode" else x
    player = make(built, exported, method, fixed_block=block, max_block=block or 777)
    heard = np.concatenate([player.process(part) for part in np.split(signal, range(block, x.shape[1], block), 1)], 1) \
        if block else play(player, signal)  # fmt: skip
    assert player.active_mode == "threaded"
    wanted = by_torch(exported, method, x)
    about = player.model.methods[method]
    late = player.latency_samples - about["delay_samples"] + (HOP - 1 if method == "decode" else 0)
    close(heard, held(wanted) if method == "encode" else wanted, late, 1e-6)
    if method == "forward":
        wait = CALL - np.gcd(CALL, block) if block else CALL - 1
        assert player.latency_samples == CALL + wait + about["delay_samples"]
    other = make(built, exported.with_suffix(".ravel"), method)
    engine = play(other, signal)
    close(heard, engine[:, other.latency_samples :], player.latency_samples, 1e-5)


def set_prior_temperature(module: Any, to: float) -> None:
    assert module.set_prior_temperature(to) == 0


def test_a_prior_goes_on_by_itself(built: ModuleType, tmp_path: Path) -> None:
    source, shell, prior = deployed_with_prior("low")
    path = tmp_path / "low.ts"
    about = json.dumps(deploy.card(shell, source, "low", prior))
    torch.jit.save(torch.jit.script(shell), path, _extra_files={"ravel.json": about})
    player = make(built, path, "prior")
    found = []
    for temperature in (0.0, 2.0):  # the control reaches the script's attribute
        player.set("prior_temperature", temperature)
        player.prepare(RATE, max_block=1000, offline=True)  # begins with it: no ramp
        heard = play(player, np.zeros((1, 20 * CALL), np.float32))
        still = np.zeros((1, 20 * CALL // HOP), np.float32)
        warm = functools.partial(set_prior_temperature, to=temperature)
        wanted = by_torch(path, "prior", still, warm)
        late = player.latency_samples - player.model.methods["prior"]["delay_samples"]
        close(heard, held(wanted), late, 1e-6)
        found.append(wanted)
    assert found[0].shape[0] == KEPT
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_other_rates_are_resampled(built: ModuleType, exported: Path) -> None:
    x = sound(frames=44100)
    players = [make(built, path, rate=48000) for path in (exported, exported.with_suffix(".ravel"))]
    heard = [play(player, x)[:, player.latency_samples :] for player in players]
    frames = min(y.shape[1] for y in heard)
    # the resamplers' phases differ by the fraction that each latency leaves
    np.testing.assert_allclose(heard[0][:, :frames], heard[1][:, :frames], atol=0.02 * np.abs(heard[1]).max())


@pytest.mark.parametrize("which", ["exported", "stranger"])
def test_reset_begins_anew(built: ModuleType, which: str, request: pytest.FixtureRequest) -> None:
    player, x = make(built, request.getfixturevalue(which)), sound()
    first = play(player, x)
    player.process(sound(frames=333, seed=3))
    player.reset()
    again = play(player, x, seed=1)
    late = player.latency_samples
    np.testing.assert_array_equal(again[:, late:], first[:, late:])


def test_streams_are_a_batch(built: ModuleType, exported: Path) -> None:
    x = sound(3)
    many = make(built, exported, in_channels=3, out_channels=3)
    many.set("noise", 0)
    heard = play(many, x)
    for stream in range(3):
        wanted = by_torch(exported, "forward", x[stream : stream + 1], lambda module: module.set_noise(False))
        late = many.latency_samples - many.model.methods["forward"]["delay_samples"]
        close(heard[stream : stream + 1], wanted, late, 1e-5)


def test_latents_are_shaped_in_every_method(built: ModuleType, exported: Path) -> None:
    """`forward` too, since it is encode and decode in turn: as the engine does it."""
    x, z = sound(), held(sound(SIZE, 20 * CALL // HOP, seed=1))
    for method, signal in {"forward": x, "encode": x, "decode": z}.items():
        heard = []
        for path in (exported, exported.with_suffix(".ravel")):
            player = make(built, path, method)
            player.set_latent(0, scale=0.5, bias=-0.25)
            player.set_latent(1, override=2.0)
            player.set("temperature", 0.5)
            player.seed = 7
            player.prepare(
                RATE, max_block=1000, offline=True
            )  # begins with them: ramps go by calls here, by hops there
            heard.append(play(player, signal)[:, player.latency_samples :])
        frames = min(y.shape[1] for y in heard)
        np.testing.assert_allclose(heard[0][:, :frames], heard[1][:, :frames], atol=1e-5 * np.abs(heard[1]).max())


def test_other_modes_play_threaded_and_say_so(built: ModuleType, exported: Path) -> None:
    for mode in ("inline", "sliced"):
        player = built.Player()
        player.set_mode(mode)
        player.load(exported)
        player.prepare(RATE, offline=True)
        assert player.active_mode == "threaded"
        assert player.take_message() == f"low is TorchScript, which plays threaded, not {mode}"
    engine = built.Engine(built.Model(exported), "forward", max_hops=CALL // HOP)
    with pytest.raises(built.Error, match="can't be sliced"):
        built.Engine(built.Model(exported), "forward", slices=2)
    x = sound()
    np.testing.assert_allclose(engine.process(x[None])[0], by_torch(exported, "forward", x), atol=1e-6)


def test_leaves_the_threads_of_torch_alone(built: ModuleType, exported: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        play(make(built, exported), sound())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ---- attributes


def test_attributes_of_every_type(built: ModuleType, stranger: Path) -> None:
    player = make(built, stranger, rate=48000)
    assert player.attributes == {
        "level": ("float",),
        "taps": ("int",),
        "inverted": ("bool",),
        "label": ("str",),
        "pair": ("float", "float"),
        "picture": ("tensor",),
    }
    assert [player.attribute(name) for name in ("level", "taps", "inverted", "label", "pair")] == [
        (1.0,), (1,), (False,), ("plain",), (0.0, 0.0),
    ]  # fmt: skip
    player.set_attribute("level", 0.5)
    player.set_attribute("taps", 3)
    player.set_attribute("inverted", True)
    player.set_attribute("label", "loud")
    player.set_attribute("pair", 0.125, 1)
    x = sound()
    late = player.latency_samples + 100
    for _ in range(2):  # and a voice that is made anew has them too
        heard = play(player, x)
        np.testing.assert_allclose(heard[:, late:], -(1.5 * x[:, :-late] + 1.125), atol=1e-5)
        assert [player.attribute(name) for name in ("level", "taps", "inverted", "label", "pair")] == [
            (0.5,), (3,), (True,), ("loud",), (0.125, 1.0),
        ]  # fmt: skip
        player.prepare(48000, offline=True)
    player.process(x)
    player.reset()  # and a reset keeps them
    np.testing.assert_allclose(play(player, x)[:, late:], -(1.5 * x[:, :-late] + 1.125), atol=1e-5)
    player.take_message()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("levle", (1.0,), "no attribute 'levle': there is level, taps, inverted, label, pair, picture"),
        ("level", ("loud",), "attribute level: expects float, got loud"),
        ("level", (), "attribute level: expects float, got nothing"),
        ("level", (float("nan"),), "attribute level: expects float, got nan"),
        ("taps", (1.5,), "attribute taps: expects int, got 1.5"),
        ("inverted", (2,), "attribute inverted: expects bool, got 2"),
        ("label", (1,), "attribute label: expects string, got 1"),
        ("pair", (1.0,), "attribute pair: expects float float, got 1"),
        ("pair", (1.0, 2.0, 3.0), "attribute pair: expects float float, got 1 2 3"),
        ("picture", (1.0,), "attribute picture: expects tensor, got 1"),
    ],
)
def test_wrong_attributes_are_refused(
    built: ModuleType, stranger: Path, name: str, values: tuple[Any, ...], message: str
) -> None:
    player = make(built, stranger)
    with pytest.raises(built.Error, match=message.replace("?", r"\?")):
        player.set_attribute(name, *values)


def test_what_the_script_refuses_is_a_message(built: ModuleType, stranger: Path) -> None:
    player, x = make(built, stranger), sound()
    player.take_message()
    player.set_attribute("level", 11.0)
    player.process(x)
    assert player.take_message() == "stranger: attribute level: the model refuses 11"
    assert player.attribute("level") == (1.0,)
    player.set_attribute("taps", 13)
    player.process(x)
    assert "not thirteen" in player.take_message()
    late = player.latency_samples + 100
    player.reset()
    np.testing.assert_array_equal(play(player, x)[:, late:], x[:, :-late])


def test_attributes_of_ravel_reach_its_scripts(built: ModuleType, exported: Path) -> None:
    player, x = make(built, exported), sound()
    player.set_attribute("scale", 0, 0.5)
    player.set_attribute("scale", 1, 2.0)
    player.set_attribute("noise", False)
    wanted = by_torch(exported, "forward", x, lambda m: (m.set_noise(False), m.set_scale(0, 0.5), m.set_scale(1, 2.0)))
    late = player.latency_samples - player.model.methods["forward"]["delay_samples"]
    for _ in range(2):
        close(play(player, x), wanted, late, 1e-6)
        player.prepare(RATE, offline=True)


@pytest.mark.parametrize("which", ["exported", "stranger"])
def test_players_of_one_file_stay_apart(built: ModuleType, which: str, request: pytest.FixtureRequest) -> None:
    """Weights are shared, attributes and histories are not."""
    path, x = request.getfixturevalue(which), sound()
    one, other = make(built, path), make(built, path)
    wanted = play(make(built, path), x)
    name, values = ("scale", (0, 5.0)) if which == "exported" else ("level", (0.25,))
    one.set_attribute(name, *values)
    heard, unlike = [], []
    for part in np.split(x, range(777, x.shape[1], 777), axis=1):
        unlike.append(one.process(part[:, ::-1]))
        heard.append(other.process(part))
    np.testing.assert_array_equal(np.concatenate(heard, axis=1), wanted)
    assert np.abs(np.concatenate(unlike, axis=1) - wanted).max() > 0.01


# ---- files of strangers


def test_a_stranger_plays(built: ModuleType, stranger: Path) -> None:
    x = sound(2)
    for rate in (22050, 48000):
        player = make(built, stranger, rate=rate, in_channels=2, out_channels=2)
        said = player.take_message()
        assert "does not say how late" in said
        assert "plays at that of the host" in said
        assert "can't be parted" in said
        late = player.latency_samples + 100
        assert player.latency_samples == 2 * CALL - 1  # calls of 16 frames, on a thread
        np.testing.assert_array_equal(play(player, x)[:, late:], x[:, :-late])
    player = make(built, stranger, "encode")
    heard = play(player, x[:1])
    frames = x[0].reshape(-1, 64)
    wanted = np.repeat(np.stack([frames[:, 0], np.abs(frames).mean(1)]), 64, axis=1)
    np.testing.assert_allclose(heard[:, player.latency_samples :], wanted[:, : -player.latency_samples], atol=1e-6)


class Half(torch.nn.Module):
    """Only part of a stranger."""

    def __init__(self, params: dict[str, list[int]]) -> None:
        super().__init__()
        for name, values in params.items():
            self.register_buffer(name, torch.tensor(values))

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.abs().max() > 100):
            raise ValueError("too loud")
        return x


def saved(path: Path, module: torch.nn.Module, card: dict[str, Any] | None = None) -> Path:
    torch.jit.save(torch.jit.script(module), path, _extra_files={"ravel.json": json.dumps(card)} if card else {})
    return path


def test_files_that_cannot_be_played_say_why(built: ModuleType, exported: Path, tmp_path: Path) -> None:
    """And the old model plays on."""
    whole = exported.read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "no model")
    card = json.loads(zipfile.ZipFile(exported).read("low/extra/ravel.json"))
    bad = {
        "cut.ts": (whole[: len(whole) // 2], "no TorchScript that this build reads"),
        "head.ts": (whole[:100], "no TorchScript that this build reads"),
        "zip.ts": (archive.getvalue(), "no TorchScript that this build reads"),
        "empty.ts": (b"", "empty.ts"),
        "text.ts": (b"hello, this is no model at all", "text.ts"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    messages = {name: message for name, (_, message) in bad.items()}
    saved(tmp_path / "bare.ts", Half({}))
    messages["bare.ts"] = "without methods"
    saved(tmp_path / "three.ts", Half({"forward_params": [1, 1, 1]}))
    messages["three.ts"] = "forward_params: expects 4 numbers, has 3"
    saved(tmp_path / "zero.ts", Half({"forward_params": [0, 1, 1, 1]}))
    messages["zero.ts"] = "forward_params: expects numbers from 1"
    saved(tmp_path / "odd.ts", Half({"forward_params": [2, 64, 2, 64]}))
    messages["odd.ts"] = "forward is no sound to sound"
    saved(tmp_path / "wrong.ts", Half({"forward_params": [1, 1, 2, 1]}))
    messages["wrong.ts"] = r"forward gives a tensor of shape \[1, 1, 1024\], expects \[1, 2, 1024\]"
    saved(tmp_path / "whole.ts", Half({"forward_params": [1, 1, 1, 1]}), {**card, "streaming": False})
    messages["whole.ts"] = "export it again with --streaming"
    player, x = make(built, exported), sound()
    wanted = play(make(built, exported), x)
    parts = np.array_split(x, len(messages), axis=1)
    heard = []
    for part, (name, message) in zip(parts, messages.items(), strict=True):
        with pytest.raises(built.Error, match=message) as caught:
            player.load(tmp_path / name)
        assert len(str(caught.value)) < 600
        assert "\n" not in str(caught.value)
        heard.append(player.process(part))
    np.testing.assert_array_equal(np.concatenate(heard, axis=1), wanted)


def test_a_method_that_is_not_there_is_named(built: ModuleType, tmp_path: Path) -> None:
    player = built.Player("encode")
    player.load(saved(tmp_path / "half.ts", Half({"forward_params": [1, 1, 1, 1]})))
    with pytest.raises(built.Error, match="half has no method encode: there is forward"):
        player.prepare(RATE, in_channels=1, out_channels=1)


def test_a_script_that_fails_is_silent_and_says_so_once(built: ModuleType, stranger: Path) -> None:
    player, x = make(built, stranger), sound(frames=8 * CALL)
    player.take_message()
    assert np.abs(player.process(x)).max() > 0
    player.set_attribute("label", "broken")
    assert np.abs(player.process(x)[:, 3 * CALL :]).max() == 0
    assert "a string snapped" in player.take_message()
    player.process(x)
    assert player.take_message() is None
    player.set_attribute("label", "mended")
    assert np.abs(player.process(x)[:, 3 * CALL :]).max() > 0


def test_an_engine_raises_what_its_script_raises(built: ModuleType, tmp_path: Path) -> None:
    engine = built.Engine(built.Model(saved(tmp_path / "half.ts", Half({"forward_params": [1, 1, 1, 1]}))), max_hops=64)
    x = sound(frames=64)[None]
    np.testing.assert_array_equal(engine.process(x), x)
    with pytest.raises(built.Error, match=r"half: silent, since forward: .*too loud"):
        engine.process(1000 * x)
    np.testing.assert_array_equal(engine.process(x), x)


def test_models_of_both_kinds_are_exchanged_while_they_play(built: ModuleType, exported: Path, stranger: Path) -> None:
    player = make(built, exported, rate=RATE)
    x, heard = sound(frames=RATE // 2), []
    for path in (exported.with_suffix(".ravel"), stranger, exported, exported.with_suffix(".ravel"), exported):
        heard.append(player.process(x))
        player.load(path)
    heard.append(player.process(x))
    assert np.isfinite(np.concatenate(heard, axis=1)).all()
    assert all(np.abs(y).max() > 1e-3 for y in heard)


def test_a_build_without_libtorch_says_what_to_do(exported: Path) -> None:
    if native.plays_scripts():
        pytest.skip("this one has it")
    with pytest.raises(native.Error, match="is TorchScript, which this build can't play: export the model again"):
        native.Model(exported)


# ---- real Pure Data


@pytest.fixture
def torch_pd(folder: Path, pd_program: str, tmp_path: Path) -> Pd:
    return Pd(pd_program, next((folder / "pd").glob("ravel~.*")), tmp_path)


def test_pd_plays_a_script(torch_pd: Pd, exported: Path, stranger: Path, tmp_path: Path) -> None:
    x = sound(frames=24 * CALL)
    for path in (exported, stranger, exported.with_suffix(".ravel")):
        shutil.copy(path, tmp_path)
    objects = {
        "ts": Object("ravel~ low.ts forward 4096 -offline -seed 0", x),
        "ravel": Object("ravel~ low -offline -seed 0", x),
        "stranger": Object("ravel~ stranger forward 8192 -offline -set level 0.5", x),
    }
    timeline = [
        (100, "; ts info; ravel info; stranger info; stranger get level; stranger get taps; stranger get pair"),
        (110, "; stranger set pair 0 0; stranger set label 3; stranger get label; stranger dump; ts get temperature"),
        (120, "; stranger set nothing 1; stranger set taps 1.5; stranger get nothing; stranger set level 20"),
        (130, "; ts mode sliced; ts set temperature 0.5; ts get temperature; ts set scale 0 2"),
    ]
    before = torch_pd.play(objects, RATE)
    late = before.latency("ts") - 155
    close(before.sound["ts"], by_torch(exported, "forward", x), late, 1e-6)
    assert before.list("ts", "load")[0].endswith("low.ts")
    assert before.list("ravel", "load")[0].endswith("low.ravel")
    late = before.latency("stranger") + 100
    np.testing.assert_allclose(before.sound["stranger"][:, late:], 0.5 * x[:, :-late], atol=1e-6)
    played = torch_pd.play(objects, RATE, timeline)
    assert ["info", "mode", "threaded"] in played.lists("ts")
    assert ["info", "isa", "TorchScript"] in played.lists("ts")
    assert played.list("stranger", "level") == ["0.5"]
    assert played.list("stranger", "taps") == ["1"]
    assert played.list("stranger", "pair") == ["0", "0"]
    assert played.list("stranger", "label") == ["3"]
    assert played.list("stranger", "inverted") == ["0"]  # of dump
    assert played.list("ts", "temperature") == ["0.5"]
    complaints = "\n".join(played.complaints())
    for said in (
        "no attribute 'nothing': `dump` lists them",
        "attribute taps: expects int, got 1.5",
        "attribute level: the model refuses 20",
        "low is TorchScript, which plays threaded, not sliced",
    ):
        assert said in complaints, complaints


def test_pd_survives_files_that_are_no_scripts(torch_pd: Pd, exported: Path, tmp_path: Path) -> None:
    x = sound(frames=24 * CALL)
    (tmp_path / "broken.ts").write_bytes(exported.read_bytes()[:5000])
    objects = {
        "broken": Object("ravel~ broken.ts", x),
        "it": Object(f"ravel~ {exported} -offline -seed 0", x),
    }
    played = torch_pd.play(objects, RATE, [(50, "; it load broken.ts")])
    complaints = [line for line in played.complaints() if "no TorchScript that this build reads" in line]
    assert len(complaints) == 2
    close(played.sound["it"], by_torch(exported, "forward", x), played.latency("it") - 155, 1e-6)
    assert not played.sound["broken"].any()


def test_perform_posts_and_no_more(torch_pd: Pd, exported: Path) -> None:
    x = sound(frames=64 * CALL)
    performs, calls, first, _ = watched(torch_pd, {"it": Object(f"ravel~ {exported}", x)})
    assert performs >= 64 * CALL // 64
    assert 0 < calls <= 66
    assert first == "sem_post"


def test_pd_never_waits_for_a_script(torch_pd: Pd, exported: Path) -> None:
    """Faster than time and not offline: late hops are silence, and the patch ends as soon as without them."""
    x = sound(frames=10 * RATE)
    started = time.monotonic()
    played = torch_pd.play({"it": Object(f"ravel~ {exported}", x)}, RATE, [(9000, "; it meters")])
    assert float(played.list("it", "meters")[-1]) > 0
    assert np.isfinite(played.sound["it"]).all()
    assert time.monotonic() - started < 30
