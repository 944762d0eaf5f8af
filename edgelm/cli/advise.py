"""`edgelm advise`: which model to begin with, for a device and what it may cost there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import Json, PairColumn, Quiet, TextColumn, Verbose
from edgelm.cli.panels import BUDGET, MEASURING, ROWS
from edgelm.cli.tables import make_table

_SHOWN = 12  # rows that fit, and that do not where none does


def advise(
    data: Annotated[str, typer.Option("--data", help="Texts, for how long they are: as other commands take them.")],
    device: Annotated[
        str, typer.Option("--device", help="Name of the target device, or a YAML file with its figures.")
    ],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Folders or hub ids, to be ranked beside the published models; bundles with their profile.json beside "
            "them.",
        ),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option("--max-latency", help="Of one text, such as 10ms.", rich_help_panel=BUDGET),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", help="Of the bundle, such as 50MB.", rich_help_panel=BUDGET)
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(
            "--table",
            help="A latency table made on the device by `edgelm latency-table`: models of its width are measured, not "
            "estimated. May be repeated.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    profile: Annotated[
        list[Path] | None,
        typer.Option(
            "--profile",
            help="What `edgelm profile --output` wrote on the device, a file or a folder with profile.json: its models "
            "are ranked as measured, and estimates are calibrated by its bundles. May be repeated.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=2, help="Longest text in tokens. Default: 128.", rich_help_panel=ROWS),
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Rank encoders that keep to a budget on a device: published ones by their shapes, and your own; whole, in INT8 and
    with fewer layers. Nothing is downloaded; times are estimated unless a table or a profile was measured.

    Example: edgelm advise --data train.csv --device raspberry-pi-5 --max-latency 10ms --max-size 50MB

    Example: edgelm advise --data train.csv --device x86-laptop --max-latency 10ms --profile build/profile.json
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        check_given(*(models or ()), data=(data,))
        from edgelm.advising.advise import advise as rank
        from edgelm.cli.inputs import read_budget, read_unlabelled
        from edgelm.data.dataset import Columns
        from edgelm.device import load_device
        from edgelm.errors import EXIT_BUDGET
        from edgelm.latency_table import read_latency_table
        from edgelm.lengths import DEFAULT_LENGTH
        from edgelm.model_folder.weight_files import is_bundle

        budget = read_budget(max_latency, None, max_size, None, None)
        target = load_device(device)
        tables = [read_latency_table(file) for file in table or ()]
        rows = read_unlabelled(data, columns=Columns(text_column, pair_column))
        assert rows is not None  # for data are named
        found = rank(
            rows,
            target,
            budget,
            models=models or (),
            tables=tables,
            profiles=profile or (),
            max_length=max_length or DEFAULT_LENGTH,
            progress=screen.progress,
        )
        screen.result(found.to_dict(), _draw)
        if not found.fitting:
            screen.note("Nothing fits: allow more, or another device; those above are the nearest.")
            raise typer.Exit(EXIT_BUDGET)
        first = found.fitting[0]
        measured = is_bundle(Path(first.model))
        screen.next_step(None, "verify" if measured else "profile", argument(first.model))


def _spread(calibration: dict[str, Any]) -> str:
    """How far the measured cases are from each other, where there are several."""
    if calibration["cases"] == 1:
        return ""
    return f", from {calibration['low']:.2f} to {calibration['high']:.2f} times that"


def _draw(console: Console, values: dict[str, Any]) -> None:
    lengths, candidates = values["lengths"], values["candidates"]
    console.print(
        f"For {values['title']}: texts of {lengths['median']} tokens (95 % have {lengths['p95']} or fewer), by "
        f"{lengths['source']}."
    )
    console.print(
        "Times are estimated from the device's figures, with the band in which a measurement is expected, but where "
        "they are marked as measured; sizes are counted. How well each answers is not known: those that fit stand in "
        "the order of the weights in their layers."
    )
    for entry in values["calibrations"]:
        cases = "one case" if entry["cases"] == 1 else f"the median of {entry['cases']} cases"
        console.print(
            f"Estimates in {entry['precision']} are multiplied by {entry['factor']:.3g}: measured over estimated, "
            f"{cases} of {', '.join(entry['names'])}{_spread(entry)}."
        )
    for name, reason in values["passed"].items():
        console.print(f"Not taken from the profiles: {name}: {reason}", markup=False)
    fitting = [entry for entry in candidates if entry["verdict"] != "does not fit"]
    models = list({entry["model"]: entry for entry in reversed(fitting or candidates)}.values())[::-1]
    titles = ("model", "languages", "precision", "layers", "M in layers", "ms", "time is", "MB", "verdict")
    table = make_table(*titles, numbers_from=3)
    shown = [*models[:_SHOWN], *(entry for entry in models[_SHOWN:] if not entry["languages"])]  # the user's own always
    for entry in shown:
        others = [
            other["precision"]
            for other in fitting
            if (other["model"], other["layers"]) == (entry["model"], entry["layers"]) and other is not entry
        ]
        band = "" if entry["low_ms"] == entry["high_ms"] else f" ({entry['low_ms']:.3g} to {entry['high_ms']:.3g})"
        layers = str(entry["layers"])
        table.add_row(
            entry["model"],
            entry["languages"],
            entry["precision"] + (f" (or {', '.join(others)})" if others else ""),
            layers if entry["layers"] == entry["of_layers"] else f"{layers} of {entry['of_layers']}",
            f"{entry['weights_m']:.1f}",
            f"{entry['latency_ms']:.3g}{band}",
            entry["latency_source"],
            f"{entry['size_mb']:.1f}",
            entry["verdict"],
        )
    console.print(table)
    left = len(models) - len(shown)
    if left > 0:
        console.print(f"{left} more {'fit, with fewer weights' if fitting else 'do not fit'}: --json has all.")
