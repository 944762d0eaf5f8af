"""`edgelm doctor`: what this machine can do, and what to install for what."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, Quiet, Verbose
from edgelm.cli.tables import make_table


def doctor(as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Show what this machine can do, and what to install for what.

    Example: edgelm doctor
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.hardware.doctor import examine

        screen.result(examine(), _draw)
        screen.next_step(None, "demo")


def _draw(console: Console, values: dict[str, Any]) -> None:
    machine = values["machine"]
    memory = "" if machine["memory_gb"] is None else f", {machine['memory_gb']} GB"
    console.print(
        f"{machine['cpu']} ({machine['arch']}), {machine['cores']} cores{memory}, {machine['system']}, Python "
        f"{machine['python']}"
    )
    console.print(f"Instructions: {', '.join(machine['instructions']) or 'none of note'}")
    for note in values["cpu"]:
        console.print(note)
    console.print(f"GPUs: {', '.join(machine['gpus']) or 'none'}")
    for runtime in values["runtimes"]:
        console.print(f"{runtime['name']} {runtime['version']} {', '.join(runtime['providers'])}")
    table = make_table("extra", "for", "missing", numbers_from=3)
    for extra in values["extras"]:
        table.add_row(extra["extra"], extra["use"], ", ".join(extra["missing"]) or "nothing")
    console.print(table)
    for extra in values["extras"]:  # below the table, whose cells wrap: a command must stay in one piece to be copied
        if not extra["ready"]:
            console.print(f"To {extra['use']}: {extra['install']}", soft_wrap=True)
