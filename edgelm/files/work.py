"""The folder in which a long run keeps what it has finished until its output is there."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

_HIDDEN = r"\..+\.edgelm(-\w{8}|\.lock)"  # workspaces and locks, which a run that was killed leaves beside an output


@dataclass(frozen=True)
class Work:
    """What is kept beside an output while it is made.

    Attributes:
        folder: where it lies.
        names: a regular expression of the names that were given there; whatever is called otherwise stays.
    """

    folder: Path
    names: str

    def remove(self) -> None:
        """Remove what was kept, and the folder if nothing else is in it."""
        if not self.folder.is_dir() or self.folder.is_symlink():
            return
        for entry in self.folder.iterdir():
            if re.fullmatch(f"{self.names}|{_HIDDEN}", entry.name):
                _remove(entry)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def note(self, file: Path, made: Path) -> None:
        """Write down that this work has no more use once what was made is in its place."""
        status = made.lstat()
        said = {"folder": self.folder.name, "names": self.names, "made": [status.st_dev, status.st_ino]}
        file.write_text(json.dumps(said), encoding="utf-8")


def remove_finished(file: Path, path: Path) -> None:
    """Remove the work that a note speaks of, if what was made of it is what lies at `path`."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, re.error):  # no note, or one that was cut off
        said, status = json.loads(file.read_text(encoding="utf-8")), path.lstat()
        if said["made"] == [status.st_dev, status.st_ino]:
            Work(path.with_name(Path(said["folder"]).name), said["names"]).remove()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
