"""`edgelm search`: recipes and settings explored inside a budget of time, and the front of the best."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.choices import PrecisionName, Sampler
from edgelm.cli.command import columns, options, unused
from edgelm.cli.console import Screen, open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import (
    TIMES,
    CallsPerDay,
    FirstLabel,
    Json,
    LabelColumn,
    LabelFormat,
    MissingLabel,
    PairColumn,
    PricePerHour,
    Quiet,
    ReportTo,
    SkipBadRows,
    TaskName,
    TextColumn,
    Verbose,
    Watts,
)
from edgelm.cli.panels import BUDGET, MEASURING, OUTPUT, ROWS, TRAINING
from edgelm.cli.reports import ReportLanguage
from edgelm.cli.tables import make_table
from edgelm.errors import EXIT_BUDGET, UsageError
from edgelm.tracking import report_to


def search(
    model: Annotated[str, typer.Argument(help="Folder or hub id of a fine-tuned model.")],
    data: Annotated[str, typer.Option("--data", help="Rows to train on and to calibrate with.")],
    evaluation: Annotated[str, typer.Option("--eval", help="Rows to judge by; never trained on.")],
    output: Annotated[
        Path, typer.Option("--output", help="Folder of the search; the same command goes on with what is there.")
    ],
    device: Annotated[
        str, typer.Option("--device", help="Name of the target device, or a YAML file. Latency is measured here.")
    ] = "cpu",
    precision: Annotated[PrecisionName, typer.Option("--precision", help="Of the bundles that are measured.")] = "int8",
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="TIME", help=f"Of the command. {TIMES}", rich_help_panel=BUDGET),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="Trials in all, those of earlier calls included.", rich_help_panel=BUDGET),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", help="Trials at once. Default: 1; on Ray one a node.", rich_help_panel=BUDGET),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", help="Address of a Ray cluster to run the trials on, such as auto.", rich_help_panel=BUDGET
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", help="Start from this recipe, not from the space's. May be repeated."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help="What varies: a YAML file, or the name of a shipped space. Default: default, of models that write "
            "generators or seq2seq.",
        ),
    ] = None,
    train_share: Annotated[
        float,
        typer.Option(
            "--train-share",
            help="Share of the training steps in a trial; compress --from-trial has all.",
            rich_help_panel=TRAINING,
        ),
    ] = 1.0,
    sampler: Annotated[Sampler, typer.Option("--sampler", help="What chooses the next trial.")] = "tpe",
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of settings.")] = 0,
    runs: Annotated[
        int, typer.Option("--runs", help="Calls from which a latency is taken.", rich_help_panel=MEASURING)
    ] = 200,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Of a measured bundle. Default: one a core.", rich_help_panel=MEASURING),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Longest text, in tokens. Default: 128, or what the model takes if that is less.",
            rich_help_panel=ROWS,
        ),
    ] = None,
    price_per_hour: PricePerHour = None,
    calls_per_day: CallsPerDay = None,
    watts: Watts = None,
    keep_bundles: Annotated[
        bool, typer.Option("--keep-bundles", help="Keep each trial's bundle.", rich_help_panel=OUTPUT)
    ] = False,
    language: ReportLanguage = "en",
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
    report: ReportTo = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Try recipes and settings, and find those that nothing beats in quality, latency and size. The same command goes
    on where it ended.

    Exit code 3 if no trial ended within the time.

    Example: edgelm search build/teacher --data train.jsonl --eval dev.jsonl --time-limit 2h --output build/search
    """
    began = time.monotonic()
    with (
        open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen,
        report_to(*(report or ()), output=output),
    ):
        screen.begin("imports and rows")
        from edgelm.durations import parse_seconds

        limit = None if time_limit is None else parse_seconds(time_limit)
        check_given(model, data=(data, evaluation))
        from edgelm.cli.inputs import read_columns, read_rows_of
        from edgelm.device import load_device
        from edgelm.search.prices import Prices
        from edgelm.search.space import load_space, space_for

        prices = Prices(price_per_hour, watts, calls_per_day)
        if calls_per_day is not None and price_per_hour is None and watts is None:
            raise UsageError("--calls-per-day needs a price or a power.", hint="Add --price-per-hour, or --watts.")
        target = load_device(device)
        explored = None if space is None else load_space(space, recipes=recipe or ())

        from edgelm.anatomy import find_checkpoint
        from edgelm.anatomy.sizes import check_length, text_limit
        from edgelm.lengths import DEFAULT_LENGTH
        from edgelm.search.pipeline import search as run

        checkpoint = find_checkpoint(model, allow_pickle=allow_pickle, task=kind)
        if recipe and explored is None:
            explored = load_space(space_for(checkpoint.task), recipes=recipe)
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
        result = run(
            model,
            dataset=dataset,
            evaluation=judged,
            output=output,
            device=target,
            precision=precision,
            space=explored,
            time_limit=limit,
            began=began,
            trials=trials,
            jobs=jobs,
            ray=ray,
            train_share=train_share,
            sampler=sampler,
            seed=seed,
            runs=runs,
            threads=threads,
            max_length=max_length or DEFAULT_LENGTH,
            keep_bundles=keep_bundles,
            language=language,
            allow_pickle=allow_pickle,
            kind=kind,
            prices=None if prices == Prices() else prices,
            watch=lambda trial: _tell(screen, trial),
            progress=screen.progress,
        )
        screen.result(result.to_dict(), _draw)
        if result.choice is None:
            begun = "What was begun is kept" if result.trials else "None was begun, since reading alone took too long"
            screen.stderr.print(
                f"No trial ended within {time_limit}. {begun}: the same command with a longer --time-limit goes on."
            )
            raise typer.Exit(EXIT_BUDGET)
        trial = {"--from-trial": result.choice, "--search": output, "--data": data, "--eval": evaluation}
        target_options = {"--device": device, "--precision": precision, "--max-length": max_length}
        carried = columns(named) | {"--task": kind, "--allow-pickle": allow_pickle}
        made = {"--output": unused(output.with_name(f"{output.name}-{result.choice}"))}
        screen.next_step(
            f"{output}/front.html, front.csv, front.json", "compress", *options(trial | target_options | carried | made)
        )


