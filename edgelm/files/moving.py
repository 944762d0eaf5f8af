"""Moves what was made aside into its place, so that the old or the new is there whenever the process is cut off.

A workspace is a hidden folder beside the place: `new/NAME` is being made, `old/NAME` was there before, `work` notes
what else may go once the new is in its place. Whoever makes it holds a lock on it, which the system releases when the
process dies; the next run finds it unlocked, puts the old back where nothing is, and removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.files.locks import lock_left, make_locked_folder
from edgelm.files.work import Work, remove_finished

_NEW, _OLD, _DONE, _WORK = "new", "old", "done", "work"
_HERE = -100  # AT_FDCWD of Linux: names are relative to the current folder
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS


@contextmanager
def open_workspace(path: Path) -> Iterator[Path]:
    """A path of the same name to make a file or folder at, in a workspace beside `path`, which is gone afterwards."""
    folder, held = make_locked_folder(path.parent, _prefix(path))
    try:
        (folder / _NEW).mkdir()
        yield folder / _NEW / path.name
    finally:
        _clear(folder, path)
        if held is not None:
            os.close(held)


def move_in_place(made: Path, path: Path, work: Work | None = None) -> None:
    """Give `path` what was made in a workspace of it; what was there before goes with the workspace, and then the work
    that it was made of.

    At no time is nothing there, but for a moment on a file system that cannot exchange two names: `restore` mends a cut
    in it, and one before the work is gone.
    """
    if work is not None:
        work.note(made.parent.parent / _WORK, made)
    if not os.path.lexists(path) or not (path.is_dir() or made.is_dir()):
        made.replace(path)
    elif not _exchange(made, path):
        old = made.parent.parent / _OLD / path.name
        old.parent.mkdir()
        path.rename(old)
        made.rename(path)
    if work is not None:
        work.remove()


def restore(path: Path) -> None:
    """Put back what a process that died in the middle of moving had put aside, and remove what it left beside `path`:
    its workspaces, its work if that is finished, its lock."""
    with contextlib.suppress(OSError):  # a folder that is not there, or may not be looked into, holds none
        for folder in [entry for entry in path.parent.iterdir() if entry.name.startswith(_prefix(path))]:
            if not folder.is_dir() or not {entry.name for entry in folder.iterdir()} <= {_NEW, _OLD, _DONE, _WORK}:
                continue  # none of ours
            held = lock_left(folder)
            if held is not None:
                remove_finished(folder / _WORK, path)
                _clear(folder, path)
                os.close(held)
    held = lock_left(claim_file(path))
    if held is not None:
        claim_file(path).unlink(missing_ok=True)
        os.close(held)


def claim_file(path: Path) -> Path:
    """The file beside an output whose lock says that a process works on it."""
    return path.parent / f".{path.name}.edgelm.lock"


def _prefix(path: Path) -> str:
    return f".{path.name}.edgelm-"


def _clear(folder: Path, path: Path) -> None:
    """Remove a workspace; what it holds of before goes back if nothing has come into its place."""
    old = folder / _OLD / path.name
    if os.path.lexists(old) and not os.path.lexists(path):
        old.rename(path)
    elif old.parent.exists():
        old.parent.rename(folder / _DONE)  # what is removed in part must never go back
    shutil.rmtree(folder, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where system or file system cannot."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    if hasattr(libc, "renameat2"):
        return bool(libc.renameat2(_HERE, names[0], _HERE, names[1], _SWAP) == 0)
    if hasattr(libc, "renamex_np"):
        return bool(libc.renamex_np(*names, _SWAP) == 0)
    return False
