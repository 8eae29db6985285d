"""A sound through `ravel~` in real Pure Data, which plays a patch faster than time and ends."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .audio import probe
from .errors import RavelError

BLOCK_SAMPLES = 64  # Pd's own
TAIL_SECONDS = 0.25  # recorded beyond the input: more than any preset is late
PATIENCE_SECONDS = 300

# Batch mode plays faster than time: the recording goes into a table, which is written at the end.
PATCH = """\
#N canvas 0 0 600 400 10;
#X obj 10 10 table heard {frames};
#X obj 10 40 table played {frames};
#X obj 10 70 soundfiler;
#X obj 10 100 tabplay~ heard;
#X obj 10 130 ravel~ model -seed 0 -offline;
#X obj 10 160 tabwrite~ played;
#X obj 200 160 print ravel;
#X obj 200 10 loadbang;
#X obj 200 40 t b b b;
#X obj 200 70 del {milliseconds};
#X obj 200 100 t b b;
#X msg 300 40 read source.wav heard;
#X msg 300 70 \\; pd dsp 1;
#X msg 300 100 write -wave -bytes 4 target.wav played;
#X msg 300 130 \\; pd quit;
#X connect 3 0 4 0;
#X connect 4 0 5 0;
#X connect 4 1 6 0;
#X connect 7 0 8 0;
#X connect 8 2 11 0;
#X connect 11 0 2 0;
#X connect 8 1 12 0;
#X connect 8 0 3 0;
#X connect 8 0 5 0;
#X connect 8 0 9 0;
#X connect 9 0 10 0;
#X connect 10 1 13 0;
#X connect 13 0 2 0;
#X connect 10 0 14 0;
"""


@dataclass(frozen=True)
class Heard:
    """What Pd recorded, from the first sample of the input on, and by how much `ravel~` said it is late."""

    path: Path
    latency_samples: int
    pd: str


def program() -> str | None:
    """Pure Data, if it is installed."""
    return shutil.which("pd")


def external(folder: str | Path) -> Path | None:
    """`ravel~`, if the folder holds it."""
    found = (path for path in Path(folder).glob("ravel~.*") if path.suffix in (".pd_linux", ".pd_darwin", ".dll"))
    return next(found, None)


def play(model: Path, source: Path, target: Path, folder_of_external: str | Path) -> Heard:
    """Sends a mono file through a `.ravel`. Raises RavelError with the reason when that cannot be, or what Pd said."""
    pd, ravel = program(), external(folder_of_external)
    if pd is None:
        raise RavelError("there is no Pure Data: `apt install puredata-core` or https://puredata.info")
    if ravel is None:
        raise RavelError(f"there is no ravel~ in {folder_of_external}: cmake -DRAVEL_PD=ON builds it")
    info = probe(source)
    seconds = info.frames / info.sample_rate_hz + TAIL_SECONDS
    with tempfile.TemporaryDirectory(prefix="ravel-pd-") as name:
        folder = Path(name)  # names of ours, since in a patch they hold no spaces
        shutil.copy(model, folder / "model.ravel")
        shutil.copy(source, folder / "source.wav")
        patch = folder / "play.pd"
        patch.write_text(PATCH.format(frames=round(seconds * info.sample_rate_hz), milliseconds=1000 * seconds))
        words = [pd, "-nogui", "-noprefs", "-noaudio", "-batch", "-stderr", "-r", str(info.sample_rate_hz)]
        words += ["-path", str(ravel.parent.resolve()), "-open", str(patch)]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, cwd=folder, timeout=PATIENCE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise RavelError(f"Pd was not done after {PATIENCE_SECONDS} s") from None
        said = done.stdout + done.stderr
        latency = re.findall(r"^ravel: latency (\d+)", said, re.MULTILINE)
        played = folder / "target.wav"
        if not latency or "error: " in said or not played.exists():
            raise RavelError("Pd did not play: " + "; ".join(said.strip().splitlines()[-5:]))
        shutil.move(played, target)
    return Heard(target, int(latency[-1]), version(pd))


def version(pd: str) -> str:
    said = subprocess.run([pd, "-version"], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"Pd-(\d+\.\d+)", said.stdout + said.stderr)
    return found[1] if found else "?"
