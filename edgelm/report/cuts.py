"""What went of a model that writes, and what is left of each of its layers, by the lineage in its manifest."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgelm.markdown import Table
from edgelm.report.language import tr, tr_all
from edgelm.report.tables import bar, places_by_origin

_KINDS = {"heads": "heads of attention, or groups", "cross": "heads of attention to the source", "ffn": "FFN channels"}
_NAMES = {"heads": "attention", "cross": "attention to the source", "ffn": "FFN"}


def gone_table(profile: dict[str, Any]) -> Table:
    """Layers, whole sublayers of the others, their heads and channels, the hidden size, and tokens: how many there
    were, are left and went."""
    pairs = _pairs(profile)
    rows = []
    for stack in dict.fromkeys(before["stack"] for before, _, _ in pairs):
        own = [(before, now) for before, now, _ in pairs if before["stack"] == stack]
        left = [(before, now) for before, now in own if not _empty(now)]
        rows.append(_row(tr("{stack} layers", stack=tr(stack)), len(own), len(left)))
        for kind, title in _KINDS.items():
            held = [(before[kind] or 0, (now or {}).get(kind) or 0) for before, now in own]
            if not any(before for before, _ in held):
                continue
            whole = sum(1 for before, now in left if before[kind] and not (now or {}).get(kind))
            if whole:
                rows.append(
                    _row(
                        tr("{stack}: {part} in its layers", stack=tr(stack), part=tr(_NAMES[kind])),
                        len(left),
                        len(left) - whole,
                    )
                )
            rows.append(
                _row(f"{tr(stack)}: {tr(title)}", sum(before for before, _ in held), sum(now for _, now in held))
            )
    lineage = profile["manifest"].get("lineage") or {}
    for name, title in (("hidden", "hidden size"), ("tokens", "tokens")):
        if cut := lineage.get(name):
            rows.append(_row(tr(title), cut["original"], cut["kept"]))
    return [*tr_all("what", "before", "left", "gone"), ""], rows


def kept_table(profile: dict[str, Any]) -> Table:
    """One row a layer: what is left of how much."""
    pairs = _pairs(profile)
    kinds = [kind for kind in _KINDS if any(before[kind] for before, _, _ in pairs)]
    header = [tr("layer"), *(cell for kind in kinds for cell in (tr(_NAMES[kind]), "")), tr("gone")]
    rows = []
    for before, now, number in pairs:
        row = [f"{tr(before['stack'])} {number}"]
        for kind in kinds:
            most, left = before[kind] or 0, (now or {}).get(kind) or 0
            row += [f"{left:,}/{most:,}", bar(left / most)] if most else ["", ""]
        lost = [tr(_NAMES[kind]) for kind in kinds if before[kind] and not (now or {}).get(kind)]
        rows.append([*row, tr("the layer") if _empty(now) else ", ".join(lost)])
    return header, rows


def _pairs(profile: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any] | None, int]]:
    """Each layer of the model that it all began with, what is left of it, and its number in its stack."""
    lineage = profile["manifest"].get("lineage") or {}
    layers, before = lineage.get("layers") or [], lineage.get("original_layers") or []
    if not layers or not before:
        return []
    left = {number: layers[place] for number, place in places_by_origin(layers).items()}
    numbers: Counter[str] = Counter()
    found = []
    for place, layer in enumerate(before):
        found.append((layer, left.get(place), numbers[layer["stack"]]))
        numbers[layer["stack"]] += 1
    return found


def _empty(layer: dict[str, Any] | None) -> bool:
    return layer is None or not (layer["heads"] or layer["ffn"] or layer.get("cross"))


def _row(what: str, before: int, left: int) -> list[str]:
    return [what, f"{before:,}", f"{left:,}", f"{1 - left / before:.1%}", bar(left / before)]
