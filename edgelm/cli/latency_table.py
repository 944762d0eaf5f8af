"""`edgelm latency-table`: what heads and FFN channels of a model cost on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.choices import PrecisionName
from edgelm.cli.command import join, options
from edgelm.cli.console import open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import Json, Overwrite, PairColumn, Quiet, TextColumn, Threads, Verbose
from edgelm.cli.panels import MEASURING
from edgelm.cli.tables import make_table


def latency_table(
    model: Annotated[Path, typer.Argument(help="Folder of the model that will be compressed.")],
    output: Annotated[Path, typer.Option("--output", help="Where to write it, as JSON.")],
    precision: Annotated[
        PrecisionName,
        typer.Option("--precision", help="Of the bundle to come."),
    ] = "int8",
    sequence: Annotated[
        int | None,
        typer.Option(
            "--sequence", min=2, help="Tokens of the text that is measured. Default: 32.", rich_help_panel=MEASURING
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="Texts whose median length is measured, instead of --sequence.", rich_help_panel=MEASURING
        ),
    ] = None,
    threads: Threads = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure what heads and FFN channels of a model cost on this machine, for `edgelm compress --table`. Run it on the
    device.

    Example: edgelm latency-table build/teacher --data train.jsonl --output build/table.json
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.files.output import check_output

        check_output(output, overwrite=overwrite)
        check_given(Path.cwd() / model if not model.exists() else model, data=(data,))
        from edgelm.cli.inputs import read_samples
        from edgelm.data.dataset import Columns
        from edgelm.profile.block_latency import write_table

        made = write_table(
            model,
            output,
            precision=precision,
            sequence=sequence,
            data=read_samples(model, data, columns=Columns(text_column, pair_column)),
            threads=threads,
            overwrite=overwrite,
            progress=screen.progress,
        )
        screen.result(made.to_dict() | {"quiet": made.quiet}, _draw)
        goal = join(options({"--table": output, "--max-latency": "1ms", "--precision": precision}))
        screen.note(
            f"A budget is reckoned with it by `edgelm compress` with {goal}, beside --data, --eval and --output."
        )
        screen.next_step(str(output), "compress", "--help")


def _draw(console: Console, values: dict[str, Any]) -> None:
    for name in ("attention", "ffn"):
        table = make_table(
            "heads of a layer" if name == "attention" else "FFN channels of a layer", "ms", numbers_from=0
        )
        for units, cost in values[name].items():
            table.add_row(str(units), f"{cost:.4f}")
        console.print(table)
    console.print(f"The norms of a layer: {values['layer']:.4f} ms. All else: {values['rest']:.4f} ms.")
    console.print(f"The whole model: {values['whole']:.4f} ms; its parts add up to within {values['error']:.1%}.")
    if not values["quiet"]:
        console.print(
            "Other work ran on this machine: small operators suffer most from that. Measure again when it is quiet."
        )
