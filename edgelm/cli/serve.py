"""`edgelm serve`: bundles behind HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgelm.cli.console import open_screen
from edgelm.cli.options import TIMES, DeviceKeyFile, Provider, PublicKeyFile, Quiet, UnsignedAdditions, Verbose
from edgelm.cli.panels import LIMITS


def serve(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE...",
            help="Bundles, folders or files; NAME=BUNDLE names one, else its file name does, without .edge or .edgelm.",
        ),
    ],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than this machine's own need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: one that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="EDGELM_SERVE_TOKEN",
            show_envvar=True,
            help="What requests must carry as `Authorization: Bearer`. In the environment, where no list of processes "
            "shows it, it is safer.",
        ),
    ] = None,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, help="Texts that a model reads at once.", rich_help_panel=LIMITS)
    ] = 8,
    max_delay: Annotated[
        str,
        typer.Option(
            "--max-delay",
            metavar="TIME",
            help="How long a text waits for others to be read with, such as 10ms, or milliseconds. 0: for the batch "
            "before it alone.",
            rich_help_panel=LIMITS,
        ),
    ] = "0",
    queue: Annotated[
        int,
        typer.Option(
            "--queue", min=1, help="Texts that may wait for a model; then 429 is said.", rich_help_panel=LIMITS
        ),
    ] = 256,
    max_texts: Annotated[
        int, typer.Option("--max-texts", min=1, help="Texts of one request.", rich_help_panel=LIMITS)
    ] = 64,
    max_body: Annotated[
        float, typer.Option("--max-body", help="Megabytes of one request.", rich_help_panel=LIMITS)
    ] = 4,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Tokens of one written text.", rich_help_panel=LIMITS)
    ] = 4096,
    timeout: Annotated[
        str,
        typer.Option("--timeout", metavar="TIME", help=f"How long a request may take. {TIMES}", rich_help_panel=LIMITS),
    ] = "60s",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="Threads of one operator. Default: one, with as many calls at once as there are cores; of models that "
            "write as the bundle says, else one a core.",
        ),
    ] = None,
    provider: Provider = None,
    key: PublicKeyFile = None,
    device_key: DeviceKeyFile = None,
    unsigned_additions: UnsignedAdditions = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer over HTTP: by the Open Inference Protocol (/v2), and as OpenAI's clients ask (/v1) where a model writes or
    gives vectors; /metrics for Prometheus. SIGTERM or Ctrl+C ends it, when what has come is answered.

    Example: edgelm serve build/my-model.edge writer=build/writer.edge --port 8000
    """
    with open_screen(quiet=quiet, verbose=verbose) as screen:
        from edgelm.durations import parse_milliseconds, parse_seconds
        from edgelm.serve.addresses import bind, check_token, url_of
        from edgelm.serve.app import make_app
        from edgelm.serve.limits import Limits
        from edgelm.serve.metrics import Metrics
        from edgelm.serve.served import named, opened
        from edgelm.serve.server import make_server

        limits = Limits(
            max_batch=max_batch,
            max_delay_ms=parse_milliseconds(max_delay, "--max-delay"),
            queue=queue,
            max_texts=max_texts,
            max_body_mb=max_body,
            max_tokens=max_tokens,
            timeout_s=parse_seconds(timeout, "--timeout"),
        )
        token = check_token(host, token)
        paths = named(bundles)
        metrics = Metrics()
        loading: dict[str, Any] = {"threads": threads, "provider": provider}
        loading |= {"key": key, "device_key": device_key, "unsigned_additions": unsigned_additions}
        with bind(host, port) as bound, opened(paths, limits, metrics, **loading) as served:
            for model in served.models.values():
                screen.note(f"{model.name}: {model.manifest.task.kind}, runs by {model.ran_by}")

            def started() -> None:
                screen.note(f"Listens on {url_of(bound)} (Ctrl+C ends it).")

            app = make_app(served, limits, metrics, token=token)
            make_server(app, limits, started=started, log=verbose).run(sockets=[bound])
