"""`edgelm make`: everything that a project file asks for, from a model to a report. Like the tool of that name, it
makes what is missing or out of date and leaves the rest."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgelm import distributed as processes
from edgelm.choices import PROJECT_FILE
from edgelm.cli.command import argument, join, program
from edgelm.cli.console import Screen, followed, open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import Json, Overwrite, Quiet, Verbose
from edgelm.cli.panels import OUTPUT
from edgelm.cli.tables import make_table
from edgelm.errors import EXIT_BUDGET, EXIT_DONE, UsageError

if TYPE_CHECKING:
    from edgelm.project import Project

DONE, TO_DO, MADE, BUDGET_MISSED = "done already", "to do", "done", "done, budget not met"


def make(
    file: Annotated[Path, typer.Argument(help="The project, as `edgelm init` writes it.")] = Path(PROJECT_FILE),
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the commands that would run, and those that are done.", rich_help_panel=OUTPUT
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make all that a project file asks for: finetune (where the model has no head for the task), compress, export,
    verify, profile, report. What is done already for the same settings and rows stays as it is, so the same command
    goes on where it was interrupted; --overwrite makes everything anew.

    Example: edgelm make edgelm.yaml --dry-run

    A step that fails ends it with that step's exit code. A budget that is missed does not: the closest model is
    exported, measured and reported, and the exit code is 3.
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.cli.done_steps import DoneSteps
        from edgelm.cli.steps import plan_steps
        from edgelm.files.claims import claim
        from edgelm.project import read_project

        if processes.count() > 1:
            raise UsageError(
                "`edgelm make` is one process, and was started on several.",
                hint="Start the commands that train with your launcher: --dry-run prints them.",
            )
        project = read_project(file)
        _check_settings(project)
        told = project.data
        check_given(project.model, data=(told.train, told.eval, told.calibration, told.test))
        screen.begin("imports and model")
        steps = plan_steps(project, file=file)
        folder = Path(project.output)
        if dry_run:
            done = DoneSteps(folder, steps, anew=overwrite)
            rows = _plan(steps, done, overwrite=overwrite)
            screen.result({"project": str(file), "output": project.output, "steps": rows}, _draw_plan)
            return
        with claim(folder / "make"):
            done = DoneSteps(folder, steps, anew=overwrite)
            if not overwrite:
                done.check_place(steps)
            rows = _run(screen, steps, done, overwrite=overwrite)
        screen.result({"project": str(file), "output": project.output, "steps": rows}, _draw)
        bundle, page = (next(step.made for step in steps if step.name == name) for name in ("export", "report"))
        screen.note(f"Bundle: {bundle}")
        screen.next_step(str(page), "inspect", argument(bundle))
        if any(row["exit_code"] == EXIT_BUDGET for row in rows):
            raise typer.Exit(EXIT_BUDGET)


def _check_settings(project: Project) -> None:
    """Refuse before any work what a late step would refuse after hours: the device, the recipe, a page without
    jinja2."""
    from edgelm.device import check_precision, load_device
    from edgelm.recipe import load_recipe
    from edgelm.report import check_page

    device = load_device(project.device)
    if project.precision is not None:
        check_precision(device, project.precision)
    recipe = project.options.compress.get("recipe")
    if recipe is not None:
        load_recipe(str(recipe))
    check_page()


def _plan(steps: Sequence[Any], done: Any, *, overwrite: bool) -> list[dict[str, Any]]:
    """What each step would do: from the first that is not done on, all are to be done."""
    rows: list[dict[str, Any]] = []
    for step in steps:
        known = None if any(row["state"] == TO_DO for row in rows) else done.exit_code(step)
        words = step.again(overwrite=overwrite or done.began(step))
        row = {"step": step.name, "state": TO_DO if known is None else DONE, "exit_code": known, "seconds": 0.0}
        rows.append(row | {"command": join([*program(), *words]), "words": words})
    return rows


def _run(screen: Screen, steps: Sequence[Any], done: Any, *, overwrite: bool) -> list[dict[str, Any]]:
    """Run the steps that are not done, in their order; the first that fails ends the command."""
    rows = _plan(steps, done, overwrite=overwrite)
    for number, (step, row) in enumerate(zip(steps, rows, strict=True), 1):
        words = row.pop("words")
        place = f"[{number}/{len(steps)}]"
        if row["state"] == DONE:
            screen.note(f"{place} {step.name}: {DONE}")
            continue
        screen.note(f"{place} {row['command']}")
        began = time.monotonic()
        done.begin(step)
        code = _call(screen, words)
        row |= {"exit_code": code, "seconds": time.monotonic() - began}
        if code not in (EXIT_DONE, EXIT_BUDGET):
            screen.stderr.print(f"{step.name} ended with exit code {code}; the same `edgelm make` goes on there.")
            raise typer.Exit(code)
        row["state"] = MADE if code == EXIT_DONE else BUDGET_MISSED
        done.finish(step, code)
    return rows


def _call(screen: Screen, words: Sequence[str]) -> int:
    """Run one command of edgelm as its line would be run; its exit code."""
    from edgelm.cli.main import app

    shown = {"--json": screen.as_json, "--quiet": screen.quiet, "--verbose": screen.verbose}
    flags = [flag for flag, given in shown.items() if given]
    with followed(), contextlib.ExitStack() as stack:
        if screen.as_json:  # stdout carries one object, which is not that of a step
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        code = typer.main.get_command(app).main([*words, *flags], prog_name="edgelm", standalone_mode=False)
    return int(code or EXIT_DONE)


def _draw_plan(console: Console, values: dict[str, Any]) -> None:
    for row in values["steps"]:
        console.print(row["command"] if row["state"] == TO_DO else f"# {DONE}: {row['command']}", soft_wrap=True)


def _draw(console: Console, values: dict[str, Any]) -> None:
    table = make_table("step", "state", "seconds", numbers_from=2)
    for row in values["steps"]:
        table.add_row(row["step"], row["state"], f"{row['seconds']:.0f}" if row["state"] != DONE else "")
    console.print(table)
