"""Outputs that are never half written: made aside, then moved in place."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.errors import OutputExistsError, ResourceError


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there already, before any work is done.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is not set.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already.", hint="Choose another --output, or add --overwrite to replace it.")


@contextmanager
def staged_output(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path (not there yet, beside `path`) to make a file or folder at; on success it becomes `path`.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is not set.
        ResourceError: the disk is full; nothing is left behind.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield aside / path.name
            if overwrite:
                _remove(path)
            (aside / path.name).replace(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Translate a full disk, or one that may not be written, into an error that says where.

    Raises:
        ResourceError: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"no space left on the disk of {path}.", hint="Free some space or choose another --output; nothing was left behind."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise ResourceError(f"{path} may not be written.", hint="Choose another --output.") from error
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
