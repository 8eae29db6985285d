"""`ravel analyze`: what the latents of a model hold, as a page to read, hear and see."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import runs
from .audio import to_channels
from .card import is_model_file, label_weights
from .cli import Parser, run_verb, seconds
from .errors import RavelError
from .evaluation import extras
from .evaluation.analysis import Subject, analysed
from .evaluation.clips import Clip, corpus_of, from_files, from_recordings
from .evaluation.coders import coder, run_coder
from .evaluation.folder import check_place


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel analyze", description=__doc__)
    p.add_argument("model", help="a run, by name or folder, or a .ts or .ravel, which can say less")
    p.add_argument("sound", nargs="*", type=Path, help="files and folders to analyse (default: what the run held out)")
    p.add_argument(
        "--label", help="as which it is played, of a model with labels (default: each as itself, or the first)"
    )
    p.add_argument("--out", type=Path, help="folder of the report (default: NAME-analysis)")
    p.add_argument("--seconds", type=seconds, default=60.0, help="of sound in all (default: 60)")
    p.add_argument("--each", type=seconds, default=10.0, help="seconds of a file at most (default: 10)")
    p.add_argument("--force", action="store_true", help="replace a report that is there")
    p.add_argument("--quiet", action="store_true", help="no progress")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    extras.check()
    out = options.out or Path(f"{Path(options.model).stem}-analysis")
    check_place(out, options.force)
    subject = opened(options.model)
    card = subject.coder.card
    if subject.codes is not None and not card["streaming"]:
        raise RavelError(
            f"{options.model} starts every call from silence, and its codes can't be swept: give the run, or "
            "export it with --streaming"
        )
    if options.label is not None:
        label_weights(card, options.label)
    clips, skipped = chosen_clips(subject, options)
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    print(analysed(subject, clips, out, options.force, options.quiet))
    return 0


def opened(model: str) -> Subject:
    if is_model_file(model):
        return Subject(Path(model).stem, coder(Path(model)), None, None)
    run = runs.find(model)
    trained = runs.load(run)
    return Subject(run.name, run_coder(trained, run.name), trained, run)


def chosen_clips(subject: Subject, options: argparse.Namespace) -> tuple[list[Clip], list[str]]:
    if options.sound:
        clips, skipped = from_files(options.sound, subject.rate_hz, subject.channels, options.each, options.seconds)
    elif subject.run is None:
        raise RavelError("which sound? A file does not know what its training held out: give recordings, or the run")
    else:
        corpus = corpus_of(subject.run)
        clips, skipped = from_recordings(corpus.validation, options.each, options.seconds, corpus.labels), []
    fitting = [
        replace(clip, sound=to_channels(clip.sound, subject.channels), label=options.label or clip.label)
        for clip in clips
    ]
    if not fitting or max(float(np.abs(clip.sound).max()) for clip in fitting) < 1e-4:
        raise RavelError("all of it is silent, or too short: give recordings that sound")
    return fitting, skipped


if __name__ == "__main__":
    sys.exit(run_verb("analyze", main))
