"""`edgelm compress`: a recipe's stages on a checkpoint."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgelm.choices import PrecisionName
from edgelm.cli.command import argument, columns, options, unused
from edgelm.cli.console import open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import (
    TIMES,
    FirstLabel,
    Json,
    LabelColumn,
    LabelFormat,
    MissingLabel,
    Overwrite,
    PairColumn,
    Quiet,
    ReportTo,
    SkipBadRows,
    TaskName,
    TextColumn,
    Verbose,
)
from edgelm.cli.panels import BUDGET, ROWS
from edgelm.cli.tables import draw_budget, draw_layers, hidden_line, make_table, tokens_line
from edgelm.errors import EXIT_BUDGET
from edgelm.tracking import report_to

if TYPE_CHECKING:
    from edgelm.compress.chance import Chance
    from edgelm.compress.pipeline import CompressResult
    from edgelm.data.dataset import Dataset


def compress(
    data: Annotated[
        str,
        typer.Option("--data", help="Rows to train on: CSV, TSV, JSON lines, Parquet, a folder or a hub id (@split)."),
    ],
    evaluation: Annotated[str, typer.Option("--eval", help="Rows to judge by; never trained on.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the compressed checkpoint.")],
    model: Annotated[
        str | None,
        typer.Argument(
            help="Folder or hub id of a fine-tuned model. With --from-trial, by default that of the search."
        ),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            "--unlabelled", help="Further texts, which the original model labels; columns are named as those of --data."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Name of a recipe, or a YAML file. Default: balanced; with a budget: budget, or compact where size "
            "or memory is bounded.",
        ),
    ] = None,
    from_trial: Annotated[
        int | None,
        typer.Option("--from-trial", min=0, help="Make this trial of a --search in full: its recipe and its settings."),
    ] = None,
    search: Annotated[
        Path | None, typer.Option("--search", help="The folder of an `edgelm search`, for --from-trial.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Name of the target device, or a YAML file.")] = "cpu",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a value of the recipe, such as prune.keep_ffn=0.5. May be repeated."),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            help="Budget: p50 of a text of median length on the device, such as 1ms; of a model that writes, of one "
            "token behind --context.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    max_first_token: Annotated[
        str | None,
        typer.Option(
            help="Budget of a model that writes: from a prompt (--prompt-length) to its first token.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    speedup: Annotated[
        str | None,
        typer.Option(
            help="Budget: times as fast as the original in PyTorch FP32 on this machine, such as 10x; of a model that "
            "writes, as a token of its own uncut bundle, such as 2x.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Budget: size of the bundle, such as 10MB.", rich_help_panel=BUDGET)
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="Budget: peak memory of a process that runs it, such as 96MB; of a model that writes, with a text of "
            "--context.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Budget: points of the task's metric that may be lost on --eval, or percent that perplexity may rise; "
            "alone, without --recipe: the fastest that keeps to it.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            help="Of a model that writes: tokens behind which one more is timed. Default: 256, of an encoder-decoder "
            "64 and as many of a source.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    prompt_length: Annotated[
        int | None,
        typer.Option(
            "--prompt-length",
            help="Of a model that writes: tokens of a prompt that is timed. Default: 128.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    precision: Annotated[
        PrecisionName,
        typer.Option("--precision", help="Of the bundle that will be exported: budgets are meant in it."),
    ] = "int8",
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            help="Latency table of the device (`edgelm latency-table MODEL --output FILE`). Default: measured here.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help=f"Of the command, measuring included: trainings are shortened so that it ends in time. {TIMES}",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Longest text in evaluation, in tokens. Default: 128, or what the model takes if less.",
            rich_help_panel=ROWS,
        ),
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    label_format: LabelFormat = None,
    first_label: FirstLabel = None,
    missing_label: MissingLabel = None,
    skip_bad_rows: SkipBadRows = False,
    kind: TaskName = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle", help="Accept pytorch_model.bin (only its weights are loaded).", rich_help_panel=ROWS
        ),
    ] = False,
    overwrite: Overwrite = False,
    report: ReportTo = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Distil and prune a model by a recipe, within a budget if one is given. The same command goes on where it was
    interrupted.

    Example: edgelm compress build/teacher --data train.jsonl --eval dev.jsonl --recipe balanced
    --output build/compressed
    """
    began = time.monotonic()
    with (
        open_screen(as_json=as_json, quiet=quiet, verbose=verbose, shared=True) as screen,
        report_to(*(report or ()), output=output),
    ):
        screen.begin("imports and rows")
        from edgelm.durations import parse_seconds
        from edgelm.files.output import check_output
        from edgelm.files.output_kinds import CHECKPOINT

        check_output(output, overwrite=overwrite, kind=CHECKPOINT)
        seconds = None if time_limit is None else parse_seconds(time_limit)
        check_given(model, data=(data, evaluation, unlabelled))
        from edgelm.cli.from_trial import check_source, read_trial
        from edgelm.cli.inputs import read_budget, read_columns, read_rows_of, read_unlabelled
        from edgelm.device import load_device
        from edgelm.latency_table import read_latency_table
        from edgelm.recipe import load_recipe, override

        budget = read_budget(max_latency, speedup, max_size, max_memory, max_drop, max_first_token)
        check_source(model, recipe, from_trial, search)
        trial = read_trial(from_trial, search)
        chosen = None if recipe is None else load_recipe(recipe, overrides=overrides or ())
        if trial is not None:
            chosen, model = override(trial.recipe, overrides or ()), model or trial.model
        model = model or ""
        target = load_device(device)

        from edgelm.anatomy import find_checkpoint
        from edgelm.anatomy.sizes import check_length, text_limit
        from edgelm.budgeting.compress import compress_to_budget
        from edgelm.compress.lineage import trained_precision
        from edgelm.compress.pipeline import compress as run_recipe
        from edgelm.data.reading import warn_of_shared
        from edgelm.lengths import DEFAULT_LENGTH

        checkpoint = find_checkpoint(model, allow_pickle=allow_pickle, task=kind)
        check_length(max_length, text_limit(checkpoint.config))
        named = read_columns(
            text_column,
            pair_column,
            label_column,
            label_format=label_format,
            first_label=first_label,
            missing_label=missing_label,
            skip_bad_rows=skip_bad_rows,
        )
        dataset, judged = read_rows_of(checkpoint.task, data, evaluation, columns=named, screen=screen)
        further = read_unlabelled(unlabelled, columns=named, schema=checkpoint.task.schema)
        if further is not None:
            warn_of_shared(further, judged, option="--unlabelled")
        outcome = compress_to_budget(
            model,
            budget,
            dataset=dataset,
            evaluation=judged,
            device=target,
            output=output,
            precision=precision,
            recipe=chosen,
            overrides=overrides or (),
            table=None if table is None else read_latency_table(table),
            unlabelled=further,
            time_limit=seconds,
            began=began,
            overwrite=overwrite,
            kind=kind,
            allow_pickle=allow_pickle,
            max_length=max_length or DEFAULT_LENGTH,
            context=context,
            prompt_length=prompt_length,
            progress=screen.progress,
            run=run_recipe if trial is None else trial.compress,
        )
        chance = _judge(outcome.result, judged)
        screen.result(outcome.to_dict() | {"chance": None if chance is None else chance.to_dict()}, _draw)
        if chance is not None and not chance.better:
            screen.note(f"Warning: {chance.finding}")
            screen.note(_advise(chance, outcome.result.original["metrics"][chance.metric]))
        proposed = trained_precision(outcome.result.record) or precision
        target_options = {"--device": device, "--precision": proposed, "--max-length": max_length}
        rows = {"--calibration": data, "--eval": evaluation if judged.labels is not None else None}
        made = {"--output": unused(output.with_name(f"{output.name}.edge"))}
        carried = columns(named)
        screen.next_step(str(output), "export", argument(output), *options(target_options | rows | carried | made))
        if not outcome.met:
            raise typer.Exit(EXIT_BUDGET)


