"""Options that every command has, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more, and a traceback when something fails.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Provider = Annotated[
    str | None,
    typer.Option(
        "--provider",
        help="What must run a bundle: tensorrt, tensorrt-rtx, cuda, openvino, coreml, qnn, xnnpack or cpu. Default: "
        "as its device prefers.",
    ),
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column with the text. Default: guessed (text, sentence, ...).")
]
PairColumn = Annotated[str | None, typer.Option("--pair-column", help="Column with the second text of a pair.")]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the label. Default: guessed (label, intent, ...).")
]
Problem = Annotated[
    str | None,
    typer.Option(
        "--problem",
        help="How labels exclude each other: single-label, multi-label or regression. Default: told from them.",
    ),
]
LabelFormat = Annotated[
    str | None,
    typer.Option(
        "--label-format",
        help="What lists of labels hold: names, indices, or vectors (a 0 or 1 for each). Default: told from them.",
    ),
]
FirstLabel = Annotated[
    int | None,
    typer.Option(
        "--first-label",
        min=-1,
        max=1,
        help="Number of the model's first label, where labels are numbers. Default: told from them.",
    ),
]
MissingLabel = Annotated[
    str | None,
    typer.Option(
        "--missing-label",
        help="The label of rows without one, which are left out, such as -1. Default: told from the labels.",
    ),
]
