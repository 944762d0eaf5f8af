"""The commands that recipes and devices share: list, show, validate, copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, Overwrite, Quiet, Verbose
from edgelm.cli.tables import make_table


def make_app(
    kind: Literal["recipes", "devices"], describe: Callable[[str], dict[str, Any]], columns: tuple[str, ...]
) -> typer.Typer:
    """The command group for one kind of shipped file.

    Args:
        describe: reads and validates a file by name or path, and returns its values.
        columns: the values that `list` shows.
    """
    noun = kind.removesuffix("s")
    app = typer.Typer(help=f"List, show, check and copy {kind}.", no_args_is_help=True)

    @app.command("list", help=f"List the {kind} that edgelm ships.\n\nExample: edgelm {kind} list")
    def list_(as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
        with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
            from edgelm.files.shipped import shipped_names

            names = shipped_names(kind)
            screen.result(
                {kind: [describe(name) for name in names]},
                lambda console, values: _list(console, values[kind], columns),
            )
            screen.next_step(None, kind, "show", names[0])

    @app.command(
        "show",
        help=f"Print a {noun}, with its comments.\n\nExample: edgelm {kind} show "
        f"{'balanced' if kind == 'recipes' else 'cpu'}",
    )
    def show(
        name: Annotated[str, typer.Argument(help=f"A shipped {noun}, or a YAML file.")],
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
            from edgelm.files.shipped import find_file

            path = find_file(name, kind)
            screen.result(describe(name), lambda console, _: console.print(path.read_text(encoding="utf-8").rstrip()))

    @app.command("validate", help=f"Check a {noun} of your own.\n\nExample: edgelm {kind} validate mine.yaml")
    def validate(
        file: Annotated[Path, typer.Argument(help="A YAML file.")],
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
            values = describe(str(file))
            screen.result(
                {"path": str(file), "ok": True, noun: values},
                lambda console, _: console.print(f"{file} is a valid {noun}."),
            )

    @app.command(
        "copy",
        help=f"Copy a shipped {noun}, to change it.\n\nExample: edgelm {kind} copy "
        f"{'balanced' if kind == 'recipes' else 'cpu'} mine.yaml",
    )
    def copy(
        name: Annotated[str, typer.Argument(help=f"A shipped {noun}.")],
        file: Annotated[Path, typer.Argument(help="Where to.")],
        overwrite: Overwrite = False,
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
            from edgelm.files.output import staged_output
            from edgelm.files.shipped import find_file

            text = find_file(name, kind).read_text(encoding="utf-8")
            with staged_output(file, overwrite=overwrite) as aside:
                aside.write_text(text, encoding="utf-8")
            screen.result({"path": str(file)}, lambda console, _: None)
            screen.next_step(str(file), kind, "validate", file_argument(file))

    return app


def file_argument(file: Path) -> str:
    """A file that no command takes for the name of a shipped one, or for an option."""
    bare = len(file.parts) == 1 and file.suffix not in (".yaml", ".yml")
    return f"./{file}" if bare else argument(file)


def _list(console: Console, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    table = make_table(*columns, numbers_from=len(columns))
    for row in rows:
        table.add_row(
            *(", ".join(map(str, row[name])) if isinstance(row[name], list) else str(row[name]) for name in columns)
        )
    console.print(table)
