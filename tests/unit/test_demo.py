"""Law: the demo, made small, leaves everything it promises and may be made again in the same folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from python import demo, render
from python.audio import Audio, read_audio
from python.cli import run_verb
from python.info import latency

SMALL = ["--capacity", "4", "--batch", "1", "--crop-samples", "24576", "--validation-seconds", "2"]


def test_everything_is_there_and_may_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "QUICK", SMALL)
    out = tmp_path / "demo"
    stale = ["run/config.json", "demo.ts", "demo.ravel", "input.wav", "resynthesis.wav", "demo.png"]
    for name in stale:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("of an earlier demo")
    (out / "through_pd.wav").write_text("of an earlier demo")
    words = ["--out", str(out), "--budget", "1s", "--seconds", "12", "--pd", str(tmp_path / "nothing")]
    assert run_verb("demo", demo.main, words) == 0
    made = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert made == {"corpus", "run", "demo.ts", "demo.ravel", "input.wav", "resynthesis.wav", "demo.png"}
    assert not any((out / name).read_bytes() == b"of an earlier demo" for name in stale)
    source, resynthesis = (read_audio(out / name)[0] for name in ("input.wav", "resynthesis.wav"))
    assert source.shape == resynthesis.shape
    assert np.abs(resynthesis).max() > 0
    said = capsys.readouterr().out
    card = render.Instrument(out / "demo.ts").card
    delay = card["methods"]["forward"]["delay_samples"]
    assert f"{delay} samples, {1000 * delay / 44100:.1f} ms" in said
    assert f"{latency(card)[64]} samples" in said
    assert "x real time on one thread" in said
    assert "before training" in said
    assert "not played: there is no" in said  # no Pd, or no ravel~: with both it is in tests/hosts


def test_the_held_out_phrase_is_not_in_the_corpus(tmp_path: Path) -> None:
    phrases = [read_audio(path)[0] for path in demo.synthesise_corpus(tmp_path, 12.0, demo.RATE_HZ)]
    held_out = demo.phrase(np.random.default_rng(demo.HELD_OUT_SEED), demo.RATE_HZ).astype(np.float32)
    assert all(not np.array_equal(held_out, phrase[0, : len(held_out)]) for phrase in phrases)


def test_speed_is_measured_on_one_thread_and_threads_are_given_back(make_ts: Callable[..., Path]) -> None:
    seen: set[int] = set()

    class Spy:
        def start(self, channels: int) -> int:
            return 0

        def play(self, x: Audio) -> Audio:
            seen.add(torch.get_num_threads())
            return x

    instrument = render.Instrument(make_ts())
    instrument.player = Spy()
    before = torch.get_num_threads()
    assert demo.times_real_time(instrument) > 0
    assert seen == {1}
    assert torch.get_num_threads() == before
