"""The report on latents as sentences and as a page."""

from __future__ import annotations

from typing import Any

import numpy as np

from .page import Page, number, plural

ERRORS = {"log_mel_db": "log-mel distance, dB", "distance": "spectral distance", "level_dba": "level error, dB(A)"}


def findings(found: dict[str, Any]) -> list[str]:
    """The report in sentences."""
    curve, dims = found["variance"]["curve"], found["variance"]["dimensions"]
    lines = [f"{dims['0.95']} of {len(curve)} dimensions hold 95 % of the variance, {dims['0.99']} hold 99 %"]
    if "codes" in found:
        lines += _code_findings(found)
    if "collapse" in found:
        lines += _collapse_findings(found["collapse"])
    lines += _correlation_findings(found["correlation"])
    if "fidelity" in found:
        first, last = found["fidelity"]["rows"][0], found["fidelity"]["rows"][-1]
        lines.append(
            f"log-mel distance {first['log_mel_db']:.1f} dB with {plural(first['dimensions'], 'dimension')}, "
            f"{last['log_mel_db']:.1f} dB with {last['dimensions']}"
        )
    return lines


def _code_findings(found: dict[str, Any]) -> list[str]:
    use, rows = found["codes"], found["rate"]["rows"]
    codes, quantisers = use["codes"], len(use["taken"])
    share = np.mean(use["perplexity"]) / codes
    dead = codes * quantisers - sum(use["taken"])
    bits, full = sum(use["entropy_bits"]), quantisers * np.log2(codes)
    first, last = rows[0], rows[-1]
    lines = [
        f"{plural(quantisers, 'quantiser')} of {codes} codes: perplexity {share:.0%} of the codes in the mean, "
        f"{bits:.1f} of {full:.0f} bits a frame",
        f"{dead} of {codes * quantisers} codes are not taken in {use['frames']} frames of this sound",
    ]
    if len(rows) > 1:
        lines.append(
            f"log-mel distance {first['log_mel_db']:.1f} dB with {plural(first['quantisers'], 'quantiser')} at "
            f"{first['kbps']:.2f} kbit/s, {last['log_mel_db']:.1f} dB with {last['quantisers']} at "
            f"{last['kbps']:.2f} kbit/s"
        )
    return lines


def _collapse_findings(c: dict[str, Any]) -> list[str]:
    size, active = len(c["kl_nats"]), c["active_by_variance"]
    lines = [
        f"{active} of {size} latents of the encoder move with the sound, collapsed: {size - active}; "
        f"{c['kl_total_nats']:.1f} nats a frame in all"
    ]
    if c["component_bits"] is not None:
        bits = np.array(c["component_bits"])
        lines.append(
            f"{plural(int((bits > c['active_from']).sum()), 'component')} of these latents get more than "
            f"{c['active_from']:g} bits a frame through the noise of the posterior, {bits.sum():.1f} bits in all"
        )
    return lines


def _correlation_findings(c: dict[str, Any]) -> list[str]:
    lines = []
    for row, values in enumerate(c["stands"][:3]):
        known = [(abs(v), v, name) for v, name in zip(values, c["features"]) if v is not None]
        if known:
            size, value, name = max(known)
            word = "follows" if size >= 0.7 else "leans towards" if size >= 0.4 else "follows none of them, nearest is"
            fast = c["fast_share"][row]
            detail = f"; {fast:.0%} of its variance is faster than that and follows the waveform" if fast > 0.5 else ""
            lines.append(f"latent {row + 1}, over {1000 * c['seconds']:.0f} ms, {word} {name} ({value:+.2f}){detail}")
    return lines


def page(found: dict[str, Any]) -> Page:
    about = found["about"]
    made = Page(
        f"Latents of {about['model']}",
        f"{len(about['files'])} files, {about['seconds']:g} s; Ravel {about['ravel']}, {about['made']}",
    )
    made.items(found["findings"])
    if "codes" in found:
        _codes(made, found["codes"])
        _rate(made, found["rate"])
    _variance(made, found["variance"])
    if "fidelity" in found:
        _fidelity(made, found["fidelity"], len(found["variance"]["curve"]))
        _collapse(made, found.get("collapse"))
    _correlation(made, found["correlation"])
    _traversal(made, found["traversal"])
    if "material" in found:
        _material(made, found["material"])
    return made


def _codes(made: Page, use: dict[str, Any]) -> None:
    codes, full = use["codes"], np.log2(use["codes"])
    made.heading("Codes in use")
    made.paragraph(
        f"Every frame is {plural(len(use['taken']), 'number')} below {codes}"
        f"{', each for what those before it left over' if len(use['taken']) > 1 else ''}. "
        f"Perplexity: how many codes, evenly used, would be as varied as those in these {use['frames']} frames. "
        "A code that is not taken here may still be the one for another sound; in training, one that is hardly used is "
        "replaced."
    )
    made.table(
        ["quantiser", "perplexity", "entropy, bits", f"of {full:.1f} bits", "codes taken", "dead here"],
        [
            [f"{n + 1}", number(perplexity), number(bits), f"{bits / full:.0%}", str(taken), str(codes - taken)]
            for n, (perplexity, bits, taken) in enumerate(zip(use["perplexity"], use["entropy_bits"], use["taken"]))
        ],
    )
    made.picture("pictures/codes.png", "perplexity and codes taken of every quantiser")


