"""`edgelm inspect`: what is in a checkpoint, a bundle or an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.options import Json, Quiet, Verbose
from edgelm.cli.screen import open_screen
from edgelm.cli.tables import make_table, metrics_line


def inspect(
    path: Annotated[Path, typer.Argument(help="A checkpoint folder, a bundle or an ONNX file.")],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show shapes, sizes, precision and lineage.

    Example: edgelm inspect build/my-model.edge
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.inspection import inspect as look

        screen.result(look(path), _draw)


def _draw(console: Console, values: dict[str, Any]) -> None:
    rows = {"kind": values["kind"], "size": f"{values['size_mb']:.1f} MB"}
    record = values.get("record") or {}
    if values["kind"] == "checkpoint":
        rows |= {"family": values["family"], "weights": f"{values['weights']:,}"}
        rows |= {f"  in {part}": f"{count:,}" for part, count in values["weights_by_part"].items()}
        rows |= {f"  as {dtype}": f"{count:,}" for dtype, count in values["weights_by_dtype"].items()}
    if values["kind"] == "bundle":
        manifest = values["manifest"]
        record = manifest["lineage"]
        rows |= {name: str(manifest[name]) for name in ("name", "family", "precision", "device", "created")}
        rows["files"] = str(len(manifest["files"]))
        for name, value in (manifest["quality"] or {}).get("bundle", {}).items():
            rows[name] = f"{value:.4f}"
    task = record.get("task")
    if task:
        rows["task"] = task["kind"] + (f", {len(task['labels'])} labels" if task["labels"] else "")
    _rows(console, rows)
    _draw_lineage(console, record)
    if values.get("graph"):
        _draw_graph(console, values["graph"])


def _rows(console: Console, rows: dict[str, str]) -> None:
    table = make_table("", "", numbers_from=2)
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _draw_lineage(console: Console, record: dict[str, Any]) -> None:
    for index, layer in enumerate(record.get("layers", ())):
        console.print(f"layer {index}: {layer['heads']} heads, {layer['ffn']} FFN channels")
    for stage in record.get("stages", ()):
        console.print(f"{stage['stage']}: {metrics_line(stage['after'])}")


def _draw_graph(console: Console, graph: dict[str, Any]) -> None:
    _rows(
        console,
        {
            "opset": ", ".join(f"{domain} {version}" for domain, version in graph["opset"].items()),
            "inputs": ", ".join(f"{value['name']} {value['shape']}" for value in graph["inputs"]),
            "outputs": ", ".join(f"{value['name']} {value['shape']}" for value in graph["outputs"]),
            "constants": ", ".join(f"{dtype} {size / 1e6:.2f} MB" for dtype, size in graph["constant_bytes_by_dtype"].items()),
        },
    )
    table = make_table("operator", "nodes")
    for name, count in graph["operators"].items():
        table.add_row(name, str(count))
    console.print(table)
