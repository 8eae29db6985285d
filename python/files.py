"""Outputs appear whole or not at all: written beside the target, then renamed over it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RavelError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run it again",
    errno.EDQUOT: "the disk quota is used up: free some space and run it again",
    errno.EACCES: "no permission to write there: choose another place",
    errno.EROFS: "that file system is read-only: choose another place",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ENOTDIR: "a part of that path is a file, not a folder: choose another place",
    errno.EEXIST: "a part of that path is a file, not a folder: choose another place",
    errno.EISDIR: "that is a folder: give the name of a file",
}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`atomic_writes` for one file."""
    with atomic_writes(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_writes(*paths: str | os.PathLike[str]) -> Iterator[tuple[Path, ...]]:
    """Give a temporary path beside each of `paths`; rename them all on success, remove them on any failure.

    Either all targets are new or all are what they were: when one can't be renamed, those before it are put back. Only
    a kill between two renames leaves the new beside the old. The parent folder is made if it is missing. The temporary
    name keeps the suffix of the path, because writers such as soundfile choose the format by it. The data reaches the
    disk before the rename, so a crash leaves the old file or the new one. Raises RavelError, naming the path, for a
    full disk and any other OSError; other exceptions of the body pass through.

    `torch.jit.save` to a path on a full disk ends the process (its destructor throws): save into a
    `BytesIO` and write that.
    """
    targets = [Path(path) for path in paths]
    temporaries = tuple(_beside(target) for target in targets)
    kept = [_beside(target) for target in targets]
    replaced = 0
    try:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        yield temporaries
        for temporary in temporaries:
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
        for target, copy in zip(targets[:-1], kept):
            if target.is_file():
                _keep(target, copy)
        for temporary, target in zip(temporaries, targets):
            os.replace(temporary, target)
            replaced += 1
    except (OSError, RuntimeError) as error:
        # libsndfile, torch.save and numpy report a full disk as a RuntimeError or without a number.
        code = errno.ENOSPC if _disk_is_full(targets[0].parent) else getattr(error, "errno", None)
        if code is None and isinstance(error, RuntimeError):
            raise
        advice = _ADVICE.get(code or 0, f"{error}: check the place and run it again")
        which = getattr(error, "filename2", None) or " and ".join(map(str, targets))  # a rename names its target
        raise RavelError(f"could not write {which}: {advice}") from error
    finally:
        if replaced < len(targets):
            for target, copy in zip(targets[:replaced], kept):
                os.replace(copy, target) if copy.exists() else target.unlink()
        for path in (*temporaries, *kept):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.stem[:80]}.{os.getpid()}-{secrets.token_hex(4)}{target.suffix}")


def _keep(target: Path, copy: Path) -> None:
    try:
        os.link(target, copy)
    except OSError:  # a file system without hard links
        shutil.copyfile(target, copy)


def _disk_is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 64 * 1024
    except OSError:
        return False
