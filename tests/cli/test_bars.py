"""Bars on a terminal, while results go elsewhere."""

import io
import sys

import pytest

from edgelm.cli.console import Screen


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("step", [(0, 3), (3, 3)], ids=["goes on", "is over"])
def test_a_result_goes_into_a_file_while_bars_are_on_the_terminal(monkeypatch, step):
    """As in `edgelm export ... --json > made.json`."""
    file, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "stderr", terminal)
    screen = Screen(as_json=True, quiet=False, verbose=False)
    screen.progress("parity", *step)
    screen.result({"a": "b" * 300}, lambda console, values: None)
    screen.progress("parity", 1, 3)  # nothing that follows goes there either
    print("written by a library")
    screen.close()
    assert file.getvalue() == '{"a": "' + "b" * 300 + '"}\nwritten by a library\n'
    assert "parity" in terminal.getvalue()
    assert "bbb" not in terminal.getvalue()
