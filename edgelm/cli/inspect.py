"""`edgelm inspect`: what is in a checkpoint, a bundle, an ONNX file or a calibration table."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, Quiet, Verbose
from edgelm.cli.tables import hidden_line, make_table, metrics_line, shapes_line, sparkline, tokens_line

_LATER_LAYER = re.compile(r"\.[1-9]\d*\.(key|value)$")


def inspect(
    path: Annotated[Path, typer.Argument(help="A checkpoint folder, a bundle, an ONNX file or a calibration table.")],
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run the graph, for the operators that onnxruntime makes of it here.")
    ] = True,
    sites: Annotated[
        bool, typer.Option("--sites", help="Also show what quantization chose for each activation.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show shapes, sizes, precision and lineage; of a graph its operators as traced, as written and as run here, with
    their times; of a calibration table its histograms.

    Example: edgelm inspect build/my-model.edge
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.inspection import inspect as look

        screen.result(look(path, run=run), lambda console, values: _draw(console, values, with_sites=sites))


def _draw(console: Console, values: dict[str, Any], *, with_sites: bool) -> None:
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
        rows |= {"files": str(len(manifest["files"])), "runs with": ", ".join(manifest["runtimes"])} | _engine_rows(
            manifest
        )
        rows |= _generation_rows(values.get("generation"))
        for name, value in (manifest["quality"] or {}).get("bundle", {}).items():
            rows[name] = f"{value:.4f}"
    task = record.get("task")
    if task:
        rows["task"] = task["kind"] + (f", {len(task['labels'])} labels" if task.get("labels") else "")
    _rows(console, rows)
    _draw_lineage(console, record)
    if values.get("graph"):
        _draw_graph(console, values["graph"])
        _draw_operators(console, values["graph"], values.get("run"))
    for name, graph in values.get("graphs", {}).items():
        if graph:
            console.print(f"graph {name}:")
            _draw_graph(console, graph)
            _draw_operators(console, graph, values.get("run") if name == "decoder" else None)
    if values["kind"] == "calibration":
        _draw_calibration(console, values)
    if with_sites:
        _draw_sites(console, values.get("manifest", {}).get("calibration", {}).get("sites", []))


def _generation_rows(found: dict[str, Any] | None) -> dict[str, str]:
    """Context, cache and settings of a model that writes; of the settings those that are not as usual."""
    if found is None:
        return {}
    from edgelm.tasks.generation import GenerationSettings

    usual = asdict(GenerationSettings())
    changed = {name: value for name, value in found["settings"].items() if value != usual[name]}
    return {
        "context": f"{found['context']:,} tokens",
        "vocabulary": f"{found['vocabulary']:,} tokens",
        "keys and values": f"{found['cache_bytes_per_token'] / 1e3:.1f} kB a token, "
        f"{found['cache_bytes_per_token'] * found['context'] / 1e6:.1f} MB in all",
        "settings": ", ".join(f"{name} {value}" for name, value in changed.items()) or "as usual",
        "chat template": "yes" if found["chat"] else "none",
    }


def _engine_rows(manifest: dict[str, Any]) -> dict[str, str]:
    """The plan of engines, and each engine with what it was built with."""
    graph, rows = manifest["graphs"][0], {}
    if graph["plan"] is not None:
        rows["engine plan, texts x tokens"] = shapes_line(graph["plan"]["profiles"])
    for engine in graph["engines"]:
        driver = f", driver for CUDA {engine['driver']}" if engine["driver"] else ""
        proven = (
            "not replayed yet" if engine["difference"] is None else f"golden samples within {engine['difference']:.2g}"
        )
        capabilities = ", ".join(engine["compute_capabilities"])
        rows[engine["path"]] = (
            f"{engine['package']} {engine['version']}, compute capability {capabilities}{driver}; {proven}"
        )
    return rows


def _rows(console: Console, rows: dict[str, str]) -> None:
    table = make_table("", "", numbers_from=2)
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _draw_lineage(console: Console, record: dict[str, Any]) -> None:
    for index, layer in enumerate(record.get("layers", ())):
        half = "; gives on half of the tokens" if layer.get("halves") else ""
        left = f"; {layer['left']:.0%} of the texts leave behind it" if layer.get("left") else ""
        console.print(f"layer {index}: {layer['heads']} heads, {layer['ffn']} FFN channels{half}{left}")
    if record.get("hidden"):
        console.print(hidden_line(record["hidden"]))
    if record.get("tokens"):
        console.print(tokens_line(record["tokens"]))
    for stage in record.get("stages", ()):
        console.print(f"{stage['stage']}: {metrics_line(stage['after'])}")


def _draw_graph(console: Console, graph: dict[str, Any]) -> None:
    _rows(
        console,
        {
            "opset": ", ".join(f"{domain} {version}" for domain, version in graph["opset"].items()),
            "inputs": _tensors(graph["inputs"]),
            "outputs": _tensors(graph["outputs"]),
            "constants": ", ".join(
                f"{dtype} {size / 1e6:.2f} MB" for dtype, size in graph["constant_bytes_by_dtype"].items()
            ),
        },
    )


def _tensors(values: list[dict[str, Any]]) -> str:
    """Names and shapes; of keys and values those of the first layer alone."""
    shown = [value for value in values if not _LATER_LAYER.search(value["name"])]
    left = len(values) - len(shown)
    named = ", ".join(f"{value['name']} {value['shape']}" for value in shown)
    return named + (f", and {left} of the layers behind" if left else "")


def _draw_operators(console: Console, graph: dict[str, Any], run: dict[str, Any] | None) -> None:
    ran = {row["name"]: row for row in (run or {}).get("operators", ())}
    traced, written = graph["traced_operators"], graph["operators"]
    table = make_table("operator", "traced", "in the file", "run here", "ms per call", "share")
    for name in dict.fromkeys([*ran, *written, *traced]):
        row = ran.get(name)
        figures = (str(row["nodes"]), f"{row['ms_per_call']:.4f}", f"{row['share']:.1%}") if row else ("", "", "")
        table.add_row(name, str(traced.get(name, "")), str(written.get(name, "")), *figures)
    nodes, spent = sum(row["nodes"] for row in ran.values()), sum(row["ms_per_call"] for row in ran.values())
    table.add_row(
        "all",
        str(sum(traced.values()) or ""),
        str(sum(written.values())),
        str(nodes or ""),
        f"{spent:.4f}" if ran else "",
        "",
    )
    console.print(table)
    if run is not None and "error" in run:
        console.print(f"Not run here: {run['error']}")


def _draw_calibration(console: Console, values: dict[str, Any]) -> None:
    _rows(console, {name: str(value) for name, value in values["source"].items()} | {"for": values["target"]})
    table = make_table("activation", "values, logarithmic", "from", "to", numbers_from=2)
    for row in values["activations"]:
        table.add_row(row["name"], sparkline(row["histogram"]), f"{row['low']:.3g}", f"{row['high']:.3g}")
    console.print(table)
    _draw_sites(console, [{"site": name} | entry for name, entry in values["chosen"].items()])


def _draw_sites(console: Console, sites: list[dict[str, Any]]) -> None:
    table = make_table("site", "option", "from", "to", "error alone", numbers_from=2)
    for row in sites:
        low, high = (f"{value:.3g}" for value in row["interval"]) if row.get("interval") else ("", "")
        option = row["option"] + (f" {row['alpha']}" if row.get("alpha") is not None else "")
        table.add_row(row["site"], option, low, high, f"{row['error']:.2g}" if "error" in row else "")
    console.print(table)
