"""Finds the plain files that come with edgelm: recipes, search spaces, devices and calibration data.

In a wheel they lie inside the package (`edgelm/_shipped/`), in an editable install beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgelm.errors import UsageError

Kind = Literal["recipes", "recipes/search", "devices", "calibration_data"]

# What one file of a kind is called, and where the others are described.
_NOUNS = {
    "recipes": ("recipe", "`edgelm recipes list` describes them."),
    "recipes/search": ("search space", "docs/how-to/search.md shows how to write one."),
    "devices": ("device", "`edgelm devices list` describes them."),
}

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(kind: Kind) -> Path:
    """The folder in which the shipped files of this kind lie."""
    for base in (_PACKAGE / "_shipped", _PACKAGE.parent):
        if (base / kind).is_dir():
            return base / kind
    raise FileNotFoundError(f"{kind}/ is missing from this installation of edgelm; install it again")


def shipped_file(name: Literal["LICENSE"]) -> Path:
    """A single file that is shipped.

    Raises:
        FileNotFoundError: it is missing from this installation.
    """
    for base in (_PACKAGE / "_shipped", _PACKAGE.parent):
        if (base / name).is_file():
            return base / name
    raise FileNotFoundError(f"{name} is missing from this installation of edgelm; install it again")


def shipped_names(kind: Kind, suffix: str = ".yaml") -> list[str]:
    """The names that can be given instead of a path, sorted."""
    return sorted(path.stem for path in shipped_folder(kind).glob(f"*{suffix}"))


def find_file(name_or_path: str | Path, kind: Literal["recipes", "recipes/search", "devices"]) -> Path:
    """The YAML file that a shipped name or a path stands for.

    Raises:
        UsageError: neither a file nor a shipped name; the shipped names are listed.
    """
    text = str(name_or_path)
    looks_like_path = "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))
    if not looks_like_path:
        shipped = shipped_folder(kind) / f"{text}.yaml"
        if _is_file(shipped):
            return shipped
    path = Path(text)
    if _is_file(path):
        return path
    noun, more = _NOUNS[kind]
    raise UsageError(
        f"no {noun} {text[:80]!r}: neither a file nor a name that edgelm ships.",
        hint=f"Shipped: {', '.join(shipped_names(kind))}. {more}",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that the system does not take
        return False
