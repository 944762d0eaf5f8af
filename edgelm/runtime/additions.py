"""What a device adds to a signed bundle, listed apart: engines, tuned session settings and optimized graphs.

The maker's signature covers `manifest.json`, which therefore stays as it is. `device.json` says beside it which files
came on the device, with their hashes, and what of the manifest's graphs holds in the place of what the maker wrote. It
may have a signature of its own, by a key of the device.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgelm.errors import BundleError
from edgelm.field_types import check_types
from edgelm.limits import read_json
from edgelm.runtime.graph_spec import OPTIMIZED_FILE
from edgelm.runtime.manifest import DEVICE_FILE, ENGINES_FOLDER, FileEntry, Manifest
from edgelm.runtime.manifest_schemas import SCHEMA_VERSION

_SCHEMA = 1
_CHANGED = ("session", "plan", "engines")  # fields of a graph that a device may give
_ENGINE = re.compile(rf"{ENGINES_FOLDER}/[\w.+-]+\.engine", re.ASCII)


@dataclass(frozen=True)
class Additions:
    """The content of `device.json`.

    Attributes:
        manifest: SHA-256 of the manifest that it is added to.
        graphs: by a graph's name, the fields that hold in the place of the manifest's: session, plan and engines, as
            the newest schema writes them.
        files: that came on the device.
    """

    manifest: str
    graphs: dict[str, dict[str, Any]]
    files: tuple[FileEntry, ...]
    schema: int = _SCHEMA

    @classmethod
    def between(cls, text: bytes, after: Manifest) -> Additions:
        """What leads from the manifest with this text to another one.

        Raises:
            BundleError: a file of the manifest would be another one.
        """
        before = Manifest.from_json(text)
        made = {entry.path: entry for entry in before.files}
        for entry in after.files:
            if made.get(entry.path, entry) != entry:
                raise BundleError(
                    f"{entry.path} is part of the signed bundle, and may not be replaced.",
                    hint="Have its maker export and sign the bundle again.",
                )
        old, new = ({graph["name"]: graph for graph in each.to_dict()["graphs"]} for each in (before, after))
        graphs = {
            name: {field: graph[field] for field in _CHANGED}
            for name, graph in new.items()
            if any(graph[field] != old[name][field] for field in _CHANGED)
        }
        files = tuple(entry for entry in after.files if entry.path not in made)
        return cls(hashlib.sha256(text).hexdigest(), graphs, files)

    @property
    def names(self) -> list[str]:
        """What was added, in words for people."""
        settings = [f"session settings of {name}" for name, graph in self.graphs.items() if graph["session"]]
        return [*(entry.path for entry in self.files), *settings]

    def applied(self, manifest: Manifest) -> Manifest:
        """The manifest with what was added to it; it is checked as any manifest.

        Raises:
            BundleError: a graph that it has not, or values that no manifest may have.
        """
        values = manifest.to_dict()
        known = {graph["name"] for graph in values["graphs"]}
        if strange := sorted(self.graphs.keys() - known):
            raise _refusal(f"there is no graph {strange[0]!r}")
        if again := {entry.path for entry in manifest.files} & {entry.path for entry in self.files}:
            raise _refusal(f"{min(again)} is part of the signed bundle")
        values["graphs"] = [graph | self.graphs.get(graph["name"], {}) for graph in values["graphs"]]
        values["files"] += [asdict(entry) for entry in self.files]
        merged = Manifest.from_json(json.dumps(values | {"schema": SCHEMA_VERSION}))
        return replace(merged, schema=manifest.schema)

    def to_json(self) -> bytes:
        """The text of `device.json`."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, manifest: bytes) -> Additions:
        """The inverse of `to_json`.

        Args:
            manifest: the text of the manifest beside it.

        Raises:
            BundleError: not as `to_json` writes it, files that no device adds, or it was added to another bundle.
        """
        try:
            values = read_json(data, DEVICE_FILE)
            check_types(cls, values, DEVICE_FILE)
            found = cls(**values | {"files": tuple(FileEntry(**entry) for entry in values["files"])})
            canonical = found.to_json() == data
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _refusal("not a list of what a device added") from error
        if found.schema != _SCHEMA or not canonical:
            raise _refusal("not as this edgelm writes it")
        if found.manifest != hashlib.sha256(manifest).hexdigest():
            raise _refusal("it was added to another bundle")
        for graph in found.graphs.values():
            if set(graph) != set(_CHANGED):
                raise _refusal(f"a device says {', '.join(_CHANGED)} of a graph")
        names = [entry.path for entry in found.files]
        strange = [name for name in names if name != OPTIMIZED_FILE and not _ENGINE.fullmatch(name)]
        if strange or len(set(names)) < len(names):
            raise _refusal(f"no device adds {(strange or names)[0]!r}")
        return found


def _refusal(what: str) -> BundleError:
    return BundleError(
        f"{DEVICE_FILE}: {what}.",
        hint=f"Delete {DEVICE_FILE}: the bundle is whole without what this device added to it.",
    )
