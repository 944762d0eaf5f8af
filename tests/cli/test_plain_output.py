"""Names, labels and answers of strangers are text on a terminal, in JSON and in reports, whatever is in them."""

import json

import pytest
from bundles import make_bundle, reseal, set_field
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from edgelm.cli.console import PlainConsole
from edgelm.cli.main import app
from edgelm.lines import json_line, plain_text
from edgelm.markdown import as_markdown, markdown_table

EVIL = "a\x1b[2J\x1b]0;title\x07\x9b31mb\u202ec\rd"


def acts(text):
    return any(char in text for char in "\x1b\x07\x9b\u202e\r\x00")


@pytest.mark.parametrize("watched", [True, False], ids=["terminal", "pipe"])
def test_a_console_shows_what_a_terminal_acts_on_as_escapes(watched, capsys):
    console = PlainConsole(force_terminal=watched, width=200, color_system=None, markup=False, highlight=False)
    table = Table(EVIL)
    table.add_row(EVIL)
    table.add_row(Text(EVIL))
    console.print(EVIL)
    console.print(table)
    console.print(Text(EVIL))
    shown = capsys.readouterr().out
    assert not acts(shown)
    assert shown.count("\\x1b[2J") == 5


def test_json_says_the_same_in_characters_that_do_nothing():
    values = {"label": EVIL, "text": "é \U0001f600\n"}
    assert not acts(json_line(values))
    assert json.loads(json_line(values)) == values
    assert plain_text("é \U0001f600\n\t\u200f") == "é \U0001f600\n\t\u200f"


def test_answers_and_errors_of_a_bundle_act_on_nothing(tmp_path):
    folder = make_bundle(tmp_path / "b")
    reseal(folder, set_field(("task", "labels"), [EVIL, EVIL + "2"]))
    for more in ([], ["--json"]):
        result = CliRunner().invoke(app, ["run", str(folder), f"good {EVIL}", *more])
        assert result.exit_code == 0
        assert not acts(result.stdout)
    result = CliRunner().invoke(app, ["run", str(tmp_path / EVIL), "a"])
    assert result.exit_code == 4
    assert not acts(result.stderr)


def test_a_report_in_markdown_holds_no_html():
    text = as_markdown(["# <script>x</script>", *markdown_table("t", (["a"], [["<img src=x>\n# b | c"], ["1 < 2"]]))])
    assert "<" not in text.replace("1 < 2", "")
    assert "| &lt;img src=x> # b \\| c |" in text
