"""`edgelm profile`: latency, memory and operators of a bundle on this machine, beside others if asked; or estimated for
other devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument, join, options
from edgelm.cli.console import Screen, open_screen
from edgelm.cli.options import Json, Overwrite, PairColumn, Provider, Quiet, TextColumn, Verbose
from edgelm.cli.tables import make_table
from edgelm.errors import EXIT_FAILED, EdgelmError, UsageError

if TYPE_CHECKING:
    from edgelm.data.dataset import Dataset


def profile(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file. With --table: a checkpoint folder.")],
    compare: Annotated[
        list[Path] | None,
        typer.Option("--compare", help="Another bundle, an ONNX file, or a checkpoint (PyTorch). May be repeated."),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Texts in a call. May be repeated. Default: 1.")
    ] = None,
    sequence: Annotated[
        list[int] | None,
        typer.Option(
            "--sequence",
            min=2,
            help="Tokens of each text. May be repeated. Default: texts as they are; of a --table, 32.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Texts to measure on; of a --table, those whose median length it is for. Default: the bundle's "
            "golden samples.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of one operator. Default: one a core.")
    ] = None,
    provider: Provider = None,
    warmup: Annotated[
        int, typer.Option("--warmup", min=0, help="Calls of each subject in each case before the measured ones.")
    ] = 20,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Measured calls of each subject in each case.")] = 300,
    loads: Annotated[int, typer.Option("--loads", min=1, help="Fresh processes in which loading is timed.")] = 3,
    device: Annotated[
        str | None, typer.Option("--device", help="Note in the profile which device this machine is.")
    ] = None,
    estimate: Annotated[
        list[str] | None,
        typer.Option(
            "--estimate",
            help="Estimate for this device, from its figures and the graph; measures nothing, but on each --host. May "
            "be repeated.",
        ),
    ] = None,
    operators: Annotated[bool, typer.Option("--operators", help="Also show the time of each operator.")] = False,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            help="Measure what heads and FFN channels of the checkpoint cost here, for `edgelm compress --table`.",
        ),
    ] = None,
    precision: Annotated[str, typer.Option("--for", help="The precision of a --table.")] = "int8",
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            help="Measure there, over SSH: user@host, a name out of ~/.ssh/config, ssh://user@host:port. May be "
            "repeated.",
        ),
    ] = None,
    python: Annotated[
        str | None, typer.Option("--python", help="With --host: the Python there. Default: python3.")
    ] = None,
    install: Annotated[
        bool,
        typer.Option(
            "--install",
            help="With --host: bring numpy, onnxruntime, tokenizers where they are missing; needs no internet there.",
        ),
    ] = False,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels", help="With --host: a folder with wheels of these three, to be used there and taken away again."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report as one HTML page.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the tables as Markdown.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the profiles, with all samples, as JSON.")
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a bundle on this machine or, with --host, on others at the same time; or estimate it for a device that is
    not here.

    Example: edgelm profile build/my-model.edge --compare build/teacher --html build/report.html

    Example: edgelm profile build/my-model.edge --host me@jetson --host me@pi --install

    A host needs Python 3.10 and an SSH server whose key is among your known hosts; what is copied there is removed. If
    one host of several fails, the others are shown all the same and the exit code is 1.
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.device import load_device
        from edgelm.files.output import check_output
        from edgelm.profile.block_latency import write_table
        from edgelm.profile.estimate import estimate_all
        from edgelm.profile.pipeline import profile as measure
        from edgelm.profile.remote.pipeline import profile_hosts
        from edgelm.report import check_page, doubt_notes, write_reports

        _check_options(host, {"--python": python, "--install": install or None, "--wheels": wheels})
        if table is not None:
            others = {
                "--host": host,
                "--compare": compare,
                "--batch": batch,
                "--provider": provider,
                "--device": device,
                "--estimate": estimate,
            }
            _check_table(
                others | {"--operators": operators, "--html": html, "--markdown": markdown, "--output": output},
                sequence,
                data,
            )
            check_output(table, overwrite=overwrite)
            texts = _read_texts(bundle, data, text_column, pair_column)
            lengths = sequence if texts is None else [_median_length(bundle, texts)]
            made = write_table(
                bundle,
                table,
                precision=precision,
                sequence=lengths,
                threads=threads,
                overwrite=overwrite,
                progress=screen.progress,
            )
            screen.result(made.to_dict() | {"quiet": made.quiet}, _draw_table)
            goal = join(options({"--table": table, "--max-latency": "1ms", "--for": precision}))
            screen.note(
                f"A budget is reckoned with it by `edgelm compress` with {goal}, beside --data, --eval and --output."
            )
            screen.next_step(str(table), "compress", "--help")
            return
        files = {"html": html, "markdown": markdown, "json": output}
        for file in files.values():
            if file is not None:
                check_output(file, overwrite=overwrite)
        if html is not None:
            check_page()
        name = None if device is None else load_device(device).name
        rows = _read_texts(bundle, data, text_column, pair_column)
        what: dict[str, Any] = {
            "compare": compare or (),
            "batch_sizes": batch or (1,),
            "sequence_lengths": sequence or (),
            "data": rows,
        }
        estimates = (
            [entry.to_dict() for entry in estimate_all(bundle, [load_device(given) for given in estimate], **what)]
            if estimate
            else []
        )
        if estimate and not host:
            _show_estimates(screen, bundle, estimates, files, overwrite=overwrite)
            return
        settings = what | {
            "threads": threads,
            "provider": provider,
            "warmup": warmup,
            "runs": runs,
            "loads": loads,
            "device": name,
            "progress": screen.progress,
        }
        failures: dict[str, EdgelmError] = {}
        if host:
            outcome = profile_hosts(
                host, bundle, python=python or "python3", install=install, wheels=wheels, **settings
            )
            found, failures = list(outcome.profiles), outcome.failures
        else:
            found = measure(bundle, **settings)
        values: dict[str, Any] = {"schema": 1, "profiles": [item.to_dict() for item in found]}
        if estimates:
            values["estimates"] = estimates
        if host:
            values["failures"] = {
                name: {"error": error.message, "hint": error.hint} for name, error in failures.items()
            }
        for error in failures.values():
            screen.stderr.print(f"Error: {error}")
        if not found:
            raise typer.Exit(EXIT_FAILED)
        written = write_reports(
            values["profiles"], estimates=estimates, html=html, markdown=markdown, json_file=output, overwrite=overwrite
        )
        screen.result(values, lambda console, shown: _draw(console, shown, with_operators=operators))
        for words in doubt_notes(values["profiles"]):
            screen.note(f"Warning: {words}")
        screen.next_step(
            ", ".join(map(str, written)) or "the table above",
            "verify",
            argument(bundle),
            *options({"--provider": provider}),
        )
        if failures:
            raise typer.Exit(EXIT_FAILED)


def _check_options(host: list[str] | None, there: dict[str, Any]) -> None:
    given = [name for name, value in there.items() if value is not None]
    if given and not host:
        raise UsageError(f"{given[0]} is about a host, and none is named.", hint="Add --host user@host.")


def _check_table(others: dict[str, Any], sequence: list[int] | None, data: str | None) -> None:
    """Refuse what a table has no use for."""
    if others["--host"]:
        raise UsageError("--table is measured on this machine.", hint="Run it on the host itself, or leave --host out.")
    for name, value in others.items():
        if value:
            raise UsageError(
                f"{name} says nothing about a --table, which measures the parts of a checkpoint.",
                hint=f"Leave {name} out.",
            )
    if sequence and data is not None:
        raise UsageError(
            "--sequence and --data both say how long the texts of a --table are.", hint="Give one of them."
        )


def _read_texts(bundle: Path, data: str | None, text: str | None, pair: str | None) -> Dataset | None:
    from edgelm.cli.inputs import read_unlabelled, schema_of_model
    from edgelm.data.dataset import Columns

    schema = "text" if data is None else schema_of_model(bundle)
    return read_unlabelled(data, columns=Columns(text, pair), schema=schema)


def _median_length(checkpoint: Path, rows: Dataset) -> int:
    """In tokens, as `edgelm compress` takes it of the same texts."""
    from edgelm.anatomy import load_tokenizer
    from edgelm.checkpoint import open_checkpoint
    from edgelm.compress.batches import median_length
    from edgelm.lengths import DEFAULT_LENGTH

    opened = open_checkpoint(checkpoint)
    return median_length(load_tokenizer(opened), opened.task, rows, max_length=DEFAULT_LENGTH)


def _show_estimates(
    screen: Screen, bundle: Path, estimates: list[dict[str, Any]], files: dict[str, Path | None], *, overwrite: bool
) -> None:
    from edgelm.report import write_estimates

    written = write_estimates(
        estimates, html=files["html"], markdown=files["markdown"], json_file=files["json"], overwrite=overwrite
    )
    screen.result({"schema": 1, "estimates": estimates}, _draw_estimates)
    screen.note("On the device itself, the next command measures it.")
    screen.next_step(", ".join(map(str, written)) or "the estimate above", "profile", argument(bundle))


def _draw_estimates(console: Console, values: dict[str, Any]) -> None:
    from edgelm.report.estimates import sections
    from edgelm.report.tables import estimates_note

    console.print(estimates_note(values["estimates"]))
    for title, (header, rows) in sections(values["estimates"]):
        table = make_table(*header, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()


def _draw(console: Console, values: dict[str, Any], *, with_operators: bool) -> None:
    from edgelm.report.tables import estimates_note, latency_table, operator_table, provider_notes, subject_table

    profiles, estimates = values["profiles"], values.get("estimates")
    for where in dict.fromkeys(
        (item["host"], item["machine"]["cpu"], item["settings"]["threads"], item["settings"]["runs"])
        for item in profiles
    ):
        there, cpu, threads, runs = where
        console.print(
            f"Measured on {f'{there}: ' if there else ''}{cpu}, {threads} threads, {runs} runs each, interleaved."
        )
    for note in provider_notes(profiles):
        console.print(note, markup=False)
    if estimates:
        console.print(estimates_note(estimates))
    parts = [subject_table(profiles), latency_table(profiles, estimates)] + (
        [operator_table(profiles[0])] if with_operators else []
    )
    for header, rows in parts:
        table = make_table(*header)
        for column in table.columns:  # on a narrow terminal an interval goes below its figure
            column.no_wrap = column.no_wrap and not str(column.header).startswith(("p50", "vs "))
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()


def _draw_table(console: Console, values: dict[str, Any]) -> None:
    for name in ("attention", "ffn"):
        table = make_table(
            "heads of a layer" if name == "attention" else "FFN channels of a layer", "ms", numbers_from=0
        )
        for units, cost in values[name].items():
            table.add_row(str(units), f"{cost:.4f}")
        console.print(table)
    console.print(f"The norms of a layer: {values['layer']:.4f} ms. All else: {values['rest']:.4f} ms.")
    console.print(f"The whole model: {values['whole']:.4f} ms; its parts add up to within {values['error']:.1%}.")
    if not values["quiet"]:
        console.print(
            "Other work ran on this machine: small operators suffer most from that. Measure again when it is quiet."
        )
