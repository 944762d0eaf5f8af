"""`edgelm sign`: says who made a bundle, in a way that cannot be forged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument
from edgelm.cli.console import Screen, open_screen
from edgelm.cli.options import Json, Overwrite, PassphraseFile, Quiet, Verbose


def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file.")],
    key: Annotated[Path, typer.Option("--key", help="Private key (PEM), as `edgelm keys new` makes it.")],
    passphrase_file: PassphraseFile = None,
    additions: Annotated[
        bool,
        typer.Option(
            "--additions",
            help="Sign what this device added to a signed bundle (`edgelm tune`, `build`), by a key of its own.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Sign a bundle by Ed25519: its manifest, which has the hash of every file. The files are checked first.

    Example: edgelm sign build/my-model.edge --key release.private.pem
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.bundles.keys import is_encrypted, others_can_read
        from edgelm.bundles.sign import sign as run
        from edgelm.cli.keys import read_passphrase

        passphrase = read_passphrase(passphrase_file, ask=is_encrypted(key))
        if others_can_read(key):
            screen.aside(f"Warning: others than you may read {key}; `chmod 600` keeps it to you.")
        result = run(bundle, key=key, passphrase=passphrase, device=additions, overwrite=overwrite)
        screen.result(result.to_dict(), _draw)
        option = "--device-key" if additions else "--key"
        words = ("--key", "PUBLIC.pem", option, "DEVICE.pem") if additions else (option, "PUBLIC.pem")
        screen.next_step(f"{result.path}", "verify", argument(bundle), *words)


def note_additions(screen: Screen, bundle: Path) -> None:
    """Say of a signed bundle where what was just added is listed, and who uses it."""
    from edgelm.runtime import open_bundle

    opened = open_bundle(bundle)
    if opened.is_signed and opened.additions is not None:
        screen.note(
            "The bundle is signed, so what was added is listed apart, in device.json. With --key it is used if a key "
            "of this device signs it (`edgelm sign --additions`), or if --unsigned-additions says so."
        )


def _draw(console: Console, values: dict[str, Any]) -> None:
    console.print(f"{values['signed']} is signed by the key {values['key'][:16]} ({values['file']}).", soft_wrap=True)
