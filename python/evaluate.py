"""`ravel evaluate`: models against held-out sound and baselines, by numbers, pictures and ear."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import __version__
from .card import is_model_file
from .cli import Parser, positive, run_verb, seconds
from .errors import RavelError
from .evaluation import card_page, extras, figures, listening
from .evaluation.clips import Clip, corpus_of, from_files, from_recordings
from .evaluation.coders import coder
from .evaluation.distances import alignment
from .evaluation.folder import Work, check_place, report_folder
from .evaluation.page import DASH, Page, number, write_flac
from .evaluation.scores import MEASURES, TRANSFER, Heard, Measure, compare, measured_lag, over_files
from .evaluation.systems import Model, System, baselines, codes
from .evaluation.tracks import PITCH_HOP, PITCH_RATE_HZ
from .files import atomic_write

MATERIAL_SECONDS = 120.0  # of training sound that baselines learn from
SURE = 0.2  # correlation of the envelopes from which on a measured latency means something
ACTIVE = 0.01  # variance from which on a latent counts as used (Burda et al., arXiv 1509.00519)


@dataclass
class Evaluation:
    """All results, as the page, the JSON and the cards show them."""

    about: dict[str, Any]
    transfer: bool
    clips: list[dict[str, Any]]
    systems: list[dict[str, Any]] = field(default_factory=list)  # name, facts, usage, figures, latency, clips

    @property
    def measures(self) -> dict[str, Measure]:
        return TRANSFER if self.transfer else MEASURES


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel evaluate", description=__doc__)
    p.add_argument("models", nargs="*", help=".ravel and .ts files, or runs, side by side")
    p.add_argument("--on", nargs="+", type=Path, help="files and folders to play (default: what a run held out)")
    p.add_argument("--out", type=Path, help="folder of the report (default: NAME-evaluation)")
    p.add_argument("--baselines", default="", help="pca, pca:8, ...: principal components of spectra, for comparison")
    p.add_argument("--like", nargs="+", type=Path, help="training material for baselines, where no run tells")
    p.add_argument("--transfer", action="store_true", help="--on is another kind of sound: what is kept of its playing")
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
        if options.listening_test:
            return listening_test(models, options, out)
        clips, skipped = chosen_clips(models, options)
        for line in skipped:
            print(f"skipped: {line}", file=sys.stderr)
        systems: list[System] = [*models, *chosen_baselines(models, options)]
        done = evaluated(systems, clips, options, out)
    print(summary(done, out))
    return 0


class Opened(Model):
    """A model, and the run it came from where it came from one."""

    def __init__(self, path: Path, name: str, run: Any = None) -> None:
        super().__init__(path, name)
        self.run = run


def opened(names: Sequence[str], stack: ExitStack) -> list[Opened]:
    """The models by name; a run is exported for the occasion, until `stack` closes."""
    labels = labelled(names)
    models = []
    for name, label in zip(names, labels):
        if is_model_file(name):
            models.append(Opened(Path(name), label))
            continue
        from . import export, runs

        run = runs.find(name)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ravel-"))
        path = Path(folder) / f"{run.name}.ts"
        export.export(run, path)
        engine = path.with_suffix(".ravel")
        models.append(Opened(engine if engine.exists() else path, label, run))
    return models


def labelled(names: Sequence[str]) -> list[str]:
    """Short names that tell the models apart."""
    for short in (lambda p: p.stem, lambda p: p.name, lambda p: str(p)):
        labels = [short(Path(name)) for name in names]
        if len(set(labels)) == len(labels):
            return labels
    raise RavelError("the same model twice: give each of them once")


def chosen_clips(models: Sequence[Opened], options: argparse.Namespace) -> tuple[list[Clip], list[str]]:
    """At the first model's rate, in as many channels as any model has."""
    first = models[0].instrument
    if options.on:
        channels = max(model.instrument.channels for model in models)
        return from_files(options.on, first.sample_rate_hz, channels, options.each, options.seconds)
    if options.transfer:
        raise RavelError("--transfer needs --on: sound of another kind than the model was trained on")
    run = next((model.run for model in models if model.run), None)
    if run is None:
        raise RavelError("which sound? A file does not know what its training held out: give --on FILES, or the run")
    clips = from_recordings(corpus_of(run).validation, options.each, options.seconds)
    if not clips:
        raise RavelError(f"run {run.name} held out too little to measure: give recordings with --on")
    return clips, []


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


