"""pedalboard as a host for tests, in a process of its own: it is GPL, and a plugin may take it down.

`python vst3_host.py < JOB > REPORT`: a job is a JSON list of [verb, name of the plugin, arguments...], done in order;
the report is a JSON list of what each gave.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
from pedalboard import _pedalboard

# To guess their units, pedalboard asks every parameter for a thousand texts; MIDI alone is 2080 hidden parameters.
_pedalboard._PythonExternalPluginMixin.__set_initial_parameter_values__ = lambda plugin, values: None
_pedalboard._PythonExternalPluginMixin.__setattr__ = object.__setattr__


class Host:
    def __init__(self) -> None:
        self.plugins: dict[str, Any] = {}

    def open(self, name: str, path: str) -> dict[str, Any]:
        start = time.perf_counter()
        # An instrument without a model is silent; pedalboard would wait for it to sound.
        plugin = self.plugins[name] = pedalboard.load_plugin(path, initialization_timeout=0.2)
        return {
            "seconds": time.perf_counter() - start,
            "name": plugin.name,
            "identifier": plugin.identifier,
            "effect": plugin.is_effect,
            "instrument": plugin.is_instrument,
        }

    def close(self, name: str) -> None:
        del self.plugins[name]

    def play(self, name: str, given: str, rate: float, calls: list[tuple[int, int]], to: str) -> int:
        """Calls of (frames, block), over and over, the largest block first: a larger one would begin anew.

        At least 3 frames, since pedalboard takes 2 frames of 2 channels for what they are not. What the host drops as
        latency is dropped. Gives the latency.
        """
        plugin, x = self.plugins[name], np.load(given)
        plugin.reset()
        heard, at, call = [], 0, 0
        while at + 3 <= x.shape[1]:
            frames, block = calls[call % len(calls)]
            end = at + frames if at + frames + 3 <= x.shape[1] else x.shape[1]
            heard.append(plugin.process(x[:, at:end], rate, buffer_size=block, reset=False))
            at, call = end, call + 1
        np.save(to, np.concatenate(heard, axis=1))
        return int(plugin.reported_latency_samples)

    def notes(
        self, name: str, messages: list[tuple[list[int], float]], seconds: float, rate: float, block: int, to: str
    ) -> int:
        plugin = self.plugins[name]
        given = [(bytes(message), at_s) for message, at_s in messages]
        np.save(to, plugin.process(given, seconds, rate, num_channels=2, buffer_size=block))
        return int(plugin.reported_latency_samples)

    def state(self, name: str, to: str) -> None:
        """The standard preset file of VST3."""
        Path(to).write_bytes(self.plugins[name].preset_data)

    def recall(self, name: str, given: str) -> None:
        self.plugins[name].preset_data = Path(given).read_bytes()

    def raw(self, name: str, to: str) -> None:
        Path(to).write_bytes(self.plugins[name].raw_state)

    def recall_raw(self, name: str, given: str) -> None:
        self.plugins[name].raw_state = Path(given).read_bytes()

    def set(self, name: str, parameter: str, share: float) -> None:
        """A share of the range, as VST3 has it."""
        self.plugins[name]._get_parameter(parameter).raw_value = share

    def values(self, name: str) -> dict[str, tuple[float, str]]:
        """By the parameter's own name: share of the range, text."""
        hidden = ("MIDI Ch. ", "Buffer Size", "Sample Rate", "Latency")  # of DPF
        return {
            p.name: (p.raw_value, p.string_value)
            for p in self.plugins[name]._parameters
            if not p.name.startswith(hidden)
        }


def main() -> None:
    host = Host()
    report = [getattr(host, verb)(*arguments) for verb, *arguments in json.load(sys.stdin)]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
