"""A comparison of systems as a page and as a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import figures
from .page import DASH, Page, number, plural
from .scores import FEWEST, MEASURES, SURE, Measure

if TYPE_CHECKING:
    from .comparison import Evaluation


def page(done: Evaluation, examples: Sequence[int], folder: Path) -> Page:
    names = [system["name"] for system in done.systems]
    about, measures = done.about, done.measures
    made = Page(
        f"{'Transfer' if done.transfer else 'Evaluation'}: {', '.join(names)}",
        f"{plural(len(done.clips), 'file')}, {about['seconds']:g} s at {about['sample_rate_hz']} Hz; "
        f"Ravel {about['ravel']}, {about['made']}",
    )
    if done.transfer:
        made.paragraph(
            "The sound is of another kind than the models learnt. A good transfer does not sound like its input, so "
            "spectra are not compared: what counts is that pitch, dynamics and timing of the playing are kept. The "
            "measured latency here is how late the answer rises: its attacks may be slower than the input's."
        )
        if any("matched" in clip for clip in done.clips):
            made.paragraph(
                "The input was brought to the material before the models heard it, and what they play is compared with "
                "that: what was done to each file stands beside its name."
            )
    made.heading("Figures")
    rows, best = figure_rows(done.systems, measures)
    made.table(["", *names], rows, best, f"{over(len(done.clips))} The best of several is marked.")
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
        made.heading(title(done.clips[i]), 3)
        sounds = {"input": f"audio/{i}-input.flac"}
        made.players(sounds | {name: f"audio/{i}-{j}.flac" for j, name in enumerate(names)})
        made.picture(f"pictures/{i}.png", f"spectrograms of {done.clips[i]['name']}: input, {', '.join(names)}")
    made.heading("Every file")
    for system in done.systems:
        made.table(
            ["file", *(f"{m.label.strip()} {m.unit}".strip() for m in measures.values())],
            [
                [title(clip), *(number(scores[name]) for name in measures)]
                for clip, scores in zip(done.clips, system["clips"])
            ],
            folded=system["name"],
        )
    return made


def title(clip: dict[str, Any]) -> str:
    """Its name, and what is to know of it."""
    also = ", ".join(clip[key] for key in ("label", "matched") if key in clip)
    return f"{clip['name']} ({also})" if also else str(clip["name"])


def over(files: int) -> str:
    """What stands behind a figure over so many files."""
    if files < FEWEST:
        return f"Means over the files, some medians; {plural(files, 'file')}: too few for an interval."
    return "Means over the files with their 95 % interval, medians with their quartiles."


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


def figure_text(value: dict[str, Any] | None) -> str:
    """The mean with its interval, or the median with its quartiles, where there are enough files for them."""
    if value is None or value["low"] is None:
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
        row("plays as", lambda s: s["facts"]["plays_as"]),
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
    return "\n".join([*lines, f"{out / 'index.html'}: {plural(len(done.clips), 'file')}, {done.about['seconds']:g} s"])
