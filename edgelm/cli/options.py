"""Options that every command has, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from edgelm import choices
from edgelm.cli.panels import COSTS, OUTPUT, ROWS, SIGNATURES
from edgelm.model_folder.task_names import kind_of_name
from edgelm.tasks import task

# What every option of a length of time says of it; `edgelm.durations` reads them.
TIMES = "Such as 90s, 45m, 1h30m, 2h, or seconds."
TASK_NAMES = f"[{'|'.join(get_args(task.TaskKind))}]"


def split_commas(values: list[str] | None) -> list[str]:
    """Names that were given one by one, or several with commas."""
    return [name.strip() for value in values or () for name in value.split(",") if name.strip()]


Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object on stdout; everything else goes to stderr.", rich_help_panel=OUTPUT
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=OUTPUT)]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print more, and a traceback when something fails.", rich_help_panel=OUTPUT),
]
ReportTo = Annotated[
    list[str] | None,
    typer.Option(
        "--report-to",
        metavar="TRACKER",
        callback=split_commas,
        help="Follow the figures in tensorboard, wandb, mlflow or trackio; several with commas, or repeated.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.", rich_help_panel=OUTPUT)]
Provider = Annotated[
    choices.ProviderName | None,
    typer.Option("--provider", help="What must run a bundle. Default: as its device prefers."),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of one operator. Default: one a core.")]
BundleThreads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of one operator. Default: as the bundle says, else one a core."),
]
PublicKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="Public key (PEM) that must have signed the bundle; every file is then checked.",
        rich_help_panel=SIGNATURES,
    ),
]
DeviceKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--device-key",
        help="With --key: public key that must have signed what `edgelm tune` and `build` added since.",
        rich_help_panel=SIGNATURES,
    ),
]
UnsignedAdditions = Annotated[
    bool,
    typer.Option(
        "--unsigned-additions",
        help="With --key: use what `edgelm tune` and `build` added since, whoever did. Default: it is left aside.",
        rich_help_panel=SIGNATURES,
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the private key's passphrase. Default: asked for, if there is one.",
        rich_help_panel=SIGNATURES,
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help="Column of the text, the words or the question. Default: guessed (text, sentence, tokens, question, ...).",
        rich_help_panel=ROWS,
    ),
]
PairColumn = Annotated[
    str | None,
    typer.Option(
        "--pair-column",
        help="Column of the second text of a pair, the context or the endings. Default: guessed by usual names.",
        rich_help_panel=ROWS,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        help="Column of the label, the tags or the answers. Default: guessed (label, intent, tags, answers, ...).",
        rich_help_panel=ROWS,
    ),
]
SkipBadRows = Annotated[
    bool,
    typer.Option(
        "--skip-bad-rows",
        help="Leave out rows that cannot be read, such as an answer that is not in its context, and say how many.",
        rich_help_panel=ROWS,
    ),
]
Problem = Annotated[
    task.Problem | None,
    typer.Option("--problem", help="How labels exclude each other. Default: told from them.", rich_help_panel=ROWS),
]
LabelFormat = Annotated[
    choices.LabelFormat | None,
    typer.Option(
        "--label-format",
        help="What lists of labels hold; vectors: a 0 or 1 for each. Default: told from them.",
        rich_help_panel=ROWS,
    ),
]
FirstLabel = Annotated[
    int | None,
    typer.Option(
        "--first-label",
        min=-1,
        max=1,
        help="Number of the model's first label, where labels are numbers. Default: told from them.",
        rich_help_panel=ROWS,
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar=TASK_NAMES,
        help="Where a model can do several; Optimum's names are known too. Default: as it is read.",
        callback=kind_of_name,
        rich_help_panel=ROWS,
    ),
]
MissingLabel = Annotated[
    str | None,
    typer.Option(
        "--missing-label",
        help="The label of rows without one, which are left out, such as -1. Default: told from the labels.",
        rich_help_panel=ROWS,
    ),
]
PricePerHour = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour",
        min=0.0,
        help="Of the measured machine: what calls cost, estimated.",
        rich_help_panel=COSTS,
    ),
]
CallsPerDay = Annotated[
    float | None,
    typer.Option(
        "--calls-per-day",
        min=0.0,
        help="With a price or a power: what calls of a year cost, and what compressing saves of that.",
        rich_help_panel=COSTS,
    ),
]
Watts = Annotated[
    float | None,
    typer.Option(
        "--watts",
        min=0.0,
        help="Power of the measured machine while it answers, where no sensor measured it: what calls take of energy, "
        "estimated. Default in reports: the largest power mode of the device that a profile names.",
        rich_help_panel=COSTS,
    ),
]
