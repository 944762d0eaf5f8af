"""Manifests of older schemas: read as if they were of the newest, and written again as they were.

Up to schema 3 a bundle had one graph, whose fields stood in the manifest itself; roles of tensors were told from their
names, and an engine's profiles were lists of (texts, tokens). The runtime that such a bundle carries reads that alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelm.errors import BundleError
from edgelm.field_types import check_types
from edgelm.runtime.graph_spec import GRAPH_FILE, MODEL, ROLES

SCHEMA_VERSION = 4  # 2: engines; 3: how long texts are cut; 4: graphs
_GRAPH_FIELDS = ("opset", "inputs", "outputs", "session", "parity", "pair_sum", "plan", "engines")
_FIRST_WITH_GRAPHS = 4
_AXES = ("batch", "sequence")


@dataclass(frozen=True)
class _OldRange:
    """A profile up to schema 3: (texts, tokens)."""

    least: tuple[int, int]
    usual: tuple[int, int]
    most: tuple[int, int]


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a manifest of any schema as the newest has them; `schema` stays.

    Raises:
        BundleError: an older one has an input or output that no graph of its time had, or a profile that is none.
    """
    if values["schema"] >= _FIRST_WITH_GRAPHS:
        return values
    graph = {name: values[name] for name in _GRAPH_FIELDS if name in values}
    for side in ("inputs", "outputs"):
        if isinstance(graph.get(side), list):
            graph[side] = [_with_role(entry, f"{side}[{index}]") for index, entry in enumerate(graph[side])]
    if isinstance(graph.get("plan"), dict):
        graph["plan"] = _with_axes(graph["plan"], "plan")
    if isinstance(graph.get("engines"), list):
        graph["engines"] = [
            entry | {"plan": _with_axes(entry["plan"], f"engines[{index}]: plan")}
            if isinstance(entry, dict) and isinstance(entry.get("plan"), dict)
            else entry
            for index, entry in enumerate(graph["engines"])
        ]
    others = {name: value for name, value in values.items() if name not in _GRAPH_FIELDS}
    return others | {"graphs": [{"name": MODEL, "file": GRAPH_FILE} | graph]}


def downgrade(values: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `upgrade`: JSON-ready fields of a manifest as those of its schema are written."""
    if values["schema"] >= _FIRST_WITH_GRAPHS:
        return values
    (graph,) = values["graphs"]
    graph = {name: graph[name] for name in _GRAPH_FIELDS} | {
        side: [{name: spec[name] for name in ("name", "dtype", "shape")} for spec in graph[side]]
        for side in ("inputs", "outputs")
    }
    graph["plan"] = _without_axes(graph["plan"])
    graph["engines"] = [entry | {"plan": _without_axes(entry["plan"])} for entry in graph["engines"]]
    return {name: value for name, value in values.items() if name != "graphs"} | graph


def _with_role(entry: Any, place: str) -> Any:
    """A tensor with the role that its name tells; what is no tensor stays, to be refused by its type."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return entry
    if entry["name"] not in ROLES:
        raise BundleError(
            f"manifest.json: {place}: {entry['name']!r} is not one of {', '.join(ROLES)}.",
            hint="Export the bundle again.",
        )
    return entry | {"role": ROLES[entry["name"]]}


def _with_axes(plan: dict[str, Any], place: str) -> dict[str, Any]:
    check_types(list[_OldRange], plan.get("profiles", []), f"manifest.json: {place}: profiles")
    profiles = [
        {"axes": {axis: [entry[name][at] for name in ("least", "usual", "most")] for at, axis in enumerate(_AXES)}}
        for entry in plan.get("profiles", [])
    ]
    return plan | {"profiles": profiles}


def _without_axes(plan: dict[str, Any] | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    profiles = [
        {name: [entry["axes"][axis][at] for axis in _AXES] for at, name in enumerate(("least", "usual", "most"))}
        for entry in plan["profiles"]
    ]
    return plan | {"profiles": profiles}
