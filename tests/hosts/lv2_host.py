"""The smallest LV2 host: `python lv2_host.py PLUGIN.so IN.npy OUT.npy RATE BLOCK`, one library, its first plugin.

Ports come from the data beside the library. Prints what the control outputs say at the end, as JSON.
"""

from __future__ import annotations

import ctypes as c
import json
import re
import sys
from pathlib import Path

import numpy as np

URID = "http://lv2plug.in/ns/ext/urid#"
OPTIONS = "http://lv2plug.in/ns/ext/options#options"
BLOCK_LENGTHS = "http://lv2plug.in/ns/ext/buf-size#"
SCHEDULE = "http://lv2plug.in/ns/ext/worker#schedule"
ATOM = "http://lv2plug.in/ns/ext/atom#"
SEQUENCE_BYTES = 4096


class Feature(c.Structure):
    _fields_ = (("uri", c.c_char_p), ("data", c.c_void_p))


class Option(c.Structure):
    _fields_ = (
        ("context", c.c_int),
        ("subject", c.c_uint32),
        ("key", c.c_uint32),
        ("size", c.c_uint32),
        ("type", c.c_uint32),
        ("value", c.c_void_p),
    )


Map = c.CFUNCTYPE(c.c_uint32, c.c_void_p, c.c_char_p)
Unmap = c.CFUNCTYPE(c.c_char_p, c.c_void_p, c.c_uint32)


class Mapper(c.Structure):
    _fields_ = (("handle", c.c_void_p), ("map", Map))


class Unmapper(c.Structure):
    _fields_ = (("handle", c.c_void_p), ("unmap", Unmap))


Schedule = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint32, c.c_void_p)


class Scheduler(c.Structure):
    _fields_ = (("handle", c.c_void_p), ("schedule", Schedule))


class Descriptor(c.Structure):
    pass


Descriptor._fields_ = (
    ("uri", c.c_char_p),
    (
        "instantiate",
        c.CFUNCTYPE(c.c_void_p, c.POINTER(Descriptor), c.c_double, c.c_char_p, c.POINTER(c.POINTER(Feature))),
    ),
    ("connect_port", c.CFUNCTYPE(None, c.c_void_p, c.c_uint32, c.c_void_p)),
    ("activate", c.CFUNCTYPE(None, c.c_void_p)),
    ("run", c.CFUNCTYPE(None, c.c_void_p, c.c_uint32)),
    ("deactivate", c.CFUNCTYPE(None, c.c_void_p)),
    ("cleanup", c.CFUNCTYPE(None, c.c_void_p)),
    ("extension_data", c.c_void_p),
)

names: list[bytes] = []  # of URIs, by number from 1


@Map
def number_of(handle: object, uri: bytes) -> int:
    if uri not in names:
        names.append(uri)
    return names.index(uri) + 1


@Unmap
def uri_of(handle: object, number: int) -> bytes:
    return names[number - 1]


@Schedule
def no_work(handle: object, size: int, data: object) -> int:
    return 1


def address(thing: c._SimpleCData | c.Structure | c.Array) -> int:
    return c.addressof(thing)


def features(block: int) -> tuple[c.Array, list[object]]:
    """What every host offers; and what has to stay alive for it."""
    mapper, unmapper, length = Mapper(None, number_of), Unmapper(None, uri_of), c.c_int32(block)
    scheduler = Scheduler(None, no_work)

    def number(text: str) -> int:
        return int(number_of(None, text.encode()))

    keys = [number(BLOCK_LENGTHS + key) for key in ("maxBlockLength", "nominalBlockLength")]
    options = (Option * 3)(*(Option(0, 0, key, 4, number(ATOM + "Int"), address(length)) for key in keys), Option())
    offered = [(URID + "map", mapper), (URID + "unmap", unmapper), (OPTIONS, options)]
    offered += [(BLOCK_LENGTHS + "boundedBlockLength", c.c_int(0)), (SCHEDULE, scheduler)]
    structures = [Feature(uri.encode(), address(data)) for uri, data in offered]
    pointers = (c.POINTER(Feature) * (len(structures) + 1))(*(c.pointer(one) for one in structures))
    return pointers, [mapper, unmapper, scheduler, length, options, structures, offered]


def ports(library: Path) -> list[dict[str, str]]:
    """Index, kind and direction, symbol and default of every port, in order."""
    text = library.with_suffix(".ttl").read_text()
    found = []
    for block in re.findall(r"\[\s*a lv2:(?:Input|Output)Port.*?\n\s*\]", text, re.DOTALL):
        direction, kind = re.findall(r"a lv2:(Input|Output)Port, (?:lv2|atom):(\w+)Port", block)[0]
        symbol = re.findall(r'lv2:symbol "(\w+)"', block)[0]
        default = re.findall(r"lv2:default (\S+)", block)
        index = re.findall(r"lv2:index (\d+)", block)[0]
        found.append(
            {"index": index, "way": direction, "kind": kind, "symbol": symbol, "default": (default or ["0"])[0]}
        )
    return sorted(found, key=lambda port: int(port["index"]))


def main() -> None:
    library, given, to, rate, block = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])
    x = np.load(given)
    entry = c.CDLL(str(library)).lv2_descriptor
    entry.restype = c.POINTER(Descriptor)
    descriptor = entry(0)
    plugin = descriptor.contents
    offered, alive = features(block)
    instance = plugin.instantiate(descriptor, rate, str(library.parent).encode() + b"/", offered)
    assert instance, "not instantiated"
    sound: dict[str, list[np.ndarray]] = {"Input": [], "Output": []}
    sequences, controls = [], {}
    for port in ports(library):
        if port["kind"] == "Audio":
            memory = np.zeros(block, np.float32)
            sound[port["way"]].append(memory)
        elif port["kind"] == "Control":
            memory = np.full(1, float(port["default"]), np.float32)
            controls[port["symbol"]] = memory
        else:
            memory = np.zeros(SEQUENCE_BYTES // 4, np.uint32)
            sequences.append((memory, port["way"]))
        plugin.connect_port(instance, int(port["index"]), memory.ctypes.data)
    plugin.activate(instance)
    heard = np.zeros((len(sound["Output"]), x.shape[1]), np.float32)
    for at in range(0, x.shape[1], block):
        frames = min(block, x.shape[1] - at)
        for channel, memory in zip(x, sound["Input"]):
            memory[:frames] = channel[at : at + frames]
        for memory, way in sequences:  # an empty one: size of its body, type, unit, padding
            memory[:4] = (8, number_of(None, (ATOM + "Sequence").encode()), 0, 0)
            if way == "Output":
                memory[:2] = (SEQUENCE_BYTES - 8, number_of(None, (ATOM + "Chunk").encode()))
        plugin.run(instance, frames)
        for channel, memory in zip(heard, sound["Output"]):
            channel[at : at + frames] = memory[:frames]
    plugin.deactivate(instance)
    plugin.cleanup(instance)
    np.save(to, heard)
    print(json.dumps({symbol: float(memory[0]) for symbol, memory in controls.items()}))
    del alive


if __name__ == "__main__":
    main()
