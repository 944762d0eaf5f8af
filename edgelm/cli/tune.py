"""`edgelm tune`: session settings for this machine, found by measurement and kept in the bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument, columns, options
from edgelm.cli.console import open_screen
from edgelm.cli.options import TIMES, Json, PairColumn, Quiet, TextColumn, Verbose
from edgelm.cli.panels import BUDGET
from edgelm.cli.sign import note_additions
from edgelm.cli.tables import make_table


def tune(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Texts to measure on. Default: the bundle's golden samples.")
    ] = None,
    time_limit: Annotated[
        str,
        typer.Option(
            "--time-limit", metavar="TIME", help=f"Of the command, at least 5 seconds. {TIMES}", rich_help_panel=BUDGET
        ),
    ] = "60s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and show; leave the bundle as it is.")] = False,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the session settings that suit this machine (threads, spinning, execution mode, arena, prepacking, mapped
    weights, an optimized graph) and keep them in the bundle. Run it on the device.

    Example: edgelm tune build/my-model.edge --data texts.txt
    """
    began = time.monotonic()
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.cli.inputs import read_samples
        from edgelm.data.dataset import Columns
        from edgelm.durations import parse_seconds
        from edgelm.profile.tune import tune as run

        limit = parse_seconds(time_limit)
        named = Columns(text_column, pair_column)
        rows = read_samples(bundle, data, columns=named)
        result = run(bundle, data=rows, time_limit=limit, began=began, dry_run=dry_run, progress=screen.progress)
        screen.result(result.to_dict(), _draw)
        if not dry_run:
            note_additions(screen, bundle)
        texts = {"--data": data} | columns(named)
        screen.next_step(
            "nothing was changed" if dry_run else str(bundle), "profile", argument(bundle), *options(texts)
        )


def _draw(console: Console, values: dict[str, Any]) -> None:
    table = make_table("setting", "value", "p50 ms", "against before", "session ms", "memory MB", "", numbers_from=2)
    rows = [*values["trials"], values["before"], values["after"]]
    for row in rows:
        figures = (
            f"{row['p50_ms']:.3f}",
            f"{row['ratio']:.3f}",
            f"{row['session_ms']:.1f}",
            f"{row['peak_memory_mb']:.1f}",
        )
        table.add_row(row["knob"], row["value"], *figures, "kept" if row["kept"] and row in values["trials"] else "")
    console.print(table)
    if values["skipped"]:
        console.print(f"No time for: {', '.join(values['skipped'])}. Give a longer --time-limit.")
    console.print(f"Measured in {values['seconds']:.0f} s; the last two rows side by side.")
