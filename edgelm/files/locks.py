"""Locks of files and folders (flock), which the system releases when the process dies, however it dies."""

from __future__ import annotations


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
