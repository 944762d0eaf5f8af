"""The parts of a report about bundles, in the order in which they are read; the headline stands above them."""

from __future__ import annotations

import math
from typing import Any

from edgelm.cards.remake import remake_code, version_rows
from edgelm.report.answer_sections import answer_sections
from edgelm.report.beside import pairs, reference_of
from edgelm.report.bundle_report import BundleReport
from edgelm.report.charts import Point, bar_chart, point_chart
from edgelm.report.cost_sections import energy_section, price_section
from edgelm.report.cuts import gone_table, kept_table
from edgelm.report.generation import speed_sections, writes
from edgelm.report.glossary import used_terms
from edgelm.report.headline import case_words, measured_ratio
from edgelm.report.language import thread_words, told, tr, tr_all
from edgelm.report.quality import comparisons, metric_of, points_words
from edgelm.report.section import Section, markdown_section
from edgelm.report.speed_charts import operator_chart, speed_charts
from edgelm.report.svg import Chart, places_of
from edgelm.report.tables import (
    Profiles,
    doubt_notes,
    estimates_note,
    layer_table,
    minute,
    operator_table,
    p50_cell,
    provider_notes,
    ratio_words,
    stage_table,
    subject_name,
    subject_table,
)
from edgelm.report.texts import text_sections

_SITES = 24  # layers whose quantization error is drawn; all of them are in the table


def bundle_sections(report: BundleReport, *, with_charts: bool) -> list[Section]:
    """All parts that there is something for.

    Args:
        with_charts: draw them, which needs matplotlib; Markdown has tables alone.
    """
    sections = [
        _before_and_after(report),
        _machines(report),
        _frontier(report, with_charts),
        *_speed(report, with_charts),
        *answer_sections(report, with_charts=with_charts),
        *(_kept(report, bundle) for bundle in report.bundles),
        *(_quantization(report, bundle, with_charts) for bundle in report.bundles),
        price_section(report.prices),
        energy_section(report.energy),
        _verified(report),
        *(_remake(report, bundle) for bundle in report.bundles),
    ]
    filled = [section for section in sections if not section.is_empty]
    words = "\n".join(line for section in filled for line in markdown_section(section))
    return [*filled, Section(tr("Words"), terms=used_terms(words))]


def _before_and_after(report: BundleReport) -> Section:
    several = len(report.bundles) > 1
    header = tr_all(*(["bundle"] if several else []), "what is compared", "measure", "before", "after", "difference")
    rows = []
    for bundle in report.bundles:
        name = [bundle["label"]] if several else []
        for entry in comparisons(bundle, report.answers):
            figures = [f"{entry['before']:.4f}", f"{entry['after']:.4f}", points_words(entry)]
            rows.append([*name, told(entry["what"]), tr(entry["metric"]), *figures, told(entry["rows"])])
        rows += [
            [
                *name,
                tr("graph against checkpoint"),
                tr("changed answers"),
                "",
                f"{graph['parity']['changed']:.2%}",
                "",
                tr("{count} texts of calibration", count=graph["parity"]["samples"]),
            ]
            for graph in bundle["graphs"]
            if graph["parity"]
        ]
    text = tr(
        "Each line compares two models on the same rows. Dev is what choices were made by on the way; test is what "
        "took no part in making the model. Intervals are those of the difference, where every answer is known."
    )
    return Section(tr("Before and after"), (text,), tables=(("", ([*header, tr("rows")], rows)),))


def _frontier(report: BundleReport, with_charts: bool) -> Section:
    """Quality, latency and size of all models whose answers to the same rows are known, or else of the bundles whose
    quality was measured on the same rows."""
    quality, metric, of = _common_quality(report)
    heading = tr("Quality, latency and size")
    points = []
    original = (report.answers or {}).get("original")
    for name, value in quality.items():
        profile = _original_profile(report) if name == original else _profile_by_label(report, name)
        if profile is not None:
            kind = 1 if name == original else 0
            points.append(Point(name, profile["cases"][0]["p50_ms"], value, profile["size_mb"], kind=kind))
    if len(points) < 2:
        return Section(heading)
    charts: tuple[Chart, ...] = ()
    if with_charts:
        title = tr("{metric} over latency", metric=metric)
        charts = (point_chart(title, points, across=tr("p50, ms"), up=metric, area=tr("size in MB")),)
    rows = [[point.name, f"{point.up:.4f}", f"{point.across:.3f}", f"{point.size or 0:.1f}"] for point in points]
    header = [tr("model"), metric, tr("p50 ms"), tr("size MB")]
    return Section(heading, (tr("All on the same rows: {rows}.", rows=of),), charts, (("", (header, rows)),))


