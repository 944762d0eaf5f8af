"""One process at a time makes or changes an output: it holds a lock on a hidden file beside it.

The file says who holds it. It goes when the work ends; what a process that was killed left of it holds nobody up, since
the system releases the lock, and the next run takes the file over.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path

from edgelm.errors import OutputInUseError
from edgelm.files.locks import lies_at, lock
from edgelm.files.moving import claim_file
from edgelm.files.output import check_name, disk_errors

_PATIENCE_S = 1.0  # a process that was killed just now is still being taken apart
_mine: ContextVar[frozenset[Path]] = ContextVar("mine", default=frozenset())  # claimed further up in this call


@contextmanager
def claim(path: str | Path) -> Iterator[None]:
    """Be the only one who makes or changes what lies at `path`. Claiming it again further down does nothing.

    Raises:
        OutputInUseError: another process, or another thread of this one, is at it.
        UsageError: no name for an output, or a place where none can be.
        ResourceError: the folder may not be written.
    """
    check_name(Path(path))
    path = Path(path).absolute()
    file = claim_file(path.parent.resolve() / path.name)
    if file in _mine.get():
        yield
        return
    with disk_errors(path):
        new = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _take(file, path)
    token = _mine.set(_mine.get() | {file})
    try:
        yield
    finally:
        _mine.reset(token)
        file.unlink(missing_ok=True)
        os.close(descriptor)
        with contextlib.suppress(OSError):  # something lies there now
            for folder in new:
                folder.rmdir()


def _take(file: Path, path: Path) -> int:
    """A descriptor that holds the lock of the file that lies there now."""
    late = time.monotonic() + _PATIENCE_S
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        held = lock(descriptor) is False
        if not held and lies_at(descriptor, file):
            _sign(descriptor)
            return descriptor
        holder = _holder(descriptor) if held else ""
        os.close(descriptor)
        if held:  # else who held it has taken it away meanwhile
            if time.monotonic() > late:
                raise OutputInUseError(
                    f"another process works on {path}{holder}.",
                    hint="Wait for it, end it, or choose another path. A process that was killed holds nothing.",
                )
            time.sleep(0.05)


def _sign(descriptor: int) -> None:
    """Write down who holds the lock, for others to read."""
    said = {
        "process": os.getpid(),
        "machine": platform.node(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(said).encode(), 0)


def _holder(descriptor: int) -> str:
    """Who holds the lock, in words that follow what it is held on."""
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        place = "" if said["machine"] == platform.node() else f" on {said['machine']}"
        return f": process {int(said['process'])}{place}, since {datetime.fromisoformat(said['since'])}"
    except (ValueError, KeyError, TypeError):  # it has only just been taken
        return ""
