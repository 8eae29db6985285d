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


class Host:
    def __init__(self) -> None:
        self.plugins: dict[str, Any] = {}

    def open(self, name: str, path: str) -> dict[str, Any]:
        start = time.perf_counter()
        plugin = self.plugins[name] = pedalboard.load_plugin(path)
        return {
            "seconds": time.perf_counter() - start,
            "name": plugin.name,
            "identifier": plugin.identifier,
            "effect": plugin.is_effect,
            "instrument": plugin.is_instrument,
        }

    def close(self, name: str) -> None:
        del self.plugins[name]

    def play(self, name: str, given: str, rate: float, sizes: list[int], max_block: int, to: str) -> int:
        """Calls of these sizes, over and over; what the host drops as latency is dropped. Gives the latency."""
        plugin, x = self.plugins[name], np.load(given)
        plugin.reset()
        heard, at, call = [], 0, 0
        while at < x.shape[1]:
            block = x[:, at : at + sizes[call % len(sizes)]]
            heard.append(plugin.process(block, rate, buffer_size=max_block, reset=False))
            at += block.shape[1]
            call += 1
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
        return {p.name: (p.raw_value, p.string_value) for p in self.plugins[name]._parameters}


def main() -> None:
    host = Host()
    report = [getattr(host, verb)(*arguments) for verb, *arguments in json.load(sys.stdin)]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
