"""`ravel train` and `ravel export` at the prompt: what goes wrong is one clear line and exit status 2."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from python import export, train
from python.audio import write_wav
from python.cli import run_verb
from python.train import duration
from python.training import checkpoint

ROOT = Path(__file__).parents[2]
TINY = [
    *("--capacity=4", "--latent=4", "--crop-samples=8192", "--batch=2", "--steps=2", "--phase-1=1.0"),
    *("--validate-every=1000", "--validation-seconds=1", "--precision=fp32", "--discriminator-capacity=16"),
    *("--threads=1", "--devices=1"),
]


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for i, frequency_hz in enumerate((220, 330, 440)):
        tone = 0.3 * np.sin(2 * np.pi * frequency_hz / 44100 * np.arange(2 * 44100))
        write_wav(folder / f"tone-{i}.wav", tone[None].astype(np.float32), 44100)
    return folder


Ravel = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ravel(
    tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ravel:
    """ravel(verb, *words) -> (status, out, err), in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    cache = f"--cache={recordings.parent / 'tone-cache'}"

    def call(verb: str, *words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        module = {"train": train, "export": export}[verb]
        extra = [cache] if verb == "train" else []
        try:
            status = run_verb(verb, module.main, [*map(str, words), *extra])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    yield call
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


def refused(answer: tuple[int, str, str], *words: str) -> None:
    status, _, err = answer
    last = err.strip().splitlines()[-1]
    assert status == 2, err
    assert "Traceback" not in err
    for word in words:
        assert word in last, last


def test_what_cannot_be_trained(ravel: Ravel, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(ravel("train"), "give a folder of recordings")
    refused(ravel("train", "nowhere"), "nowhere")
    refused(ravel("train", "empty"), "empty")
    refused(ravel("train", "--name", "violin"), "there is no run violin", "give a folder")
    refused(ravel("train", recordings, "--preset", "lwo"), "unknown preset 'lwo', did you mean 'low'?")
    refused(ravel("train", recordings, "--capcity", "4"), "there is no --capcity, did you mean --capacity?")
    refused(ravel("train", recordings, "--batch", "many"), "--batch many: expected a whole number")
    refused(ravel("train", recordings, "--channels", "6"), "channels: 1 or 2, got 6")
    refused(ravel("train", recordings, "--budget", "soon"), "a duration like 45m or 8h")
    refused(ravel("train", recordings, *TINY, "--crop-samples", "8000"), "no multiple of the hop of 128: use 8064")
    refused(ravel("train", recordings, *TINY, "--crop-samples", "1024"), "use 2304 or more")
    refused(ravel("train", recordings, *TINY, "--phase-1", "never"), "phase_1 is auto or a share")
    refused(ravel("train", recordings, *TINY, "--precision", "fp23"), "precision: auto, fp32 or bf16, got 'fp23'")
    refused(ravel("train", recordings, *TINY, "--discriminators", "scales"), "'scales' is none of scale, period")
    refused(ravel("train", recordings, *TINY, "--devices", "some"), "--devices some")
    refused(ravel("train", recordings, *TINY, "--devices", "0"), "--devices 0")
    refused(ravel("train", recordings, *TINY, "--validate-every", "0"), "validate_every: at least 1, got 0")
    assert not (tmp_path / "runs" / recordings.name).exists()  # nothing half made is left to stumble over


def test_what_a_resumed_run_refuses(ravel: Ravel, recordings: Path, tmp_path: Path) -> None:
    assert ravel("train", recordings, "--name", "a", *TINY)[0] == 0
    refused(
        ravel("train", recordings, "--name", "a", "--preset", "v2"), "was trained with preset low, not v2", "--fresh"
    )
    refused(ravel("train", recordings, "--name", "a", "--latent", "8"), "run a has latent 4, not 8", "--fresh")
    assert ravel("train", "--name", "a", "--steps", "3")[0] == 0
    assert checkpoint.load(tmp_path / "runs/a/last.pt")["progress"]["step"] == 3
    assert ravel("train", recordings, "--name", "a", "--fresh", *TINY, "--latent=8")[0] == 0
    content = checkpoint.load(tmp_path / "runs/a/last.pt")
    assert content["progress"]["step"] == 2
    assert content["config"]["model"]["latent"] == 8
    refused(ravel("train", "nowhere", "--name", "a", "--fresh"), "nowhere")
    refused(ravel("train", recordings, "--name", "a", "--fresh", "--crop-samples=100"), "no multiple of the hop")
    assert (tmp_path / "runs/a/last.pt").exists()  # a mistake must not cost the old run
    (tmp_path / "runs/a/config.json").write_text("{")
    refused(ravel("train", "--name", "a"), "config.json: not a run's configuration")


def test_what_cannot_be_exported(ravel: Ravel, recordings: Path, tmp_path: Path) -> None:
    refused(ravel("export"), "no runs below runs/: train first")
    assert ravel("train", recordings, "--name", "a", *TINY)[0] == 0
    refused(ravel("export", "b"), "no run 'b'", "there are a")
    refused(ravel("export", "a", "--latents", "5"), "--latents 5: this model has 1 to 4")
    refused(ravel("export", "a", "--fidelity", "1.5"), "--fidelity")
    refused(ravel("export", "a", "--latents", "2", "--fidelity", "0.5"), "--fidelity")
    (tmp_path / "a.ts").write_text("mine")
    refused(ravel("export", "a"), "a.ts exists", "--force")
    assert (tmp_path / "a.ts").read_text() == "mine"
    for file in ("last.pt", "best.pt"):
        (tmp_path / "runs/a" / file).unlink()
    refused(ravel("export", "a", "--force"), "run a has no checkpoint yet", "ravel train --name a")
    assert (tmp_path / "a.ts").read_text() == "mine"


def test_train_export_play(ravel: Ravel, recordings: Path, tmp_path: Path) -> None:
    assert ravel("train", recordings, "--name", "a", *TINY)[0] == 0
    status, out, _ = ravel("export", "--streaming", "--latents", "3", "--out", tmp_path / "exports" / "b.ts")
    assert status == 0
    assert "3 of 4 latents" in out
    assert "155 samples, 3.5 ms: inherent in the model" in out
    assert any(line.split()[:3] == ["64", str(155 + 64), "samples"] for line in out.splitlines())
    files = {"ravel.json": ""}
    module = torch.jit.load(tmp_path / "exports/b.ts", _extra_files=files)
    card = json.loads(files["ravel.json"])
    assert (card["name"], card["latents"], card["streaming"]) == ("b", 3, True)
    assert module(torch.zeros(1, 1, 512)).shape == (1, 1, 512)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("45m", 2700), ("8h", 28800), ("1.5h", 5400), ("2d", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-3m", "1w", "...", "1.2.3h"])
def test_no_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


def test_ctrl_c_saves_and_the_same_name_goes_on(recordings: Path, tmp_path: Path) -> None:
    """Of a process, as a person presses it."""
    words = [sys.executable, "-m", "python.train", "--name", "a", f"--runs={tmp_path}"]
    cache = f"--cache={recordings.parent / 'tone-cache'}"
    start = [*words, str(recordings), cache, *TINY, "--steps=100000", "--validate-every=3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(start, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "a" / "history.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "stopped at step" in err
    assert "Traceback" not in err
    step = checkpoint.load(tmp_path / "a" / "last.pt")["progress"]["step"]
    assert f"stopped at step {step}:" in err
    again = subprocess.run(
        [*words, cache, f"--steps={step + 2}", "--threads=1"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert f"goes on from step {step}" in again.stderr
    assert checkpoint.load(tmp_path / "a" / "last.pt")["progress"]["step"] == step + 2
