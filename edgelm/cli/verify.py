"""`edgelm verify`: does a bundle hold what it says, and does it answer here as it did where it was made?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument, options
from edgelm.cli.console import open_screen
from edgelm.cli.options import DeviceKeyFile, Json, Provider, PublicKeyFile, Quiet, UnsignedAdditions, Verbose
from edgelm.errors import EXIT_INPUT


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file.")],
    replay: Annotated[
        bool, typer.Option("--replay/--no-replay", help="Run the golden samples on this machine.")
    ] = True,
    provider: Provider = None,
    key: PublicKeyFile = None,
    device_key: DeviceKeyFile = None,
    unsigned_additions: UnsignedAdditions = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check hashes and schema of a bundle, who signed it, and replay its golden samples. Exit code 4 if anything is
    wrong.

    Example: edgelm verify build/my-model.edge
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.runtime import open_bundle
        from edgelm.runtime.inputs.files import example_words
        from edgelm.runtime.trust import Trust
        from edgelm.runtime.verify import verify as check

        trust = Trust.by(key, device_key=device_key, unsigned_additions=unsigned_additions)
        result = check(bundle, replay=replay, provider=provider, trust=trust)
        screen.result(result.to_dict(), _draw)
        if not result.ok:
            raise typer.Exit(EXIT_INPUT)
        texts = example_words(open_bundle(bundle).manifest.task)
        screen.next_step(str(bundle), "run", argument(bundle), *texts, *options({"--provider": provider, "--key": key}))


def _draw(console: Console, values: dict[str, Any]) -> None:
    failed = [check for check in values["checks"] if not check["ok"]]
    for check in failed:
        console.print(f"FAILED  {check['name']}: {check['detail']}")
    for check in values["checks"]:
        if check["ok"] and check["detail"]:
            console.print(f"ok      {check['name']}: {check['detail']}")
    console.print(f"{len(values['checks']) - len(failed)} of {len(values['checks'])} checks passed.")
