"""Options that every command has, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# What every option of a length of time says of it; `edgelm.durations` reads them.
TIMES = "Such as 90s, 45m, 1h30m, 2h, or seconds."

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
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of one operator. Default: one a core.")]
BundleThreads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of one operator. Default: as the bundle says, else one a core."),
]
PublicKeyFile = Annotated[
    Path | None,
    typer.Option("--key", help="Public key (PEM) that must have signed the bundle; every file is then checked."),
]
DeviceKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--device-key", help="With --key: public key that must have signed what `edgelm tune` and `build` added since."
    ),
]
UnsignedAdditions = Annotated[
    bool,
    typer.Option(
        "--unsigned-additions",
        help="With --key: use what `edgelm tune` and `build` added since, whoever did. Default: it is left aside.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="File with the private key's passphrase. Default: asked for, if there is one."
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help="Column of the text, the words or the question. Default: guessed (text, sentence, tokens, question, ...).",
    ),
]
PairColumn = Annotated[
    str | None,
    typer.Option(
        "--pair-column",
        help="Column of the second text of a pair, the context or the endings. Default: guessed by usual names.",
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        help="Column of the label, the tags or the answers. Default: guessed (label, intent, tags, answers, ...).",
    ),
]
SkipBadRows = Annotated[
    bool,
    typer.Option(
        "--skip-bad-rows",
        help="Leave out rows that cannot be read, such as an answer that is not in its context, and say how many.",
    ),
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
