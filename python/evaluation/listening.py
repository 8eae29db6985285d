"""A blind listening test in one page, after MUSHRA (ITU-R BS.1534-3), and what its listeners' answers say."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from .. import __version__
from ..audio import Audio
from ..errors import RavelError
from .clips import Clip
from .systems import System
from .tracks import loudness_lufs

FORMAT = 1
LONGEST_S = 12.0  # BS.1534-3, 5.1: about 10 s, 12 at most
MOST_SYSTEMS = 9  # besides reference and anchor: a page has 12 sounds at most
REFERENCE, ANCHOR = "hidden reference", "anchor 3.5 kHz"
ANCHOR_HZ, ANCHOR_STOP_HZ = 3500.0, 4000.0  # the recommendation asks for -25 dB at 4 kHz and -50 dB at 4.5 kHz
COMFORT_LUFS = -23.0
LEAST_REFERENCE, MOST_MISSED = 90, 0.15  # BS.1534-3, 4.1.2: who rates the reference lower, more often, is left out


@dataclass(frozen=True)
class ListeningTest:
    """`page` goes to listeners; `key`, which says what is what, does not."""

    page: str
    key: dict[str, Any]


def make(systems: Sequence[System], clips: Sequence[Clip], seed: int, listeners: int) -> ListeningTest:
    """Every clip with each system's version, itself and its anchor, in an order of its own for each listener."""
    if len(systems) > MOST_SYSTEMS:
        raise RavelError(f"{len(systems)} models are too many for one page: listeners can hold {MOST_SYSTEMS} apart")
    names = [REFERENCE, ANCHOR, *(system.name for system in systems)]
    items, meaning, sounds = [], {}, {}
    for clip in clips:
        versions = [clip.sound, low_pass(clip.sound, clip.rate_hz)]
        versions += [system.play(clip) for system in systems]
        gain = comfortable_gain(versions, clip.rate_hz)
        item = _hashed(seed, clip.digest, clip.name)
        item_ids = []
        for name, version in zip(names, versions):
            stimulus = _hashed(seed, item, name)
            meaning[stimulus] = {"item": clip.name, "condition": name}
            sounds[stimulus] = _encoded(gain * version, clip.rate_hz)
            item_ids.append(stimulus)
        items.append({"reference": _encoded(gain * clip.sound, clip.rate_hz), "stimuli": sorted(item_ids)})
    test = _hashed(seed, __version__, *sorted(meaning), *(system.identity() for system in systems))
    shown = {
        "format": FORMAT,
        "test": test,
        "items": items,
        "sounds": sounds,
        "orders": [order(seed, listener, items) for listener in range(1, listeners + 1)],
    }
    template = Path(__file__).with_name("listening.html").read_text(encoding="utf-8")
    data = json.dumps(shown).replace("</", "<\\/")
    key = {"format": FORMAT, "test": test, "ravel": __version__, "seed": seed, "stimuli": meaning}
    return ListeningTest(template.replace("__TEST__", data), key)


