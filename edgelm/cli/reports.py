"""What the commands that write reports share: options, the files of a report, and how results are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from edgelm.choices import Language
from edgelm.cli.panels import MEASURING, OUTPUT, WRITING
from edgelm.cli.tables import make_table

Batches = Annotated[
    list[int] | None,
    typer.Option("--batch", min=1, help="Texts in a call. May be repeated. Default: 1.", rich_help_panel=MEASURING),
]
Contexts = Annotated[
    list[int] | None,
    typer.Option(
        "--context",
        min=1,
        help="Of a model that writes: tokens behind which it writes one more. May be repeated. Default: 16, 256, 1024.",
        rich_help_panel=WRITING,
    ),
]
PromptLengths = Annotated[
    list[int] | None,
    typer.Option(
        "--prompt-length",
        min=1,
        help="Of a model that writes: tokens of a prompt up to its first token. May be repeated. Default: 16, 128, "
        "512.",
        rich_help_panel=WRITING,
    ),
]
Html = Annotated[Path | None, typer.Option("--html", help="Write a report as one HTML page.", rich_help_panel=OUTPUT)]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", help="Write the tables as Markdown.", rich_help_panel=OUTPUT)
]
ReportLanguage = Annotated[
    Language,
    typer.Option("--language", help="Of the words in the HTML page and in Markdown.", rich_help_panel=OUTPUT),
]


def check_files(*files: Path | None, html: Path | None, overwrite: bool) -> None:
    """Refuse files that could not be written in the end, before anything is measured.

    Args:
        html: is one of them that needs jinja2.

    Raises:
        OutputExistsError: one is there, and `overwrite` is not set.
        MissingExtraError: HTML without jinja2.
    """
    from edgelm.files.output import check_output
    from edgelm.report import check_page

    for file in (html, *files):
        if file is not None:
            check_output(file, overwrite=overwrite)
    if html is not None:
        check_page()


def draw_profiles(console: Console, values: dict[str, Any], *, with_operators: bool) -> None:
    """What was measured, with estimates in the same table."""
    from edgelm.report.generation import speed_sections
    from edgelm.report.language import thread_words
    from edgelm.report.tables import estimates_note, operator_table, provider_notes, runs_words, subject_table
    from edgelm.report.texts import example_parts, marked, text_sections

    profiles, estimates = values["profiles"], values.get("estimates")
    for where in dict.fromkeys(
        (item["host"], item["machine"]["cpu"], item["settings"]["threads"], runs_words(item["settings"]))
        for item in profiles
    ):
        there, cpu, count, runs = where
        threads = thread_words(count)
        console.print(f"Measured on {f'{there}: ' if there else ''}{cpu}, {threads}, {runs}, interleaved.")
    for note in provider_notes(profiles):
        console.print(note, markup=False)
    if estimates:
        console.print(estimates_note(estimates))
    parts = [subject_table(profiles), *(table for _, table in speed_sections(profiles, estimates))]
    parts += [table for _, table in text_sections(values.get("texts"))]
    parts += [operator_table(profiles[0])] if with_operators else []
    for header, rows in parts:
        table = make_table(*header)
        for column in table.columns:  # on a narrow terminal an interval goes below its figure
            column.no_wrap = column.no_wrap and not str(column.header).startswith(("p50", "vs "))
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    for example in example_parts(values.get("texts")):
        table = make_table("", "", numbers_from=2)
        table.add_row("prompt", Text(example["prompt"]))
        for row in example["rows"]:
            table.add_row(row["name"], Text(marked(row)))
        console.print(table)
        console.print()


def draw_estimates(console: Console, values: dict[str, Any]) -> None:
    """What was estimated alone: latencies, then the operators of each subject and device."""
    from edgelm.report.estimates import sections
    from edgelm.report.tables import estimates_note

    console.print(estimates_note(values["estimates"]))
    for title, (header, rows) in sections(values["estimates"]):
        table = make_table(*header, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()