def evaluated(systems: Sequence[System], clips: Sequence[Clip], options: argparse.Namespace, out: Path) -> Evaluation:
    """Everything measured and written to `out`; an interrupted one goes on where it stopped."""
    key = {
        "version": __version__,
        "systems": [(system.name, system.identity()) for system in systems],
        "clips": [(clip.name, clip.digest) for clip in clips],
        "transfer": options.transfer,
        "examples": options.examples,
    }
    about = {
        "ravel": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "sample_rate_hz": clips[0].rate_hz,
        "seconds": round(sum(clip.seconds for clip in clips), 1),
        "pitch": f"pYIN of librosa, every {1000 * PITCH_HOP / PITCH_RATE_HZ:g} ms",
    }
    with report_folder(out, key, options.force) as work:
        done = Evaluation(
            about, options.transfer, [{"name": clip.name, "seconds": round(clip.seconds, 2)} for clip in clips]
        )
        examples = {round(i) for i in np.linspace(0, len(clips) - 1, min(options.examples, len(clips)))}
        rows = measured(systems, clips, examples, work, options.quiet)
        if work.reused:
            tqdm.write(f"resumed: {work.reused} results were there", file=sys.stderr)
        for number_, system in enumerate(systems):
            scores = [row[number_]["scores"] for row in rows]
            facts = work.remember(f"facts {number_}", system.facts)
            done.systems.append(
                {
                    "name": system.name,
                    "facts": facts,
                    "usage": work.remember(f"usage {number_}", usage, system, clips),
                    "figures": over_files(scores),
                    "latency": latency(facts, [row[number_]["alignment"] for row in rows], clips[0].rate_hz),
                    "clips": scores,
                }
            )
        work.write("index.html", page(done, sorted(examples), work.folder).text)
        for system, result in zip(systems, done.systems):
            if system.card is not None:
                text = card_page.markdown(system.card, result, done.about, len(clips), done.measures)
                work.write(f"cards/{result['name']}.md", text)
                if options.card and isinstance(system, Opened) and system.run is None:
                    with atomic_write(system.path.with_suffix(".md")) as temporary:
                        temporary.write_text(text, encoding="utf-8")
        work.write("report.json", json.dumps(as_json(done), indent=1))
    return done


def as_json(done: Evaluation) -> dict[str, Any]:
    return {"about": done.about, "transfer": done.transfer, "clips": done.clips, "systems": done.systems}


def measured(
    systems: Sequence[System], clips: Sequence[Clip], examples: set[int], work: Work, quiet: bool
) -> list[list[dict[str, Any]]]:
    """{"scores", "alignment"} of each clip and system; of the examples also their sound and their picture."""
    total = sum(clip.seconds for clip in clips) * len(systems)
    rows = []
    with tqdm(total=total, unit="s", unit_scale=True, disable=True if quiet else None, leave=False) as bar:
        for i, clip in enumerate(clips):
            bar.set_description(clip.name)
            heard = Lazy(clip)
            row = []
            for j, system in enumerate(systems):
                row.append(work.remember(f"{i} {j}", one, system, clip, heard, i, j, i in examples, work))
                bar.update(min(clip.seconds, bar.total - bar.n))
            if i in examples:
                work.remember(f"example {i}", example, systems, clip, i, work)
            rows.append(row)
    return rows


