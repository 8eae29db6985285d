"""`ravel generate MODEL`: a model with a prior plays by itself, from nothing or from where a sound file ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import runs
from .audio import Audio, read_audio, write_wav
from .card import Card, is_model_file, read_card
from .cli import Parser, run_verb
from .errors import RavelError
from .players import load_module

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_FRAMES = 64  # between two looks at Ctrl-C and the progress
PRIME_SECONDS = 20.0  # of the end of a file are heard


def parser() -> Parser:
    p = Parser(prog="ravel generate", description=__doc__)
    p.add_argument("model", help="a run with a prior, by name or folder, or the .ts exported from it")
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
    module, card = load(args.model, args.runs)
    sound = generate(module, card, args.seconds, args.seed, args.temperature, args.prime)
    write_wav(args.out, sound, int(card["sample_rate_hz"]))
    rate = card["sample_rate_hz"]
    print(f"{args.out}: {sound.shape[1] / rate:.2f} s at {rate} Hz, seed {args.seed}")
    return 0


def load(model: str, root: Path = runs.RUNS) -> tuple[Any, Card]:
    """A module with `prior` and `decode`, and its card. Raises RavelError for a model that cannot go on by itself."""
    if not is_model_file(model):
        from .streaming import deploy

        run = runs.find(model, root)
        trained = runs.load(run)
        prior = runs.load_prior(run, trained)
        if prior is None:
            raise RavelError(f"run {run.name} has no prior yet: `ravel train-prior {run.name}` teaches it one")
        shell = deploy.deploy(trained, trained.net.latent.kept, True, prior)
        return shell, deploy.card(shell, trained, run.name, prior)
    card = read_card(model)
    if Path(model).suffix == ".ravel":
        raise RavelError(f"{model}: the engine plays no prior yet: give its .ts or its run")
    if "prior" not in card:
        raise RavelError(f"{model} has no prior: `ravel train-prior` teaches its run one, then export it again")
    if not card["streaming"]:
        raise RavelError(f"{model} is an offline .ts: export its run with --streaming, or give the run")
    return load_module(model), card


def generate(
    module: Any, card: Card, seconds: float, seed: int = 0, temperature: float = 1.0, prime: Path | None = None
) -> Audio:
    """(channels, frames) of sound; with `prime`, what follows on the end of that file."""
    import torch
    from tqdm import tqdm

    hop, late = int(card["hop_samples"]), int(card["prior"]["quantisers"]) - 1
    module.reset()
    module.set_seed(seed)
    module.set_prior_temperature(temperature)
    with torch.no_grad():
        warm = _primed(module, card, prime) if prime else None
        samples = max(1, round(seconds * card["sample_rate_hz"]))
        delay = int(card["methods"]["decode"]["delay_samples"])
        frames = -(-(samples + delay) // hop)
        if warm is not None:  # the decoder comes out of what the prior heard
            module.decode(warm)
        found: list[np.ndarray] = []
        left, skip = frames + late, late
        with tqdm(total=left, unit="frame", leave=False, disable=None) as bar:
            while left:
                count = min(BLOCK_FRAMES, left)
                drawn: Tensor = module.prior(torch.zeros(1, 1, count))
                left -= count
                heard, skip = drawn[:, :, min(skip, count) :], max(0, skip - count)
                if heard.shape[2]:
                    found.append(module.decode(heard)[0].numpy())
                bar.update(count)
    return np.concatenate(found, axis=1)[:, delay : delay + samples]


def _primed(module: Any, card: Card, prime: Path) -> Tensor:
    """Lets the prior hear the end of a file; what it heard (1, channels of `decode`, n)."""
    import torch

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
    sound = sound[:, sound.shape[1] % hop :]  # whole hops, so that the prior goes on where the file ends
    if not sound.shape[1]:
        raise RavelError(f"{prime} is shorter than one frame of {hop} samples: prime with more")
    late = int(card["methods"]["encode"]["delay_samples"])
    padded = np.pad(sound, ((0, 0), (0, late)))
    module.set_temperature(0.0)  # it learned from means
    heard: Tensor = module.encode(torch.from_numpy(padded[None]))[:, :, late // hop :]
    return module.prime(heard)


if __name__ == "__main__":
    sys.exit(run_verb("generate", main))
