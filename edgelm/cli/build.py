"""`edgelm build`: a TensorRT engine for a bundle, on the device that runs it or ahead for its GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.choices import EnginePackage
from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, Quiet, Verbose
from edgelm.cli.sign import note_additions
from edgelm.cli.tables import make_table, shapes_line


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file, made for a GPU or a Jetson.")],
    package: Annotated[
        EnginePackage | None,
        typer.Option(
            "--package",
            help="What builds it. Default: the first that the bundle's device prefers and is installed.",
        ),
    ] = None,
    capability: Annotated[
        str | None,
        typer.Option(
            "--capability", help="Compute capability to build for, such as 8.9; tensorrt-rtx needs no such GPU here."
        ),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option("--workspace", min=16, help="Memory that one operator may use, in MB.")
    ] = None,
    portable: Annotated[
        bool | None,
        typer.Option(
            "--portable/--no-portable",
            help="For later versions of TensorRT and, but for Jetsons, other GPUs from Ampere on (tensorrt).",
        ),
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit/--no-refit", help="An engine whose weights a program of yours can exchange (TensorRT's Refitter)."
        ),
    ] = None,
    strip: Annotated[
        bool | None,
        typer.Option(
            "--strip/--no-strip", help="Leave out the weights that the bundle's graph has; they are put in at loading."
        ),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Also where an engine that fits is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build the TensorRT engine of a bundle by its plan, prove it by the golden samples where there is a GPU, and keep
    it in the bundle.

    Example: edgelm build my-model.edge
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.engines import build as run

        result = run(
            bundle,
            package=package,
            workspace_mb=workspace,
            portable=portable,
            refit=refit,
            strip=strip,
            capability=capability,
            rebuild=rebuild,
            progress=screen.progress,
        )
        screen.result(result.to_dict(), _draw)
        if not result.replayed:
            screen.note("No GPU here has run it yet: `edgelm verify` on the device replays the golden samples.")
        note_additions(screen, bundle)
        for engine in result.engines[:-1]:
            screen.note(f"Result: {result.path}/{engine.path}")
        screen.next_step(f"{result.path}/{result.engines[-1].path}", "profile", argument(bundle))


def _draw(console: Console, values: dict[str, Any]) -> None:
    engines = values["engines"]
    table = make_table("engine", *(engine["path"] for engine in engines))
    for name, said in (
        ("package", lambda engine: f"{engine['package']} {engine['version']}"),
        ("compute capability", lambda engine: ", ".join(engine["compute_capabilities"])),
        ("precision", lambda engine: engine["precision"]),
        ("texts x tokens", lambda engine: shapes_line(engine["plan"]["profiles"])),
    ):
        table.add_row(name, *map(said, engines))
    sizes = ("size", f"{values['size_mb']:.1f} MB"), ("build", _seconds(values))
    for name, text in (*sizes, ("golden samples", _replayed(engines))):
        table.add_row(name, text)
    console.print(table)


def _seconds(values: dict[str, Any]) -> str:
    seconds = sum(engine["seconds"] for engine in values["engines"])
    return f"{seconds:.1f} s" if values["built"] else "was there already, and fits"


def _replayed(engines: list[dict[str, Any]]) -> str:
    differences = [engine["difference"] for engine in engines]
    return "not yet" if None in differences else f"largest difference {max(differences):.2g}"
