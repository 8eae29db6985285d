"""What the latents of a model hold, measured, drawn and written as a report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__, runs
from ..audio import Audio
from ..runs import Trained
from . import analysis_page, codebooks, figures, material
from .clips import Clip, corpus_of, from_recordings
from .coders import Coder, Latents, divergence
from .distances import log_mel_db, multi_scale
from .folder import Work, report_folder
from .page import plural, write_flac
from .subspace import angles_degrees, pca, rank_correlation
from .systems import codes
from .tracks import SILENT_DB, Track, brightness_hz, level_dba, level_gap, pitch

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

    @property
    def codes(self) -> int | None:
        return codes(self.coder.card)

    def decoded(self, z: Latents, clip: Clip) -> Audio:
        """What was encoded from a clip, or something near to it, as the clip's label."""
        if clip.label:
            self.coder.play_as(clip.label)
        return self.coder.decode(z)[:, : clip.sound.shape[1]]


def analysed(subject: Subject, clips: Sequence[Clip], out: Path, force: bool, quiet: bool) -> str:
    """Everything measured and written to `out`; returns the findings as text."""
    key = {
        "version": __version__,
        "model": subject.name,
        "state": state(subject),
        "clips": [(clip.digest, clip.label) for clip in clips],
    }
    coded = [subject.coder.encode(clip.sound) for clip in clips]
    latents = [subject.coder.latents(z) for z in coded]
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
            if subject.codes is None:
                found["fidelity"] = work.remember("fidelity", fidelity, subject, clips, coded, curve, work)
            else:
                found["codes"] = code_use(subject, coded, work)
                found["rate"] = work.remember("rate", rate, subject, clips, coded, work)
            bar.update()
            bar.set_description("correlating")
            found["correlation"] = work.remember("correlation", correlation, subject, clips, latents, work)
            bar.update()
            bar.set_description("traversing")
            found["traversal"] = work.remember("traversal", traversal, subject, clips, coded, latents, work)
            bar.update()
            if subject.trained is not None and subject.run is not None:
                bar.set_description("listening to the training material")
                if subject.codes is None:
                    found["collapse"] = collapse(subject.trained, clips, work)
                found["material"] = work.remember("material", training_material, subject.run)
                material.write(subject.run.folder, found["material"])
        lines = analysis_page.findings(found)
        found["findings"] = lines
        work.write("index.html", analysis_page.page(found).text)
        work.write("report.json", json.dumps(found, indent=1))
    return "\n".join([*lines, str(out / "index.html")])


def state(subject: Subject) -> str:
    """Changes when the model does."""
    if subject.run is not None:
        return "".join(str(path.stat().st_mtime_ns) for path in (subject.run.best, subject.run.last) if path.exists())
    channels = int(subject.coder.card["methods"]["decode"]["in_channels"])
    z = np.random.default_rng(0).standard_normal((channels, 4)).astype(np.float32)
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
    books: dict[str, Any] = {}
    if subject.coder.books is not None:
        books["codebooks"], books["codebook_variance"] = codebooks.spread(subject.coder.books)
        for quantiser in sorted({0, 1, len(books["codebooks"]) - 1} & set(range(len(books["codebooks"])))):
            curves[f"codebook {quantiser + 1}"] = books["codebooks"][quantiser]
    figures.variance(work.folder / "pictures" / "variance.png", curves, FIDELITIES[:-1])
    count = figures.dimensions(curve, 0.95)
    own = np.eye(z.shape[1])[:count]
    return {
        "curve": list(curve),
        "curve_here": curves["this sound"],
        "dimensions": {f"{f:g}": figures.dimensions(curve, f) for f in FIDELITIES},
        "angles_degrees": [round(float(a), 2) for a in angles_degrees(own, components[:count])],
        **books,
    }


def fidelity(
    subject: Subject, clips: Sequence[Clip], latents: Sequence[Latents], curve: Sequence[float], work: Work
) -> dict[str, Any]:
    """What is lost when only the dimensions that a fidelity asks for are heard, the others at their mean."""
    size = len(latents[0])
    counts = {f: size if f == 1.0 else min(size, figures.dimensions(curve, f)) for f in FIDELITIES}
    names = {}
    for count in sorted(set(counts.values())):
        if asked := [f"{f:g}" for f in HEARD if counts[f] == count]:
            names[count] = f"f = {' and '.join(asked)}: {plural(count, 'dimension')}"
    by_count, sounds = reconstructed(subject, clips, latents, sorted(set(counts.values())), names, 0.0)
    draw_errors(work.folder / "pictures" / "fidelity.png", by_count, "dimensions heard")
    temperature = float(subject.coder.card["attributes"].get("temperature", {}).get("default", 0.0))
    exported = None
    if temperature:
        played = [subject.decoded(subject.coder.encode(clip.sound, temperature), clip) for clip in clips]
        exported = errors(played, clips) | {"temperature": temperature}
        sounds[f"as exported, temperature {temperature:g}"] = played[loudest(clips)]
    return {
        "rows": [{"fidelity": f, "dimensions": counts[f]} | by_count[counts[f]] for f in FIDELITIES],
        "as_exported": exported,
        "file": clips[loudest(clips)].name,
        "sounds": shown(sounds, "fidelity", "heard", subject, work),
    }


def code_use(subject: Subject, coded: Sequence[Latents], work: Work) -> dict[str, Any]:
    found = codebooks.use(np.concatenate(coded, axis=1), subject.codes or 0)
    figures.code_use(work.folder / "pictures" / "codes.png", found["perplexity"], found["taken"], found["codes"])
    return found


