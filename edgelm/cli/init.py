"""`edgelm init`: some questions, what was read of the data, and a commented project file, which `edgelm make` makes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.choices import PROJECT_FILE
from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.make import make
from edgelm.cli.options import TASK_NAMES, TIMES, Json, LabelColumn, Overwrite, PairColumn, Quiet, TextColumn, Verbose
from edgelm.cli.panels import BUDGET
from edgelm.errors import UsageError
from edgelm.model_folder.task_names import kind_of_name

_QUESTIONS = {
    "model": ("Model, a folder or hub id", "./my-model"),
    "data": ("Rows to train on", "train.csv"),
    "eval": ("Rows to judge by", "dev.csv"),
    "device": ("Device (edgelm devices list)", "cpu"),
    "budget": ("Budget, such as 5x, 10ms, 50MB, 1 point (empty: the recipe balanced)", ""),
    "time-limit": ("Time for compressing, such as 45m (empty: no limit)", ""),
}


def init(
    model: Annotated[
        str | None, typer.Option("--model", help="Folder or hub id of a model, fine-tuned or not.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Rows to train on.")] = None,
    evaluation: Annotated[str | None, typer.Option("--eval", help="Rows to judge by; never trained on.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Name of the target device, or a YAML file.")] = None,
    task: Annotated[
        str, typer.Option("--task", metavar=TASK_NAMES, help="What the model is for.", callback=kind_of_name)
    ] = "text-classification",
    speedup: Annotated[
        str | None, typer.Option("--speedup", help="Budget: times as fast, such as 10x.", rich_help_panel=BUDGET)
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Budget: p50 of one text, such as 10ms.", rich_help_panel=BUDGET)
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Budget: size of the bundle, such as 50MB.", rich_help_panel=BUDGET)
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Budget: points of the task's metric that may be lost.", rich_help_panel=BUDGET),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="TIME", help=f"Of compressing. {TIMES}", rich_help_panel=BUDGET),
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="The file to write.")] = Path(PROJECT_FILE),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: defaults for what is not given.")] = False,
    run: Annotated[
        bool | None, typer.Option("--run/--no-run", help="Make it at once. Default: asked on a terminal, else no.")
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Ask for model, rows, device, budget and time, show what is read of the rows, write a commented project file and,
    if wanted, make what it asks for.

    Example: edgelm init --model ./my-model --data train.csv --eval dev.csv --device cpu --max-latency 10ms --yes
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.budget import parse_bounds
        from edgelm.cli.inputs import read_columns, read_schema, read_train_and_eval
        from edgelm.device import load_device
        from edgelm.files.output import check_output, staged_output
        from edgelm.project import read_project
        from edgelm.project_text import project_text
        from edgelm.tasks.table import TASKS

        check_output(output, overwrite=overwrite)
        given = {"model": model, "data": data, "eval": evaluation, "device": device}
        options = {"speedup": speedup, "max-latency": max_latency, "max-size": max_size, "max-drop": max_drop}
        bounds = {name: str(value) for name, value in options.items() if value is not None}
        given |= {"budget": "" if bounds else None, "time-limit": time_limit}
        found = {name: _answer(name, value, yes=yes) for name, value in given.items()}
        bounds |= parse_bounds(found.pop("budget"))
        load_device(found["device"])
        schema = read_schema(task)
        columns = read_columns(text_column, pair_column, label_column)
        needed = not TASKS[task].own_targets and task != "sentence-embedding"
        train, _ = read_train_and_eval(
            found["data"], found["eval"], columns=columns, need_labels=needed, schema=schema, screen=screen
        )
        longest = sorted((len(str(text)) for text in train.texts), reverse=True)[:3]
        screen.aside(f"Longest texts: {', '.join(f'{size:,}' for size in longest)} characters.")
        named = {"text-column": text_column, "pair-column": pair_column, "label-column": label_column}
        with staged_output(output, overwrite=overwrite) as aside:
            aside.write_text(project_text(found, bounds, task=task, columns=named), encoding="utf-8")
            read_project(aside)  # what was answered is as `edgelm make` wants it
        if run is None and not yes and not as_json and sys.stdin.isatty():
            run = typer.confirm("Make it now?", default=False, err=True)
        if not run:
            screen.result({"path": str(output)} | found | {"budget": bounds, "task": task, "rows": len(train)}, _draw)
            screen.next_step(str(output), "make", argument(output), "--dry-run")
            return
        screen.note(f"Project: {output}")
    make(output, as_json=as_json, quiet=quiet, verbose=verbose)


def _answer(name: str, value: str | None, *, yes: bool) -> str:
    """What was given by an option, or is answered now, or else the default."""
    question, default = _QUESTIONS[name]
    if value is not None:
        return value
    if not yes:
        return str(typer.prompt(question, default=default, err=True, show_default=bool(default))).strip()
    if name in ("model", "data", "eval"):
        raise UsageError(f"--{name} is not given, and --yes asks for nothing.", hint=f"Add --{name}.")
    return default


def _draw(console: Console, values: dict[str, Any]) -> None:
    console.print(f"{values['task']} on {values['device']}, {values['rows']} rows to train on.")
