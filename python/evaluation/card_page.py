"""A model card in Markdown: what the model is, what it was measured at, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..card import Card, delay_samples, hop_wait_samples
from .comparison_page import figure_text, over
from .page import plural
from .scores import Measure


def markdown(
    card: Card, result: Mapping[str, Any], about: Mapping[str, Any], files: int, measures: Mapping[str, Measure]
) -> str:
    """`result`: of this model, as in report.json."""
    rate, hop = int(card["sample_rate_hz"]), int(card["hop_samples"])
    facts, training = result["facts"], card.get("training") or {}
    lines = [
        f"# {card['name']}",
        "",
        f"A Ravel instrument: preset `{card['preset']}`, {rate / 1000:g} kHz, "
        f"{'stereo' if card['channels'] == 2 else 'mono'}, {card['latents']} of {card['latent_size']} latents, one "
        f"frame every {hop} samples; {card['parameters'] / 1e6:.2f} M parameters.",
        "",
        "## Use",
        "",
        "Send it sound, in `ravel~`, a plugin or `ravel render`, and it answers in the sound of its material; or play "
        "its latents. It makes no claim on what a sound means, and knows nothing but the recordings it learnt from.",
        "",
    ]
    if card["streaming"]:
        delay = delay_samples(card, "forward")
        waits = ", ".join(
            f"{1000 * (delay + hop_wait_samples(hop, block)) / rate:.1f} ms at blocks of {block}" for block in (64, 512)
        )
        lines += [f"Latency: {delay} samples of its own; in a host {waits}.", ""]
    if training.get("corpus"):
        corpus = training["corpus"]
        lines += ["## Training", "", f"* {corpus['recordings']} recordings, {corpus['seconds'] / 60:.1f} min"]
        lines += [f"* {training['steps']} steps, {training['seconds'] / 60:.1f} min, phase {training['phase']}"]
        material = training.get("material") or {}
        if material.get("loudness_lufs") is not None:
            lines += [f"* loudness of the material {material['loudness_lufs']:.1f} LUFS"]
        if material.get("pitch_hz"):
            low, middle, high = material["pitch_hz"]
            lines += [f"* pitch of the material {low:.0f} to {high:.0f} Hz, middle {middle:.0f} Hz"]
        lines += [""]
    lines += [
        "## Measured",
        "",
        f"{plural(files, 'file')}, {about['seconds']:g} s, {about['made']}, Ravel {about['ravel']}. {over(files)}",
        "",
        "| measure | | |",
        "|---|---|---|",
    ]
    for name, measure in measures.items():
        value = result["figures"][name]
        if value is not None:
            figure = f"{figure_text(value)} {measure.unit}"
            lines.append(f"| {measure.label.strip()} | {figure.rstrip()} | {measure.about} |")
    latency = result["latency"]
    if latency["off_by_ms"] is not None and latency["reported_ms"] is not None:
        measured = latency["reported_ms"] + latency["off_by_ms"]
        lines.append(f"| latency, measured | {measured:.2f} ms | reported {latency['reported_ms']:.2f} ms |")
    if facts["x_real_time"]:
        lines.append(f"| times real time | {facts['x_real_time']:.1f} | on the machine that measured |")
    if facts["bit_rate_kbps"]:
        lines.append(f"| bit rate | {facts['bit_rate_kbps']:.2f} kbit/s | codes, before entropy coding |")
    lines += [
        "",
        "## Limits",
        "",
        "* Figures are of the files above; other playing, rooms and microphones will differ.",
        "* Distances of spectra do not say how good it sounds: `ravel evaluate --listening-test` asks listeners.",
        "* Before publishing, name whose recordings these are and under which licence: the model does not know.",
        "",
    ]
    return "\n".join(lines)
