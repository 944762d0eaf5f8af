"""Outputs that are never half written: made aside, then moved in place."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.errors import EdgelmError, OutputExistsError, ResourceError, UsageError
from edgelm.files.moving import move_in_place, open_workspace, restore
from edgelm.files.output_kinds import FILE, OutputKind
from edgelm.files.work import Work

_NOTHING = 4096  # bytes: a disk with less is full
_LONGEST_NAME = 200  # bytes: file systems take 255, and what is made beside an output has a longer name
_LONGEST_PATH = 3500  # bytes, of 4096 for the same reason


def check_output(path: Path, *, overwrite: bool, kind: OutputKind = FILE) -> None:
    """Refuse an output that cannot be written or must not be replaced, before any work is done.

    What a run that was killed had moved aside is put back first.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is not set, or it is no output of this kind.
        UsageError: no name for an output, or a place where none can be.
    """
    check_name(path)
    restore(path)
    if not os.path.lexists(path):
        return
    if path.is_dir() and not kind.folder:
        raise OutputExistsError(f"{path} is a folder.", hint=f"Name a file in it, such as {path / 'mine'}.")
    if not overwrite:
        raise OutputExistsError(
            f"{path} exists already.", hint="Choose another path for it, or add --overwrite to replace it."
        )
    objection = _objection(path, kind)
    if objection:
        raise OutputExistsError(
            f"{path} {objection}; --overwrite replaces {kind.noun} alone.",
            hint="Choose another path for it, or move it away yourself.",
        )


def check_name(path: Path) -> None:
    """Refuse a path that no output can have.

    Raises:
        UsageError: the path has no name, a name that is too long, or a file where a folder must be.
    """
    if path.name in ("", ".."):
        raise UsageError(
            f"{str(path)!r} names no new file or folder.", hint="Give it a name of its own, such as build/my-output."
        )
    long = (
        max(len(os.fsencode(part)) for part in path.parts) > _LONGEST_NAME
        or len(os.fsencode(path.absolute())) > _LONGEST_PATH
    )
    if long or "\0" in str(path):
        raise UsageError(
            f"{str(path)[:60]!r}... is no name for an output.", hint=f"Give it a name of at most {_LONGEST_NAME} bytes."
        )
    above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not above.is_dir():
        raise UsageError(f"{path}: {above} is no folder.", hint="Choose another path.")


def _objection(path: Path, kind: OutputKind) -> str:
    """Why what is there must not be replaced, in words that follow its path; empty: it may be."""
    if kind.folder:
        if not path.is_dir():
            return "is a file"
        return kind.objection(path) if any(path.iterdir()) else ""
    return "" if path.is_file() or path.is_symlink() else "is no regular file"


@contextmanager
def staged_output(
    path: str | Path, *, overwrite: bool = False, kind: OutputKind = FILE, work: Work | None = None
) -> Iterator[Path]:
    """Yield a path (not there yet, in a folder beside `path`) to make a file or folder at; on success it becomes
    `path`.

    Args:
        work: what was kept beside the output for a run that goes on after an interruption; it goes once the output is
            in its place.

    Raises:
        OutputExistsError, UsageError: as `check_output`, before and after.
        ResourceError: the disk is full; nothing is left behind.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite, kind=kind)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_workspace(path) as made:
            yield made
            check_output(path, overwrite=overwrite, kind=kind)  # it may have taken hours
            move_in_place(made, path, work)


def size_on_disk(output: Path) -> int:
    """Bytes of an output, a file or a folder."""
    files = [output] if output.is_file() else output.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def disk_errors(path: Path, *, hint: str = "") -> Iterator[None]:
    """Translate a full disk, or one that may not be written, into an error that says where.

    Args:
        hint: what to do about it; empty: to choose another path.

    Raises:
        ResourceError: instead of the OSError.
    """
    try:
        yield
    except (KeyboardInterrupt, EdgelmError):
        raise
    except Exception as error:  # libraries wrap the system's errors in classes of their own
        if _says_full(error) or (not isinstance(error, OSError) and _is_full(path)):
            raise ResourceError(
                f"no space left on the disk of {path}.",
                hint=hint or "Free some space or choose another path; nothing was left half written.",
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
            raise ResourceError(f"{path} may not be written.", hint=hint or "Choose another path.") from error
        raise


def _says_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def _is_full(path: Path) -> bool:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free < _NOTHING
