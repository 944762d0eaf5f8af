"""Outputs that are never half written: made aside, then moved in place."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.errors import EdgelmError, OutputExistsError, ResourceError

_NOTHING = 4096  # bytes: a disk with less is full


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there already, before any work is done.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is not set.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already.", hint="Choose another path for it, or add --overwrite to replace it.")


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
    except (KeyboardInterrupt, EdgelmError):
        raise
    except Exception as error:  # libraries wrap the system's errors in classes of their own
        if _says_full(error) or (not isinstance(error, OSError) and _is_full(path)):
            raise ResourceError(
                f"no space left on the disk of {path}.", hint="Free some space or choose another --output; nothing was left half written."
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
            raise ResourceError(f"{path} may not be written.", hint="Choose another --output.") from error
        raise


def _says_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def _is_full(path: Path) -> bool:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free < _NOTHING


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