def rate(subject: Subject, clips: Sequence[Clip], coded: Sequence[Latents], work: Work) -> dict[str, Any]:
    """What is lost when only the first quantisers are heard, against the bits that these cost."""
    counts = codebooks.dial(len(coded[0]))
    names = {count: plural(count, "quantiser") for count in counts if count in (1, 2, 4) or count == counts[-1]}
    by_count, sounds = reconstructed(subject, clips, coded, counts, names, codebooks.NONE)
    draw_errors(work.folder / "pictures" / "rate.png", by_count, "quantisers heard")
    used = codebooks.use(np.concatenate(coded, axis=1), subject.codes or 0)
    a_second = subject.rate_hz / subject.hop / 1000  # frames, by thousands
    each = np.log2(used["codes"]) * a_second
    entropy = np.cumsum(used["entropy_bits"]) * a_second
    return {
        "rows": [
            {"quantisers": n, "kbps": n * float(each), "entropy_kbps": float(entropy[n - 1])} | by_count[n]
            for n in counts
        ],
        "file": clips[loudest(clips)].name,
        "sounds": shown(sounds, "rate", "heard", subject, work),
    }


def reconstructed(
    subject: Subject,
    clips: Sequence[Clip],
    coded: Sequence[Latents],
    counts: Sequence[int],
    names: Mapping[int, str],
    nothing: float,
) -> tuple[dict[int, dict[str, float]], dict[str, Audio]]:
    """By how many first rows of `coded` are heard, the others being `nothing`: the errors, and the loudest clip where
    `names` has a name for it, the input before them."""
    chosen = loudest(clips)
    by_count: dict[int, dict[str, float]] = {}
    sounds: dict[str, Audio] = {"input": clips[chosen].sound}
    for count in counts:
        heard = np.arange(len(coded[0]))[:, None] < count
        played = [subject.decoded(np.where(heard, z, nothing).astype(np.float32), c) for z, c in zip(coded, clips)]
        by_count[count] = errors(played, clips)
        if count in names:
            sounds[names[count]] = played[chosen]
    return by_count, sounds


def draw_errors(path: Path, by_count: Mapping[int, dict[str, float]], against: str) -> None:
    shown = {"log_mel_db": ("log-mel distance", "dB"), "distance": ("spectral distance", "")}
    shown["level_dba"] = ("level error", "dB(A)")
    rows = {title: (unit, [row[key] for row in by_count.values()]) for key, (title, unit) in shown.items()}
    figures.errors(path, list(by_count), rows, against)


def shown(sounds: Mapping[str, Audio], name: str, picture: str, subject: Subject, work: Work) -> list[str]:
    """Written to be heard and seen; their names."""
    for n, sound in enumerate(sounds.values()):
        write_flac(work.folder / "audio" / f"{name}-{n}.flac", sound, subject.rate_hz)
    figures.spectrograms(work.folder / "pictures" / f"{picture}.png", sounds, subject.rate_hz)
    return list(sounds)


def errors(played: Sequence[Audio], clips: Sequence[Clip]) -> dict[str, float]:
    """Means over the clips."""
    rows = []
    for out, clip in zip(played, clips):
        level = level_gap(level_dba(out, clip.rate_hz), level_dba(clip.sound, clip.rate_hz))
        rows.append((log_mel_db(out, clip.sound, clip.rate_hz), sum(multi_scale(out, clip.sound)), level.db or 0.0))
    return dict(zip(("log_mel_db", "distance", "level_dba"), map(float, np.mean(rows, axis=0))))


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


def traversal(
    subject: Subject, clips: Sequence[Clip], coded: Sequence[Latents], latents: Sequence[Latents], work: Work
) -> dict[str, Any]:
    """The loudest clip, and the same with one latent pushed from low to high while all of them play on.

    A moment held still would be periodic in the hop: `low` then buzzes at 345 Hz whatever was held.
    """
    chosen = loudest(clips)
    sigma = np.concatenate(latents, axis=1).std(axis=1)
    sounds = {"as it is": subject.decoded(coded[chosen], clips[chosen])}
    for k in range(min(TRAVERSED, len(sigma))):
        reach = f"latent {k + 1}, -{SWEEP_SIGMAS:g} to +{SWEEP_SIGMAS:g} deviations"
        sounds[reach] = subject.coder.swept(coded[chosen], k, SWEEP_SIGMAS * float(sigma[k]))
    return {
        "file": clips[chosen].name,
        "sounds": shown(sounds, "traversal", "traversal", subject, work),
        "sigma": [round(float(s), 4) for s in sigma[:TRAVERSED]],
        "sigmas": SWEEP_SIGMAS,
    }


def collapse(trained: Trained, clips: Sequence[Clip], work: Work) -> dict[str, Any]:
    """What each latent of the encoder tells the decoder, before the rotation, and each principal component after it."""
    found = divergence(trained, [clip.sound for clip in clips])
    figures.collapse(work.folder / "pictures" / "collapse.png", found.cost, found.spread, found.bits, ACTIVE)
    return {
        "kl_nats": [round(float(v), 5) for v in found.cost],
        "mean_variance": [round(float(v), 6) for v in found.spread],
        "component_bits": None if found.bits is None else [round(float(v), 5) for v in found.bits],
        "active_from": ACTIVE,
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
