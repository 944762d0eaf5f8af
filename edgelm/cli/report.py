"""`edgelm report`: one page about a bundle, or about several that are compared, out of what is known of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgelm.cli.command import argument
from edgelm.cli.console import Screen, open_screen
from edgelm.cli.options import (
    CallsPerDay,
    Json,
    LabelColumn,
    Overwrite,
    PairColumn,
    PricePerHour,
    Quiet,
    TextColumn,
    Verbose,
    Watts,
)
from edgelm.cli.panels import COSTS, OUTPUT
from edgelm.cli.reports import Html, Markdown, ReportLanguage, check_files
from edgelm.errors import UsageError, install_extra

if TYPE_CHECKING:
    from edgelm.report.answers import Answerer
    from edgelm.report.grid import Grid
    from edgelm.runtime.manifest import Manifest
    from edgelm.tasks.task import Task


def report(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles, folders or files; several are compared.")],
    profile: Annotated[
        list[Path] | None,
        typer.Option(
            "--profile",
            help="What `edgelm profile --output` wrote of these bundles. May be repeated, for several machines.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Rows that the bundles answer, best test rows with labels: their texts stand in the report where an "
            "answer changed.",
        ),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(
            "--original",
            help="With --data: the model that it all began with, a checkpoint (PyTorch) or a bundle; what changed is "
            "told against its answers.",
        ),
    ] = None,
    price_per_hour: PricePerHour = None,
    calls_per_day: CallsPerDay = None,
    watts: Watts = None,
    country: Annotated[
        str | None,
        typer.Option(
            "--country",
            help="Whose electricity it is, such as DEU or Germany: carbon dioxide by codecarbon's table.",
            rich_help_panel=COSTS,
        ),
    ] = None,
    grid_intensity: Annotated[
        float | None,
        typer.Option(
            "--grid-intensity",
            min=0.0,
            help="Grams of carbon dioxide that a kilowatt-hour stands for, instead of --country.",
            rich_help_panel=COSTS,
        ),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay/--no-replay", help="Run the golden samples of the bundles on this machine.")
    ] = True,
    html: Html = None,
    markdown: Markdown = None,
    language: ReportLanguage = "en",
    png: Annotated[
        Path | None,
        typer.Option("--png", help="Draw the headline as one picture for slides.", rich_help_panel=OUTPUT),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="Write all of it as JSON; its JSON Schema ships with edgelm.", rich_help_panel=OUTPUT
        ),
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write one page for people: how much faster and smaller, what was lost, on what, and how to make it again.

    Example: edgelm report build/my-model.edge --profile profile.json --data test.csv --original ./my-model --html
    report.html

    Everything on the page was measured, by `edgelm profile` or now on the rows of --data; what was calculated is marked
    as estimated. --markdown fits a pull request, --png a slide.
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.cli.inputs import read_columns
        from edgelm.report.bundle_page import render_bundle_markdown, render_bundle_page
        from edgelm.report.bundle_report import BundleReport, labelled, now
        from edgelm.report.energy import estimate_energy
        from edgelm.report.gather import describe_bundle, read_profile_files
        from edgelm.report.picture import draw_picture
        from edgelm.report.price import estimate_prices
        from edgelm.report.svg import check_charts
        from edgelm.report.write import write_texts

        _check_options(data, original)
        grid = _grid(country, grid_intensity)
        check_files(markdown, png, output, html=html, overwrite=overwrite)
        if png is not None:
            check_charts()
        files = read_profile_files(profile or ())
        profiles = [entry for file in files for entry in file["profiles"]]
        described = []
        for number, path in enumerate(bundles):
            screen.progress("verify", number, len(bundles))
            described.append(describe_bundle(path, replay=replay))
        screen.progress("verify", len(bundles), len(bundles))
        known = labelled(described)
        prices = None
        if price_per_hour is not None:
            prices = estimate_prices(known, profiles, price_per_hour=price_per_hour, calls_per_day=calls_per_day)
        energy = estimate_energy(known, profiles, watts=watts, grid=grid, calls_per_day=calls_per_day)
        _check_costs(prices, energy, calls_per_day=calls_per_day, grid=grid)
        answers = None
        if data is not None:
            columns = read_columns(text_column, pair_column, label_column)
            labels = [bundle["label"] for bundle in known]
            answers = _answers(screen, dict(zip(labels, bundles, strict=True)), data, original, columns)
        found = BundleReport(
            known,
            profiles,
            [entry for file in files for entry in file["estimates"]],
            tuple(file["texts"] for file in files if file["texts"]),
            answers,
            prices,
            energy,
            now(),
        )
        texts: list[tuple[Path, str | bytes]] = []
        if html is not None:
            texts.append((html, render_bundle_page(found, language=language)))
        if markdown is not None:
            texts.append((markdown, render_bundle_markdown(found, language=language)))
        if png is not None:
            texts.append((png, draw_picture(found.headlines)))
        if output is not None:
            texts.append((output, found.to_json()))
        written = write_texts(texts, overwrite=overwrite)
        screen.result(found.to_dict(), _draw)
        for bundle in known:
            if profiles and found.profile_of(bundle) is None:
                screen.note(f"Warning: no profile is of {bundle['label']} as it lies there; measure it again.")
            if not bundle["verified"]["ok"]:
                screen.note(f"Warning: {bundle['label']} does not pass `edgelm verify`.")
        screen.next_step(", ".join(map(str, written)) or "the lines above", "verify", argument(bundles[0]))


def _check_options(data: str | None, original: Path | None) -> None:
    if original is not None and data is None:
        raise UsageError("--original is asked for answers, and no rows are given.", hint="Add --data ROWS.")


def _grid(country: str | None, intensity: float | None) -> Grid | None:
    from edgelm.report.grid import Grid, find_grid

    if country is not None and intensity is not None:
        raise UsageError("--country and --grid-intensity say the same thing.", hint="Give one of them.")
    if intensity is not None:
        return Grid(intensity)
    return None if country is None else find_grid(country)


def _check_costs(
    prices: dict[str, Any] | None, energy: dict[str, Any] | None, *, calls_per_day: float | None, grid: Grid | None
) -> None:
    """Refuse options that would say nothing."""
    if calls_per_day is not None and prices is None and energy is None:
        raise UsageError("--calls-per-day needs a price or a power.", hint="Add --price-per-hour, or --watts.")
    if grid is not None and energy is None:
        raise UsageError(
            "--country and --grid-intensity need a power, and the profiles have none.",
            hint="Give profiles by --profile, and --watts where no sensor measured.",
        )


def _answers(
    screen: Screen, bundles: dict[str, Path], data: str, original: Path | None, columns: Any
) -> dict[str, Any]:
    """What the bundles and the original answer to the rows."""
    from edgelm.cli.inputs import read_judged
    from edgelm.profile.subject import find_subject
    from edgelm.report.answers import check_comparable, goes_on
    from edgelm.report.continuations import prompts_of
    from edgelm.report.gather import judge_answers
    from edgelm.runtime import open_bundle

    manifests = {name: open_bundle(path).manifest for name, path in bundles.items()}
    tasks: dict[str, Task] = {name: manifest.task for name, manifest in manifests.items()}
    task = next(iter(tasks.values()))
    if odd := next((name for name, other in tasks.items() if other != task), None):
        raise UsageError(f"--data: {odd} is for another task or other labels.", hint="Report such bundles one by one.")
    check_comparable(task, original=original is not None)
    rows = read_judged(task, data, columns=columns, screen=screen)
    assert rows is not None
    rows = rows.for_task(task)
    if goes_on(task):
        rows = prompts_of(rows)
    askers = {name: _bundle_answerer(screen, path, name, task) for name, path in bundles.items()}
    asked = None
    if original is not None:
        name = find_subject(original).name
        name = f"{name} (original)" if name in bundles else name
        asked = (name, _original_answerer(screen, original, next(iter(manifests.values())), name))
    return judge_answers(task, rows, askers, asked)


def _bundle_answerer(screen: Screen, path: Path, name: str, task: Task) -> Answerer:
    """One sample at a time, as a device would ask."""
    from edgelm.report.answers import goes_on
    from edgelm.report.continuations import continuing
    from edgelm.runtime import load

    if goes_on(task):
        return continuing(path, partial(screen.progress, f"ask {name}"))

    model = load(path)

    def answer(samples: Any) -> list[dict[str, Any]]:
        found = []
        for number, sample in enumerate(samples):
            found.append(model(sample))
            screen.progress(f"ask {name}", number + 1, len(samples))
        return found

    return answer


def _original_answerer(screen: Screen, path: Path, manifest: Manifest, name: str) -> Answerer:
    """A bundle, or a checkpoint in PyTorch."""
    from edgelm.errors import MissingExtraError
    from edgelm.model_folder.weight_files import is_bundle
    from edgelm.report.answers import check_same_task
    from edgelm.runtime import open_bundle

    if is_bundle(path):
        check_same_task(path, manifest.task, open_bundle(path).manifest.task)
        return _bundle_answerer(screen, path, name, manifest.task)
    try:
        from edgelm.cli.checkpoint_answers import checkpoint_answerer
    except ModuleNotFoundError as error:
        raise MissingExtraError("a checkpoint runs in PyTorch.", hint=install_extra("compress")) from error
    return checkpoint_answerer(path, manifest, progress=screen.progress, name=name)


def _draw(console: Console, values: dict[str, Any]) -> None:
    for headline in values["headlines"]:
        console.print(headline["name"])
        for sentence in headline["words"]:
            console.print(f"  {sentence}", soft_wrap=True)
