"""What a command shows: results on stdout, everything else on stderr; and how errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

import typer
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from edgelm import distributed as processes
from edgelm.bars import Bars
from edgelm.cli.command import command_of, join, program
from edgelm.cli.log_lines import LogLines
from edgelm.cli.memory import memory_error
from edgelm.errors import EXIT_FAILED, EXIT_INTERRUPTED, EdgelmError
from edgelm.lines import json_line, plain_text

_WIDE = 200  # columns of a table that goes into a file or a pipe
_followed = ContextVar("followed", default=False)


@contextmanager
def followed() -> Iterator[None]:
    """Inside, a command says where its result is and not what to type next: its caller goes on by itself."""
    token = _followed.set(True)
    try:
        yield
    finally:
        _followed.reset(token)


class PlainConsole(Console):
    """A console on which text of strangers (labels, names, paths, answers) is text: none of it moves the cursor, colors
    what follows or writes elsewhere."""

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich has it, with what a terminal would act on as escapes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain_text(segment.text))


class Screen:
    """Where one command draws.

    Attributes:
        console: for people, on stdout (on stderr under --json, nowhere under --quiet).
        as_json: whether stdout carries one JSON object.
    """

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        watched = sys.stdout.isatty()
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
        self.console = PlainConsole(
            stderr=as_json, quiet=quiet, soft_wrap=not watched, width=None if watched else _WIDE, **plain
        )
        self.stderr = PlainConsole(stderr=True, soft_wrap=True, **plain)
        self._bars = Bars(self.stderr)
        self._lines: LogLines | None = None
        self._begun = ""

    def result(self, values: dict[str, Any], view: Callable[[Console, dict[str, Any]], None]) -> None:
        """Show a result: as JSON, or by the view that draws the same values for people."""
        self._bars.close()
        if self.as_json:
            sys.stdout.write(json_line(values) + "\n")
            sys.stdout.flush()
        elif not self.quiet:
            view(self.console, values)

    def piece(self, text: str) -> None:
        """Show a part of a text that is being written: as it is where it goes into a file or a pipe."""
        sys.stdout.write(plain_text(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    def next_step(self, where: str | None, *words: object) -> None:
        """The closing lines: where the result is, if anything was made, and what to type next.

        Args:
            words: of the command, after the program's name; the line can be pasted into a shell.
        """
        if where is not None:
            self.note(f"Result: {where}")
        if not _followed.get():
            self.note(f"Next:   {join([*program(), *words])}")

    def note(self, text: str) -> None:
        """A line for people that is no result; it may be copied, and so is not broken at the terminal's width."""
        if not self.quiet:
            (self.stderr if self.as_json else self.console).print(text, soft_wrap=True)

    def aside(self, text: str) -> None:
        """A line for people on stderr, whatever stdout carries."""
        if not self.quiet:
            self.stderr.print(text)

    def begin(self, description: str) -> None:
        """Say what goes on until other progress is told, such as imports and reading."""
        self.progress(description, 0, 1)
        self._begun = description

    def progress(self, description: str, done: int, total: int) -> None:
        """A `Progress` that draws bars on stderr when a person is watching, and writes lines there when nobody is."""
        if self.quiet:
            return
        begun, self._begun = self._begun, ""
        if begun and begun != description:
            self.progress(begun, 1, 1)
        if not sys.stderr.isatty():
            if self._lines is None:
                self._lines = LogLines(self.aside)
            self._lines.note(description, done, total)
            return
        self._bars(description, done, total)

    def close(self) -> None:
        """Take the progress bars off the terminal, and write no more lines."""
        if self._lines is not None:
            self._lines.close()
        self._bars.close()


@contextmanager
def open_screen(
    *, as_json: bool = False, quiet: bool = False, verbose: bool = False, shared: bool = False
) -> Iterator[Screen]:
    """A screen for one command; errors that leave it are printed and become the documented exit code.

    Args:
        shared: the command may run on several processes: then only the main one shows anything, and only the first to
            fail says why.
    """
    shown = not shared or processes.is_main()
    _open_closed_outputs()
    screen = Screen(as_json=as_json and shown, quiet=quiet or not shown, verbose=verbose)
    show = warnings.showwarning

    def show_plainly(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """What the runtime warns of is for the user: no place in our code belongs to it."""
        if category.__module__.startswith("edgelm."):
            screen.aside(f"Warning: {message}")
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_plainly
    fail = processes.fail if shared else _fail_alone
    try:
        yield screen
        sys.stdout.flush()  # here, where what goes wrong can be told
        if shared:
            processes.leave()
    except EdgelmError as error:
        shown_error = memory_error(error) or error
        words = _last_words(screen, f"Error: {shown_error}", traceback=verbose)
        raise typer.Exit(fail(shown_error.exit_code, words)) from error
    except KeyboardInterrupt as error:
        text = "Interrupted. The same command goes on from the last finished step."
        raise typer.Exit(fail(EXIT_INTERRUPTED, _last_words(screen, text))) from error
    except typer.Exit as done:
        if shared:
            processes.leave(done.exit_code)
        raise
    except typer.Abort:
        raise
    except BrokenPipeError as error:  # whoever reads has enough
        _forget_output()
        raise typer.Exit(fail(EXIT_FAILED, screen.close)) from error
    except Exception as error:
        raise typer.Exit(
            fail(EXIT_FAILED, _last_words(screen, f"Error: {_explain(error)}", traceback=verbose))
        ) from error
    finally:
        warnings.showwarning = show
        screen.close()


def _open_closed_outputs() -> None:
    """Have somewhere to write to where the caller has closed stdout or stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the process ends


def _forget_output() -> None:
    """Have what stdout still holds go nowhere: else Python would try once more as it ends, and complain."""
    with suppress(OSError, ValueError, AttributeError):  # in tests it is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _explain(error: Exception) -> str:
    """Too little memory, and a package that an extra brings, are the user's to mend; anything else is a defect of
    ours."""
    if lack := memory_error(error):
        return str(lack)
    if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        _forget_output()
        return f"the output cannot be written: {error.strerror}.\nFree some space, or send it elsewhere."
    if isinstance(error, ModuleNotFoundError):
        from edgelm.hardware.doctor import explain_missing

        if missing := explain_missing(error, command=command_of(error)):
            return str(missing)
    if processes.lost_another(error):
        return "another process of this run has ended.\nThe same command goes on from the last finished step."
    return (
        f"a defect in edgelm: {type(error).__name__}: {error}\nPlease report it with the output of the same command "
        "under --verbose."
    )


def _last_words(screen: Screen, text: str, *, traceback: bool = False) -> Callable[[], None]:
    """What says why the command failed."""

    def say() -> None:
        screen.close()
        if traceback:
            screen.stderr.print_exception()
        screen.stderr.print(text)

    return say


def _fail_alone(exit_code: int, say: Callable[[], None]) -> int:
    say()
    return exit_code
