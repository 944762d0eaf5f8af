"""`edgelm profile`: latency, memory and operators of a bundle, here or on hosts over SSH, beside others if asked; or of
a checkpoint, before anything is made of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelm.cli.command import argument, options, unused
from edgelm.cli.console import open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import Json, Overwrite, PairColumn, Provider, Quiet, TextColumn, Threads, Verbose
from edgelm.cli.panels import HOSTS, MEASURING, OUTPUT
from edgelm.cli.reports import (
    Batches,
    Contexts,
    Html,
    Markdown,
    PromptLengths,
    ReportLanguage,
    check_files,
    draw_profiles,
)
from edgelm.errors import EXIT_FAILED, EdgelmError, UsageError


def profile(
    bundle: Annotated[
        Path,
        typer.Argument(help="A bundle, folder or file; or a checkpoint, by folder or hub id, which PyTorch runs."),
    ],
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare",
            help="Another bundle, an ONNX file, a checkpoint (PyTorch), a GGUF (llama.cpp, in the folder that "
            "EDGELM_LLAMA_CPP names), or a folder with genai_config.json (onnxruntime-genai, in the environment of the "
            "Python that EDGELM_GENAI_PYTHON names). May be repeated.",
        ),
    ] = None,
    batch: Batches = None,
    sequence: Annotated[
        list[int] | None,
        typer.Option(
            "--sequence",
            min=2,
            help="Tokens of each text. May be repeated. Default: texts as they are; 32 and 128 where there are none.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    prompt_length: PromptLengths = None,
    context: Contexts = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="Texts to measure on. Default: the bundle's golden samples; of a checkpoint alone made-up tokens. "
            "Of a model that writes: texts by which it and the bundles and checkpoints beside it are judged "
            "(perplexity by file and position, examples); may be repeated.",
        ),
    ] = None,
    threads: Threads = None,
    provider: Provider = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            "--warmup",
            min=0,
            help="Calls of each subject in each case before the measured ones. Default: 20; of models that write 5 "
            "tokens, 1 prompt.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs",
            min=1,
            help="Measured calls of each subject in each case. Default: 300; of models that write 100 tokens, 20 "
            "prompts.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    loads: Annotated[
        int,
        typer.Option("--loads", min=1, help="Fresh processes in which loading is timed.", rich_help_panel=MEASURING),
    ] = 3,
    machine: Annotated[
        str | None,
        typer.Option(
            "--machine",
            help="Which device this machine is, by name or YAML file: noted in the profile.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    with_estimate: Annotated[
        list[str] | None,
        typer.Option(
            "--with-estimate",
            help="Beside what is measured, in the same table, what `edgelm estimate` gives for this device. May be "
            "repeated.",
            rich_help_panel=MEASURING,
        ),
    ] = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="Also show the time of each operator.", rich_help_panel=OUTPUT)
    ] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            help="Measure there, over SSH: user@host, a name out of ~/.ssh/config, ssh://user@host:port. May be "
            "repeated.",
            rich_help_panel=HOSTS,
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option("--python", help="With --host: the Python there. Default: python3.", rich_help_panel=HOSTS),
    ] = None,
    install: Annotated[
        bool,
        typer.Option(
            "--install",
            help="With --host: bring numpy, onnxruntime, tokenizers where they are missing; needs no internet there.",
            rich_help_panel=HOSTS,
        ),
    ] = False,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels",
            help="With --host: a folder with wheels of these three, to be used there and taken away again.",
            rich_help_panel=HOSTS,
        ),
    ] = None,
    html: Html = None,
    markdown: Markdown = None,
    language: ReportLanguage = "en",
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Write the profiles, with all samples, as JSON.", rich_help_panel=OUTPUT),
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a bundle on this machine or, with --host, on others at the same time. A checkpoint is measured in
    PyTorch (eager, FP32): how fast the model is before anything is done to it.

    Example: edgelm profile ./my-model --data dev.csv

    Example: edgelm profile build/my-model.edge --compare build/teacher --html build/report.html

    Example: edgelm profile build/my-model.edge --host me@jetson --host me@pi --install

    A host needs Python 3.10 and an SSH server whose key is among your known hosts; what is copied there is removed. If
    one host of several fails, the others are shown all the same and the exit code is 1.
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        screen.begin("imports and rows")
        check_given(data=data or ())
        from edgelm.cli.inputs import read_samples, read_texts
        from edgelm.data.dataset import Columns
        from edgelm.device import load_device
        from edgelm.profile.estimate import estimate_all
        from edgelm.profile.generation.texts import compare_texts
        from edgelm.profile.pipeline import profile as measure
        from edgelm.profile.plan import MADE_UP_TEXTS, refuse
        from edgelm.profile.remote.pipeline import profile_hosts
        from edgelm.profile.subject import find_subject
        from edgelm.report import Report, doubt_notes, write_reports

        _check_options(host, {"--python": python, "--install": install or None, "--wheels": wheels})
        check_files(markdown, output, html=html, overwrite=overwrite)
        what: dict[str, Any] = {
            "compare": compare or (),
            "batch_sizes": batch or (1,),
            "sequence_lengths": sequence or (),
            "contexts": context or (),
            "prompt_lengths": prompt_length or (),
        }
        first = find_subject(bundle)
        if first.kind == "pytorch":
            refuse(first, "runs in PyTorch", operators=operators)
        columns = Columns(text_column, pair_column)
        files = read_texts(first.path, data or (), columns=columns) if first.generates else []
        if not first.generates:
            what["data"] = read_samples(first.path, _one(data), columns=columns)
        settings = what | {
            "threads": threads,
            "provider": provider,
            "warmup": warmup,
            "runs": runs,
            "loads": loads,
            "device": None if machine is None else load_device(machine).name,
            "progress": screen.progress,
        }
        estimates = estimate_all(bundle, [load_device(name) for name in with_estimate], **what) if with_estimate else []
        texts = None
        if files:
            judged = compare_texts([bundle, *(compare or ())], files, threads=threads, progress=screen.progress)
            texts = judged.to_dict()
        failures: dict[str, EdgelmError] = {}
        if host:
            outcome = profile_hosts(
                host, bundle, python=python or "python3", install=install, wheels=wheels, **settings
            )
            found, failures = list(outcome.profiles), outcome.failures
        else:
            found = measure(bundle, **settings)
        for error in failures.values():
            screen.stderr.print(f"Error: {error}")
        if not found:
            raise typer.Exit(EXIT_FAILED)
        report = Report(
            [item.to_dict() for item in found],
            [item.to_dict() for item in estimates],
            failures if host else None,
            texts,
        )
        written = write_reports(
            report, html=html, markdown=markdown, json_file=output, language=language, overwrite=overwrite
        )
        screen.result(report.to_dict(), partial(draw_profiles, with_operators=operators))
        for words in doubt_notes(report.profiles):
            screen.note(f"Warning: {words}")
        if found[0].settings["texts"] == MADE_UP_TEXTS and not first.generates:
            screen.note("Measured on made-up tokens, for no texts were given: --data FILE measures on yours.")
        step: list[object] = ["verify", argument(bundle), *options({"--provider": provider})]
        if first.kind == "pytorch":
            made = {"--device": "cpu", "--output": unused(Path("build", f"{bundle.name}.edge"))}
            step = ["export", argument(bundle), *options(made)]
        screen.next_step(", ".join(map(str, written)) or "the table above", *step)
        if failures:
            raise typer.Exit(EXIT_FAILED)


def _one(data: list[str] | None) -> str | None:
    if data and len(data) > 1:
        raise UsageError("--data is given more than once; this model writes no text.", hint="Give one file of texts.")
    return data[0] if data else None


def _check_options(host: list[str] | None, there: dict[str, Any]) -> None:
    given = [name for name, value in there.items() if value is not None]
    if given and not host:
        raise UsageError(f"{given[0]} is about a host, and none is named.", hint="Add --host user@host.")
