"""What `--help` and the shell tell of commands and options, and how a mistyped choice is refused."""

import os
import subprocess
import sys
from typing import get_args

import pytest
import typer
from click import unstyle
from typer.testing import CliRunner

from edgelm import choices
from edgelm.cli.main import COMMANDS, app
from edgelm.export.formats.formats import FORMATS
from edgelm.export.formats.gguf.precisions import PRECISIONS as GGUF_PRECISIONS
from edgelm.precision import PRECISIONS
from edgelm.quantize.ranges import METHODS
from edgelm.runtime.provider import EXECUTION_PROVIDERS
from edgelm.tasks.table import TASKS
from edgelm.tasks.task import TaskKind

WIDE = {"COLUMNS": "200", "TERM": "dumb"}


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, words, env=WIDE)
    assert result.exit_code == 0, result.output
    return unstyle(result.stdout)


def panels(text: str) -> list[str]:
    return [line.strip("╭╮─ ") for line in text.splitlines() if line.startswith("╭")]


@pytest.mark.parametrize("command", COMMANDS)
def test_h_is_help(command):
    assert shown(command, "-h") == shown(command, "--help")
    assert "Example: edgelm" in shown(command, "-h") or "Commands" in panels(shown(command, "-h"))


def test_commands_stand_in_the_order_of_the_work():
    text = shown("-h")
    assert panels(text) == ["Options", "Commands"]
    listed = [line.split()[1] for line in text.partition("Commands")[2].splitlines() if line.startswith("│ ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("finetune", ["Training", "Data and model", "Output"]),
        ("compress", ["Budget", "Data and model", "Output"]),
        ("search", ["Budget", "Training", "Measuring", "Data and model", "Output"]),
        ("export", ["Quantization", "Data and model", "Graph and engine", "Output"]),
        ("profile", ["Measuring", "Models that write", "Other machines", "Output"]),
        ("report", ["Costs", "Output"]),
        ("tune", ["Budget", "Output"]),
        ("serve", ["Limits", "Signatures", "Output"]),
    ],
)
def test_options_stand_in_panels(command, wanted):
    assert set(panels(shown(command, "-h"))) >= {"Arguments", "Options", *wanted}


def test_the_first_panel_of_options_is_short():
    group = typer.main.get_command(app)
    for command in ("finetune", "compress", "search", "export", "report"):
        first = [
            parameter
            for parameter in group.commands[command].params
            if parameter.param_type_name == "option" and parameter.rich_help_panel is None
        ]
        assert len(first) <= 11, (command, [parameter.name for parameter in first])


def test_choices_are_those_of_the_tables():
    assert get_args(choices.PrecisionName) == tuple(PRECISIONS)
    assert set(get_args(choices.ExportPrecision)) == {*PRECISIONS, *GGUF_PRECISIONS}
    assert get_args(choices.ProviderName) == tuple(EXECUTION_PROVIDERS)
    assert get_args(choices.RangeMethod) == ("auto", *METHODS)
    assert get_args(choices.ExportFormat) == ("bundle", *FORMATS)
    assert get_args(TaskKind) == tuple(TASKS)


@pytest.mark.parametrize(
    ("command", "option", "listed"),
    [
        ("finetune", "--task", "token-classification"),
        ("finetune", "--optimizer", "adagrad"),
        ("finetune", "--schedule", "cosine"),
        ("finetune", "--train-precision", "bf16"),
        ("finetune", "--problem", "multi-label"),
        ("finetune", "--label-format", "vectors"),
        ("compress", "--precision", "int8-weights"),
        ("search", "--sampler", "nsga2"),
        ("export", "--calibration-method", "moving-average"),
        ("export", "--calibration-choice", "diverse"),
        ("export", "--rounding", "adaptive"),
        ("export", "--format", "genai"),
        ("build", "--package", "tensorrt-rtx"),
        ("export", "--precision", "q8_0"),
        ("verify", "--provider", "native"),
    ],
)
def test_choices_are_listed_and_others_refused(command, option, listed):
    help_text = shown(command, "--help")
    assert option in help_text
    assert listed in "".join(help_text.replace("│", "").split())
    needed = {"build": ["b.edge"], "verify": ["b.edge"], "export": ["model", "--output", "out"]}
    words = needed.get(command, ["model", "--data", "a.csv", "--eval", "b.csv", "--output", "out"])
    refused = CliRunner().invoke(app, [command, *words, option, "nothing-such"], env=WIDE)
    assert refused.exit_code == 2
    assert "nothing-such" in refused.stderr
    assert listed in refused.stderr


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("edgelm comp", "compress"), ("edgelm compress --prec", "--precision"), ("edgelm recipes sh", "show")],
)
def test_the_shell_completes_commands_and_options(typed, completed):
    asked = {"_EDGELM_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from edgelm.cli.main import app; app(prog_name='edgelm')"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed in done.stdout.split(), done.stderr


def test_the_shell_is_told_how_to_complete():
    assert "--install-completion" in shown("--help")
