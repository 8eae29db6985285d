"""Runs on disk: runs/NAME holds the configuration, the checkpoints, the history and the TensorBoard log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import RavelError
from .files import atomic_write
from .model.alphabet import Alphabet, codes_alphabet, levels_alphabet
from .model.autoencoder import Autoencoder
from .model.config import Config
from .model.prior import Prior, PriorConfig
from .model.quantise import Quantised
from .training import checkpoint
from .training.pca import Principal

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """A folder of one training run; nothing in it is read before it is asked for."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        return self.folder / "best.pt"

    @property
    def prior(self) -> Path:
        return self.folder / "prior.pt"

    @property
    def codes(self) -> Path:
        return self.folder / "codes.pt"

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    @property
    def about(self) -> Path:
        return self.folder / "config.json"

    def read_about(self) -> dict[str, Any]:
        """config.json: {"config": ..., "corpus": folder}."""
        try:
            return dict(json.loads(self.about.read_text()))
        except (OSError, ValueError) as error:
            raise RavelError(f"{self.about}: not a run's configuration ({error}); restore it or use --fresh") from error

    def read_material(self) -> dict[str, Any] | None:
        """Loudness and pitch range of the training material, once `ravel analyze` has written them down."""
        try:
            return dict(json.loads((self.folder / "material.json").read_text()))
        except (OSError, ValueError):
            return None

    def write_about(self, config: Config, corpus: Path) -> None:
        with atomic_write(self.about) as temporary:
            temporary.write_text(json.dumps({"config": config.to_dict(), "corpus": str(corpus)}, indent=2))

    def read_history(self) -> list[dict[str, Any]]:
        """One row a validation, oldest first; a line cut off by a kill is left out."""
        rows = []
        for line in self.history.read_text().splitlines() if self.history.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows


@dataclass(frozen=True)
class Trained:
    """The generator that a run deploys (EMA weights), with its latent analysis and what is known of its training."""

    net: Autoencoder
    config: Config
    principal: Principal
    summary: dict[str, Any]


@dataclass(frozen=True)
class TrainedPrior:
    """The prior of a run, with the weights that cost its held-out codes fewest bits."""

    prior: Prior
    alphabet: Alphabet
    summary: dict[str, Any]


def find(name: str | None, root: Path = RUNS) -> Run:
    """A run by folder, by name below `root`, or the one trained last for None. Raises RavelError naming what exists."""
    if name is not None:
        for folder in (Path(name), root / name):
            if (folder / "config.json").is_file():
                return Run(folder)
    runs = sorted((p.parent for p in root.glob("*/config.json")), key=_age)
    if name is not None:
        there = f"there are {', '.join(p.name for p in runs)}" if runs else f"{root}/ holds none yet"
        raise RavelError(f"no run {name!r}: {there}; `ravel train RECORDINGS --name {Path(name).name}` makes it")
    if not runs:
        raise RavelError(
            f"no runs below {root}/: train first (`ravel train RECORDINGS --name NAME`), or give a run's folder"
        )
    return Run(runs[-1])


def load_prior(run: Run, trained: Trained) -> TrainedPrior | None:
    """The prior of a run, or None. Raises RavelError for one that is damaged or of another network."""
    if not run.prior.exists():
        return None
    content, alphabet = read_prior(run, trained)
    with whole(run):
        prior = Prior(prior_config(content))
        prior.load_state_dict(content["best"])
        done = content["progress"]
        summary = {
            "steps": done["step"],
            "seconds": done["seconds"],
            "bits_per_frame": done["best"],
            "bits_by_quantiser": done["quantisers"],
            "markov_bits_per_frame": sum(content["markov"]),
            "frames": content["frames"],
        }
    return TrainedPrior(prior.eval().requires_grad_(False), alphabet, summary)


def read_prior(run: Run, trained: Trained) -> tuple[dict[str, Any], Alphabet]:
    """The checkpoint of a run's prior, and what its numbers stand for in the run's network as it is now."""
    content = checkpoint.load(run.prior)
    latent, principal = trained.net.latent, trained.principal
    with whole(run):
        bound, levels = content["fingerprint"], content.get("levels")
        alphabet: Alphabet | None = None
        if isinstance(latent, Quantised):
            alphabet = codes_alphabet(latent.codebooks)
        elif levels is not None:
            alphabet = levels_alphabet(levels, principal.mean, principal.components)
    if alphabet is None or alphabet.bound != bound:
        numbers = "codes" if latent.discrete else "latents"
        raise RavelError(
            f"{run.prior} speaks of other {numbers} than run {run.name} has now (it was trained further, or is another "
            f"run's): teach it anew with `ravel train-prior {run.name} --fresh`, or delete it"
        )
    return content, alphabet


def prior_config(content: dict[str, Any]) -> PriorConfig:
    """Of a checkpoint, which has lists for tuples."""
    saved = content["prior_config"]
    return PriorConfig(**saved | {"dilations": tuple(saved["dilations"])})


@contextmanager
def whole(run: Run) -> Iterator[None]:
    """Turns what a checkpoint of a prior lacks into a RavelError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        raise RavelError(
            f"{run.prior} is no whole prior ({type(error).__name__}: {said}): teach it anew with "
            f"`ravel train-prior {run.name} --fresh`, or delete it"
        ) from error


def _age(folder: Path) -> float:
    return max((f.stat().st_mtime for f in folder.glob("*.pt")), default=(folder / "config.json").stat().st_mtime)


def load(run: Run, which: str = "best") -> Trained:
    """The deployed generator of a run from its `best` or `last` checkpoint."""
    path = run.best if which == "best" and run.best.exists() else run.last
    if not path.exists():
        raise RavelError(
            f"run {run.name} has no checkpoint yet ({path}): train it further with `ravel train --name {run.name}`"
        )
    content = checkpoint.load(path)
    config = Config.from_dict(content["config"])
    net = Autoencoder(config.model)
    net.load_state_dict(content["ema"])
    net.eval().requires_grad_(False)
    net.latent.temperature = float(content["summary"].get("temperature", config.model.temperature))
    summary = content["summary"] | ({"material": material} if (material := run.read_material()) else {})
    return Trained(net, config, Principal(**content["principal"]), summary)
