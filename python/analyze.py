"""`ravel analyze`: what the latents of a model hold, as a page to read, hear and see."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import __version__, runs
from .audio import Audio, to_channels
from .card import is_model_file
from .cli import Parser, run_verb, seconds
from .errors import RavelError
from .evaluation import extras, figures, material
from .evaluation.clips import Clip, corpus_of, from_files, from_recordings
from .evaluation.coders import Coder, Latents, coder, divergence, run_coder
from .evaluation.distances import log_mel_db, multi_scale
from .evaluation.folder import Work, check_place, report_folder
from .evaluation.page import Page, number, write_flac
from .evaluation.subspace import angles_degrees, pca, rank_correlation
from .evaluation.systems import codes
from .evaluation.tracks import SILENT_DB, Track, brightness_hz, level_dba, level_gap, pitch
from .runs import Trained

FIDELITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
HEARD = (0.8, 0.95, 0.99, 1.0)  # fidelities to listen to
ACTIVE = 0.01  # nats of KL, or variance of the mean, from which on a latent counts as active (arXiv 1509.00519)
COMPONENTS = 8  # correlated with what one hears
TRAVERSED = 4
SWEEP_SIGMAS = 3.0
MATERIAL_S = 60.0
CALM_S = 0.05  # over which a latent is compared with what is heard
FEATURES = ("loudness", "pitch", "brightness")


@dataclass(frozen=True)
class Subject:
    """A model to look into: `trained` where it is a run, which knows more than its files."""

    name: str
    coder: Coder
    trained: Trained | None
    run: runs.Run | None

    @property
    def rate_hz(self) -> int:
        return int(self.coder.card["sample_rate_hz"])

    @property
    def hop(self) -> int:
        return int(self.coder.card["hop_samples"])

    @property
    def channels(self) -> int:
        return int(self.coder.card["channels"])


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel analyze", description=__doc__)
    p.add_argument("model", help="a run, by name or folder, or a .ts or .ravel, which can say less")
    p.add_argument("sound", nargs="*", type=Path, help="files and folders to analyse (default: what the run held out)")
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
    if codes(subject.coder.card) is not None:
        raise RavelError(
            f"{subject.name} has discrete latents, which have no principal components: `ravel evaluate` reports how "
            "its codes are used"
        )
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
        clips, skipped = from_recordings(corpus_of(subject.run).validation, options.each, options.seconds), []
    fitting = [Clip(clip.name, to_channels(clip.sound, subject.channels), clip.rate_hz) for clip in clips]
    if not fitting or max(float(np.abs(clip.sound).max()) for clip in fitting) < 1e-4:
        raise RavelError("all of it is silent, or too short: give recordings that sound")
    return fitting, skipped


def analysed(subject: Subject, clips: Sequence[Clip], out: Path, force: bool, quiet: bool) -> str:
    """Everything measured and written to `out`; returns the findings as text."""
    key = {"version": __version__, "model": subject.name, "state": state(subject), "clips": [c.digest for c in clips]}
    latents = [subject.coder.encode(clip.sound) for clip in clips]
    curve = fidelity_curve(subject, latents)
    with report_folder(out, key, force) as work:
        (work.folder / "pictures").mkdir(exist_ok=True)
        found: dict[str, Any] = {
            "about": {
                "ravel": __version__,
                "made": time.strftime("%Y-%m-%d %H:%M"),
                "model": subject.name,
                "files": [clip.name for clip in clips],
                "seconds": round(sum(clip.seconds for clip in clips), 1),
            },
            "variance": variance(subject, latents, curve, work),
        }
        bar = tqdm(total=4, disable=True if quiet else None, leave=False, bar_format="{desc} {n_fmt} of {total_fmt}")
        with bar:
            bar.set_description("reconstructing")
            found["fidelity"] = work.remember("fidelity", fidelity, subject, clips, latents, curve, work)
            bar.update()
            bar.set_description("correlating")
            found["correlation"] = work.remember("correlation", correlation, subject, clips, latents, work)
            bar.update()
            bar.set_description("traversing")
            found["traversal"] = work.remember("traversal", traversal, subject, clips, latents, work)
            bar.update()
            if subject.trained is not None and subject.run is not None:
                bar.set_description("listening to the training material")
                found["collapse"] = collapse(subject.trained, clips, work)
                found["material"] = work.remember("material", training_material, subject.run)
                material.write(subject.run.folder, found["material"])
        lines = findings(found)
        found["findings"] = lines
        work.write("index.html", page(found).text)
        work.write("report.json", json.dumps(found, indent=1))
    return "\n".join([*lines, str(out / "index.html")])


def state(subject: Subject) -> str:
    """Changes when the model does."""
    if subject.run is not None:
        return "".join(str(path.stat().st_mtime_ns) for path in (subject.run.best, subject.run.last) if path.exists())
    z = np.random.default_rng(0).standard_normal((int(subject.coder.card["latents"]), 4)).astype(np.float32)
    return str(float(np.abs(subject.coder.decode(z)).sum()))


def fidelity_curve(subject: Subject, latents: Sequence[Latents]) -> list[float]:
    """Of training, where it is known, else of this sound: share of the variance in the first 1, 2, ... latents."""
    stored = subject.coder.card["fidelity_curve"]
    if stored:
        return [float(share) for share in stored]
    variances = np.concatenate(latents, axis=1).var(axis=1)
    return [float(share) for share in np.cumsum(variances) / max(variances.sum(), 1e-12)]


def variance(subject: Subject, latents: Sequence[Latents], curve: Sequence[float], work: Work) -> dict[str, Any]:
    """How the variance lies in training and in this sound, and how far apart the directions of the two are."""
    z = np.concatenate(latents, axis=1).T
    _, components, variances = pca(z)
    here = np.cumsum(variances) / max(float(variances.sum()), 1e-12)
    curves = {"training": list(curve), "this sound": [float(share) for share in here]}
    figures.variance(work.folder / "pictures" / "variance.png", curves, FIDELITIES[:-1])
    count = figures.dimensions(curve, 0.95)
    own = np.eye(z.shape[1])[:count]
    return {
        "curve": list(curve),
        "curve_here": curves["this sound"],
        "dimensions": {f"{f:g}": figures.dimensions(curve, f) for f in FIDELITIES},
        "angles_degrees": [round(float(a), 2) for a in angles_degrees(own, components[:count])],
    }


def fidelity(
    subject: Subject, clips: Sequence[Clip], latents: Sequence[Latents], curve: Sequence[float], work: Work
) -> dict[str, Any]:
    """What is lost when only the dimensions that a fidelity asks for are heard, the others at their mean."""
    chosen, size = loudest(clips), len(latents[0])
    counts = {f: size if f == 1.0 else min(size, figures.dimensions(curve, f)) for f in FIDELITIES}
    by_count: dict[int, dict[str, float]] = {}
    sounds: dict[str, Audio] = {"input": clips[chosen].sound}
    for count in sorted(set(counts.values())):
        heard = np.arange(size)[:, None] < count
        played = [subject.coder.decode(np.where(heard, z, 0).astype(np.float32)) for z in latents]
        by_count[count] = errors(played, clips)
        asked = [f for f in HEARD if counts[f] == count]
        if asked:
            sounds[f"f = {' and '.join(f'{f:g}' for f in asked)}: {plural(count, 'dimension')}"] = trimmed(
                played[chosen], clips[chosen]
            )
    figures.errors(
        work.folder / "pictures" / "fidelity.png",
        list(by_count),
        {
            "log-mel distance": ("dB", [row["log_mel_db"] for row in by_count.values()]),
            "spectral distance": ("", [row["distance"] for row in by_count.values()]),
            "level error": ("dB(A)", [row["level_dba"] for row in by_count.values()]),
        },
    )
    temperature = float(subject.coder.card["attributes"].get("temperature", {}).get("default", 0.0))
    exported = None
    if temperature:
        played = [subject.coder.decode(subject.coder.encode(clip.sound, temperature)) for clip in clips]
        exported = errors(played, clips) | {"temperature": temperature}
        sounds[f"as exported, temperature {temperature:g}"] = trimmed(played[chosen], clips[chosen])
    for n, sound in enumerate(sounds.values()):
        write_flac(work.folder / "audio" / f"fidelity-{n}.flac", sound, subject.rate_hz)
    figures.spectrograms(work.folder / "pictures" / "heard.png", sounds, subject.rate_hz)
    return {
        "rows": [{"fidelity": f, "dimensions": counts[f]} | by_count[counts[f]] for f in FIDELITIES],
        "as_exported": exported,
        "file": clips[chosen].name,
        "sounds": list(sounds),
    }


def errors(played: Sequence[Audio], clips: Sequence[Clip]) -> dict[str, float]:
    """Means over the clips."""
    rows = []
    for out, clip in zip(played, clips):
        out = trimmed(out, clip)
        level = level_gap(level_dba(out, clip.rate_hz), level_dba(clip.sound, clip.rate_hz))
        rows.append((log_mel_db(out, clip.sound, clip.rate_hz), sum(multi_scale(out, clip.sound)), level.db or 0.0))
    return dict(zip(("log_mel_db", "distance", "level_dba"), map(float, np.mean(rows, axis=0))))


def trimmed(out: Audio, clip: Clip) -> Audio:
    return out[:, : clip.sound.shape[1]]


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def correlation(subject: Subject, clips: Sequence[Clip], latents: Sequence[Latents], work: Work) -> dict[str, Any]:
    """Rank correlation of the first components with what one hears, where it is heard.

    Over CALM_S: the frames of a short hop follow the waveform itself, and their sign says nothing. Of the component
    (where it stands) and of its activity (how much it moves around there).
    """
    width = max(1, round(CALM_S * subject.rate_hz / subject.hop))
    count = min(COMPONENTS, len(latents[0]))
    tracks = [features(clip, z.shape[1], subject.hop) for clip, z in zip(clips, latents)]
    stands = [np.stack([calm(row, width) for row in z[:count]]) for z in latents]
    moves = [np.sqrt(np.stack([calm(row, width) for row in np.square(z[:count] - s)])) for z, s in zip(latents, stands)]
    tables = {}
    for name, of in (("stands", np.concatenate(stands, axis=1)), ("moves", np.concatenate(moves, axis=1))):
        table = np.full((count, len(FEATURES)), np.nan)
        for column, feature in enumerate(FEATURES):
            track = np.concatenate([t[feature] for t in tracks])
            known = np.isfinite(track)
            table[:, column] = [rank_correlation(row[known], track[known]) for row in of]
        tables[name] = table
    whole = np.concatenate(latents, axis=1)[:count]
    fast = 1 - np.concatenate(stands, axis=1).var(axis=1) / np.maximum(whole.var(axis=1), 1e-12)
    shown = {"where it stands": tables["stands"]} | ({"how it moves": tables["moves"]} if width > 1 else {})
    figures.correlations(work.folder / "pictures" / "correlation.png", shown, FEATURES)
    return {
        "features": list(FEATURES),
        "seconds": width * subject.hop / subject.rate_hz,
        **{
            name: [[None if np.isnan(v) else round(float(v), 3) for v in row] for row in t]
            for name, t in tables.items()
        },
        "fast_share": [round(float(share), 3) for share in np.clip(fast, 0, 1)],
        "frames": {name: int(sum(np.isfinite(t[name]).sum() for t in tracks)) for name in FEATURES},
    }


def calm(row: Track, width: int) -> Track:
    """The running mean of `width` frames around each."""
    padded = np.pad(row.astype(np.float64), (width // 2, width - 1 - width // 2), mode="edge")
    summed = np.cumsum(np.concatenate([[0.0], padded]))
    return (summed[width:] - summed[:-width]) / width


def features(clip: Clip, frames: int, hop: int) -> dict[str, Track]:
    """Each at the middles of the latent frames; NaN where there is none."""
    middles = (np.arange(frames) + 0.5) * hop / clip.rate_hz
    window = 2048
    level = level_dba(np.pad(clip.sound, ((0, 0), (window // 2, window // 2))), clip.rate_hz, window, 256)
    bright = brightness_hz(np.pad(clip.sound, ((0, 0), (window // 2, window // 2))), clip.rate_hz, window, 256)
    times = np.arange(len(level)) * 256 / clip.rate_hz
    loudness = np.interp(middles, times, level)
    pitched = pitch(clip.sound, clip.rate_hz)
    nearest = np.clip(np.round(middles / max(pitched.seconds[1] if len(pitched.hz) > 1 else 1.0, 1e-6)), 0, None)
    hz = pitched.hz[np.minimum(nearest.astype(int), len(pitched.hz) - 1)]
    heard = loudness > SILENT_DB
    return {
        "loudness": loudness,
        "pitch": np.where(heard, np.log2(hz), np.nan),
        "brightness": np.where(
            heard, np.log2(np.maximum(np.interp(middles, times, np.nan_to_num(bright)), 1.0)), np.nan
        ),
    }


def traversal(subject: Subject, clips: Sequence[Clip], latents: Sequence[Latents], work: Work) -> dict[str, Any]:
    """The loudest clip, and the same with one latent pushed from low to high while all of them play on.

    A moment held still would be periodic in the hop: `low` then buzzes at 345 Hz whatever was held.
    """
    chosen = loudest(clips)
    z, sigma = latents[chosen], np.concatenate(latents, axis=1).std(axis=1)
    push = np.linspace(-SWEEP_SIGMAS, SWEEP_SIGMAS, z.shape[1])
    sounds: dict[str, Audio] = {"as it is": subject.coder.decode(z)}
    for k in range(min(TRAVERSED, len(z))):
        pushed = z.copy()
        pushed[k] += (push * sigma[k]).astype(np.float32)
        sounds[f"latent {k + 1}, -{SWEEP_SIGMAS:g} to +{SWEEP_SIGMAS:g} deviations"] = subject.coder.decode(pushed)
    for n, sound in enumerate(sounds.values()):
        write_flac(work.folder / "audio" / f"traversal-{n}.flac", sound, subject.rate_hz)
    figures.spectrograms(work.folder / "pictures" / "traversal.png", sounds, subject.rate_hz)
    return {
        "file": clips[chosen].name,
        "sounds": list(sounds),
        "sigma": [round(float(s), 4) for s in sigma[:TRAVERSED]],
    }


def collapse(trained: Trained, clips: Sequence[Clip], work: Work) -> dict[str, Any]:
    """What each latent of the encoder tells the decoder, before the rotation, and each principal component after it."""
    found = divergence(trained, [clip.sound for clip in clips])
    figures.collapse(work.folder / "pictures" / "collapse.png", found.cost, found.spread, found.bits, ACTIVE)
    return {
        "kl_nats": [round(float(v), 5) for v in found.cost],
        "mean_variance": [round(float(v), 6) for v in found.spread],
        "component_bits": None if found.bits is None else [round(float(v), 5) for v in found.bits],
        "active_by_kl": int((found.cost > ACTIVE).sum()),
        "active_by_variance": int((found.spread > ACTIVE).sum()),
        "kl_total_nats": round(float(found.cost.sum()), 3),
    }


def training_material(run: runs.Run) -> dict[str, Any]:
    return material.measured(from_recordings(corpus_of(run).train, 10.0, MATERIAL_S))


def loudest(clips: Sequence[Clip]) -> int:
    """Among the longer half: the clip to show."""
    lengths = np.array([clip.seconds for clip in clips])
    power = np.array([float(np.square(clip.sound).mean()) for clip in clips])
    return int(np.argmax(np.where(lengths >= np.median(lengths), power, -1.0)))


def findings(found: dict[str, Any]) -> list[str]:
    """The report in sentences."""
    curve, dims = found["variance"]["curve"], found["variance"]["dimensions"]
    lines = [f"{dims['0.95']} of {len(curve)} dimensions hold 95 % of the variance, {dims['0.99']} hold 99 %"]
    if "collapse" in found:
        c = found["collapse"]
        size, active = len(c["kl_nats"]), c["active_by_variance"]
        lines.append(
            f"{active} of {size} latents of the encoder move with the sound, collapsed: {size - active}; "
            f"{c['kl_total_nats']:.1f} nats a frame in all"
        )
        if c["component_bits"] is not None:
            bits = np.array(c["component_bits"])
            lines.append(
                f"{plural(int((bits > ACTIVE).sum()), 'component')} of these latents get more than {ACTIVE:g} bits a "
                f"frame through the noise of the posterior, {bits.sum():.1f} bits in all"
            )
    table = found["correlation"]["stands"]
    for row, values in enumerate(table[:3]):
        known = [(abs(v), v, name) for v, name in zip(values, found["correlation"]["features"]) if v is not None]
        if known:
            size, value, name = max(known)
            word = "follows" if size >= 0.7 else "leans towards" if size >= 0.4 else "follows none of them, nearest is"
            fast = found["correlation"]["fast_share"][row]
            detail = f"; {fast:.0%} of its variance is faster than that and follows the waveform" if fast > 0.5 else ""
            seconds_ = found["correlation"]["seconds"]
            lines.append(f"latent {row + 1}, over {1000 * seconds_:.0f} ms, {word} {name} ({value:+.2f}){detail}")
    first, last = found["fidelity"]["rows"][0], found["fidelity"]["rows"][-1]
    lines.append(
        f"log-mel distance {first['log_mel_db']:.1f} dB with {plural(first['dimensions'], 'dimension')}, "
        f"{last['log_mel_db']:.1f} dB with {last['dimensions']}"
    )
    return lines


def page(found: dict[str, Any]) -> Page:
    about = found["about"]
    made = Page(
        f"Latents of {about['model']}",
        f"{len(about['files'])} files, {about['seconds']:g} s; Ravel {about['ravel']}, {about['made']}",
    )
    made.items(found["findings"])
    made.heading("Variance and fidelity")
    angles = found["variance"]["angles_degrees"]
    made.paragraph(
        "The latents are principal components of the encoder's means, strongest first. A fidelity f keeps the fewest "
        f"that hold a share f of the variance. The {len(angles)} that hold 95 % in training and the {len(angles)} "
        f"strongest of this sound span spaces that are {max(angles):.1f} degrees apart at most."
    )
    exported = []
    if e := found["fidelity"]["as_exported"]:
        exported = [
            e
            | {
                "fidelity": f"as exported, temperature {e['temperature']:g}",
                "dimensions": len(found["variance"]["curve"]),
            }
        ]
    made.picture("pictures/variance.png", "cumulative variance, and estimated dimensionality against fidelity")
    made.table(
        ["fidelity f", "dimensions", "log-mel distance, dB", "spectral distance", "level error, dB(A)"],
        [
            [f"{r['fidelity']}", str(r["dimensions"]), *(number(r[k]) for k in ("log_mel_db", "distance", "level_dba"))]
            for r in found["fidelity"]["rows"] + exported
        ],
        caption="Decoded from the means (temperature 0), the dimensions that are left out at their mean.",
    )
    made.picture("pictures/fidelity.png", "reconstruction error against the dimensions that are heard")
    heard = found["fidelity"]
    made.heading(heard["file"], 3)
    made.players({name: f"audio/fidelity-{n}.flac" for n, name in enumerate(heard["sounds"])})
    made.picture("pictures/heard.png", "spectrograms of the input and of its reconstructions at several fidelities")
    if "collapse" in found:
        made.heading("Posterior collapse")
        c = found["collapse"]
        made.paragraph(
            f"Of {len(c['kl_nats'])} latents {c['active_by_variance']} have a mean that moves with the sound (variance "
            f"over {ACTIVE:g}) and {c['active_by_kl']} a KL over {ACTIVE:g} nats a frame. The others (orange) say the "
            "same whatever is heard: the decoder has learnt to do without them. This is before the rotation: many "
            "active latents can say the same few things, and the principal components, on the right with the bits a "
            "frame that get through the noise of the posterior, say how many these are."
        )
        made.picture("pictures/collapse.png", "KL, variance of the mean, and bits of the principal components")
    else:
        made.paragraph(
            "KL to the prior is known to runs only: analyse the run to see which latents collapsed.", faint=True
        )
    made.heading("What the first latents follow")
    seconds_ = found["correlation"]["seconds"]
    made.paragraph(
        f"Spearman's rank correlation over {1000 * seconds_:.0f} ms with the A-weighted level, log pitch where voiced, "
        "and the log of the spectral centroid. 1 or -1: one always moves with the other. A latent of a short hop also "
        "follows the waveform itself, faster than one hears: how much it moves is compared on its own."
    )
    made.picture("pictures/correlation.png", "rank correlations of the first latents with loudness, pitch, brightness")
    made.heading("Traversals")
    t = found["traversal"]
    made.paragraph(
        f"{t['file']}, and the same with one latent pushed from {SWEEP_SIGMAS:g} standard deviations below to as many "
        "above where it would stand, while everything else plays on."
    )
    made.players({name: f"audio/traversal-{n}.flac" for n, name in enumerate(t["sounds"])})
    made.picture("pictures/traversal.png", "spectrograms of the traversals")
    if "material" in found:
        made.heading("The training material")
        m = found["material"]
        pitched = (
            "no pitch"
            if m["pitch_hz"] is None
            else "pitch {:.0f} to {:.0f} Hz, middle {:.0f} Hz".format(
                m["pitch_hz"][0], m["pitch_hz"][2], m["pitch_hz"][1]
            )
        )
        made.paragraph(
            f"{number(m['loudness_lufs'])} LUFS, {pitched}. Exports from now on say so, and "
            "`ravel render --match-level --transpose auto` brings other material there."
        )
    return made


if __name__ == "__main__":
    sys.exit(run_verb("analyze", main))
