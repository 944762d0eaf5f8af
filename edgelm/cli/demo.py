"""`edgelm demo`: the whole line on a real encoder, with nothing to prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, Overwrite, Quiet, Verbose
from edgelm.cli.reports import ReportLanguage
from edgelm.cli.tables import make_table


def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for everything that the demo makes.")] = Path(
        "build/demo"
    ),
    epochs: Annotated[float, typer.Option(help="Passes of fine-tuning.")] = 4.0,
    language: ReportLanguage = "en",
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune, compress, export and measure a real encoder on the smart-home intents, in some minutes.

    Example: edgelm demo --output build/demo
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.files.output import check_output
        from edgelm.files.output_kinds import SHARED_FOLDER

        check_output(output, overwrite=overwrite, kind=SHARED_FOLDER)
        screen.note("Fine-tuning, compressing, exporting and measuring; this takes some minutes.")

        from edgelm.demo import run_demo

        values = run_demo(output, epochs=epochs, language=language, progress=screen.progress)
        screen.result(values, _draw)
        screen.note(f"Report: {values['report']}")
        screen.next_step(values["bundle"], "run", argument(values["bundle"]), "it is too dark in here")


def _draw(console: Console, values: dict[str, Any]) -> None:
    first = values["rows"][0]
    table = make_table("model", "test accuracy", "p50 ms", "speed-up", "size MB")
    for row in values["rows"]:
        table.add_row(
            row["name"],
            f"{row['accuracy']:.3f}",
            f"{row['p50_ms']:.2f}",
            f"{first['p50_ms'] / row['p50_ms']:.1f}x",
            f"{row['size_mb']:.1f}",
        )
    console.print(table)
