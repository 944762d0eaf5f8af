"""`edgelm export`: a checkpoint as a bundle for a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.choices import CalibrationChoice, ExportFormat, ExportPrecision, RangeMethod, Rounding
from edgelm.cli.command import argument, unused
from edgelm.cli.console import open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import (
    FirstLabel,
    Json,
    LabelColumn,
    LabelFormat,
    MissingLabel,
    Overwrite,
    PairColumn,
    Quiet,
    SkipBadRows,
    TaskName,
    TextColumn,
    Verbose,
)
from edgelm.cli.panels import GRAPH, QUANTIZATION, ROWS
from edgelm.cli.tables import make_table

BUNDLE: ExportFormat = "bundle"


def export(
    checkpoint: Annotated[str, typer.Argument(help="Folder or hub id of a model, compressed or not.")],
    output: Annotated[
        Path, typer.Option("--output", help="The bundle: a folder, or one file if the name ends in .edgelm.")
    ],
    device: Annotated[str, typer.Option("--device", help="Name of the target device, or a YAML file.")] = "cpu",
    precision: Annotated[
        ExportPrecision, typer.Option("--precision", help="Those with an underscore, f32 and f16 are of --format gguf.")
    ] = "int8",
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", help="Texts like those the model will see. Default: general English text."),
    ] = None,
    calibration_method: Annotated[
        RangeMethod,
        typer.Option(
            help="How the ranges of activations are found; auto: of each, by what it costs the outputs.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = "auto",
    calibration_samples: Annotated[
        int, typer.Option(min=8, help="How many texts to calibrate on.", rich_help_panel=QUANTIZATION)
    ] = 256,
    calibration_choice: Annotated[
        CalibrationChoice,
        typer.Option(
            help="Which texts: as they come, spread over lengths, as many of each label, or the most diverse.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = "random",
    calibration_table: Annotated[
        Path | None,
        typer.Option(help="File of ranges: used if it is there, else written.", rich_help_panel=QUANTIZATION),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Points of the metric that may be lost; what costs more stays in float. Needs labelled rows.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = None,
    rounding: Annotated[
        Rounding | None,
        typer.Option(
            help="Of weights. Default: the better of nearest and adaptive; gptq for int4.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = None,
    per_tensor: Annotated[
        bool,
        typer.Option(
            "--per-tensor", help="One scale for a whole weight, not one a column.", rich_help_panel=QUANTIZATION
        ),
    ] = False,
    embedding_bits: Annotated[
        int | None,
        typer.Option(
            help="Of embedding tables in integer bundles for a CPU: 8, or 4 to halve them. Default: what compress "
            "chose, or 8.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = None,
    cache_bits: Annotated[
        int | None,
        typer.Option(
            help="Of a generator's keys and values: 8 quarters their memory. Default: floats.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = None,
    symmetric: Annotated[
        bool,
        typer.Option(
            "--symmetric", help="Activation ranges as long below zero as above.", rich_help_panel=QUANTIZATION
        ),
    ] = False,
    evaluation: Annotated[str | None, typer.Option("--eval", help="Labelled rows to measure the bundle on.")] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=8, help="Longest text, in tokens. Default: what the model takes, at most 512.", rich_help_panel=ROWS
        ),
    ] = None,
    pairs: Annotated[
        bool | None,
        typer.Option(
            "--pairs/--no-pairs",
            help="The model reads two texts at once, or one. Default: what the checkpoint or the data say.",
            rich_help_panel=ROWS,
        ),
    ] = None,
    single: Annotated[
        bool,
        typer.Option(
            "--single",
            help="For one text at a time, unpadded: the graph needs no mask.",
            rich_help_panel=GRAPH,
        ),
    ] = False,
    max_batch: Annotated[
        int,
        typer.Option(
            "--max-batch",
            min=1,
            help="Most texts that a GPU answers at once: what an engine is built for.",
            rich_help_panel=GRAPH,
        ),
    ] = 1,
    engine: Annotated[
        bool,
        typer.Option(
            "--engine/--no-engine",
            help="Put a TensorRT engine in, where the device runs one and it can be built here.",
            rich_help_panel=GRAPH,
        ),
    ] = True,
    opset: Annotated[
        int | None,
        typer.Option(min=1, help="Of the standard ONNX operators. Default: the exporter's.", rich_help_panel=GRAPH),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of samples.", rich_help_panel=QUANTIZATION)] = 0,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    label_format: LabelFormat = None,
    first_label: FirstLabel = None,
    missing_label: MissingLabel = None,
    skip_bad_rows: SkipBadRows = False,
    kind: TaskName = None,
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="Of models that go on from a text also gguf, for llama.cpp (--precision f32, f16, q8_0, q4_0, ...), "
            "or genai, for onnxruntime-genai; of models that answer also openvino (--precision fp32, fp16, int8) or "
            "executorch (fp32).",
        ),
    ] = BUNDLE,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle", help="Accept pytorch_model.bin (only its weights are loaded).", rich_help_panel=ROWS
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Export a checkpoint as a bundle: graph, tokenizer, golden samples and proof in one place.

    Example: edgelm export build/compressed --device cpu --precision int8 --calibration train.jsonl --eval dev.jsonl
    --output build/my-model.edge
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        screen.begin("imports and rows")
        from edgelm.bundles.write import bundle_kind
        from edgelm.files.output import check_output

        if form == BUNDLE:
            check_output(output, overwrite=overwrite, kind=bundle_kind(output))
        check_given(checkpoint, data=(calibration, evaluation))
        from edgelm.cli.inputs import read_calibration, read_columns, read_judged
        from edgelm.device import load_device
        from edgelm.quantize.settings import Quantization

        quantization = Quantization(
            method=calibration_method,
            symmetric=symmetric,
            per_channel=not per_tensor,
            rounding=rounding,
            samples=calibration_samples,
            choice=calibration_choice,
            embedding_bits=embedding_bits,
            cache_bits=cache_bits,
            max_drop=max_drop,
            table=calibration_table,
        )
        target = load_device(device)
        named = read_columns(
            text_column,
            pair_column,
            label_column,
            label_format=label_format,
            first_label=first_label,
            missing_label=missing_label,
            skip_bad_rows=skip_bad_rows,
        )

        from edgelm.anatomy import find_checkpoint
        from edgelm.export.pipeline import export as run
        from edgelm.export.prepare import check_task_precision

        task = find_checkpoint(checkpoint, allow_pickle=allow_pickle, task=kind).task
        if form == BUNDLE:
            check_task_precision(task, target, precision)
        texts = read_calibration(calibration, columns=named, by_label=calibration_choice == "label", schema=task.schema)
        judged = read_judged(task, evaluation, columns=named, screen=screen)
        asked: dict[str, Any] = {
            "output": output,
            "device": target,
            "precision": precision,
            "calibration": texts,
            "quantization": quantization,
            "evaluation": judged,
            "pairs": pairs,
            "max_length": max_length,
            "opset": opset,
            "single": single,
            "max_batch": max_batch,
            "engine": engine,
            "seed": seed,
            "allow_pickle": allow_pickle,
            "overwrite": overwrite,
            "kind": kind,
            "progress": screen.progress,
        }
        if form != BUNDLE:
            from edgelm.export.formats.formats import export_as
            from edgelm.export.settings import ExportSettings

            screen.result(export_as(form, ExportSettings(checkpoint, **asked)).to_dict(), _draw_format)
            screen.note(f"Result: {output}")
            return
        result = run(checkpoint, **asked)
        screen.result(result.to_dict(), _draw)
        if result.guessed:
            screen.note(result.guessed)
        if result.no_engine:
            screen.note(f"The bundle holds the plan of a TensorRT engine, no engine: {result.no_engine.rstrip('.')}.")
            screen.note("The next command builds it, on the device.")
            screen.next_step(str(output), "build", argument(output))
            return
        name = output.stem if output.suffix in (".edge", ".edgelm") else output.name
        screen.next_step(str(output), "profile", argument(output), "--html", unused(output.with_name(f"{name}.html")))


def _draw_format(console: Console, values: dict[str, Any]) -> None:
    table = make_table(values["format"], values["path"])
    table.add_row("precision", values["precision"])
    table.add_row("size", f"{values['size_mb']:.1f} MB")
    if parity := values["parity"]:
        table.add_row("largest error against PyTorch", f"{parity['max_error']:.2g}")
        table.add_row("changed answers", f"{parity['changed']:.2%} of {parity['samples']}")
    for name, value in values["quality"].get("checkpoint", {}).items():
        table.add_row(
            f"{name}, checkpoint -> {values['format']}", f"{value:.4f} -> {values['quality']['bundle'][name]:.4f}"
        )
    console.print(table)


def _draw(console: Console, values: dict[str, Any]) -> None:
    from edgelm.tasks.table import TASKS

    manifest = values["manifest"]
    graph, quality = manifest["graphs"][-1], manifest["quality"]
    parity = graph["parity"]
    table = make_table("bundle", manifest["name"])
    table.add_row("precision", manifest["precision"])
    table.add_row("device", manifest["device"])
    table.add_row("size", f"{values['size_mb']:.1f} MB")
    table.add_row("graph", f"{sum(values['operators'].values())} nodes, opset {graph['opset']}")
    for engine in graph["engines"]:
        table.add_row("engine", f"{engine['path']}, {engine['seconds']:.0f} s to build")
    table.add_row("largest error against PyTorch", f"{parity['max_error']:.2g}")
    if TASKS[manifest["task"]["kind"]].generates:
        table.add_row("tokens that change for the worse", f"{parity['changed']:.2%} behind {parity['samples']} prompts")
    else:
        table.add_row("changed answers", f"{parity['changed']:.2%} of {parity['samples']}")
    for name, value in quality.get("checkpoint", {}).items():
        table.add_row(f"{name}, checkpoint -> bundle", f"{value:.4f} -> {quality['bundle'][name]:.4f}")
    console.print(table)