def _common_quality(report: BundleReport) -> tuple[dict[str, float], str, str]:
    answers = report.answers
    if answers is not None and answers["labelled"]:
        figures = {model["name"]: model.get("score", model["accuracy"]) for model in answers["models"]}
        found = {name: value for name, value in figures.items() if value is not None}
        return found, answers["models"][0].get("metric", "accuracy"), _rows(answers["source"], answers["rows"])
    first = report.bundles[0]
    metric, source = metric_of(first), first["quality"].get("source")
    found = {
        bundle["label"]: bundle["quality"]["bundle"][metric]
        for bundle in report.bundles
        if bundle["quality"].get("source") == source and metric in bundle["quality"].get("bundle", {})
    }
    return found, metric, _rows(source, first["quality"].get("samples", 0))


def _rows(source: str | None, count: int) -> str:
    return tr("{source}, {count:,} rows", source=source, count=count)


def _profile_by_label(report: BundleReport, label: str) -> dict[str, Any] | None:
    """The first profile of the bundle of this label."""
    return next((report.profile_of(bundle) for bundle in report.bundles if bundle["label"] == label), None)


def _original_profile(report: BundleReport) -> dict[str, Any] | None:
    """What was measured beside the first bundle that was measured, if it has the original's name."""
    other = next((other for _, mine, other in pairs(report.bundles, report.profiles) if mine), None)
    name = str((report.answers or {}).get("original")).removesuffix(" (original)")
    return other if other is not None and other["name"] == name else None


def _speed(report: BundleReport, with_charts: bool) -> list[Section]:
    """One part for each file of profiles and host, whose subjects took turns: their figures may be compared."""
    places = dict.fromkeys((profile["file"], profile["host"]) for profile in report.profiles)
    found = []
    for place in places:
        here = [profile for profile in report.profiles if (profile["file"], profile["host"]) == place]
        suffix = f": {_place_name(here, places)}" if len(places) > 1 else ""
        charts = tuple(speed_charts(here)) if with_charts else ()
        known = [entry for entry in report.estimates if len(places) == 1]
        notes = [*provider_notes(here), *(tr("Warning: {words}", words=note) for note in doubt_notes(here))]
        notes += [estimates_note(known)] if known else []
        tables = [("", table) for _, table in speed_sections(here, known or None)]
        if writes(here):
            tables = list(speed_sections(here, known or None))
        found.append(Section(f"{tr('Speed')}{suffix}", (_where(here[0]), *notes), charts, tuple(tables)))
        found.append(Section(f"{tr('Size, load and memory')}{suffix}", tables=(("", subject_table(here)),)))
        found += [_operators(profile, suffix, with_charts) for profile in here if _is_ours(report, profile)]
    for texts in report.texts:
        found.append(Section(tr("Texts of models that write"), tables=tuple(text_sections(texts))))
    return found


def _machines(report: BundleReport) -> Section:
    """How fast each bundle is on each machine, where there are several."""
    rows = []
    for profile in report.profiles:
        if _is_ours(report, profile):
            other = reference_of(profile, report.profiles, report.bundles)
            machine = f"{profile['host'] or ''} {profile['machine']['cpu']}".strip()
            case = profile["cases"][0]
            place = tr("{machine}, {threads}", machine=machine, threads=thread_words(profile["settings"]["threads"]))
            row = [place, subject_name(profile), told(case_words(case)), p50_cell(case)]
            rows.append([*row, *(["", ""] if other is None else _against(profile, other))])
    title = tr("On each machine")
    if len({row[0] for row in rows}) < 2:
        return Section(title)
    header = tr_all("machine", "bundle", "what was timed", "p50 ms", "against", "times as fast")
    return Section(title, tables=(("", (header, rows)),))


def _against(profile: dict[str, Any], other: dict[str, Any]) -> list[str]:
    ratio = measured_ratio(profile, other)
    return [subject_name(other), ratio_words(ratio.to_dict())]


def _operators(profile: dict[str, Any], suffix: str, with_charts: bool) -> Section:
    charts = tuple(operator_chart(profile)) if with_charts else ()
    title = tr("Time by operator: {name}", name=f"{subject_name(profile)}{suffix.replace(': ', ', ', 1)}")
    return Section(title, charts=charts, tables=(("", operator_table(profile)),) if profile["operators"] else ())


def _is_ours(report: BundleReport, profile: dict[str, Any]) -> bool:
    return any(bundle["id"] == profile["id"] for bundle in report.bundles)


def _place_name(profiles: Profiles, places: dict[tuple[str, str | None], None]) -> str:
    file, host = profiles[0]["file"], profiles[0]["host"]
    several = sum(1 for _, other in places if other == host) > 1
    return f"{host or profiles[0]['machine']['cpu']}{f', {file}' if several else ''}"


