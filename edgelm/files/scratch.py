"""Folders for files that are needed while something is made: gone afterwards and, where the process was killed, with
the next one that is opened."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.errors import ResourceError
from edgelm.files.locks import lock_left, make_locked_folder
from edgelm.files.output import disk_errors

_PREFIX = "edgelm-scratch-"
_HINT = "Free some space there, or name another folder for temporary files in TMPDIR."


@contextmanager
def open_scratch() -> Iterator[Path]:
    """A folder of this user's alone, where the system has its temporary files.

    Raises:
        ResourceError: there is no such place, or its disk is full, now or while the folder is in use.
    """
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ResourceError("no folder for temporary files can be written.", hint=_HINT) from error
    _clear_left(place)
    with disk_errors(place / _PREFIX, hint=_HINT):
        folder, held = make_locked_folder(place, _PREFIX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if held is not None:
                os.close(held)


def _clear_left(place: Path) -> None:
    """Remove what processes of this user left when they died."""
    for folder in place.glob(f"{_PREFIX}*"):
        held = lock_left(folder)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)
