"""`ravel evaluate`: models against held-out sound and baselines, by numbers, pictures and ear."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from .card import Card, is_model_file, label_weights
from .cli import Parser, positive, run_verb, seconds
from .errors import RavelError
from .evaluation import comparison, comparison_page, extras, listening
from .evaluation.clips import Clip, corpus_of, from_files, from_recordings
from .evaluation.folder import check_place, report_folder
from .evaluation.matching import matching
from .evaluation.systems import Model, System, baselines
from .files import atomic_write
from .render import transposition

MATERIAL_SECONDS = 120.0  # of training sound that baselines learn from


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel evaluate", description=__doc__)
    p.add_argument("models", nargs="*", help=".ravel and .ts files, or runs, side by side")
    p.add_argument("--on", nargs="+", type=Path, help="files and folders to play (default: what a run held out)")
    p.add_argument("--out", type=Path, help="folder of the report (default: NAME-evaluation)")
    p.add_argument("--baselines", default="", help="pca, pca:8, ...: principal components of spectra, for comparison")
    p.add_argument("--like", nargs="+", type=Path, help="recordings that stand for the training material")
    p.add_argument("--label", help="as which models with labels play, or a blend: cello:0.3,voice:0.7")
    p.add_argument("--transfer", action="store_true", help="--on is another kind of sound: what is kept of its playing")
    p.add_argument("--match-level", action="store_true", help="of --transfer: bring --on to the material's loudness")
    p.add_argument(
        "--transpose",
        type=transposition,
        metavar="auto|SEMITONES",
        help="of --transfer: move --on; auto: by octaves into the range of the first model's material",
    )
    p.add_argument("--card", action="store_true", help="also write NAME.md beside each model file")
    p.add_argument("--seconds", type=seconds, default=120.0, help="of sound in all (default: 120)")
    p.add_argument("--each", type=seconds, default=20.0, help="seconds of a file at most (default: 20)")
    p.add_argument("--examples", type=int, default=4, metavar="N", help="files to hear and see (default: 4)")
    p.add_argument("--listening-test", nargs="+", type=Path, metavar="FILE", help="a blind MUSHRA page of these files")
    p.add_argument("--listening-results", nargs="+", type=Path, metavar="JSON", help="what listeners sent; needs --key")
    p.add_argument("--key", type=Path, help="the key.json of that listening test")
    p.add_argument("--listeners", type=positive, default=24, help="orders in a listening test (default: 24)")
    p.add_argument("--seed", type=int, default=0, help="of a listening test's orders (default: 0)")
    p.add_argument("--force", action="store_true", help="replace a report that is there")
    p.add_argument("--quiet", action="store_true", help="no progress")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.listening_results:
        if options.key is None:
            raise RavelError("--listening-results needs --key, the key.json that was written with the test")
        print(listening.results_text(listening.results(options.listening_results, options.key)))
        return 0
    if not options.models:
        raise RavelError("which model? `ravel evaluate MODEL...`, each a .ravel, a .ts or a run")
    extras.check()
    out = options.out or Path(
        f"{Path(options.models[0]).stem}-{'listening' if options.listening_test else 'evaluation'}"
    )
    check_place(out, options.force)
    with ExitStack() as stack:
        models = opened(options.models, stack)
        choose_label(models, options)
        if options.listening_test:
            return listening_test(models, options, out)
        clips, skipped = chosen_clips(models, options)
        for line in skipped:
            print(f"skipped: {line}", file=sys.stderr)
        systems: list[System] = [*models, *chosen_baselines(models, options)]
        done = comparison.evaluated(
            systems,
            clips,
            out,
            transfer=options.transfer,
            examples=options.examples,
            force=options.force,
            quiet=options.quiet,
        )
        for model in models if options.card else ():
            if model.run is None:
                write_card(out / "cards" / f"{model.name}.md", model.path.with_suffix(".md"))
    print(comparison_page.summary(done, out))
    return 0


class Opened(Model):
    """A model, and the run it came from where it came from one."""

    def __init__(self, path: Path, name: str, run: Any = None) -> None:
        super().__init__(path, name)
        self.run = run


def opened(names: Sequence[str], stack: ExitStack) -> list[Opened]:
    """The models by name; a run is exported for the occasion, until `stack` closes."""
    models = []
    for name, short in zip(names, told_apart(names)):
        if is_model_file(name):
            models.append(Opened(Path(name), short))
            continue
        from . import export, runs

        run = runs.find(name)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ravel-"))
        path = Path(folder) / f"{run.name}.ts"
        export.export(run, path)
        engine = path.with_suffix(".ravel")
        models.append(Opened(engine if engine.exists() else path, short, run))
    return models


def told_apart(names: Sequence[str]) -> list[str]:
    """Short names that tell the models apart."""
    for short in (lambda p: p.stem, lambda p: p.name, lambda p: str(p)):
        shortened = [short(Path(name)) for name in names]
        if len(set(shortened)) == len(shortened):
            return shortened
    raise RavelError("the same model twice: give each of them once")


def choose_label(models: Sequence[Model], options: argparse.Namespace) -> None:
    """The one that was asked for, of every model with labels. Raises RavelError where it is missing or unknown."""
    several = [model for model in models if model.labels]
    if options.label is None:
        if several and options.transfer:
            raise RavelError(
                f"{several[0].name} has the labels {', '.join(several[0].labels)}: say with --label as which it answers"
            )
        return
    for model in several or models:
        label_weights(model.instrument.card, options.label)
        model.label = options.label


def chosen_clips(models: Sequence[Opened], options: argparse.Namespace) -> tuple[list[Clip], list[str]]:
    """At the first model's rate, in as many channels as any model has."""
    first = models[0].instrument
    if (options.match_level or options.transpose is not None) and not options.transfer:
        raise RavelError("--match-level and --transpose are for --transfer: held-out sound is where the model learnt")
    if options.on:
        channels = max(model.instrument.channels for model in models)
        clips, skipped = from_files(options.on, first.sample_rate_hz, channels, options.each, options.seconds)
        return matched(clips, first.card, options), skipped
    if options.transfer:
        raise RavelError("--transfer needs --on: sound of another kind than the model was trained on")
    run = next((model.run for model in models if model.run), None)
    if run is None:
        raise RavelError("which sound? A file does not know what its training held out: give --on FILES, or the run")
    corpus = corpus_of(run)
    clips = from_recordings(corpus.validation, options.each, options.seconds, corpus.labels)
    if not clips:
        raise RavelError(f"run {run.name} held out too little to measure: give recordings with --on")
    return clips, []


