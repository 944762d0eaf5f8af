"""`edgelm devices`: list, show, check, copy and detect devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.console import open_screen
from edgelm.cli.files import file_argument, make_app
from edgelm.cli.options import Json, Overwrite, Quiet, Verbose


def _describe(name: str) -> dict[str, Any]:
    from edgelm.device import load_device

    return load_device(name).to_dict()


app = make_app("devices", _describe, ("name", "kind", "precisions", "title"))


@app.command("detect")
def detect(
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    gpu: Annotated[
        int | None, typer.Option("--gpu", min=0, help="Describe this NVIDIA GPU, counted from 0, and not the CPU.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads that measure. Default: one for each core.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a device for this machine: its CPU with measured memory bandwidth and FP32 and INT8 rates, or a GPU as its
    driver describes it.

    Example: edgelm devices detect mine.yaml
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.hardware.detect import detect_device

        result = detect_device(file, gpu=gpu, threads=threads, overwrite=overwrite, progress=screen.progress)
        screen.result(result.to_dict(), _draw)
        screen.next_step(str(file), "devices", "show", file_argument(file))


def _draw(console: Console, values: dict[str, Any]) -> None:
    device = values["device"]
    memory = "" if device["memory_gb"] is None else f", {device['memory_gb']} GB"
    console.print(f"{device['title']} ({device['arch']}), {device['cores']} cores{memory}")
    if device["kind"] == "cpu":
        console.print(f"Instructions: {', '.join(device['instructions']) or 'none of note'}")
        console.print(f"Memory: {device['bandwidth_gb_s']} GB/s, measured")
    for precision, rate in device["compute"].items():
        console.print(f"{precision.upper()}: {rate} 10^12 operations/s, measured")
    for line in (*device["gpus"], *values["notes"]):
        console.print(line)
