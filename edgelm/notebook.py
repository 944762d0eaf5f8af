"""What a notebook shows of edgelm's objects: a title, facts and tables, as HTML that takes the notebook's own style.

Names and texts of strangers are text in it: nothing of them is a tag. Bundles carry this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgelm.lines import plain_text

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def html_view(title: str, facts: Mapping[str, str], *tables: Table) -> str:
    """A title, facts in one line, and tables one below the other; empty facts and tables are left out."""
    said = "; ".join(f"{name} {value}" for name, value in facts.items() if value)
    parts = [f"<strong>{_text(title)}</strong>", f"<div>{_text(said)}</div>" if said else ""]
    return "<div>" + "".join([*parts, *(_table(*table) for table in tables if table[1])]) + "</div>"


def lineage_tables(record: Mapping[str, Any]) -> list[Table]:
    """What each stage left and what is left of each layer, out of a record as `edgelm.json` and manifests hold it."""
    stages = record.get("stages") or ()
    names = list(dict.fromkeys(name for stage in stages for name in stage["after"]))
    rows = [
        [
            stage["stage"],
            f"{stage['parameters'] / 1e6:.2f}M",
            *(f"{stage['after'][name]:.4f}" if name in stage["after"] else "" for name in names),
            f"{stage['seconds']:.0f}",
        ]
        for stage in stages
    ]
    layers = [
        [str(index), str(layer["heads"]), str(layer["ffn"])] for index, layer in enumerate(record.get("layers") or ())
    ]
    return [(["stage", "weights", *names, "seconds"], rows), (["layer", "heads", "FFN channels"], layers)]


def checkpoint_html(checkpoint: Any) -> str:
    """A checkpoint: what it is for, its weights, and what was done to it."""
    facts = {"for": checkpoint.task.kind, "family": checkpoint.family, "weights": f"{checkpoint.size_mb:.1f} MB"}
    return html_view(f"Checkpoint {checkpoint.path}", facts, *lineage_tables(checkpoint.record.to_dict()))


def bundle_html(path: Any, manifest: Any, size_mb: float) -> str:
    """A bundle: what it is for, its quality beside that of the checkpoint it was made from, and its lineage."""
    facts = {
        "for": manifest.task.kind,
        "family": manifest.family,
        "precision": manifest.precision,
        "device": manifest.device or "",
        "size": f"{size_mb:.1f} MB",
    }
    before, after = (manifest.quality.get(name) or {} for name in ("checkpoint", "bundle"))
    quality = [
        [name, f"{before[name]:.4f}" if name in before else "", f"{value:.4f}"]
        for name, value in after.items()
        if isinstance(value, int | float)
    ]
    tables = [(["metric", "checkpoint", "bundle"], quality), *lineage_tables(manifest.lineage)]
    return html_view(f"Bundle {path}", facts, *tables)


def result_html(result: Any, verdicts: Sequence[Any] = ()) -> str:
    """What compressing made, beside the original, and how it stands to each bound of its budget."""
    before, record = result.original, result.record.to_dict()
    stages = [stage for stage in record["stages"] if stage["stage"] != "finetune"]  # which made the original
    first = {"stage": "original", "after": before["metrics"], "parameters": before["parameters"], "seconds": 0}
    facts = {
        "weights": f"{before['parameters'] / 1e6:.2f}M to {result.parameters / 1e6:.2f}M",
        "on disk": f"{before['size_mb']:.1f} MB to {result.size_mb:.1f} MB",
    }
    lineage = lineage_tables(record | {"stages": [first, *stages]})
    return html_view(f"Compressed: {result.path}", facts, _budget(verdicts), *lineage)


def _budget(verdicts: Sequence[Any]) -> Table:
    rows = []
    for bound in verdicts:
        figures = [f"{bound.asked:.3g}", f"{bound.got:.3g}", bound.unit, bound.source]
        rows.append([bound.name, *figures, "met" if bound.met else "not met"])
    return ["budget", "asked", "got", "unit", "figure", ""], rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return escape(plain_text(str(text)))
