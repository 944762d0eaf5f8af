"""Locks of files and folders (flock), which the system releases when the process dies, however it dies."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Take the lock of an open file or folder; closing it gives the lock back.

    Returns:
        True: it is ours. False: another has it. None: this system or file system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def lies_at(descriptor: int, path: Path) -> bool:
    """Whether what is open is what lies at this path now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def lock_left(path: Path) -> int | None:
    """A descriptor that holds the lock of a file or folder that a process left when it died; None: it lives, or nobody
    can know."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # gone, a link, not ours; or Windows, which opens no folders
        return None
    if lock(descriptor) and lies_at(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def make_locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """A new folder whose name begins so, and the descriptor that holds its lock; None: there are no such locks."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except PermissionError:  # Windows opens no folders
            return folder, None
        if lock(descriptor, wait=True) is None:
            os.close(descriptor)
            return folder, None
        if lies_at(descriptor, folder):
            return folder, descriptor
        os.close(descriptor)  # before it was locked, another run took it for a leftover
