"""`ravel generate MODEL`: a model with a prior plays by itself, from nothing or from where a sound file ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import runs
from .audio import Audio, read_audio, write_wav
from .card import Card, delay_samples, is_model_file, read_card
from .cli import Parser, run_verb
from .errors import RavelError
from .players import engine_module, load_model, load_module

BLOCK_FRAMES = 64  # between two looks at Ctrl-C and the progress
PRIME_SECONDS = 20.0  # of the end of a file are heard
HEARING = 1e-6  # of the prior in the engine: at 0 it would be left out and forget


def parser() -> Parser:
    p = Parser(prog="ravel generate", description=__doc__)
    p.add_argument("model", help="a run with a prior, by name or folder, or the .ts or .ravel exported from it")
    p.add_argument("--seconds", type=float, default=10.0, help="how long (default: 10)")
    p.add_argument("--seed", type=int, default=0, help="which of all sounds; equal seeds repeat (default: 0)")
    p.add_argument("--temperature", type=float, default=1.0, help="0: the likeliest, 1: as it learned (default: 1)")
    p.add_argument("--prime", type=Path, help="a sound file to go on from; it is not in the output")
    p.add_argument("--out", type=Path, default=Path("generated.wav"), help="WAV to write (default: generated.wav)")
    p.add_argument("--force", action="store_true", help="overwrite an output that exists")
    p.add_argument("--runs", type=Path, default=runs.RUNS, help="where runs live (default: runs)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if not 0 < args.seconds < 86400:
        raise RavelError(f"--seconds {args.seconds:g}: above 0, at most a day")
    if not 0 <= args.temperature <= 10:
        raise RavelError(f"--temperature {args.temperature:g}: 0 to 10")
    if args.out.exists() and not args.force:
        raise RavelError(f"{args.out} exists: choose another --out, or replace it with --force")
    model = load(args.model, args.runs)
    sound = generate(model, args.seconds, args.seed, args.temperature, args.prime)
    rate = int(model.card["sample_rate_hz"])
    write_wav(args.out, sound, rate)
    print(f"{args.out}: {sound.shape[1] / rate:.2f} s at {rate} Hz, seed {args.seed}")
    return 0


class Improviser(Protocol):
    """A model with a prior that plays."""

    card: Card

    def begin(self, seed: int, temperature: float) -> None:
        """Forget everything, and from now on draw by these."""

    def hear(self, x: Audio) -> None:
        """Take sound (channels, whole hops), which ends in `encoder_frames` of silence, for what was played so far."""

    def play(self, frames: int) -> Audio:
        """So many frames more (channels, samples), late by `delay_samples`."""


class ScriptImproviser:
    """A shell or the module of a `.ts`."""

    def __init__(self, module: Any, card: Card) -> None:
        self.module, self.card = module, card

    def begin(self, seed: int, temperature: float) -> None:
        self.module.reset()
        self.module.set_seed(seed)
        self.module.set_prior_temperature(temperature)
        self.module.set_temperature(0.0)  # it learned from means

    def hear(self, x: Audio) -> None:
        import torch

        with torch.no_grad():
            z = self.module.encode(torch.from_numpy(x[None]))[:, :, encoder_frames(self.card) :]
            self.module.decode(self.module.prime(z))

    def play(self, frames: int) -> Audio:
        import torch

        with torch.no_grad():
            y: Audio = self.module.decode(self.module.prior(torch.zeros(1, 1, frames)))[0].numpy()
        return y


class EngineImproviser:
    """A `.ravel` in the engine: `decode` blends what it is given with what the prior draws, which is all of it here."""

    def __init__(self, model: Any, card: Card) -> None:
        self.model, self.card = model, card

    def begin(self, seed: int, temperature: float) -> None:
        native = engine_module()
        self.encoder, self.decoder = (native.Engine(self.model, method) for method in ("encode", "decode"))
        self.encoder.temperature = 0.0
        self.decoder.seed, self.decoder.prior_temperature = seed, temperature

    def hear(self, x: Audio) -> None:
        self.decoder.prior = HEARING
        z = self.encoder.process(np.ascontiguousarray(x[None]))[:, :, encoder_frames(self.card) :]
        self.decoder.process(np.ascontiguousarray(z))

    def play(self, frames: int) -> Audio:
        self.decoder.prior = 1.0
        nothing = np.zeros((1, self.card["methods"]["decode"]["in_channels"], frames), np.float32)
        y: Audio = self.decoder.process(nothing)[0]
        return y


def encoder_frames(card: Card) -> int:
    """By which `encode` is late."""
    return delay_samples(card, "encode") // int(card["hop_samples"])


def load(model: str, root: Path = runs.RUNS) -> Improviser:
    """A model that can go on by itself. Raises RavelError for any other."""
    if not is_model_file(model):
        from .streaming import deploy

        run = runs.find(model, root)
        trained = runs.load(run)
        prior = runs.load_prior(run, trained)
        if prior is None:
            raise RavelError(f"run {run.name} has no prior yet: `ravel train-prior {run.name}` teaches it one")
        shell = deploy.deploy(trained, trained.net.latent.kept, True, prior)
        return ScriptImproviser(shell, deploy.card(shell, trained, run.name, prior))
    card = read_card(model)
    if "prior" not in card or "prior" not in card["methods"]:
        raise RavelError(f"{model} has no prior: `ravel train-prior` teaches its run one, then export it again")
    if not card["streaming"]:
        raise RavelError(f"{model} is an offline .ts: export its run with --streaming, or give the run")
    if Path(model).suffix == ".ravel":
        return EngineImproviser(load_model(model), card)
    return ScriptImproviser(load_module(model), card)


def generate(
    model: Improviser, seconds: float, seed: int = 0, temperature: float = 1.0, prime: Path | None = None
) -> Audio:
    """(channels, frames) of sound; with `prime`, what follows on the end of that file."""
    from tqdm import tqdm

    hop, rate = int(model.card["hop_samples"]), int(model.card["sample_rate_hz"])
    model.begin(seed, temperature)
    if prime:
        model.hear(_ending(prime, model.card))
    samples, late = max(1, round(seconds * rate)), delay_samples(model.card, "prior", "decode")
    left = -(-(samples + late) // hop)
    found: list[np.ndarray] = []
    with tqdm(total=left, unit="frame", leave=False, disable=None) as bar:
        while left:
            count = min(BLOCK_FRAMES, left)
            found.append(model.play(count))
            left -= count
            bar.update(count)
    return np.concatenate(found, axis=1)[:, late : late + samples]


def _ending(prime: Path, card: Card) -> Audio:
    """The end of a file, whole hops of it, and the silence that lets the encoder hear it to its end."""
    there, wanted = int(card["methods"]["encode"]["out_channels"]), int(card["prior"]["quantisers"])
    if there < wanted:
        numbers = "quantisers" if "codes" in card else "latents"
        raise RavelError(
            f"--prime: {card['name']} plays {there} of {wanted} {numbers} that its prior hears: give its run, or "
            "export all of them"
        )
    hop, rate = int(card["hop_samples"]), int(card["sample_rate_hz"])
    sound, _ = read_audio(prime, rate, int(card["channels"]))
    sound = sound[:, -int(PRIME_SECONDS * rate) :]
    sound = sound[:, sound.shape[1] % hop :]
    if not sound.shape[1]:
        raise RavelError(f"{prime} is shorter than one frame of {hop} samples: prime with more")
    return np.pad(sound, ((0, 0), (0, encoder_frames(card) * hop)))


if __name__ == "__main__":
    sys.exit(run_verb("generate", main))
