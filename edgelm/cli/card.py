"""`edgelm card`: what a bundle says of itself to people and to a model hub."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, Quiet, Verbose
from edgelm.errors import InputError

if TYPE_CHECKING:
    from edgelm.runtime import Bundle


def card(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file.")],
    profile: Annotated[
        list[Path] | None,
        typer.Option(
            "--profile",
            help="What `edgelm profile --output` wrote of this bundle: its latency is written into the card. May be "
            "repeated, for several machines.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Print the model card of a bundle; with --profile, first write the measured latency into it.

    Example: edgelm card build/my-model.edge --profile profile.json

    Do so before the bundle is signed: the card is one of the files that a signature covers.
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.runtime import open_bundle
        from edgelm.runtime.manifest import CARD_FILE

        opened = open_bundle(bundle)
        if profile:
            text = _write(opened, profile)
        else:
            text = opened.read(CARD_FILE).decode("utf-8", "replace") if opened.has(CARD_FILE) else ""
        screen.result(
            {"path": str(bundle), "written": bool(profile), "card": text},
            lambda console, values: console.print(values["card"].rstrip(), markup=False, soft_wrap=True),
        )
        if profile:
            screen.next_step(str(bundle), "verify", argument(bundle))


def _write(bundle: Bundle, profiles: list[Path]) -> str:
    from edgelm.bundles.card import write_latency
    from edgelm.report.card_latency import latency_lines
    from edgelm.report.gather import bundle_id, read_profile_files

    known = [entry for file in read_profile_files(profiles) for entry in file["profiles"]]
    lines = latency_lines(bundle_id(bundle.manifest.to_dict()), known)
    if not lines:
        raise InputError(
            f"{bundle.path}: no profile in {', '.join(map(str, profiles))} is of this bundle as it lies there.",
            hint=f"Measure it: `edgelm profile {shlex.quote(str(bundle.path))} --output profile.json`.",
        )
    return write_latency(bundle.path, lines)
