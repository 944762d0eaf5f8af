"""Options of earlier versions: refused with what to type today, and never taken for something else."""

import re

import pytest
import typer
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.cli.renamed import RENAMED
from edgelm.errors import EXIT_USAGE

GROUP = typer.main.get_command(app)
EVERY = [(command, old) for command, table in RENAMED.items() for old in table]


def options_of(command: str) -> set[str]:
    return {name for parameter in GROUP.commands[command].params for name in parameter.opts}


@pytest.mark.parametrize(("command", "old"), EVERY, ids=" ".join)
@pytest.mark.parametrize("form", ["{} value", "{}=value"])
def test_an_old_option_is_refused_with_the_new_spelling(command, old, form):
    refused = CliRunner().invoke(app, [command, "something", *form.format(old).split()])
    assert refused.exit_code == EXIT_USAGE
    assert f"edgelm {command} has no option {old} any more" in refused.stderr
    assert RENAMED[command][old] in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 2


@pytest.mark.parametrize(("command", "old"), EVERY, ids=" ".join)
def test_what_is_named_instead_exists_and_the_old_option_does_not(command, old):
    assert old not in options_of(command)
    new = RENAMED[command][old]
    there = re.match(r"`edgelm ([a-z-]+)", new)
    assert re.findall(r"--[a-z-]+", new)[0] in options_of(there[1] if there else command)


def test_what_follows_two_hyphens_is_no_option():
    refused = CliRunner().invoke(app, ["profile", "--", "--for"])
    assert "any more" not in refused.output


@pytest.mark.parametrize(
    ("new", "commands"),
    [
        ("--precision", {"compress", "search", "export", "latency-table"}),
        ("--device", {"advise", "compress", "search", "export", "estimate", "init"}),
        ("--batch", {"profile", "estimate"}),
        ("--sequence", {"profile", "estimate", "latency-table"}),
        ("--max-length", {"advise", "finetune", "compress", "search", "export"}),
        ("--batch-size", {"finetune"}),
        ("--table", {"advise", "compress"}),
    ],
)
def test_an_option_means_one_thing_wherever_it_is(new, commands):
    """A command that takes one of these is listed here, so that whoever adds one looks at what it means elsewhere."""
    assert {command for command in GROUP.commands if new in options_of(command)} == commands
