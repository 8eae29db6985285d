"""`ravel train RECORDINGS --name NAME`: learn an instrument from a folder of recordings, or go on with a run."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cli import Parser, run_verb
from .errors import RavelError
from .model.config import PRESETS, Config, ModelConfig, TrainingConfig, parse_field, preset

KINDS_OF_VALUE = {
    int: "a whole number",
    float: "a number",
    bool: "yes or no",
    str: "a word",
    tuple: "values with commas",
}
# What may change when a run goes on: how long and how, never what.
FREE_ON_RESUME = {"steps", "budget_s", "phase_1", "validate_every", "precision", "compile"}


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel train", description=__doc__)
    p.add_argument(
        "recordings", nargs="?", type=Path, help="folder of recordings; a run that goes on remembers its own"
    )
    p.add_argument("--name", help="the run is kept in RUNS/NAME (default: the folder's name)")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="where runs live (default: runs)")
    p.add_argument("--preset", default=None, help=f"{', '.join(PRESETS)} (default: low)")
    p.add_argument("--fresh", action="store_true", help="start anew; the old run is replaced")
    p.add_argument(
        "--labels",
        dest="label_source",
        choices=("folders",),
        help="several instruments in one model: each sub-folder of the recordings is a label",
    )
    p.add_argument("--rate", type=int, dest="sample_rate_hz", help="44100 or 48000 (default: the recordings' own)")
    p.add_argument("--budget", type=duration, dest="budget_s", help="stop after so long: 45m, 8h")
    p.add_argument("--cache", type=Path, help="where decoded recordings are kept (default: RUNS/.cache)")
    p.add_argument("--devices", default="auto", help="processes, one a GPU (default: all GPUs, or one CPU process)")
    p.add_argument("--nodes", type=int, default=1, help="machines, started by torchrun on each")
    p.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    fields = p.add_argument_group("any field of the configuration")
    taken = {"sample_rate_hz", "budget_s", "preset", "labels"}
    for cls in (ModelConfig, TrainingConfig):
        for field in dataclasses.fields(cls):
            if field.name not in taken:
                flag = "--" + field.name.replace("_", "-")
                default = getattr(cls, field.name, None)
                fields.add_argument(
                    flag, dest=field.name, metavar=type(default).__name__.upper(), help=f"default {default}"
                )
    return p


def duration(text: str) -> float:
    """'90s', '45m', '8h' or plain seconds, in seconds."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([smhd]?)", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"a duration like 45m or 8h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    overrides = _overrides(args)
    name = args.name or (args.recordings.resolve().name if args.recordings else None)
    if name is None:
        raise RavelError("nothing to train: give a folder of recordings, or --name of a run to go on with")
    train(
        args.recordings,
        args.runs / name,
        args.preset,
        overrides,
        fresh=args.fresh,
        cache=args.cache,
        devices=args.devices,
        nodes=args.nodes,
        threads=args.threads,
        labelled=args.label_source == "folders",
    )
    return 0


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """The configuration fields given on the command line, parsed to the type of their default."""
    given: dict[str, Any] = {}
    for cls in (ModelConfig, TrainingConfig):
        for field in dataclasses.fields(cls):
            text = getattr(args, field.name, None)
            if text is None or field.name == "preset":
                continue
            default = getattr(cls, field.name)
            try:
                given[field.name] = parse_field(default, text) if isinstance(text, str) else text
            except ValueError as error:
                raise RavelError(
                    f"--{field.name.replace('_', '-')} {text}: expected {KINDS_OF_VALUE[type(default)]}"
                ) from error
    return given


def train(
    recordings: Path | None,
    folder: Path,
    preset_name: str | None,
    overrides: dict[str, Any],
    fresh: bool = False,
    cache: Path | None = None,
    devices: str = "auto",
    nodes: int = 1,
    threads: int | None = None,
    labelled: bool = False,
) -> None:
    """Train the run in `folder` until its steps or budget are used up. Raises RavelError for what the user can mend."""
    import torch
    from lightning_fabric import Fabric

    from . import runs
    from .training import checkpoint
    from .training.corpus import build_corpus
    from .training.loop import Trainer

    run = runs.Run(folder)
    if devices != "auto" and not (devices.isdecimal() and int(devices)):
        raise RavelError(f"--devices {devices}: auto, or how many processes")
    if preset_name is not None and preset_name not in PRESETS:
        preset(preset_name)  # raises, naming the nearest
    if threads:
        torch.set_num_threads(threads)
    # bursts of tiny subnormal activations after silence cost more than the steps they are part of
    torch.set_flush_denormal(True)
    warnings.filterwarnings("ignore", module="lightning_fabric")
    resume = None
    if run.last.exists() and not fresh:
        about = run.read_about()
        config = _resumed(Config.from_dict(about["config"]), run.name, preset_name, overrides)
        recordings = _same_corpus(Path(about["corpus"]), recordings, run.name)
        resume = checkpoint.load(run.last)
        labelled = _same_kind(config, labelled, run.name)
    elif run.about.exists() and recordings is None and not fresh:  # stopped before its first checkpoint
        about = run.read_about()
        config, recordings = Config.from_dict(about["config"]), Path(about["corpus"])
        labelled = _same_kind(config, labelled, run.name)
    else:
        if recordings is None:
            raise RavelError(f"there is no run {run.name} in {folder.parent}/: give a folder of recordings to start it")
        config = preset(preset_name or "low", **overrides)
    _check_training(config)
    on_gpu = torch.cuda.is_available()
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=("auto" if on_gpu else 1) if devices == "auto" else int(devices),
        num_nodes=nodes,
        strategy="ddp"
        if (devices not in ("auto", "1") or nodes > 1 or (on_gpu and torch.cuda.device_count() > 1))
        else "auto",
    )
    fabric.launch()
    asked_rate = overrides.get("sample_rate_hz") or (config.model.sample_rate_hz if resume else None)
    with fabric.rank_zero_first():  # the others find the cache filled
        corpus = build_corpus(
            recordings,
            cache or folder.parent / ".cache",
            asked_rate,
            config.model.channels,
            seed=config.training.seed,
            quiet=not fabric.is_global_zero,
            labelled=labelled,
        )
    if config.model.labels and config.model.labels != corpus.labels:
        raise RavelError(
            f"run {run.name} knows the labels {', '.join(config.model.labels)}, {recordings} now has "
            f"{', '.join(corpus.labels)}: restore its folders, choose another --name, or start anew with --fresh"
        )
    model = dataclasses.replace(config.model, sample_rate_hz=corpus.sample_rate_hz, labels=corpus.labels)
    config = dataclasses.replace(config, model=model)
    if fabric.is_global_zero:
        print("\n".join(corpus.report.lines()), file=sys.stderr)
        if fresh and folder.exists():  # only now: what is wrong with the new run must not cost the old one
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        run.write_about(config, recordings.resolve())
    trainer = Trainer(fabric, run, config, corpus, resume)
    if fabric.is_global_zero:
        _introduce(trainer, resume)
    trainer.fit()


