"""Laws: what cannot be built is refused before a compiler runs; what is built appears whole or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from python import build, players
from python.build import Request
from python.errors import RavelError
from tests.conftest import card_of

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1-v2-small.ravel"


def request(model: Path | None = Path("violin.ravel"), name: str = "My Violin", formats: str = "pd") -> Request:
    return Request(model, card_of(128, 91, 1), build.formats_of(formats), name)


# ---- what is refused


def test_formats_come_once_and_in_order() -> None:
    assert build.formats_of("pd, CLAP,vst3,clap") == ("vst3", "clap", "pd")


@pytest.mark.parametrize(
    ("text", "what"), [("vst3,au", "no format 'au'"), ("", "no format was named"), ("vst", "vst3")]
)
def test_strange_formats_are_refused(text: str, what: str) -> None:
    with pytest.raises(RavelError, match=what):
        build.formats_of(text)


@pytest.mark.skipif(sys.platform != "linux", reason="Max runs there")
def test_max_is_refused_where_it_does_not_run() -> None:
    with pytest.raises(RavelError, match="macOS and Windows"):
        build.formats_of("clap,max")


@pytest.mark.parametrize("name", ["Violin", "V", "My Violin 2", "a_b-c"])
def test_names(name: str) -> None:
    assert build.name_of(name) == name


@pytest.mark.parametrize(
    "name", ["", "2nd", " Violin", "Violin ", "Vio/lin", "Géige", 'a"b', "x" * 33, "a;b", "..", "a\n"]
)
def test_names_that_a_host_or_file_system_might_not_bear(name: str) -> None:
    with pytest.raises(RavelError, match="--name"):
        build.name_of(name)


def test_a_model_is_played_before_it_is_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("python._native", reason="the engine is not built: pip install -e .")
    assert build.checked(GOLDEN)["preset"] == "v2-small"
    data = bytearray(GOLDEN.read_bytes())
    data[-2000:] = bytes(2000)
    damaged = tmp_path / "damaged.ravel"
    damaged.write_bytes(data)
    with pytest.raises(RavelError, match="of the peak away"):
        build.checked(damaged)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.ts", b"PK"), ("b.ravel", b""), ("c.wav", b"RIFF")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "both.ts").write_bytes(b"PK")
    (tmp_path / "both.ravel").write_bytes(b"")
    for name, what in (("a.ts", "export --streaming"), ("b.ravel", "cut short"), ("c.wav", "no .ravel")):
        with pytest.raises(RavelError, match=what):
            build.checked(tmp_path / name)
    with pytest.raises(RavelError, match=r"give .*both\.ravel"):
        build.checked(tmp_path / "both.ts")
    with pytest.raises(RavelError, match="there is no"):
        build.checked(tmp_path / "nothing.ravel")


def test_sources_are_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.source_tree(None) == Path(__file__).parents[2]
    with pytest.raises(RavelError, match="not Ravel's source tree"):
        build.source_tree(tmp_path)
    monkeypatch.setattr(build, "__file__", str(tmp_path / "python" / "build.py"))
    with pytest.raises(RavelError, match="--source names a checkout"):
        build.source_tree(None)


def test_missing_tools_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(RavelError, match=r"CMake .* and a C\+\+20 compiler"):
        build.cmake_program()


def test_what_exists_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Ravel.vst3").mkdir()
    assert build.run_verb("build", build.main, ["--as", "clap,vst3", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"ravel build: {tmp_path / 'Ravel.vst3'} exists: choose another --out, or replace it with --force\n"
    )


# ---- a stand-in for CMake: a program that says and installs what a test wants

Stand = Callable[[str], Path]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """stand_in(SHELL): what `cmake` does after it noted its arguments; $prefix is where it is to install."""
    if sys.platform == "win32":
        pytest.skip("a shell script")

    def make(script: str) -> Path:
        program, log = tmp_path / "cmake", tmp_path / "log"
        body = f'echo "$@" >> {log}\nwhile [ $# -gt 1 ]; do [ "$1" = --prefix ] && prefix=$2; shift; done\n'
        program.write_text(f"#!/bin/sh\n{body}{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(build, "cmake_program", lambda: str(program))
        return log

    return make


INSTALL = '[ -z "$prefix" ] || { mkdir -p "$prefix/clap" "$prefix/pd/ravel"; echo a > "$prefix/clap/It.clap"; }'


def test_what_was_installed_is_put_in_place(tmp_path: Path, stand_in: Stand) -> None:
    log, out, model = stand_in(INSTALL), tmp_path / "out", tmp_path / "violin.ravel"
    model.write_bytes(b"weights")
    asked = request(model, "It", "clap,pd")
    made = build.build(asked, tmp_path, out, tmp_path / "work")
    assert made == [out / "It.clap", out / "pd" / "it"]
    assert sorted(path.name for path in out.iterdir()) == ["It.clap", "pd"]
    said = log.read_text()
    assert f"-DRAVEL_MODEL={model}" in said
    assert "-DRAVEL_NAME=It" in said
    with pytest.raises(RavelError, match="--force"):
        build.build(asked, tmp_path, out, tmp_path / "work")
    (out / "It.clap").write_text("older")
    build.build(asked, tmp_path, out, tmp_path / "work", force=True)
    assert (out / "It.clap").read_text() == "a\n"


def test_a_compiler_s_error_is_told_and_nothing_changes(tmp_path: Path, stand_in: Stand) -> None:
    stand_in("echo '[1/2] fine'; echo 'CMake Error: X11 is missing: apt install libx11-dev'; echo why; exit 1")
    out = tmp_path / "out"
    with pytest.raises(
        RavelError, match="configuring failed:\nCMake Error: X11 is missing: apt install libx11-dev\nwhy"
    ):
        build.build(request(), tmp_path, out, tmp_path / "work")
    assert not out.exists()


def test_a_failure_to_place_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for name in ("a", "b"):
        (tmp_path / name).write_text("new")
        made[name] = tmp_path / name
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    rename = Path.rename

    def fail_at_b(self: Path, target: Path) -> Path:
        if Path(target).name == "b":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_at_b)
    with pytest.raises(RavelError, match="No space left"):
        build.put(made, out)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("a", "old")]


def test_progress_is_read_from_ninja_and_make() -> None:
    assert build.percent("[12/96] Building CXX object") == 12.5
    assert build.percent("[ 42%] Building CXX object") == 42
    assert build.percent("warning: [1/2]") == 0


# ---- what externals become


def test_a_package_for_max_has_an_abstraction_and_the_model(tmp_path: Path) -> None:
    (tmp_path / "violin.ravel").write_bytes(b"weights")
    folder = tmp_path / "Ravel"
    folder.mkdir()
    (folder / "package-info.json").write_text(json.dumps({"name": "Ravel", "version": "1"}))
    build.dress_max(Request(tmp_path / "violin.ravel", card_of(128, 91, 1), ("max",), "Violin"), folder)
    patcher = json.loads((folder / "patchers" / "violin~.maxpat").read_text())["patcher"]
    boxes = {one["box"]["id"]: one["box"] for one in patcher["boxes"]}
    for cord in patcher["lines"]:
        (source, outlet), (target, inlet) = cord["patchline"]["source"], cord["patchline"]["destination"]
        assert outlet < boxes[source]["numoutlets"]
        assert inlet < boxes[target]["numinlets"]
    assert json.loads((folder / "package-info.json").read_text()) == {
        "name": "violin",
        "displayname": "Violin",
        "version": "1",
    }
    assert (folder / "media" / "violin.ravel").exists()


def test_without_an_engine_nothing_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str, package: str) -> None:
        raise ImportError("no module")

    monkeypatch.setattr(players, "import_module", none)
    with pytest.raises(RavelError, match="the engine is not built"):
        build.checked(GOLDEN)