def _rate(made: Page, rate: dict[str, Any]) -> None:
    made.heading("Rate and distortion")
    made.table(
        ["quantisers", "kbit/s", "kbit/s by entropy", *ERRORS.values()],
        [
            [str(row["quantisers"]), *(number(row[key]) for key in ("kbps", "entropy_kbps", *ERRORS))]
            for row in rate["rows"]
        ],
        caption="Decoded from the first quantisers, those after them left out. By entropy: every quantiser's codes "
        "coded by how often each is taken, without looking at the ones before.",
    )
    made.picture("pictures/rate.png", "reconstruction error against the quantisers that are heard")
    _heard(made, rate, "rate")


def _variance(made: Page, variance: dict[str, Any]) -> None:
    discrete = "codebooks" in variance
    made.heading("Variance" if discrete else "Variance and fidelity")
    angles = variance["angles_degrees"]
    what = "sums of code vectors" if discrete else "encoder's means"
    picked = "" if discrete else "A fidelity f keeps the fewest that hold a share f of the variance. "
    made.paragraph(
        f"The latents are principal components of the {what}, strongest first. {picked}The {len(angles)} that hold "
        f"95 % in training and the {len(angles)} strongest of this sound span spaces that are at most "
        f"{max(angles):.1f} degrees apart."
    )
    made.picture("pictures/variance.png", "cumulative variance, and estimated dimensionality against fidelity")
    if discrete:
        rows = []
        for n, (curve, total) in enumerate(zip(variance["codebooks"], variance["codebook_variance"])):
            needed = [str(next((k for k, v in enumerate(curve, 1) if v >= f), len(curve))) for f in (0.8, 0.95)]
            rows.append([str(n + 1), number(total), number(100 * curve[0]), *needed])
        made.table(
            ["codebook", "variance", "in its first component, %", "components for 80 %", "for 95 %"],
            rows,
            caption="Of the vectors in each codebook, every code counted once: how far they lie apart, and in how many "
            "directions. Those of later quantisers are smaller, being for what is left over.",
        )


def _fidelity(made: Page, fidelity: dict[str, Any], size: int) -> None:
    rows = list(fidelity["rows"])
    if e := fidelity["as_exported"]:
        rows.append(e | {"fidelity": f"as exported, temperature {e['temperature']:g}", "dimensions": size})
    made.table(
        ["fidelity f", "dimensions", *ERRORS.values()],
        [[f"{r['fidelity']}", str(r["dimensions"]), *(number(r[key]) for key in ERRORS)] for r in rows],
        caption="Decoded from the means (temperature 0), the dimensions that are left out at their mean.",
    )
    made.picture("pictures/fidelity.png", "reconstruction error against the dimensions that are heard")
    _heard(made, fidelity, "fidelity")


def _heard(made: Page, found: dict[str, Any], name: str) -> None:
    made.heading(found["file"], 3)
    made.players({title: f"audio/{name}-{n}.flac" for n, title in enumerate(found["sounds"])})
    made.picture("pictures/heard.png", "spectrograms of the input and of its reconstructions, more and more exact")


def _collapse(made: Page, c: dict[str, Any] | None) -> None:
    if c is None:
        made.paragraph(
            "KL to the prior is known to runs only: analyse the run to see which latents collapsed.", faint=True
        )
        return
    made.heading("Posterior collapse")
    made.paragraph(
        f"Of {len(c['kl_nats'])} latents {c['active_by_variance']} have a mean that moves with the sound (variance "
        f"over {c['active_from']:g}) and {c['active_by_kl']} a KL over {c['active_from']:g} nats a frame. The others "
        "(orange) say the same whatever is heard: the decoder has learnt to do without them. This is before the "
        "rotation: many active latents can say the same few things, and the principal components, on the right with "
        "the bits a frame that get through the noise of the posterior, say how many these are."
    )
    made.picture("pictures/collapse.png", "KL, variance of the mean, and bits of the principal components")


def _correlation(made: Page, c: dict[str, Any]) -> None:
    made.heading("What the first latents follow")
    made.paragraph(
        f"Spearman's rank correlation over {1000 * c['seconds']:.0f} ms with the A-weighted level, log pitch where "
        "voiced, and the log of the spectral centroid. 1 or -1: one always moves with the other. A latent of a short "
        "hop also follows the waveform itself, faster than one hears: how much it moves is compared on its own."
    )
    made.picture("pictures/correlation.png", "rank correlations of the first latents with loudness, pitch, brightness")


def _traversal(made: Page, t: dict[str, Any]) -> None:
    made.heading("Traversals")
    made.paragraph(
        f"{t['file']}, and the same with one latent pushed from {t['sigmas']:g} standard deviations below to as many "
        "above where it would stand, while everything else plays on."
    )
    made.players({name: f"audio/traversal-{n}.flac" for n, name in enumerate(t["sounds"])})
    made.picture("pictures/traversal.png", "spectrograms of the traversals")


def _material(made: Page, m: dict[str, Any]) -> None:
    made.heading("The training material")
    pitched = (
        "no pitch" if m["pitch_hz"] is None else "pitch {0:.0f} to {2:.0f} Hz, middle {1:.0f} Hz".format(*m["pitch_hz"])
    )
    made.paragraph(
        f"{number(m['loudness_lufs'])} LUFS, {pitched}. Exports from now on say so, and "
        "`ravel render --match-level --transpose auto` brings other material there."
    )