def _same_corpus(stored: Path, given: Path | None, name: str) -> Path:
    """The folder a run goes on with; another one is an error while the old one is still there."""
    if given is None or given.resolve() == stored:
        return stored
    if stored.exists():
        raise RavelError(
            f"run {name} was trained on {stored}, not on {given}: "
            "leave the folder out, choose another --name, or start anew with --fresh"
        )
    return given


def _same_kind(stored: Config, labelled: bool, name: str) -> bool:
    """Whether a run that goes on has labels; it cannot get any."""
    if labelled and not stored.model.labels:
        raise RavelError(
            f"run {name} was trained without labels: leave --labels out, choose another --name, or start anew with "
            "--fresh"
        )
    return bool(stored.model.labels)


def _resumed(stored: Config, name: str, preset_name: str | None, overrides: dict[str, Any]) -> Config:
    """The stored configuration with what may change on resuming; anything else that differs is an error."""
    if preset_name is not None and preset_name != stored.model.preset:
        raise RavelError(
            f"run {name} was trained with preset {stored.model.preset}, not {preset_name}: "
            "drop --preset, choose another --name, or start anew with --fresh"
        )
    flat = dataclasses.asdict(stored.model) | dataclasses.asdict(stored.training)
    for field, value in overrides.items():
        if field not in FREE_ON_RESUME and flat[field] != value:
            raise RavelError(
                f"run {name} has {field} {flat[field]}, not {value}: "
                "drop the option, choose another --name, or start anew with --fresh"
            )
    free = {k: v for k, v in overrides.items() if k in FREE_ON_RESUME}
    return dataclasses.replace(stored, training=dataclasses.replace(stored.training, **free))


def _check_training(config: Config) -> None:
    """Refuse crops that cannot be trained on, and warn of those that are short."""
    from .model.autoencoder import Autoencoder
    from .training.discriminators import KINDS

    net = Autoencoder(config.model)
    t = config.training
    crop, hop = t.crop_samples, net.hop_samples
    for name in ("batch", "crop_samples", "validate_every", "discriminator_every"):
        if getattr(t, name) < 1:
            raise RavelError(f"{name}: at least 1, got {getattr(t, name)}")
    if t.precision not in ("auto", "fp32", "bf16"):
        raise RavelError(f"precision: auto, fp32 or bf16, got {t.precision!r}")
    for kind in t.discriminators:
        if kind not in KINDS:
            raise RavelError(f"discriminators: {kind!r} is none of {', '.join(KINDS)}")
    if crop % hop:
        raise RavelError(f"crop_samples {crop} is no multiple of the hop of {hop}: use {-(-crop // hop) * hop}")
    shortest = -(-(net.delay + 2048) // hop) * hop
    if crop < shortest:
        raise RavelError(
            f"crop_samples {crop} leaves nothing to compare after {net.delay} samples of delay: use {shortest} or more"
        )
    if crop < net.receptive_field_samples:
        print(
            f"warning: crops of {crop} samples are shorter than the receptive field of {net.receptive_field_samples}: "
            "the network trains, but hears less context than it could",
            file=sys.stderr,
        )
    phase_1 = t.phase_1
    if phase_1 != "auto" and not re.fullmatch(r"0?\.\d+|[01](\.0*)?", phase_1):
        raise RavelError(f"phase_1 is auto or a share from 0 to 1, got {phase_1!r}")


def _introduce(trainer: Any, resume: dict[str, Any] | None) -> None:
    c = trainer.config
    net = trainer.net
    start = f"goes on from step {trainer.progress.step}" if resume else "starts"
    labels = f"{len(c.model.labels)} labels, " if c.model.labels else ""
    print(
        f"{trainer.run.name} {start}: {c.model.preset}, {labels}{net.trained_parameters() / 1e6:.2f} M parameters, "
        f"{'bf16' if trainer.bf16 else 'fp32'}, {trainer.fabric.world_size} x {trainer.fabric.device.type}, "
        f"hop {net.hop_samples}, delay {net.delay} samples",
        file=sys.stderr,
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(run_verb("train", main))
