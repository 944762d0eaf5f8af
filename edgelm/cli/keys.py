"""`edgelm keys`: make and show the keys that bundles are signed by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument
from edgelm.cli.console import open_screen
from edgelm.cli.options import Json, PassphraseFile, Quiet, Verbose

app = typer.Typer(help="Make and show keys that bundles are signed by.", no_args_is_help=True)


@app.command("new")
def new(
    name: Annotated[Path, typer.Argument(help="Of the pair: NAME.private.pem and NAME.public.pem are made.")],
    ask: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a passphrase that encrypts the private key.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a pair of Ed25519 keys: a private one, which signs bundles and stays with you, and a public one for devices.

    Example: edgelm keys new release
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.bundles.keys import make_keys

        made = make_keys(name, passphrase=read_passphrase(passphrase_file, ask=ask, confirm=True))
        screen.result(made.to_dict(), _draw)
        screen.next_step(str(made.private), "sign", "my-model.edge", "--key", argument(made.private))


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A public or a private key; of a private one its public part is shown.")],
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Print the id and the public part of a key; what is private in it is never shown.

    Example: edgelm keys show release.public.pem
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.bundles.keys import find_public_key, is_encrypted, is_private

        private = is_private(file)
        passphrase = read_passphrase(passphrase_file, ask=is_encrypted(file)) if private else None
        public = find_public_key(file, passphrase=passphrase)
        screen.result(
            {"file": str(file), "private": private, "id": public.id, "public": public.pem.decode()},
            lambda console, values: console.print(f"{values['public']}id {values['id']}", soft_wrap=True),
        )


def read_passphrase(file: Path | None, *, ask: bool, confirm: bool = False) -> bytes | None:
    """The passphrase in a file, without the end of its line, or one that a person types unseen; None: there is none.

    Raises:
        UsageError: nobody is there to type it, or the file is empty.
    """
    import sys

    from edgelm.errors import UsageError
    from edgelm.runtime.signature import read_key_file

    if file is not None:
        found = read_key_file(file).rstrip(b"\r\n")
        if not found:
            raise UsageError(f"{file} holds no passphrase.", hint="Write one into its first line.")
        return found
    if not ask:
        return None
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to type a passphrase.", hint="Give it with --passphrase-file FILE.")
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)).encode()


def _draw(console: Console, values: dict[str, Any]) -> None:
    console.print(f"private key  {values['private']}  (keep it where bundles are signed)", soft_wrap=True)
    console.print(f"public key   {values['public']}  (devices check bundles by it)", soft_wrap=True)
    console.print(f"id           {values['id']}", soft_wrap=True)
