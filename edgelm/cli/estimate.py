"""`edgelm estimate`: what a bundle would take on devices that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, Overwrite, PairColumn, Quiet, TextColumn, Verbose
from edgelm.cli.panels import MEASURING, OUTPUT
from edgelm.cli.reports import (
    Batches,
    Contexts,
    Html,
    Markdown,
    PromptLengths,
    ReportLanguage,
    check_files,
    draw_estimates,
)


def estimate(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file; or an ONNX file.")],
    device: Annotated[
        list[str],
        typer.Option("--device", help="Name of a target device, or a YAML file with its figures. May be repeated."),
    ],
    compare: Annotated[
        list[Path] | None, typer.Option("--compare", help="Another bundle or ONNX file. May be repeated.")
    ] = None,
    batch: Batches = None,
    sequence: Annotated[
        list[int] | None,
        typer.Option(
            "--sequence",
            min=2,
            help="Tokens of each text. May be repeated. Default: the median of --data.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    context: Contexts = None,
    prompt_length: PromptLengths = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Texts whose median length is taken. Default: the bundle's golden samples."),
    ] = None,
    html: Html = None,
    markdown: Markdown = None,
    language: ReportLanguage = "en",
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the estimates as JSON.", rich_help_panel=OUTPUT)
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Estimate a bundle's latency on devices that are not here, from their figures and the graph: nothing is measured,
    and each figure has the band in which a measurement is expected.

    Example: edgelm estimate build/my-model.edge --device jetson-orin-nano --device rtx-4090
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.cli.inputs import read_samples
        from edgelm.data.dataset import Columns
        from edgelm.device import load_device
        from edgelm.profile.estimate import estimate_all
        from edgelm.report import Report, write_reports

        check_files(markdown, output, html=html, overwrite=overwrite)
        found = estimate_all(
            bundle,
            [load_device(name) for name in device],
            compare=compare or (),
            batch_sizes=batch or (1,),
            sequence_lengths=sequence or (),
            contexts=context or (),
            prompt_lengths=prompt_length or (),
            data=read_samples(bundle, data, columns=Columns(text_column, pair_column)),
        )
        report = Report(estimates=[entry.to_dict() for entry in found])
        written = write_reports(
            report, html=html, markdown=markdown, json_file=output, language=language, overwrite=overwrite
        )
        screen.result(report.to_dict(), draw_estimates)
        screen.note("On the device itself, the next command measures it.")
        screen.next_step(", ".join(map(str, written)) or "the estimate above", "profile", argument(bundle))