def _judge(result: CompressResult, judged: Dataset) -> Chance | None:
    """What the last stage left, against chance."""
    from edgelm.compress.chance import judge_chance

    task, stages = result.record.task, result.record.stages
    return judge_chance(task, stages[-1].after if stages else {}, judged.for_task(task).labels)


def _advise(chance: Chance, original: float) -> str:
    """What to look at where a compressed model knows nothing: what was cut or, if the original knows nothing either,
    the data."""
    if replace(chance, score=original).better:
        return f"The original has {original:.4f}: cut less, or train longer (--set changes values of the recipe)."
    return (
        f"The original has {original:.4f}: check the columns (--text-column, --label-column), the labels and their "
        "names."
    )


def _draw(console: Console, values: dict[str, Any]) -> None:
    """One row a stage: what it left, and how good that is."""
    record, original = values["record"], values["original"]
    names = list(original["metrics"])
    table = make_table("stage", "weights", *names, "seconds")
    table.add_row(
        "original", f"{original['parameters'] / 1e6:.2f}M", *(f"{original['metrics'][name]:.4f}" for name in names), ""
    )
    for stage in record["stages"]:
        if stage["stage"] == "finetune":
            continue
        table.add_row(
            stage["stage"],
            f"{stage['parameters'] / 1e6:.2f}M",
            *(f"{stage['after'].get(name, float('nan')):.4f}" for name in names),
            f"{stage['seconds']:.0f}",
        )
    console.print(table)
    if record["layers"]:
        draw_layers(console, values["layers"], values["cost_unit"])
    if record["hidden"]:
        console.print(hidden_line(record["hidden"]))
    if record["tokens"]:
        console.print(tokens_line(record["tokens"]))
    console.print(f"Weights on disk: {original['size_mb']:.1f} MB -> {values['size_mb']:.1f} MB")
    draw_budget(console, values["budget"])
