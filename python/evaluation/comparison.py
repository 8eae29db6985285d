"""Systems side by side on the same clips, measured, drawn and written as a report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..audio import read_audio, resample, to_channels
from ..errors import RavelError
from . import card_page, codebooks, comparison_page, figures
from .clips import Clip
from .coders import coder
from .distances import alignment
from .folder import Work, report_folder
from .page import write_flac
from .scores import MEASURES, SURE, TRANSFER, Heard, Measure, compare, measured_lag, over_files
from .systems import Model, System, codes
from .tracks import PITCH_HOP, PITCH_RATE_HZ

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


def evaluated(
    systems: Sequence[System],
    clips: Sequence[Clip],
    out: Path,
    transfer: bool,
    examples: int,
    force: bool,
    quiet: bool,
) -> Evaluation:
    """Everything measured and written to `out`; an interrupted one goes on where it stopped. `examples`: how many."""
    key = {
        "version": __version__,
        "systems": [(system.name, system.identity()) for system in systems],
        "clips": [(clip.name, clip.digest, clip.label) for clip in clips],
        "transfer": transfer,
        "examples": examples,
    }
    about = {
        "ravel": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "sample_rate_hz": clips[0].rate_hz,
        "seconds": round(sum(clip.seconds for clip in clips), 1),
        "pitch": f"pYIN of librosa, every {1000 * PITCH_HOP / PITCH_RATE_HZ:g} ms",
    }
    with report_folder(out, key, force) as work:
        done = Evaluation(about, transfer, [described(clip) for clip in clips])
        chosen = {round(i) for i in np.linspace(0, len(clips) - 1, min(examples, len(clips)))}
        rows = measured(systems, clips, chosen, work, quiet)
        if work.reused:
            tqdm.write(f"resumed: {work.reused} results were there", file=sys.stderr)
        for n, system in enumerate(systems):
            scores = [row[n]["scores"] for row in rows]
            facts = work.remember(f"facts {n}", system.facts)
            done.systems.append(
                {
                    "name": system.name,
                    "facts": facts,
                    "usage": work.remember(f"usage {n}", usage, system, clips),
                    "figures": over_files(scores),
                    "latency": latency(facts, [row[n]["alignment"] for row in rows], clips[0].rate_hz),
                    "clips": scores,
                }
            )
        work.write("index.html", comparison_page.page(done, sorted(chosen), work.folder).text)
        for system, result in zip(systems, done.systems):
            if system.card is not None:
                text = card_page.markdown(system.card, result, done.about, len(clips), done.measures)
                work.write(f"cards/{result['name']}.md", text)
        work.write("report.json", json.dumps(as_json(done), indent=1))
    return done


def described(clip: Clip) -> dict[str, Any]:
    also = {"label": clip.label, "matched": clip.matched}
    return {"name": clip.name, "seconds": round(clip.seconds, 2)} | {key: word for key, word in also.items() if word}


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
    played = system.play(clip)
    if not np.isfinite(played).all():
        raise RavelError(f"{system.name} makes NaN or infinity of {clip.name}: export it again, or train it further")
    if example:
        write_flac(work.folder / "audio" / f"{i}-{j}.flac", played, clip.rate_hz)
    return {
        "scores": compare(Heard(played, clip.rate_hz), heard()),
        "alignment": alignment(played, clip.sound, clip.rate_hz),
    }


def example(systems: Sequence[System], clip: Clip, i: int, work: Work) -> bool:
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
    z = np.concatenate(latents, axis=1)
    count = codes(system.instrument.card)
    if count is not None:
        return {"codes": count, "perplexity": codebooks.use(z, count)["perplexity"]}
    variances = np.sort(z.astype(np.float64).var(axis=1))[::-1]
    share = variances / max(variances.sum(), 1e-12)
    return {
        "active": int((variances > ACTIVE).sum()),
        "for_95_percent": int(np.searchsorted(np.cumsum(share), 0.95) + 1) if variances.sum() > 0 else 0,
        "latents": len(variances),
    }


def coded_sound(clip: Clip, rate_hz: int, channels: int) -> Any:
    return to_channels(resample(clip.sound, clip.rate_hz, rate_hz), channels)


def latency(facts: dict[str, Any], curves: Sequence[Sequence[float]], rate_hz: int) -> dict[str, Any]:
    """What the sound says against what the model says; None where the two are too unlike to tell."""
    late, alike = measured_lag(curves)
    reported_ms = None
    if facts["latency_samples"] is not None:
        reported_ms = 1000 * facts["latency_samples"] / facts["latency_rate_hz"]
    off_ms = 1000 * late / rate_hz if alike >= SURE else None
    return {"reported_ms": reported_ms, "off_by_ms": off_ms, "correlation": round(alike, 3)}
