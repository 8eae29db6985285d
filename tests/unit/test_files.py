"""Law: after `atomic_write` every target is the whole new file, or all are exactly what they were before."""

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from python import files
from python.errors import RavelError
from python.files import atomic_write, atomic_writes


def only_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_success_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.wav"
    for text in ("first", "second"):
        with atomic_write(target) as temporary:
            assert temporary.parent == target.parent
            assert temporary.suffix == ".wav"
            temporary.write_text(text)
        assert target.read_text() == text
    assert only_files(target.parent) == ["a.wav"]


@pytest.mark.parametrize("failure", [ValueError("bug"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "a.bin"
    target.write_text("old")
    with pytest.raises(type(failure)), atomic_write(target) as temporary:
        temporary.write_text("half of the n")
        raise failure
    assert target.read_text() == "old"
    assert only_files(tmp_path) == ["a.bin"]


def test_full_disk_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with pytest.raises(RavelError, match=r"could not write .*a\.bin: the disk is full"):
        with atomic_write(target) as temporary:
            temporary.write_text("part")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert only_files(tmp_path) == []


def test_a_really_full_device_is_reported(tmp_path: Path) -> None:
    """/dev/full refuses every byte: the error of the kernel, not of a mock."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(RavelError, match="the disk is full"), atomic_write(tmp_path / "a.bin"):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x" * 4096)


def test_a_full_disk_behind_a_runtime_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile says "System error." and torch "unexpected pos": neither is a line for a reader."""
    with pytest.raises(RuntimeError, match="System error"), atomic_write(tmp_path / "a.wav"):
        raise RuntimeError("System error.")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(RavelError, match="the disk is full"), atomic_write(tmp_path / "a.wav"):
        raise RuntimeError("System error.")


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RavelError, match="could not write"),
        atomic_write(tmp_path / "file" / "a.bin") as temporary,
    ):
        temporary.write_text("x")


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    """Otherwise a forgotten write would pass for success."""
    with pytest.raises(RavelError, match="could not write"), atomic_write(tmp_path / "a.bin"):
        pass


# -- several at once -------------------------------------------------------


def write_all(targets: list[Path], text: str) -> None:
    with atomic_writes(*targets) as temporaries:
        for temporary in temporaries:
            temporary.write_text(text)


def test_several_files_are_replaced_together(tmp_path: Path) -> None:
    targets = [tmp_path / "a.ts", tmp_path / "a.ravel", tmp_path / "b" / "c.txt"]
    for text in ("first", "second"):
        write_all(targets, text)
        assert [target.read_text() for target in targets] == [text] * 3
    assert only_files(tmp_path) == ["a.ravel", "a.ts", "b"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("there", [[], ["a"], ["b"], ["a", "b"]])
def test_when_one_cannot_be_renamed_all_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str], links: bool
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(files.os, "link", no_links)
    for name in there:
        (tmp_path / name).write_text(f"old {name}")
    (tmp_path / "c").mkdir()
    with pytest.raises(RavelError, match=r"could not write .*c: that is a folder"):
        write_all([tmp_path / name for name in "abc"], "new")
    assert only_files(tmp_path) == sorted([*there, "c"])
    assert all((tmp_path / name).read_text() == f"old {name}" for name in there)


def test_one_that_was_not_written_keeps_all_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(RavelError, match=r"could not write .*a and .*b"):
        with atomic_writes(tmp_path / "a", tmp_path / "b") as (first, _):
            first.write_text("new")
    assert only_files(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
