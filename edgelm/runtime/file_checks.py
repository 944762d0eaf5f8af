"""Looks at every file of a bundle: those that are listed, by size and hash, and what lies there beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgelm.errors import BundleError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.contents import FILE
from edgelm.runtime.graph_spec import OPTIMIZED_FILE
from edgelm.runtime.manifest import ENGINES_FOLDER, GOLDEN_FILE, UNLISTED


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what was found where it failed."""

    name: str
    ok: bool
    detail: str = ""


def check_files(bundle: Bundle, *, again: bool = True) -> Iterator[Check]:
    """A check of every file; what the device added counts as well, whether it is used or not.

    Args:
        again: also of files whose hashes were compared since the bundle was opened.
    """
    bundle = replace(bundle, check_hashes=True, manifest=replace(bundle.manifest, files=bundle.all_files()))
    for entry in bundle.manifest.files:
        try:
            bundle.check_file(entry.path, again=again)
        except BundleError as error:
            yield Check(
                entry.path, ok=False, detail=error.message.removeprefix(f"{bundle.path}: {entry.path}").lstrip(": ")
            )
        else:
            yield Check(entry.path, ok=True)
    known = {entry.path for entry in bundle.manifest.files} | UNLISTED
    for name, kind in bundle.contents():
        if kind != FILE:
            yield Check(_printable(name), ok=False, detail=f"{kind}; a bundle holds plain files alone")
        elif name not in known:
            yield Check(_printable(name), ok=False, detail=_why_unlisted(name))
    for needed in (*(graph.file for graph in bundle.manifest.graphs), GOLDEN_FILE):
        if needed not in known:
            yield Check(needed, ok=False, detail="the manifest does not list it")


def require_files(bundle: Bundle) -> None:
    """Look at every file whose hash was not compared since the bundle was opened.

    Raises:
        BundleError: one is not as it is listed, missing, or there beside those that are listed.
    """
    for check in check_files(bundle, again=False):
        if not check.ok:
            raise BundleError(
                f"{bundle.path}: {check.name}: {check.detail}.",
                hint="A signed bundle holds what its maker put there, and nothing else; see `edgelm verify --key`.",
            )


def _why_unlisted(name: str) -> str:
    if "__pycache__/" in name:
        return "not in the manifest; Python wrote it: delete the folder"
    made_by = "tune" if name == OPTIMIZED_FILE else "build" if name.startswith(f"{ENGINES_FOLDER}/") else None
    if made_by is not None:
        return (
            f"not in the manifest, so nothing reads it; an `edgelm {made_by}` that was cut off left it: delete it, or "
            f"{made_by} again"
        )
    return "not in the manifest"


def _printable(name: str) -> str:
    """A name that somebody gave a file, with escapes for what would move the cursor or is no UTF-8."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