def _where(profile: dict[str, Any]) -> str:
    machine, settings = profile["machine"], profile["settings"]
    host = f"{profile['host']}, " if profile["host"] else ""
    return tr(
        "{source} on {host}{cpu} ({cores} cores, {system}), {threads}, {runs} calls each, in turns; {created}.",
        source=tr(profile["source"].capitalize()),
        host=host,
        cpu=machine["cpu"],
        cores=machine["cores"],
        system=machine["system"],
        threads=thread_words(settings["threads"]),
        runs=settings["runs"],
        created=minute(profile["created"]),
    )


def _kept(report: BundleReport, bundle: dict[str, Any]) -> Section:
    of = {"manifest": bundle}
    generates = bundle["task"]["kind"] in ("text-generation", "translation", "summarization")
    layers = [(tr("Layers"), layer_table(of))]
    if generates:
        layers = [(tr("What went"), gone_table(of)), (tr("Layers"), kept_table(of))]
    tables = [(tr("Stages; their metrics are of dev"), stage_table(of)), *layers]
    return Section(_named(tr("What each layer kept"), report, bundle), tables=tuple(tables))


def _quantization(report: BundleReport, bundle: dict[str, Any], with_charts: bool) -> Section:
    """What rounding the input of each layer does to the outputs, as the calibration of the bundle measured it."""
    sites = [site for site in bundle["calibration"].get("sites") or [] if site.get("error") is not None]
    title = _named(tr("Quantization error by layer"), report, bundle)
    if not sites:
        return Section(title)
    worst = sorted(sites, key=lambda site: -site["error"])
    charts: tuple[Chart, ...] = ()
    if with_charts:
        shown = sorted(worst[:_SITES], key=sites.index)
        places = places_of([site["site"] for site in shown])
        unit, scale = _error_unit(worst[0]["error"])
        named = [(place, scale * site["error"]) for place, site in zip(places, shown, strict=True)]
        name = tr("Error of the outputs, one layer alone in integers")
        charts = (bar_chart(name, named, unit=unit),)
    rows = [[site["site"], str(site["option"]), f"{site['error']:.3g}"] for site in worst]
    of = bundle["calibration"]
    text = tr("Measured when the bundle was made, on {source}; the largest first.", source=of.get("source"))
    if of.get("error") is not None:
        text += tr(" All layers together: {error:.3g}.", error=of["error"])
    header = tr_all("layer", "range chosen by", "error")
    return Section(title, (text,), charts, (("", (header, rows)),))


def _error_unit(largest: float) -> tuple[str, float]:
    """The unit of a chart of errors in numbers that can be read, and what they are multiplied by for it."""
    if largest <= 0 or largest >= 0.1:
        return tr("mean square"), 1.0
    power = -3 * math.floor(math.log10(largest) / 3)
    return tr("mean square, 10^-{power}", power=power), 10.0**power


def _verified(report: BundleReport) -> Section:
    rows = [
        [bundle["label"], told(check["name"]), _result(check["ok"]), told(check["detail"])]
        for bundle in report.bundles
        for check in bundle["verified"]["checks"]
        if check["detail"] or not check["ok"]
    ]
    rows += [
        [bundle["label"], tr("all checks"), _result(bundle["verified"]["ok"]), _count(bundle)]
        for bundle in report.bundles
    ]
    text = tr(
        "Checked when this report was made: hashes of all files, the graphs, and the answers to the golden samples."
    )
    header = tr_all("bundle", "check", "result", "what was found")
    return Section(tr("Verified"), (text,), tables=(("", (header, rows)),))


def _result(ok: bool) -> str:
    return tr("passed") if ok else tr("FAILED")


def _count(bundle: dict[str, Any]) -> str:
    checks = bundle["verified"]["checks"]
    return tr("{passed} of {all}", passed=sum(check["ok"] for check in checks), all=len(checks))


def _remake(report: BundleReport, bundle: dict[str, Any]) -> Section:
    profile = report.profile_of(bundle)
    rows = version_rows(bundle, profile)
    table = (tr_all("package", "checkpoint", "bundle", "profile"), rows)
    return Section(
        _named(tr("Make it again"), report, bundle),
        (tr("Paths are told without the folders of the machine that the bundle was made on."),),
        tables=((tr("Versions"), table),),
        code=tuple((tr(caption), text) for caption, text in remake_code(bundle, profile)),
    )


def _named(title: str, report: BundleReport, bundle: dict[str, Any]) -> str:
    return title if len(report.bundles) == 1 else f"{title}: {bundle['label']}"
