"""`ravel info`: the model card as a page: rate, latents, latency, attributes, training."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from .card import Card, delay_samples, hop_wait_samples, is_model_file, read_card
from .cli import Parser, run_verb
from .errors import RavelError

HOST_BLOCKS = (32, 64, 128, 256, 512, 1024, 2048)
BAR = 32  # characters of a full bar


def card_of(model: str) -> Card:
    """The card of a `.ts` or `.ravel`, or the one that a run, by name or folder, would be exported with."""
    if is_model_file(model):
        return read_card(model)
    from . import runs  # a file's card is read without torch
    from .streaming import deploy

    run = runs.find(model)
    trained = runs.load(run)
    prior = runs.load_prior(run, trained)
    shell = deploy.deploy(trained, trained.net.latent.kept, True, prior)
    return deploy.card(shell, trained, run.name, prior)


def latency(card: Card) -> dict[int, int]:
    """Samples from input to output for hosts with a fixed block: delay + the wait for a whole hop."""
    delay, hop = delay_samples(card, "forward"), int(card["hop_samples"])
    return {block: delay + hop_wait_samples(hop, block) for block in HOST_BLOCKS}


def page(card: Card) -> str:
    """The card as text, one section a paragraph."""
    parts = [_head(card), latency_page(card), _attributes(card), _training(card), _fidelity(card)]
    return "\n\n".join(part for part in parts if part)


def _head(card: Card) -> str:
    rate, hop = card["sample_rate_hz"], card["hop_samples"]
    channels = "stereo" if card["channels"] == 2 else "mono"
    kind = "streaming" if card["streaming"] else "offline: whole files only"
    curve = card["fidelity_curve"]
    weights = f", {card['weights']} weights" if "weights" in card else ""
    share = f", {100 * curve[card['latents'] - 1]:.1f} % of the variance" if curve else ""
    return "\n".join(
        [
            f"{card['name']}: {card['preset']}, {rate / 1000:g} kHz {channels}, {kind}",
            *([_row("codes", _codes(card))] if "codes" in card else []),
            *([_row("labels", ", ".join(card["labels"]))] if "labels" in card else []),
            *([_row("prior", _prior(card["prior"]))] if "prior" in card else []),
            _row("latents", f"{card['latents']} of {card['latent_size']}{share}"),
            _row("parameters", f"{card['parameters'] / 1e6:.2f} M" + weights),
            _row("hop", f"{hop} samples, {_ms(hop, rate)}: one latent frame"),
        ]
    )


def bit_rate(card: Card) -> str:
    """What the codes of a discrete model amount to, as they are."""
    codes = card["codes"]
    return f"{codes['bits_per_frame']:g} bits a frame, {codes['bits_per_second'] / 1000:.1f} kbit/s"


def _codes(card: Card) -> str:
    codes = card["codes"]
    perplexity = card["training"].get("validation", {}).get("perplexity")
    used = f"; perplexity {perplexity:.0f}" if perplexity else ""
    return f"{codes['quantisers']} quantisers of {codes['codes']} codes, {bit_rate(card)}{used}"


def _prior(prior: Card) -> str:
    return (
        f"{prior['bits_per_frame']:.2f} bits a frame held out, hears {prior['receptive_field_frames']} frames; "
        f"a Markov chain needs {prior['markov_bits_per_frame']:.2f}"
    )


def latency_page(card: Card) -> str:
    """The exact latency, at the host blocks that are common; empty for an offline `.ts`."""
    if not card["streaming"]:
        return ""
    rate, delay = card["sample_rate_hz"], delay_samples(card, "forward")
    lines = [
        "latency",
        _row("delay", f"{delay} samples, {_ms(delay, rate)}: inherent in the model"),
        _row("host block", "delay + wait for a whole hop; the host's own buffers come on top"),
    ]
    for block, samples in latency(card).items():
        lines.append(_row(f"{block:>10}", f"{samples:>6} samples {_ms(samples, rate):>9}"))
    return "\n".join(lines)


def _attributes(card: Card) -> str:
    lines = [
        _row(name, f"{about['type']:<6} {about['default']!s:<6} {about['doc']}".rstrip())
        for name, about in card["attributes"].items()
    ]
    return "\n".join(["attributes", *lines]) if lines else ""


def _training(card: Card) -> str:
    training = card["training"]
    if not training:
        return ""
    corpus = training["corpus"]
    lines = [
        "training",
        _row("corpus", f"{corpus['recordings']} recordings, {_duration(corpus['seconds'])}"),
        _row("steps", f"{training['steps']} in {_duration(training['seconds'])}, in phase {training['phase']}"),
    ]
    if training["validation"]:
        held_out = f"{training['validation']['distance']:.3f}"
        if "codes" not in card:
            held_out += f" at temperature {training['temperature']:g}"
        lines.append(_row("held-out distance", held_out))
    return "\n".join(lines)


def _fidelity(card: Card) -> str:
    """The cumulative variance at doubling counts of latents, and what is exported, as bars."""
    curve = card["fidelity_curve"]
    if not curve:
        return ""
    counts = sorted({2**n for n in range(len(curve).bit_length()) if 2**n <= len(curve)} | {card["latents"]})
    lines = ["fidelity: share of the variance that the first latents carry"]
    for count in counts:
        share = curve[count - 1]
        mark = "  <- exported" if count == card["latents"] else ""
        lines.append(_row(f"{count:>10}", f"{'#' * round(BAR * share):<{BAR}} {100 * share:5.1f} %{mark}"))
    return "\n".join(lines)


def _row(name: str, text: str) -> str:
    return f"  {name:<17} {text}"


def _ms(samples: float, rate: float) -> str:
    return f"{1000 * samples / rate:.1f} ms"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1.5:
        return f"{hours:.1f} h"
    return f"{minutes:.1f} min" if minutes >= 1.5 else f"{seconds:.0f} s"


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="ravel info", description=__doc__)
    parser.add_argument("model", help="a .ts or .ravel, or a run: its name or its folder")
    parser.add_argument("--json", action="store_true", help="the card as JSON, with the latencies")
    options = parser.parse_args(argv)
    card = card_of(options.model)
    try:
        text = json.dumps(card | {"latency_samples": latency(card)}, indent=2) if options.json else page(card)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise RavelError(f"{options.model} has a damaged card ({error!r}): export it again") from error
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(run_verb("info", main))
