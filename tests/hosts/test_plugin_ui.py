"""The interface in a window of its own: what it shows, what a hand does to it, that it rests when nothing happens."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.hosts.conftest import MakeModel, needed
from tests.hosts.daw import Bundles

WAIT_S = 60  # for what takes a moment; machines that test are busy
ROW = 24  # pixels of a menu
Rect = tuple[float, float, float, float]


class Interface:
    """The standalone plugin on a display and a sound server of this test, and a hand for its mouse."""

    def __init__(self, process: subprocess.Popen[str], display: str, sounds: bool) -> None:
        self.process, self.environment = process, {**os.environ, "DISPLAY": display}
        self.said: list[dict[str, object]] = []
        threading.Thread(target=self._listen, daemon=True).start()
        self.until(lambda: self.of("drawn"), "a first picture")
        self.window = self.tool("search", "--onlyvisible", "--name", "^Ravel").split()[-1]
        self.tool("windowmove", self.window, "0", "0")
        self.tool("windowfocus", self.window)
        if not sounds:  # what sounds is drawn without end
            self.rest()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                self.said.append(json.loads(line))

    def of(self, word: str, since: int = 0) -> list[dict[str, object]]:
        return [line for line in self.said[since:] if word in line]

    def until(self, true: Callable[[], object], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            assert self.process.poll() is None, f"the plugin ended with {self.process.returncode}"
            assert time.monotonic() < end, f"no {what} after {WAIT_S} s"
            time.sleep(0.02)

    def rest(self, still_s: float = 1) -> None:
        """Until nothing was drawn for a while."""
        seen, since = -1, time.monotonic()
        end = since + WAIT_S
        while time.monotonic() - since < still_s:
            assert time.monotonic() < end, "it draws without end"
            if len(self.of("drawn")) != seen:
                seen, since = len(self.of("drawn")), time.monotonic()
            time.sleep(0.05)

    def tool(self, *words: str) -> str:
        return subprocess.run(
            ["xdotool", *words], env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    @property
    def size(self) -> tuple[int, int]:
        size: list[float] = self.of("size")[-1]["size"]  # type: ignore[assignment]
        return round(size[0]), round(size[1])

    @property
    def widgets(self) -> dict[str, Rect]:
        return self.of("size")[-1]["widgets"]  # type: ignore[return-value]

    def picture(self) -> np.ndarray:
        """(height, width, 3)"""
        command = ["import", "-window", self.window, "-depth", "8", "rgb:-"]
        raw = subprocess.run(command, env=self.environment, check=True, capture_output=True).stdout
        width, height = self.size
        return np.frombuffer(raw, np.uint8).reshape(height, width, 3).astype(int)

    def spot(self, widget: str, across: float = 0.5, down: float = 0.5) -> tuple[str, str]:
        x, y, w, h = self.widgets[widget]
        return str(round(x + across * w)), str(round(y + down * h))

    def drag(self, widget: str, *, start: tuple[float, float] = (0.5, 0.5), by: tuple[int, int]) -> None:
        steps = [word for _ in range(5) for word in ("mousemove_relative", "--", str(by[0] // 5), str(by[1] // 5))]
        self.tool("mousemove", *self.spot(widget, *start), "mousedown", "1", *steps, "mouseup", "1")

    def click(self, widget: str, across: float = 0.5, down: float = 0.5, *, times: int = 1, button: int = 1) -> None:
        clicks = ["click", "--repeat", str(times), "--delay", "40", str(button)]
        self.tool("mousemove", *self.spot(widget, across, down), *clicks)

    def set_values(self, symbol: str, since: int = 0) -> list[float]:
        return [float(line["value"]) for line in self.of("set", since) if line["set"] == symbol]  # type: ignore[arg-type]

    def becomes(self, symbol: str, true: Callable[[float], bool], since: int) -> float:
        self.until(lambda: any(map(true, self.set_values(symbol, since)[-1:])), f"value of {symbol} that was asked for")
        return self.set_values(symbol, since)[-1]


def within(picture: np.ndarray, rect: Rect) -> np.ndarray:
    x, y, w, h = (round(v) for v in rect)
    return picture[y : y + h, x : x + w]


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - colour).max(axis=-1) < 24


@pytest.fixture(scope="module")
def show(bundles: Bundles) -> Iterator[Callable[..., Interface]]:
    """show("Ravel", model=, scale=) -> the plugin on a screen; one screen and one sound server for all."""
    for program, why in (("Xvfb", "xvfb"), ("xdotool", "xdotool"), ("import", "imagemagick"), ("jackd", "jackd2")):
        needed(program, f"apt-get install {why}")
    server = f"ravel-ui-{os.getpid()}"
    with ExitStack() as stack:
        screen = ["Xvfb", "-displayfd", "1", "-screen", "0", "2400x1600x24", "-nolisten", "tcp"]
        xvfb = stack.enter_context(running(screen, {}))
        assert xvfb.stdout
        display = f":{xvfb.stdout.readline().strip()}"
        stack.enter_context(running(["jackd", "-n", server, "-r", "-d", "dummy", "-p", "1024"], {}))
        environment = {"DISPLAY": display, "JACK_DEFAULT_SERVER": server, "LIBGL_ALWAYS_SOFTWARE": "1"}
        names = {"JACK_DEFAULT_SERVER": server, "JACK_NO_AUDIO_RESERVATION": "1"}
        assert (
            subprocess.run(["jack_wait", "-w", "-t", "20", "-s", server], env={**os.environ, **names}).returncode == 0
        )

        def start(name: str = "Ravel", model: Path | None = None, scale: float = 1) -> Interface:
            more = {"RAVEL_UI_TRACE": "1", "DPF_SCALE_FACTOR": str(scale), "RAVEL_MODEL": str(model or "")}
            process = stack.enter_context(running([str(bundles("standalone", name))], {**environment, **more}))
            return Interface(process, display, model is not None)

        yield start


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def effect(show: Callable[..., Interface]) -> Interface:
    return show()


def test_it_opens_and_rests(effect: Interface) -> None:
    """Not blank, the same picture twice, nothing drawn in between; a pointer that comes by is seen."""
    assert effect.size == (1104, 672)
    first, drawn = effect.picture(), len(effect.of("drawn"))
    time.sleep(1)
    assert len(effect.of("drawn")) == drawn
    assert (effect.picture() == first).all()
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 100
    for widget in ("brand", "open", "card", "dry_wet", "freeze", "mode"):
        assert within(first, effect.widgets[widget]).std() > 4, widget

    effect.tool("mousemove", *effect.spot("dry_wet"))
    effect.until(lambda: len(effect.of("drawn")) > drawn, "new picture")
    effect.rest()
    assert (within(effect.picture(), effect.widgets["dry_wet"]) != within(first, effect.widgets["dry_wet"])).any()


def test_only_what_changed_is_drawn(effect: Interface) -> None:
    effect.tool("mousemove", "4", "4")
    effect.rest()
    before = len(effect.said)
    effect.click("freeze")
    effect.rest()
    regions = [int(line["drawn"]) for line in effect.of("drawn", before)]  # type: ignore[call-overload]
    assert regions
    assert max(regions) < 4 < len(effect.widgets)
    effect.click("freeze")


def test_a_knob(effect: Interface) -> None:
    """Dragged, with shift a tenth of that, turned by the wheel, typed, reset."""
    before, since = effect.picture(), len(effect.said)
    effect.drag("dry_wet", by=(0, 100))
    value = effect.becomes("dry_wet", lambda v: 45 <= v <= 55, since)
    effect.rest()
    changed = (effect.picture() != before).any(axis=-1)
    assert within(changed, effect.widgets["dry_wet"]).mean() > 0.05
    assert not within(changed, effect.widgets["input_gain"]).any()

    since = len(effect.said)
    effect.tool("keydown", "shift")
    effect.drag("dry_wet", by=(0, 100))
    effect.tool("keyup", "shift")
    effect.becomes("dry_wet", lambda v: abs(v - (value - 5)) < 1.5, since)

    since = len(effect.said)
    effect.click("dry_wet", button=4)
    effect.becomes("dry_wet", lambda v: abs(v - (value - 3)) < 1.5, since)

    time.sleep(0.5)  # not to be taken for a double click with the last
    since = len(effect.said)
    effect.click("dry_wet", times=2)
    effect.tool("key", "--delay", "60", "2", "5", "period", "5", "Return")
    effect.becomes("dry_wet", lambda v: v == 25.5, since)

    since = len(effect.said)
    effect.tool("keydown", "ctrl")
    effect.click("dry_wet")
    effect.tool("keyup", "ctrl")
    effect.becomes("dry_wet", lambda v: v == 100, since)


def test_a_menu(effect: Interface) -> None:
    """A choice by its menu, and learning of a controller by the menu of the right button."""
    since = len(effect.said)
    effect.click("mode", down=0.8)
    effect.rest(0.3)
    assert near(effect.picture(), (44, 48, 54)).mean() > 0.02
    x, y = effect.spot("mode", down=1)
    effect.tool("mousemove", x, str(int(y) + 8 + ROW + ROW // 2), "click", "1")  # the second
    effect.becomes("mode", lambda v: v == 1, since)

    effect.click("width", button=3)
    effect.rest(0.3)
    box = within(effect.picture(), effect.widgets["footer"])
    x, y = effect.spot("width")
    # A heading and three rows, above the pointer for want of room below.
    effect.tool("mousemove", str(int(x) + 40), str(int(y) - 8 - 2 * ROW - ROW // 2), "click", "1")
    effect.until(
        lambda: near(within(effect.picture(), effect.widgets["footer"]), (242, 169, 78)).any(), "word of learning"
    )
    assert not near(box, (242, 169, 78)).any()
    effect.tool("key", "Escape")
    effect.until(
        lambda: not near(within(effect.picture(), effect.widgets["footer"]), (242, 169, 78)).any(), "end of learning"
    )


def test_it_is_resized(effect: Interface) -> None:
    """To larger and smaller, and everything is inside and drawn again."""
    for width, height in ((1480, 900), (1056, 592)):
        effect.tool("windowsize", effect.window, str(width), str(height))
        effect.until(lambda at=(width, height): effect.size == at, "new size")  # type: ignore[misc]
        effect.rest()
        for name, (x, y, w, h) in effect.widgets.items():
            assert min(w, h) > 8, name
            assert min(x, y) >= 0, name
            assert x + w <= width, name
            assert y + h <= height, name
        for name in ("latency", "mode", "latent_16", "bypass"):
            assert within(effect.picture(), effect.widgets[name]).std() > 2, (name, width)


def test_latents_are_played(show: Callable[..., Interface], make_model: MakeModel) -> None:
    """The pad holds the first two where the pointer is and lets them go; bars hold and move one; the model is named."""
    effect = show(model=make_model("low"), scale=2)
    effect.until(lambda: len(effect.of("models")) > 0, "model")
    assert effect.size == (2208, 1344)

    since = len(effect.said)
    w, h = (int(v) for v in effect.widgets["pad"][2:])
    effect.drag("pad", by=(w // 4, -h // 8))
    effect.becomes("latent1_override", lambda v: abs(v - 2) < 0.3, since)
    effect.becomes("latent2_override", lambda v: abs(v - 1) < 0.3, since)
    assert (
        effect.set_values("latent1_override_on", since)[-1] == 1 == effect.set_values("latent2_override_on", since)[-1]
    )
    effect.until(lambda: near(within(effect.picture(), effect.widgets["pad"]), (242, 169, 78)).sum() > 50, "handle")

    time.sleep(0.5)
    since = len(effect.said)
    effect.click("pad", times=2)
    effect.becomes("latent1_override_on", lambda v: v == 0, since)
    effect.becomes("latent2_override_on", lambda v: v == 0, since)

    since = len(effect.said)
    effect.drag("latent_3", by=(0, -100))  # 50 of 200 pixels of the whole range
    effect.becomes("latent3_bias", lambda v: abs(v - 2) < 0.3, since)
    effect.click("latent_4_values", down=0.9)
    effect.becomes("latent4_override_on", lambda v: v == 1, since)


def test_labels_are_blended_and_a_prior_is_turned_up(
    show: Callable[..., Interface], effect: Interface, make_model: MakeModel
) -> None:
    """A bar for each that the model has, none where it has none; one that plays alone is chosen from a menu."""
    assert not {"labels", "label1", "prior"} & set(effect.widgets)
    blended = show(model=make_model("low", labels=("cello", "flute", "voice"), prior=True))
    blended.until(lambda: "label3" in blended.widgets, "bars of the labels")
    assert {"prior", "prior_temperature"} <= set(blended.widgets)
    assert "label4" not in blended.widgets
    x, y, w, h = blended.widgets["label2"]
    since = len(blended.said)
    blended.drag("label2", start=(0.5, 0.5), by=(round(w / 4), 0))
    value = blended.becomes("label2", lambda v: abs(v - 75) < 8, since)
    filled, rest = (x, y, value / 100 * w, 3), (x + value / 100 * w, y, (1 - value / 100) * w, 3)
    lit = (142, 103, 54)  # under the pointer
    blended.until(lambda: near(within(blended.picture(), filled), lit).mean() > 0.8, "bar that is as long as it says")
    assert near(within(blended.picture(), rest), lit).mean() < 0.2

    since = len(blended.said)
    blended.click("labels")
    x, y, w, h = blended.widgets["labels"]
    below = (x, y + h + 4, w, 3 * ROW)
    blended.until(lambda: near(within(blended.picture(), below), (232, 234, 237)).sum() > 50, "names in a menu")
    left, top = blended.spot("labels", down=1)
    blended.tool("mousemove", left, str(int(top) + 8 + 2 * ROW + ROW // 2), "click", "1")  # the third
    blended.becomes("label3", lambda v: v == 100, since)
    assert [blended.set_values(f"label{i}", since)[-1] for i in (1, 2)] == [0, 0]

    since = len(blended.said)
    blended.click("prior", 0.6)
    blended.becomes("prior", lambda v: abs(v - 60) < 2, since)


def test_an_error_is_said(show: Callable[..., Interface], tmp_path: Path) -> None:
    (tmp_path / "broken.ravel").write_bytes(b"not a model")
    effect = show(model=tmp_path / "broken.ravel")
    effect.until(
        lambda: near(within(effect.picture(), effect.widgets["footer"]), (242, 169, 78)).sum() > 20, "line of the error"
    )
    effect.process.terminate()


def test_the_instrument_has_keys(show: Callable[..., Interface]) -> None:
    instrument = show("Ravel Instrument")
    assert "keyboard" in instrument.widgets
    assert "input" not in instrument.widgets
    since = len(instrument.said)
    instrument.click("keyboard", 0.5, 0.9)
    instrument.until(lambda: len(instrument.of("note", since)) == 2, "note, and its end")
    on, off = (int(line["note"]) for line in instrument.of("note", since))  # type: ignore[call-overload]
    assert on == -off
    assert 36 < on < 96
