"""Moves what was made aside into its place, so that the old or the new is there whenever the process is cut off.

A workspace is a hidden folder beside the place: `new/NAME` is being made, `old/NAME` was there before. Whoever makes it
holds a lock on it, which the system releases when the process dies; the next run finds it unlocked, puts the old back
where nothing is, and removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.files.locks import lock

_NEW, _OLD, _DONE = "new", "old", "done"
_HERE = -100  # AT_FDCWD of Linux: names are relative to the current folder
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS


@contextmanager
def open_workspace(path: Path) -> Iterator[Path]:
    """A path of the same name to make a file or folder at, in a workspace beside `path`, which is gone afterwards."""
    folder, held = _begin(path)
    try:
        yield folder / _NEW / path.name
    finally:
        _clear(folder, path)
        if held is not None:
            os.close(held)


def move_in_place(made: Path, path: Path) -> None:
    """Give `path` what was made in a workspace of it; what was there before goes with the workspace.

    At no time is nothing there, but for a moment on a file system that cannot exchange two names: `restore` mends a cut
    in it.
    """
    if not os.path.lexists(path) or not (path.is_dir() or made.is_dir()):
        made.replace(path)
    elif not _exchange(made, path):
        old = made.parent.parent / _OLD / path.name
        old.parent.mkdir()
        path.rename(old)
        made.rename(path)


def restore(path: Path) -> None:
    """Put back what a process that died in the middle of moving had put aside, and remove its workspaces."""
    with contextlib.suppress(OSError):  # a folder that is not there, or may not be looked into, holds none
        for folder in [entry for entry in path.parent.iterdir() if entry.name.startswith(_prefix(path))]:
            if folder.is_symlink() or not {entry.name for entry in folder.iterdir()} <= {_NEW, _OLD, _DONE}:
                continue  # none of ours
            held = _lock(folder)
            if held is not None:
                _clear(folder, path)
                os.close(held)


def _prefix(path: Path) -> str:
    return f".{path.name}.edgelm-"


def _begin(path: Path) -> tuple[Path, int | None]:
    """A new workspace, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
        held = _lock(folder, wait=True)
        try:
            (folder / _NEW).mkdir()
        except FileNotFoundError:  # before it was locked, another run took it for a leftover
            if held is not None:
                os.close(held)
        else:
            return folder, held


def _lock(folder: Path, *, wait: bool = False) -> int | None:
    """A descriptor that holds the lock of a workspace; None: another process holds it, or system or file system have no
    such locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):  # gone; or Windows, which opens no folders
        return None
    if lock(descriptor, wait=wait):
        return descriptor
    os.close(descriptor)
    return None


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
