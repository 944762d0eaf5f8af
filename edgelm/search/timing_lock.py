"""Keeps a machine still while a latency is measured: trials that train beside it stop between two of their steps.

A readers-writer lock across processes (flock), which the system releases when one dies: workers hold it shared and
release it every step, the measuring process takes it exclusively. A turnstile, which the measuring process holds from
the moment it waits, keeps two workers that step in turn from starving it.
"""

from __future__ import annotations

import fcntl
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgelm.progress import Progress


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold up every worker of this machine that works in `folder`, each at its next step; one holder at a time."""
    with _files(folder) as (gate, room):
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX)
        yield


@contextmanager
def shared(folder: Path) -> Iterator[Progress]:
    """Work among others. The progress that is yielded must be told of every step: it is where the work waits."""
    with _files(folder) as (gate, room):

        def enter() -> None:
            fcntl.flock(gate, fcntl.LOCK_SH)
            fcntl.flock(room, fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)

        def step(description: str, done: int, total: int) -> None:
            fcntl.flock(room, fcntl.LOCK_UN)
            enter()

        enter()
        yield step


@contextmanager
def _files(folder: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The two files, named after the machine: on a shared disk the workers of other machines disturb nobody here."""
    folder.mkdir(parents=True, exist_ok=True)
    name = platform.node() or "machine"
    with (folder / f".{name}.gate").open("ab") as gate, (folder / f".{name}.room").open("ab") as room:
        yield gate, room