def _tell(screen: Screen, trial: Any) -> None:
    """A line for each trial that ended."""
    what = f"Trial {trial.number}: {' '.join((trial.recipe, *trial.overrides))}"
    if trial.values is None:
        screen.note(f"{what}: failed: {trial.error}")
    else:
        screen.note(
            f"{what}: {trial.quality:.4f}, {trial.latency_ms:.3f} ms, {trial.size_mb:.1f} MB, in {trial.seconds:.0f} s"
        )


def _draw(console: Console, values: dict[str, Any]) -> None:
    from edgelm.report.front import front_table, original_note, original_table, price_note

    header, rows = front_table(values)
    table = make_table(*header)
    for column in table.columns[5:7]:
        column.justify, column.no_wrap = "left", False
    for row in rows:
        table.add_row(*row)
    if rows:
        console.print(table)
    for name, *figures in original_table(values)[1]:
        told = zip([*figures[:4], *figures[5:]], [*header[1:5], *header[7:]], strict=True)
        console.print(f"The {name}: {', '.join(f'{figure} {what}' for figure, what in told)}; {figures[4]}.")
    for note in filter(None, (original_note(values), price_note(values))):
        console.print(note, markup=False)
    counts = {
        state: sum(trial["state"] == state for trial in values["trials"])
        for state in ("finished", "failed", "unfinished")
    }
    console.print(
        f"Trials: {', '.join(f'{count} {state}' for state, count in counts.items())}; {len(rows)} on the Pareto front."
    )
    console.print(f"Ended after {values['seconds']:.0f} s: {_REASONS[values['stopped']]}")


_REASONS = {
    "time": "no time for another trial. The same command goes on.",
    "trials": "as many trials as asked for.",
    "exhausted": "the space holds nothing that was not tried.",
    "failing": "the first trials all failed.",
}
