"""A report is a folder that appears whole: made beside its place as NAME.partial, resumed there, then renamed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import RavelError
from ..files import atomic_write

MARK = "report.json"  # written last: what has it is a report of ours
CACHE = "cache"
KEY = "key.json"


class Work:
    """The folder that a report is being made in, and what an earlier, interrupted command had found out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused = 0

    def remember(self, name: str, find: Callable[..., Any], *about: Any) -> Any:
        """What `find(*about)` returns, JSON, or what it returned before the interruption."""
        path = self.folder / CACHE / f"{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}.json"
        try:
            known = json.loads(path.read_text())
            self.reused += 1
            return known
        except (OSError, ValueError):
            pass
        found = find(*about)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(found))
        return found

    def write(self, name: str, text: str) -> None:
        with atomic_write(self.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


@contextmanager
def report_folder(out: Path, key: dict[str, Any], force: bool) -> Iterator[Work]:
    """Give a folder to work in; when the body is done, it becomes `out`.

    `key`: all that the results depend on. Work that was interrupted goes on where the key is the same, else it starts
    anew. Raises RavelError at once where `out` may not be replaced.
    """
    check_place(out, force)
    partial = out.with_name(f"{out.name}.partial")
    text = json.dumps(key, sort_keys=True)
    try:
        if partial.exists() and not _made_of(partial, text):
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        with atomic_write(partial / CACHE / KEY) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise RavelError(f"could not make {partial} ({error.strerror}): choose another --out") from None
    yield Work(partial)
    shutil.rmtree(partial / CACHE)
    try:
        if out.exists():
            old = out.with_name(f"{out.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            out.rename(old)
            partial.rename(out)
            shutil.rmtree(old)
        else:
            partial.rename(out)
    except OSError as error:
        raise RavelError(f"the report is done, but stays in {partial}: {out} {error.strerror}") from None


def check_place(out: Path, force: bool) -> None:
    """Raises RavelError where a report at `out` would replace something that is not one, or one without `force`."""
    if out.resolve() in (Path.cwd().resolve(), *Path.cwd().resolve().parents):
        raise RavelError(f"--out {out} is the folder you are in, or one around it: give one for the report alone")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MARK).is_file():
        raise RavelError(f"{out} exists and is not a report: choose another --out")
    if not force:
        raise RavelError(f"{out} holds a report: choose another --out, or replace it with --force")


def _made_of(partial: Path, key: str) -> bool:
    try:
        return (partial / CACHE / KEY).read_text() == key
    except OSError:
        if any(path.name != CACHE for path in partial.iterdir()):
            raise RavelError(
                f"{partial} is in the way and was not made here: move it, or choose another --out"
            ) from None
        return False