class Lazy:
    """A clip's tracks, found when they are first needed: not for what an earlier command had finished."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._heard: Heard | None = None

    def __call__(self) -> Heard:
        self._heard = self._heard or Heard(self.clip.sound, self.clip.rate_hz)
        return self._heard


def one(system: System, clip: Clip, heard: Lazy, i: int, j: int, example: bool, work: Work) -> dict[str, Any]:
    played = system.play(clip.sound, clip.rate_hz)
    if not np.isfinite(played).all():
        raise RavelError(f"{system.name} makes NaN or infinity of {clip.name}: export it again, or train it further")
    if example:
        write_flac(work.folder / "audio" / f"{i}-{j}.flac", played, clip.rate_hz)
    return {
        "scores": compare(Heard(played, clip.rate_hz), heard()),
        "alignment": alignment(played, clip.sound, clip.rate_hz),
    }


def example(systems: Sequence[System], clip: Clip, i: int, work: Work) -> bool:
    from .audio import read_audio

    write_flac(work.folder / "audio" / f"{i}-input.flac", clip.sound, clip.rate_hz)
    sounds = {"input": clip.sound}
    for j, system in enumerate(systems):
        sounds[system.name] = read_audio(work.folder / "audio" / f"{i}-{j}.flac")[0]
    figures.spectrograms(work.folder / "pictures" / f"{i}.png", sounds, clip.rate_hz)
    return True


def usage(system: System, clips: Sequence[Clip]) -> dict[str, Any] | None:
    """How much of its latents a model uses on this sound; None for a baseline, whose components all are in use."""
    if not isinstance(system, Model):
        return None
    inside = coder(system.path)
    rate = system.instrument.sample_rate_hz
    latents = []
    for clip in clips[:40]:
        sound = coded_sound(clip, rate, system.instrument.channels)
        latents.append(inside.encode(sound))
    z = np.concatenate(latents, axis=1).astype(np.float64)
    count = codes(system.instrument.card)
    if count is not None:
        taken = [np.bincount(row.astype(int), minlength=count) / row.size for row in z]
        perplexity = [float(np.exp(-sum(p * np.log(p) for p in share if p > 0))) for share in taken]
        return {"codes": count, "perplexity": perplexity}
    variances = np.sort(z.var(axis=1))[::-1]
    share = variances / max(variances.sum(), 1e-12)
    return {
        "active": int((variances > ACTIVE).sum()),
        "for_95_percent": int(np.searchsorted(np.cumsum(share), 0.95) + 1) if variances.sum() > 0 else 0,
        "latents": len(variances),
    }


def coded_sound(clip: Clip, rate_hz: int, channels: int) -> Any:
    from .audio import resample, to_channels

    return to_channels(resample(clip.sound, clip.rate_hz, rate_hz), channels)


def latency(facts: dict[str, Any], curves: Sequence[Sequence[float]], rate_hz: int) -> dict[str, Any]:
    """What the sound says against what the model says; None where the two are too unlike to tell."""
    late, alike = measured_lag(curves)
    reported_ms = None
    if facts["latency_samples"] is not None:
        reported_ms = 1000 * facts["latency_samples"] / facts["latency_rate_hz"]
    off_ms = 1000 * late / rate_hz if alike >= SURE else None
    return {"reported_ms": reported_ms, "off_by_ms": off_ms, "correlation": round(alike, 3)}


# -- page ---------------------------------------------------------------------------------------------------


def page(done: Evaluation, examples: Sequence[int], folder: Path) -> Page:
    names = [system["name"] for system in done.systems]
    about, measures = done.about, done.measures
    made = Page(
        f"{'Transfer' if done.transfer else 'Evaluation'}: {', '.join(names)}",
        f"{len(done.clips)} files, {about['seconds']:g} s at {about['sample_rate_hz']} Hz; "
        f"Ravel {about['ravel']}, {about['made']}",
    )
    if done.transfer:
        made.paragraph(
            "The sound is of another kind than the models learnt. A good transfer does not sound like its input, so "
            "spectra are not compared: what counts is that pitch, dynamics and timing of the playing are kept. The "
            "measured latency here is how late the answer rises: its attacks may be slower than the input's."
        )
    made.heading("Figures")
    rows, best = figure_rows(done.systems, measures)
    made.table(
        ["", *names],
        rows,
        best,
        "Mean over the files and its 95 % interval; medians with their quartiles. The best of several is marked.",
    )
    explained = [[measure.label.strip(), measure.about] for measure in measures.values()]
    made.table(["measure", "what it is"], explained, folded="What these figures are", prose=True)
    if len(names) > 1:
        drawn = [
            name for name in ("log_mel_db", "level_dba", "f0_gross", "contour", "onsets_found") if name in measures
        ]
        figures.bars(folder / "pictures" / "bars.png", names, [bar(done.systems, name) for name in drawn[:3]])
        made.picture("pictures/bars.png", f"bars of {', '.join(drawn[:3])} for each system")
    made.heading("The systems")
    made.table(["", *names], fact_rows(done.systems), prose=True)
    made.paragraph(
        "Measured latency: the reported one, plus where the cross-correlation of the band envelopes of input and "
        f"output, all files together, has its peak; shown where that is {SURE:g} or more. Times real time: one "
        "process, best of three, on this machine. PCA baselines have as many numbers a frame as the first model, "
        "unless they say otherwise; a plain autoencoder, or a VAE without its second phase, is a model like any other: "
        "train it and name it beside this one.",
        faint=True,
    )
    made.heading("Listen and look")
    for i in examples:
        made.heading(done.clips[i]["name"], 3)
        sounds = {"input": f"audio/{i}-input.flac"}
        made.players(sounds | {name: f"audio/{i}-{j}.flac" for j, name in enumerate(names)})
        made.picture(f"pictures/{i}.png", f"spectrograms of {done.clips[i]['name']}: input, {', '.join(names)}")
    made.heading("Every file")
    for system in done.systems:
        made.table(
            ["file", *(f"{m.label.strip()} {m.unit}".strip() for m in measures.values())],
            [
                [clip["name"], *(number(scores[name]) for name in measures)]
                for clip, scores in zip(done.clips, system["clips"])
            ],
            folded=system["name"],
        )
    return made


def figure_rows(
    systems: Sequence[dict[str, Any]], measures: dict[str, Measure]
) -> tuple[list[list[str]], dict[int, set[int]]]:
    rows, best = [], {}
    for name, measure in measures.items():
        found = [system["figures"][name] for system in systems]
        unit = f", {measure.unit}" if measure.unit else ""
        rows.append([f"{measure.label}{unit}", *(figure_text(value) for value in found)])
        values = [value["value"] for value in found if value]
        if len(values) > 1 and measure.better in ("low", "high"):
            top = min(values) if measure.better == "low" else max(values)
            best[len(rows) - 1] = {i for i, value in enumerate(found, 1) if value and value["value"] == top}
    return rows, best


def figure_text(value: dict[str, float] | None) -> str:
    """The mean with its interval, or the median with its quartiles."""
    if value is None or value["files"] == 1:
        return number(None if value is None else value["value"])
    return f"{number(value['value'])} ({number(value['low'], 2)} to {number(value['high'], 2)})"


def bar(systems: Sequence[dict[str, Any]], name: str) -> figures.Bars:
    measure = MEASURES[name]
    found = [system["figures"][name] for system in systems]
    return measure.label, measure.unit, [v and (v["low"], v["value"], v["high"]) for v in found]


def fact_rows(systems: Sequence[dict[str, Any]]) -> list[list[str]]:
    def row(title: str, tell: Any) -> list[str]:
        return [title, *(tell(system) or DASH for system in systems)]

    return [
        row("what it is", lambda s: s["facts"]["kind"]),
        row("latents", lambda s: f"{s['facts']['latents']}, {s['facts']['latent_rate_hz']:.0f} times a second"),
        row("latents in use", lambda s: usage_text(s["usage"])),
        row("bit rate", lambda s: (r := s["facts"]["bit_rate_kbps"]) and f"{r:.2f} kbit/s before entropy coding"),
        row("parameters", lambda s: f"{s['facts']['parameters'] / 1e6:.2f} M"),
        row("latency, reported", lambda s: ms(s["latency"]["reported_ms"])),
        row("latency, measured", measured_text),
        row("times real time", lambda s: (x := s["facts"]["x_real_time"]) and f"{x:.1f}"),
    ]


def usage_text(use: dict[str, Any] | None) -> str:
    if use is None:
        return ""
    if "codes" in use:
        shown = ", ".join(f"{p:.0f}" for p in use["perplexity"])
        return f"perplexity {shown} of {use['codes']} codes"
    return f"{use['active']} of {use['latents']}; {use['for_95_percent']} hold 95 % of the variance"


def measured_text(system: dict[str, Any]) -> str:
    found = system["latency"]
    if found["off_by_ms"] is None:
        return f"not measurable (correlation {found['correlation']:.2f})"
    if found["reported_ms"] is None:
        return f"{found['off_by_ms']:+.2f} ms"
    return f"{found['reported_ms'] + found['off_by_ms']:.2f} ms"


def ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} ms"


def summary(done: Evaluation, out: Path) -> str:
    """The figures in a few lines."""
    wanted = ("contour", "f0_cents", "onset_ms") if done.transfer else ("log_mel_db", "f0_cents", "level_dba", "snr_db")
    lines = []
    for system in done.systems:
        parts = [
            f"{MEASURES[name].label} {figure_text(system['figures'][name])} {MEASURES[name].unit}".rstrip()
            for name in wanted
        ]
        lines.append(f"{system['name']}: {', '.join(parts)}")
    return "\n".join([*lines, f"{out / 'index.html'}: {len(done.clips)} files, {done.about['seconds']:g} s"])


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
