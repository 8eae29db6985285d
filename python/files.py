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
    """Give a temporary path beside `path`; rename it onto `path` on success, remove it on any failure.

    The parent folder is made if it is missing. The temporary name keeps the suffix of `path`, because
    writers such as soundfile choose the format by it. The data reaches the disk before the rename, so a
    crash leaves the old file or the new one. Raises RavelError, naming `path`, for a full disk and any
    other OSError; other exceptions of the body pass through.

    `torch.jit.save` to a path on a full disk ends the process (its destructor throws): save into a
    `BytesIO` and write that.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem[:80]}.{os.getpid()}-{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:
        # libsndfile, torch.save and numpy report a full disk as a RuntimeError or without a number.
        code = errno.ENOSPC if _disk_is_full(target.parent) else getattr(error, "errno", None)
        if code is None and isinstance(error, RuntimeError):
            raise
        advice = _ADVICE.get(code or 0, f"{error}: check the place and run it again")
        raise RavelError(f"could not write {target}: {advice}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _disk_is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 64 * 1024
    except OSError:
        return False
