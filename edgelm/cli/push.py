"""`edgelm push`: a bundle on a model hub, for others to fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument, options
from edgelm.cli.console import Screen, open_screen
from edgelm.cli.options import Json, Quiet, Verbose
from edgelm.errors import UsageError


def push(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="A repository of the hub, such as me/my-model.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private; one that is there must be.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", help="A branch, which is made if it is not there. Default: main.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", help="Holds a token that may write. Default: HF_TOKEN, or that of `hf auth login`."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be uploaded; needs no token and no network.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Upload a bundle to Hugging Face's hub, or to that of HF_ENDPOINT, as it is. Its files are checked first.

    Example: edgelm push build/my-model.edge me/my-model --private
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.bundles.push import push as run

        token = None if token_file is None else _read_token(token_file, screen)
        if not dry_run and not sys.stderr.isatty():
            screen.aside(f"Uploading {bundle} to {repo} ...")
        result = run(
            bundle,
            repo,
            token=token,
            private=private,
            revision=revision,
            dry_run=dry_run,
            show_progress=not quiet and sys.stderr.isatty(),
        )
        screen.result(result.to_dict(), _draw)
        if result.others:
            screen.note(
                f"Warning: other files lie in {repo} ({', '.join(result.others[:5])}); `edgelm verify` refuses a copy "
                "of the bundle that has them."
            )
        if dry_run:
            given = options({"--private": private, "--revision": revision, "--token-file": token_file})
            screen.next_step(None, "push", argument(bundle), argument(repo), *given)


def _read_token(file: Path, screen: Screen) -> str:
    """The token in the first line of a file.

    Raises:
        UsageError: no such file, or nothing in it that a token could be.
    """
    from edgelm.bundles.keys import others_can_read

    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: no file that a token can be read from.", hint="Check --token-file.") from error
    if not token or not token.isprintable() or " " in token:
        raise UsageError(f"{file} holds no token.", hint="Write the token into its first line, and nothing else.")
    if others_can_read(file):
        screen.aside(f"Warning: others than you may read {file}; `chmod 600` keeps it to you.")
    return token


def _draw(console: Console, values: dict[str, Any]) -> None:
    for file in values["files"]:
        console.print(f"{file['size']:>14,}  {file['path']}", soft_wrap=True)
    total = sum(file["size"] for file in values["files"])
    done = f"are in {values['repo']}: {values['url']}" if values["url"] else f"would be uploaded to {values['repo']}"
    console.print(f"{len(values['files'])} files, {total / 1e6:.1f} MB, {done}", soft_wrap=True)
