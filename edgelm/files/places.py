"""How an output names a place on the machine that made it: so that nothing of that machine goes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_PARTS = 2  # of an absolute path: the file or folder, and the folder around it


def told_place(source: str | Path) -> str:
    """What a file that is passed on says of where data or a model came from.

    A relative path, the id of a model or data set and other words stay as they were given; of an absolute path, which
    tells of its maker's machine, the last two parts are left. Hashes beside it say what the content was.
    """
    text = str(source)
    path = Path(text)
    if not (path.is_absolute() or text.startswith("~")):
        return text
    parts = [part for part in path.parts if part not in (path.anchor, "~")]
    return "/".join(parts[-_PARTS:]) or path.name


def told_places(values: Any) -> Any:
    """JSON-ready values, such as the settings of a stage, in which every string that is a path is told so."""
    if isinstance(values, dict):
        return {name: told_places(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [told_places(value) for value in values]
    return told_place(values) if isinstance(values, (str, Path)) else values
