"""`ravel build`: a plugin or external with a name of its own and the model inside, by driving CMake."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .card import Card, read_card
from .cli import Parser, positive, run_verb
from .errors import RavelError
from .players import engine_module

PLUGINS = ("vst3", "clap", "lv2", "standalone")
PATCHERS = ("pd", "max")
FORMATS = PLUGINS + PATCHERS
GENERAL = "Ravel"  # opens any model
NAME = re.compile(r"[A-Za-z]([A-Za-z0-9 _-]{0,30}[A-Za-z0-9])?")
COMPILERS = ("c++", "g++", "clang++")
# Of the peak. Kernels that round activations to bfloat16 stay below, what a damaged file plays does not.
SELFTEST_LIMIT = 0.05
LOG_LINES = 15  # of a compiler that failed


@dataclass(frozen=True)
class Request:
    """What to build of which model. None: the player of any model."""

    model: Path | None
    card: Card | None
    formats: tuple[str, ...]
    name: str

    @property
    def parts(self) -> list[str]:
        """CMake's components: one for all plugins, one a patcher."""
        plugin = ["plugin"] if any(form in PLUGINS for form in self.formats) else []
        return plugin + [form for form in PATCHERS if form in self.formats]


def parser() -> Parser:
    p = Parser(prog="ravel build", description=__doc__)
    p.add_argument("model", nargs="?", type=Path, help="NAME.ravel; without it the player that opens any model")
    p.add_argument(
        "--as",
        dest="formats",
        default="vst3,clap,lv2",
        help=f"with commas, of {', '.join(FORMATS)} (default: vst3,clap,lv2)",
    )
    p.add_argument("--name", help="in hosts' menus; ids follow from it (default: the model's name)")
    p.add_argument("--out", type=Path, default=Path("dist"), help="folder for what comes out (default: dist)")
    p.add_argument("--source", type=Path, help="Ravel's source tree (default: the one that this command runs from)")
    p.add_argument(
        "--work", type=Path, help="what CMake keeps to be faster next time (default: build/named in the tree)"
    )
    p.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="compilers at once (default: all cores)")
    p.add_argument(
        "--portable", action="store_true", help="to give away: carries libsamplerate, which CMake fetches, inside"
    )
    p.add_argument("--force", action="store_true", help="replace what is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    formats = formats_of(args.formats)
    card = None if args.model is None else checked(args.model)
    name = name_of(args.name or (card["name"].capitalize() if card else GENERAL))
    if card and name.lower() == GENERAL.lower():
        raise RavelError(f"{GENERAL} is the name of the player that opens any model: choose another --name")
    request = Request(args.model and args.model.resolve(), card, formats, name)
    source = source_tree(args.source)
    work = args.work or source / "build" / "named"
    for path in build(request, source, args.out, work, args.jobs, args.force, args.portable):
        print(f"{path}: {size(path) / 1e6:.1f} MB")
    return 0


def formats_of(text: str) -> tuple[str, ...]:
    """`clap, vst3` -> ("vst3", "clap"). Raises RavelError for what does not exist, here or anywhere."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    strange = [word for word in words if word not in FORMATS]
    if strange or not words:
        what = f"there is no format {strange[0]!r}" if strange else "no format was named"
        raise RavelError(f"{what}: --as takes {', '.join(FORMATS)}, with commas between them")
    if "max" in words and sys.platform not in ("darwin", "win32"):
        raise RavelError("objects for Max are built on macOS and Windows: leave max out of --as here")
    return tuple(form for form in FORMATS if form in words)


def name_of(text: str) -> str:
    """A name that file systems, ids of plugins and patches can hold."""
    if not NAME.fullmatch(text):
        raise RavelError(
            f"{text!r} cannot name a plugin: --name takes up to 32 letters, digits, spaces, - and _, a letter first"
        )
    return text


def checked(model: Path) -> Card:
    """The card of a model that plays here what it played where it was exported."""
    if model.suffix != ".ravel":
        beside = model.with_suffix(".ravel")
        hint = f"give {beside}" if beside.exists() else "`ravel export --streaming` writes one from a run"
        raise RavelError(f"{model} is no .ravel: {hint}")
    card = read_card(model)
    native = engine_module()
    try:
        errors = native.Model(model).selftest()
    except native.Error as reason:
        raise RavelError(f"{model} does not play: {reason}") from None
    for method, error in errors.items():
        if not error < SELFTEST_LIMIT:  # neither is NaN
            raise RavelError(
                f"{model}: {method} is {error:.1g} of the peak away from the recording in the file: export it again"
            )
    return card


def source_tree(given: Path | None) -> Path:
    """The folder of CMakeLists.txt and externals/."""
    folder = given or Path(__file__).parents[1]
    if (folder / "CMakeLists.txt").is_file() and (folder / "externals").is_dir():
        return folder.resolve()
    if given:
        raise RavelError(f"{given} is not Ravel's source tree: --source names the folder with externals/ in it")
    raise RavelError("`ravel` was installed without its sources: --source names a checkout of them")


def cmake_program() -> str:
    """CMake, of the system or of this environment. Raises RavelError that names everything that is missing."""
    cmake = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))
    missing = [] if cmake else ["CMake (pip install cmake)"]
    compilers = [os.environ["CXX"].split()[0]] if os.environ.get("CXX") else COMPILERS
    if sys.platform != "win32" and not any(map(shutil.which, compilers)):
        missing.append("a C++20 compiler (apt install g++, or xcode-select --install)")
    if not cmake or missing:
        raise RavelError(f"building needs {' and '.join(missing)}")
    return cmake


def build(
    request: Request,
    source: Path,
    out: Path,
    work: Path,
    jobs: int = 1,
    force: bool = False,
    portable: bool = False,
) -> list[Path]:
    """Build everything, then put it into `out`; returns what is new there. A failure leaves `out` as it was."""
    refuse(expected(request, out), force)
    cmake = cmake_program()
    with tempfile.TemporaryDirectory(prefix="ravel-build-") as name:
        staged = Path(name)
        run_cmake(cmake, request, source, work.resolve(), staged, jobs, portable)
        made = gathered(request, staged)
        refuse([out / target for target in made], force)
        return put(made, out)


def expected(request: Request, out: Path) -> list[Path]:
    """What a request will write, as far as its name says."""
    bundles = [out / f"{request.name}.{form}" for form in request.formats if form in ("vst3", "clap", "lv2")]
    return bundles + [out / form / folder_name(request) for form in PATCHERS if form in request.formats]


def refuse(targets: Sequence[Path], force: bool) -> None:
    there = [str(target) for target in targets if target.exists()]
    if there and not force:
        raise RavelError(f"{' and '.join(there)} exists: choose another --out, or replace it with --force")


def run_cmake(
    cmake: str, request: Request, source: Path, work: Path, staged: Path, jobs: int, portable: bool = False
) -> None:
    """Configure, compile, install the parts into `staged`."""
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "RAVEL_PYTHON": "OFF",
        "RAVEL_TESTS": "OFF",
        "RAVEL_SYSTEM_SAMPLERATE": "OFF" if portable else "ON",
        "RAVEL_PLUGIN": "ON" if "plugin" in request.parts else "OFF",
        "RAVEL_PD": "ON" if "pd" in request.parts else "OFF",
        "RAVEL_MAX": "ON" if "max" in request.parts else "OFF",
        "RAVEL_NAME": "" if request.model is None and request.name == GENERAL else request.name,
        "RAVEL_MODEL": str(request.model or ""),
        "RAVEL_PLUGIN_FORMATS": ";".join(form for form in request.formats if form in PLUGINS),
    }
    words = [cmake, "-S", str(source), "-B", str(work), *(f"-D{key}={value}" for key, value in options.items())]
    if not (work / "CMakeCache.txt").exists() and shutil.which("ninja"):
        words += ["-G", "Ninja"]
    run(words, "configuring")
    run([cmake, "--build", str(work), "--config", "Release", "--parallel", str(jobs)], "compiling")
    for part in request.parts:
        install = ["--install", str(work), "--config", "Release", "--component", part, "--prefix", str(staged)]
        run([cmake, *install], "installing")


def run(words: Sequence[str], what: str) -> None:
    """Run a step of CMake under a progress bar. Raises RavelError with the end of what it said."""
    said: list[str] = []
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            with tqdm(total=100, desc=what, bar_format="{desc}: {n:.0f} %", leave=False, disable=None) as bar:
                for line in process.stdout or []:
                    said.append(line.rstrip())
                    bar.update(max(0.0, percent(line) - bar.n))
    except OSError as reason:
        raise RavelError(f"{what}: {words[0]} does not start: {reason.strerror}") from None
    if process.returncode != 0:
        raise RavelError(f"{what} failed:\n" + "\n".join(told(said)))


def percent(line: str) -> float:
    """Of a line of Ninja or Make: `[12/96] Building`, `[ 12%] Building`; 0 for others."""
    if found := re.match(r"\[(\d+)/(\d+)\]", line):
        return 100 * int(found[1]) / int(found[2])
    found = re.match(r"\[ *(\d+)%\]", line)
    return float(found[1]) if found else 0.0


def told(said: Sequence[str]) -> list[str]:
    """What CMake or the compiler complained of: its errors with what follows each, or the last lines."""
    errors = [i for i, line in enumerate(said) if "CMake Error" in line or " error: " in line or "FAILED:" in line]
    start = errors[0] if errors else max(0, len(said) - LOG_LINES)
    return [line for line in said[start:] if line][:LOG_LINES]


def gathered(request: Request, staged: Path) -> dict[str, Path]:
    """What was installed, by its place in the folder for the result."""
    made: dict[str, Path] = {}
    for form in request.formats:
        if form in PLUGINS:
            folder = staged / ("bin" if form == "standalone" else form)
            made |= {path.name: path for path in sorted(folder.glob("*"))}
            continue
        folder = staged / form / ("ravel" if form == "pd" else "Ravel")
        if form == "max" and request.model:
            dress_max(request, folder)
        if form == "pd" and request.model:
            for patch in folder.glob("ravel*.pd"):  # of objects that are called ravel~
                patch.unlink()
        if folder.is_dir():
            made[f"{form}/{folder_name(request)}"] = folder
    if not made:
        raise RavelError(f"CMake installed nothing into {staged}: is --source of the same version as this command?")
    return made


def folder_name(request: Request) -> str:
    """Of an external, and of its object without the ~: lower case in one word, as CMake makes it for Pd."""
    return re.sub("[^a-z0-9]+", "_", request.name.lower()) if request.model else "ravel"


def dress_max(request: Request, folder: Path) -> None:
    """The package Ravel becomes that of NAME: an abstraction, and the model where Max looks for media."""
    name = folder_name(request)
    inputs, outputs = signals(request)
    boxes = [box("it", "newobj", 20, 80, inputs, outputs + 1, text=f"ravel~ {name}.ravel forward")]
    cords = []
    for i in range(inputs):
        boxes.append(box(f"in-{i}", "inlet", 20 + 90 * i, 20, 0, 1))
        cords.append({"patchline": {"source": [f"in-{i}", 0], "destination": ["it", i]}})
    for i in range(outputs + 1):
        boxes.append(box(f"out-{i}", "outlet", 20 + 90 * i, 140, 1, 0))
        cords.append({"patchline": {"source": ["it", i], "destination": [f"out-{i}", 0]}})
    patcher = {"fileversion": 1, "classnamespace": "box", "rect": [100, 100, 500, 260], "boxes": boxes, "lines": cords}
    (folder / "patchers").mkdir()
    (folder / "patchers" / f"{name}~.maxpat").write_text(json.dumps({"patcher": patcher}, indent=1))
    about = folder / "package-info.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"name": name, "displayname": request.name}, indent=1))
    (folder / "media").mkdir()
    assert request.model
    shutil.copyfile(request.model, folder / "media" / f"{name}.ravel")


def box(name: str, kind: str, x: int, y: int, inlets: int, outlets: int, **more: str) -> dict[str, dict[str, object]]:
    place = {"patching_rect": [x, y, 80, 22], "numinlets": inlets, "numoutlets": outlets}
    return {"box": {"id": name, "maxclass": kind, **place, **more}}


def signals(request: Request) -> tuple[int, int]:
    """Inputs and outputs of the model."""
    assert request.card
    forward = request.card["methods"]["forward"]
    return forward["in_channels"], forward["out_channels"]


def put(made: Mapping[str, Path], out: Path) -> list[Path]:
    """Copy files and folders into `out`, beside what they replace, and rename them at the end: all or none."""
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    targets = [out / name for name in made]
    fresh = [target.with_name(f".{target.name}.{mark}") for target in targets]
    old = [target.with_name(f".{target.name}.{mark}-old") for target in targets]
    done = 0
    try:
        for source, copy in zip(made.values(), fresh):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, copy, symlinks=True) if source.is_dir() else shutil.copy2(source, copy)
        for target, copy, away in zip(targets, fresh, old):
            if target.exists():
                target.rename(away)
            copy.rename(target)
            done += 1
    except OSError as error:
        for target in targets[:done]:
            remove(target)
        raise RavelError(f"could not write into {out}: {error.strerror or error}; it is as it was") from error
    finally:
        for target, copy, away in zip(targets, fresh, old):
            if away.exists() and not target.exists():
                away.rename(target)
            remove(copy)
            remove(away)
    return targets


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


if __name__ == "__main__":
    sys.exit(run_verb("build", main))
