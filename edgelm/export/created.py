"""When a bundle was made, as its manifest says it: told by what it is made of, so that the same inputs give the same
bytes."""

from __future__ import annotations

import os
from datetime import datetime, timezone

from edgelm.checkpoint import Checkpoint
from edgelm.errors import UsageError

EPOCH = "SOURCE_DATE_EPOCH"


def created(checkpoint: Checkpoint) -> str:
    """ISO 8601, UTC: the seconds in the environment's SOURCE_DATE_EPOCH, or else when the checkpoint's weights and
    configuration were last changed.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is no time.

    Source: reproducible-builds.org, specification of SOURCE_DATE_EPOCH.
    """
    given = os.environ.get(EPOCH)
    if given:
        try:
            if not (given.isascii() and given.isdigit()):
                raise ValueError
            return _text(int(given))
        except (ValueError, OverflowError, OSError) as error:
            raise UsageError(
                f"{EPOCH} is {given[:40]!r}; it must be a time in seconds since 1970.",
                hint="Set it to such a number, as `date +%s` prints it, or unset it.",
            ) from error
    files = [file for file in (checkpoint.path / "config.json", *checkpoint.files) if file.is_file()]
    return _text(int(max(file.stat().st_mtime for file in files)))


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
