"""`ravel VERB ...`: finds the verb, runs its `main`, and turns failures into one line and an exit status."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from . import __version__
from .errors import RavelError

# A verb is a module of this package with `main(argv) -> int`; it is imported only when it is asked for.
VERBS = {
    "train": "learn an instrument from a folder of recordings, or resume a run",
    "export": "turn a run into a .ravel for ravel~ and the engine, and a .ts for nn~",
    "render": "send sound files through a .ravel, a .ts or a run",
    "train-prior": "teach a run to go on by itself",
    "generate": "let a model with a prior play by itself, from nothing or from a sound file",
    "codec": "sound as the few bits of a model's codes, and back",
    "analyze": "look inside a model: what its latents hold, as a page to read, hear and see",
    "evaluate": "models and baselines against held-out sound: figures, pictures, players, listening tests",
    "build": "turn a .ravel into a plugin or external of its own: VST3, CLAP, LV2, Pure Data, Max",
    "info": "print what a .ravel, a .ts or a run is: rate, latents, latency, training",
    "demo": "hear it without recordings: corpus, training, export, render, picture",
    "profile": "how fast models run here, against every deadline, and where the time goes",
    "bench": "how fast training, scripts and the engine are on this machine",
}

FAILED, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line: what is wrong, and what was probably meant.

    Unknown flags are errors even under `parse_known_args`-style abbreviations: `allow_abbrev` is off, so
    that a flag added later never changes what an old command line means.
    """

    def __init__(self, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)  # type: ignore[arg-type]

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        parsed, unknown = self.parse_known_args(args, namespace)
        flags = [word.split("=")[0] for word in unknown if word.startswith("-")]
        if flags:
            known = self._option_string_actions
            self.error(f"there is no {flags[0]}{_did_you_mean(flags[0], known)}; `{self.prog} --help` lists all")
        if unknown:
            self.error(f"{unknown[0]!r} is one argument too many; `{self.prog} --help` shows the order")
        return parsed

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(FAILED)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"no {value!r}{_did_you_mean(str(value), names)}; there is {', '.join(names)}"
            )


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""


def positive(text: str) -> int:
    """A whole argument above 0."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def seconds(text: str) -> float:
    """An argument in seconds, of at most ten hours."""
    value = float(text)
    if not 0 < value <= 36000:
        raise ValueError
    return value


def run_verb(verb: str, main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a verb's `main`; the exit status is its own, 2 after a RavelError, 130 after Ctrl-C."""
    try:
        status = main(argv)
        sys.stdout.flush()
        return status
    except RavelError as error:
        print(f"ravel {verb}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"\nravel {verb}: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # `ravel info x | head`: the reader has left. Python flushes stdout again at exit, so give it a sink.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if words else FAILED
    if words[0] in ("-V", "--version"):
        print(f"ravel {__version__}")
        return 0
    verb = words[0]
    if verb not in VERBS:
        hint = _did_you_mean(verb, VERBS)
        print(f"ravel: there is no {verb!r}{hint}; the verbs are {', '.join(VERBS)}", file=sys.stderr)
        return FAILED
    module = importlib.import_module(f".{verb.replace('-', '_')}", __package__)
    return run_verb(verb, module.main, words[1:])


def _help() -> str:
    lines = [f"  {verb:<11} {purpose}" for verb, purpose in VERBS.items()]
    return "\n".join(["usage: ravel VERB ...", "", *lines, "", "`ravel VERB --help` explains the verb's arguments."])


if __name__ == "__main__":
    sys.exit(main())
