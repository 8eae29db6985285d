"""`ravel demo`: an instrument from nothing: corpus, training, export, render, picture, Pure Data, in a few minutes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from . import export, pd, pictures, train
from .audio import read_audio, write_wav
from .card import Card, delay_samples
from .cli import Parser, run_verb
from .errors import RavelError
from .info import latency
from .model.autoencoder import Autoencoder
from .model.config import Config
from .render import Instrument, render
from .runs import Run
from .training.corpus import build_corpus
from .training.strings import phrase, synthesise_corpus
from .training.validation import Validation

RATE_HZ = 44100
HELD_OUT_SEED = 1_000_003  # no phrase of the corpus has it
# Minutes instead of hours: many small steps, crops shorter than the receptive field (22939 samples), latents that cost
# next to nothing, one corpus without variations, and no second phase, which needs hours to pay. Held-out distance after
# 260 s of two cores: 1.54 and 1.55. An earlier set (2 x 24576, a tenth of the beta, augmented, 200 s) ended at 1.65.
QUICK = ["--batch", "4", "--crop-samples", "16384", "--learning-rate", "0.002", "--beta", "0.001", "--phase-1", "1.0"]
QUICK += ["--validate-every", "300", "--validation-seconds", "12"]
QUICK += ["--augment-gain", "0", "--augment-phase", "0", "--augment-compress", "0"]
SPEED_BLOCK, SPEED_SECONDS = 512, 4.0


def demo(out: Path, corpus_seconds: float, budget: str, external: Path) -> str:
    """Make everything in `out` and return the summary. What an earlier demo left there is made anew.

    `external`: the folder of `ravel~` for Pure Data.
    """
    corpus, run, ts = out / "corpus", Run(out / "run"), out / "demo.ts"
    _say(1, f"synthesising {corpus_seconds:g} s of a bowed and plucked string into {corpus}")
    synthesise_corpus(corpus, corpus_seconds, RATE_HZ)
    source = out / "input.wav"
    write_wav(source, phrase(np.random.default_rng(HELD_OUT_SEED), RATE_HZ)[None].astype(np.float32), RATE_HZ)
    _say(2, f"training `low` for {budget} into {run.folder}")
    where = ["--runs", str(out), "--name", run.name]
    train.main([str(corpus), *where, "--preset", "low", "--budget", budget, "--fresh", *QUICK])
    _say(3, f"exporting {ts} and {ts.with_suffix('.ravel')}")
    export.main([str(run.folder), "--streaming", "--out", str(ts), "--force"])
    _say(4, "rendering a phrase that is not in the corpus")
    instrument = Instrument(ts)
    (rendered,) = render(instrument, [source], out / "rendered", force=True, quiet=True)
    resynthesis = rendered.replace(out / "resynthesis.wav")
    rendered.parent.rmdir()
    _say(5, "drawing")
    card = instrument.card
    history = [untrained(run, corpus), *run.read_history()]
    title = f"ravel demo: {card['preset']}, {RATE_HZ / 1000:g} kHz, {card['latents']} latents"
    pictures.draw(
        out / "demo.png",
        read_audio(source)[0],
        read_audio(resynthesis)[0],
        RATE_HZ,
        history,
        card["fidelity_curve"],
        card["latents"],
        title,
    )
    _say(6, "playing the phrase through Pure Data")
    in_pd = through_pd(out, external)
    return summary(out, card, history, times_real_time(instrument), in_pd)


def through_pd(out: Path, external: Path) -> str:
    """Where real Pd's recording of `demo.ravel` is and by how much it differs from the render, or why there is none."""
    target = out / "through_pd.wav"
    target.unlink(missing_ok=True)
    try:
        heard = pd.play(out / "demo.ravel", out / "input.wav", target, external)
    except RavelError as error:
        return f"not played: {error}"
    sound, rendered = read_audio(target)[0], read_audio(out / "resynthesis.wav")[0]
    late = heard.latency_samples
    difference = np.abs(sound[:, late : late + rendered.shape[1]] - rendered).max() / np.abs(rendered).max()
    return (
        f"{target}: ravel~ in Pd {heard.pd}, late by the {late} samples that it reports "
        f"({1000 * late / RATE_HZ:.1f} ms), differs from the render by {difference:.0e} of its peak"
    )


def untrained(run: Run, recordings: Path) -> pictures.Entry:
    """The history's row 0: what the network scored on the held-out recordings before its first step."""
    config = Config.from_dict(run.read_about()["config"])
    cache, model = run.folder.parent / ".cache", config.model
    corpus = build_corpus(
        recordings, cache, model.sample_rate_hz, model.channels, seed=config.training.seed, quiet=True
    )
    torch.manual_seed(config.training.seed)
    net = Autoencoder(model).eval()
    scores = Validation(corpus, net, config.training, torch.device("cpu")).run(1).scores
    return {"step": 0, "phase": 1, "seconds": 0.0, "train": {}, "validation": scores}


def times_real_time(instrument: Instrument, block_samples: int = SPEED_BLOCK) -> float:
    """Seconds of sound a second of one thread can make, in blocks of a host (at least a hop)."""
    block = max(block_samples, instrument.hop_samples)
    x = np.zeros((instrument.channels, block), np.float32)
    calls = int(SPEED_SECONDS * instrument.sample_rate_hz / block)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        instrument.player.start(instrument.channels)
        for _ in range(10):  # the first calls of a TorchScript compile
            instrument.player.play(x)
        start = time.perf_counter()
        for _ in range(calls):
            instrument.player.play(x)
        elapsed = time.perf_counter() - start
    finally:
        torch.set_num_threads(threads)
    return calls * block / instrument.sample_rate_hz / elapsed


def summary(out: Path, card: Card, history: Sequence[pictures.Entry], speed: float, in_pd: str) -> str:
    """What was made, in a few lines."""
    first, last = history[0], history[-1]
    delay, rate, hop = delay_samples(card, "forward"), card["sample_rate_hz"], card["hop_samples"]
    total = latency(card)[64]
    rows = {
        "latency": f"{delay} samples, {1000 * delay / rate:.1f} ms; with the wait for a hop of {hop} in a "
        f"host block of 64: {total} samples, {1000 * total / rate:.1f} ms",
        "speed": f"{speed:.1f} x real time on one thread, in blocks of {max(SPEED_BLOCK, hop)}",
        "held out": f"distance {first['validation']['distance']:.2f} before training, "
        f"{last['validation']['distance']:.2f} after {last['step']} steps in {last['seconds']:.0f} s",
        "model": f"{card['latents']} latents: {out / 'demo.ravel'} for ravel~, {out / 'demo.ts'} for nn~",
        "Pd": in_pd,
        "listen": f"{out / 'input.wav'}, {out / 'resynthesis.wav'}",
        "look": f"{out / 'demo.png'}; tensorboard --logdir {out}",
    }
    return "\n".join(f"{name:<9} {text}" for name, text in rows.items())


def _say(step: int, what: str) -> None:
    print(f"[{step}/6] {what}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="ravel demo", description=__doc__)
    parser.add_argument("--out", default="demo", type=Path, help="folder to make everything in (default: demo)")
    parser.add_argument("--budget", default="260s", help="time for training (default: 260s)")
    parser.add_argument("--seconds", default=150.0, type=float, help="of corpus (default: 150)")
    parser.add_argument(
        "--pd", default="build/hosts/pd", type=Path, help="folder of ravel~ for Pure Data, if it is built"
    )
    options = parser.parse_args(argv)
    print("\n" + demo(options.out, options.seconds, options.budget, options.pd))
    return 0


if __name__ == "__main__":
    sys.exit(run_verb("demo", main))