def matched(clips: list[Clip], card: Card, options: argparse.Namespace) -> list[Clip]:
    """As asked for, where the card's material is."""
    if not options.match_level and not options.transpose:
        return clips
    fit = matching(card, options.match_level, options.transpose or 0.0, options.like or [])
    assert fit is not None
    done = [fit.matched(clip.sound, clip.rate_hz) for clip in clips]
    return [replace(clip, sound=sound, matched=said) for clip, (sound, said) in zip(clips, done)]


def write_card(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def chosen_baselines(models: Sequence[Opened], options: argparse.Namespace) -> list[System]:
    names = [name for name in options.baselines.split(",") if name]
    if not names:
        return []
    first = models[0].instrument
    run = next((model.run for model in models if model.run), None)
    if options.like:
        material, _ = from_files(options.like, first.sample_rate_hz, 1, options.each, MATERIAL_SECONDS)
    elif run is not None:
        material = from_recordings(corpus_of(run).train, options.each, MATERIAL_SECONDS)
    else:
        raise RavelError("--baselines learn from training material: give the run, or recordings with --like")
    return baselines(names, first.card, first.sample_rate_hz, material)


def listening_test(models: Sequence[Model], options: argparse.Namespace, out: Path) -> int:
    """Write the blind page of all models to `out`."""
    first = models[0].instrument
    clips, skipped = from_files(
        options.listening_test, first.sample_rate_hz, 2, min(options.each, listening.LONGEST_S), options.seconds
    )
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    test = listening.make(models, clips, options.seed, options.listeners)
    with report_folder(out, {"listening": test.key}, options.force) as work:
        work.write("index.html", test.page)
        work.write("key.json", json.dumps(test.key, indent=1))
        work.write("report.json", json.dumps({"listening_test": test.key["test"]}))
    print(f"{out / 'index.html'}: for listeners 1 to {options.listeners}, give them this file alone")
    print(f"{out / 'key.json'}: what is what; keep it, and read the answers with --listening-results *.json --key it")
    return 0


if __name__ == "__main__":
    sys.exit(run_verb("evaluate", main))
