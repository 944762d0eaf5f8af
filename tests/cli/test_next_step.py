"""The line that says what to type next: whatever is in paths and columns, however narrow the terminal, it can be
pasted."""

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from bundles import make_bundle
from hypothesis import given
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm.cli import command
from edgelm.cli.command import argument, join, options, program, quote, unused
from edgelm.cli.main import app
from edgelm.tasks.text import TextClassification

BASH = shutil.which("bash")
ODD = 'it\'s a "test" $1'
needs_bash = pytest.mark.skipif(BASH is None, reason="bash reads the lines")


def next_line(text: str) -> str:
    """The only one, which nothing comes after."""
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    assert lines[-1].startswith("Next:   "), text
    return lines[-1].removeprefix("Next:   ")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


WORDS = [
    "",
    "plain",
    "two words",
    ODD,
    "*?[a]~{1,2}!;&|<>()`",
    "a\nb\tc\x1b[31m",
    "Ünïcödé 日本",
    "\u202eevil",
    ":smile:",
    "\\",
]


@needs_bash
@pytest.mark.parametrize("word", WORDS)
def test_bash_reads_each_word_as_it_is(word):
    said = subprocess.run([BASH, "-c", f"printf %s {quote(word)}"], capture_output=True, check=True).stdout
    assert said == os.fsencode(word)
    assert quote(word).isprintable()


@given(
    st.lists(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=8), min_size=1, max_size=4)
)
def test_a_shell_takes_the_line_apart_into_the_same_words(words):
    assert shlex.split(join(words)) == words


def test_bytes_that_are_no_text_are_a_line_too():
    assert quote(os.fsdecode(b"caf\xe9")) == "$'caf\\xe9'"


def test_options_are_left_out_where_nothing_was_given_but_zero_is_something():
    assert options({"--a": None, "--b": False, "--c": True, "--d": 0, "--e": "x y"}) == ["--c", "--d", 0, "--e", "x y"]


def test_a_path_is_not_taken_for_an_option_and_a_new_one_is_new(tmp_path):
    assert (argument(Path("-x")), argument(Path("a/-x"))) == ("./-x", "a/-x")
    (tmp_path / "a.html").touch()
    (tmp_path / "a-2.html").touch()
    assert unused(tmp_path / "a.html") == tmp_path / "a-3.html"
    assert unused(tmp_path / "b.html") == tmp_path / "b.html"


def test_the_program_is_named_as_it_was_called(tmp_path, monkeypatch):
    mine, other = (tmp_path / name / "edgelm" for name in ("mine", "other"))
    for file in (mine, other):
        file.parent.mkdir()
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(mine.parent))
    expected = {
        str(mine): ["edgelm"],
        str(other): [str(other)],
        "/x/site-packages/edgelm/__main__.py": [sys.executable, "-m", "edgelm"],
        "/x/site-packages/pytest/__main__.py": ["edgelm"],  # called as a library: the name that is documented
    }
    for called, words in expected.items():
        monkeypatch.setattr(sys, "argv", [called])
        assert program() == words
    monkeypatch.setattr(command.sys, "executable", str(mine.parent / "python"))
    (mine.parent / "python").write_text("#!/bin/sh\n")
    (mine.parent / "python").chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["/x/edgelm/__main__.py"])
    assert program() == ["python", "-m", "edgelm"]


def test_short_commands_name_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert next_line(run("recipes", "list").output) == "edgelm recipes show accurate"
    assert next_line(run("doctor").output) == "edgelm demo"
    assert (
        next_line(run("devices", "copy", "cpu", "cpu").output) == "edgelm devices validate ./cpu"
    )  # not the shipped one
    assert (
        next_line(run("recipes", "copy", "balanced", f"{ODD}.yaml").output)
        == f"edgelm recipes validate {shlex.quote(ODD + '.yaml')}"
    )
    pairs = make_bundle(tmp_path / "p", TextClassification(labels=("no", "yes"), pair=True))
    checked = run("verify", pairs, "--no-replay", "--provider", "cpu")
    assert shlex.split(next_line(checked.output))[2:] == [
        str(pairs),
        "first text",
        "--pair",
        "second text",
        "--provider",
        "cpu",
    ]


def test_a_line_that_begins_nothing_new_carries_what_was_given(tmp_path, threads_alone):
    bundle = make_bundle(tmp_path / ODD)
    tuned = run("tune", bundle, "--dry-run", "--data", write_rows(tmp_path), "--text-column", "the text")
    words = shlex.split(next_line(tuned.output))
    assert words == [
        "edgelm",
        "profile",
        str(bundle),
        "--data",
        str(tmp_path / f"rows {ODD}.jsonl"),
        "--text-column",
        "the text",
    ]


def write_rows(folder: Path) -> Path:
    rows = [{"the text": text, ODD: ("negative", "positive")[number % 2]} for number, text in enumerate(TEXTS * 2)]
    file = folder / f"rows {ODD}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def in_terminal(words: list[str], columns: int, folder: Path) -> tuple[int, str]:
    """Run a command in a terminal so wide; its exit code, and what it showed there."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, columns)) if hasattr(termios, "tcsetwinsize") else _set_size(child, columns)
    process = subprocess.Popen(words, stdin=child, stdout=child, stderr=subprocess.DEVNULL, cwd=folder, close_fds=True)
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    return process.wait(), shown.decode()


def _set_size(terminal: int, columns: int) -> None:
    import fcntl
    import struct

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


@needs_bash
@pytest.mark.slow
def test_from_a_backbone_to_an_answer_by_pasting_what_is_printed(tmp_path):
    """finetune is called in a terminal of 40 columns; each further command is the line that the one before printed."""
    make_checkpoint(tmp_path / f"base {ODD}")
    rows = write_rows(tmp_path)
    typed = [
        sys.executable,
        "-m",
        "edgelm",
        "finetune",
        f"base {ODD}",
        "--data",
        rows.name,
        "--eval",
        rows.name,
        "--output",
        f"-teacher {ODD}",
    ]
    code, shown = in_terminal(
        [*typed, "--text-column", "the text", "--label-column", ODD, "--max-steps", "2", "--max-length", "64"],
        40,
        tmp_path,
    )
    assert code == 0, shown
    line, done = next_line(shown), []
    assert shlex.split(line)[1:3] == ["-m", "edgelm"]
    while line is not None and len(done) < 6:
        words = shlex.split(line)
        done.append(words[3])
        made = subprocess.run([BASH, "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, (line, made.stderr)
        if words[3] in ("compress", "export"):
            assert {rows.name, "the text", ODD, "64"} <= set(words)
        line = next_line(made.stdout) if "\nNext:" in made.stdout else None
    assert done == ["compress", "export", "profile", "verify", "run"]