def order(seed: int, listener: int, items: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """For one listener: [item, its stimuli as they lie on the page], item by item."""
    rng = np.random.default_rng([seed % 2**32, listener])
    return [
        [int(item), [items[item]["stimuli"][i] for i in rng.permutation(len(items[item]["stimuli"]))]]
        for item in rng.permutation(len(items))
    ]


def low_pass(sound: Audio, rate_hz: int) -> Audio:
    """The low anchor: a linear-phase Kaiser filter of 80 dB from 3.5 to 4 kHz, without delay."""
    if rate_hz <= 2 * ANCHOR_HZ:
        return sound
    taps = 2 * int(5.02 * rate_hz / (ANCHOR_STOP_HZ - ANCHOR_HZ) / 2) + 1
    cut = (ANCHOR_HZ + ANCHOR_STOP_HZ) / rate_hz  # of Nyquist, in the middle of the transition
    place = np.arange(taps) - taps // 2
    kernel = cut * np.sinc(cut * place) * np.kaiser(taps, 7.857)
    kernel /= kernel.sum()
    size = 1 << (sound.shape[1] + taps).bit_length()
    spectrum = np.fft.rfft(sound.astype(np.float64), size) * np.fft.rfft(kernel, size)
    whole = np.fft.irfft(spectrum, size)
    return whole[:, taps // 2 : taps // 2 + sound.shape[1]].astype(np.float32)


def comfortable_gain(versions: Sequence[Audio], rate_hz: int) -> float:
    """One gain for all versions of an item: the reference at -23 LUFS, unless one of them would clip."""
    lufs = loudness_lufs(versions[0], rate_hz)
    wanted = 1.0 if lufs is None else 10 ** ((COMFORT_LUFS - lufs) / 20)
    peak = max(float(np.abs(version).max(initial=0.0)) for version in versions)
    return min(wanted, 0.99 / max(peak, 1e-9))


def results(paths: Sequence[Path], key_path: Path) -> dict[str, Any]:
    """{"conditions": {name: {"mean", "half_interval", "ratings"}}, "listeners", "left_out"} of answers to one test.

    Listeners who rate the hidden reference below 90 in over 15 % of their items are left out. Raises RavelError,
    naming the file, for answers to another test.
    """
    key = _read(key_path, "the key.json of a listening test", "stimuli")
    scores: dict[str, list[float]] = defaultdict(list)
    seen: set[int] = set()
    left_out = []
    for path in paths:
        answer = _read(path, "the answers of a listener", "ratings")
        if answer.get("test") != key["test"]:
            raise RavelError(f"{path} answers another test than {key_path}: take the key made with that page")
        if answer["listener"] in seen:
            raise RavelError(f"{path}: listener {answer['listener']} has answered already; give each answer once")
        seen.add(answer["listener"])
        try:
            rated = [
                (key["stimuli"][stimulus]["condition"], float(score))
                for rating in answer["ratings"]
                for stimulus, score in rating["scores"].items()
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RavelError(f"{path} holds answers that {key_path} does not know: ask for the file again") from None
        references = [score for condition, score in rated if condition == REFERENCE]
        if not references or np.mean([score < LEAST_REFERENCE for score in references]) > MOST_MISSED:
            left_out.append(answer["listener"])
            continue
        for condition, score in rated:
            scores[condition].append(score)
    conditions = {}
    for condition, values in sorted(scores.items(), key=lambda entry: -np.mean(entry[1])):
        half = 1.96 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        conditions[condition] = {"mean": float(np.mean(values)), "half_interval": float(half), "ratings": len(values)}
    return {"conditions": conditions, "listeners": len(seen) - len(left_out), "left_out": sorted(left_out)}


def results_text(found: dict[str, Any]) -> str:
    lines = [f"{found['listeners']} listeners, 0 bad to 100 excellent, ± half of the 95 % interval"]
    width = max(map(len, found["conditions"]), default=0)
    for name, value in found["conditions"].items():
        lines.append(
            f"{name:<{width}}  {value['mean']:5.1f} ± {value['half_interval']:4.1f}  of {value['ratings']} ratings"
        )
    if found["left_out"]:
        who = ", ".join(map(str, found["left_out"]))
        lines.append(f"left out, since they often rated the hidden reference below {LEAST_REFERENCE}: listener {who}")
    return "\n".join(lines)


def _read(path: Path, what: str, field: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or "test" not in found or field not in found:
            raise ValueError
    except OSError as error:
        raise RavelError(f"could not read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise RavelError(f"{path} is not {what}") from None
    return dict(found)


def _encoded(sound: Audio, rate_hz: int) -> str:
    file = io.BytesIO()
    soundfile.write(file, sound.T, rate_hz, subtype="PCM_16", format="FLAC")
    return base64.b64encode(file.getvalue()).decode()


def _hashed(*parts: object) -> str:
    return hashlib.blake2b(json.dumps([str(part) for part in parts]).encode(), digest_size=6).hexdigest()
