"""What the answers to rows of data show: which changed, confidence, robustness."""

from __future__ import annotations

from typing import Any

from edgelm.cards.judged_rows import rows_words
from edgelm.markdown import Table
from edgelm.report.bundle_report import BundleReport
from edgelm.report.charts import reliability_chart
from edgelm.report.section import Section
from edgelm.report.svg import Chart

SHOWN = 200  # changed answers on a page
SHOWN_IN_MARKDOWN = 20
_CONFUSED = 15
_LETTERS = 300  # of a text on a page


def answer_sections(report: BundleReport, *, with_charts: bool) -> list[Section]:
    """All of them; none where no rows were given."""
    answers = report.answers
    if answers is None:
        return []
    shown = SHOWN if with_charts else SHOWN_IN_MARKDOWN
    of = f"On {rows_words(report.bundles[0]['lineage'], answers['source'], answers['rows'], answers['sha256'])}."
    return [
        *(_changes(entry, of, shown, several=len(answers["changes"]) > 1) for entry in answers["changes"]),
        _labels(answers, of),
        _calibration(answers, of, with_charts),
        _robustness(answers, of),
    ]


def _changes(entry: dict[str, Any], of: str, shown: int, *, several: bool) -> Section:
    title = "Answers that changed" + (f": {entry['name']}" if several else "")
    text = f"{of} {entry['changed']:,} of {entry['rows']:,} answers are not those of {entry['against']}"
    if "mended" in entry:
        text += (
            f": {entry['mended']} mended, {entry['broken']} broken, {entry['wrong_either_way']} wrong before and after"
        )
    left = entry["changed"] - shown
    notes = [f"{text}."] + ([f"The first {shown} are shown; the JSON report has all."] if left > 0 else [])
    labelled = "mended" in entry
    scored = any(row["after_score"] is not None for row in entry["answers"])
    header = ["text", *(["label"] if labelled else []), f"before ({entry['against']})", "after"]
    rows = [_changed_row(row, labelled, scored) for row in entry["answers"][:shown]]
    summary = (["kind", "answers"], _kinds(entry))
    return Section(title, tuple(notes), tables=(("", summary), ("Each of them", (header, rows))))


def _kinds(entry: dict[str, Any]) -> list[list[str]]:
    names = {"mended": "mended", "broken": "broken", "wrong_either_way": "wrong before and after"}
    found = [[title, f"{entry[name]:,}"] for name, title in names.items() if name in entry]
    return [*found, ["unchanged", f"{entry['rows'] - entry['changed']:,}"]]


def _changed_row(row: dict[str, Any], labelled: bool, scored: bool) -> list[str]:
    text = row["text"] if len(row["text"]) <= _LETTERS else f"{row['text'][:_LETTERS]}…"
    before, after = (
        f"{row[side]} ({row[f'{side}_score']:.2f})" if scored and row[f"{side}_score"] is not None else row[side]
        for side in ("before", "after")
    )
    return [text, *([row["label"] or ""] if labelled else []), before, after]


def _labels(answers: dict[str, Any], of: str) -> Section:
    """Right answers by label and what was taken for what, each model beside the original."""
    models = [model for model in answers["models"] if "by_label" in model]
    if not models:
        return Section("By label")
    names = [model["name"] for model in models]
    rows = []
    for place, entry in enumerate(models[0]["by_label"]):
        cells = [_share(model["by_label"][place]["right"], entry["rows"]) for model in models]
        rows.append([entry["label"], f"{entry['rows']:,}", *cells])
    tables: list[tuple[str, Table]] = [("Right answers", (["label", "rows", *names], rows))]
    pairs: dict[tuple[str, str], list[int]] = {}
    for place, model in enumerate(models):
        for entry in model["confusion"]:
            pairs.setdefault((entry["label"], entry["answer"]), [0] * len(models))[place] = entry["rows"]
    most = sorted(pairs.items(), key=lambda item: -max(item[1]))[:_CONFUSED]
    confused = [[label, answer, *map(str, counts)] for (label, answer), counts in most]
    caption = f"Confusion: the {len(confused)} most frequent" if len(pairs) > len(confused) else "Confusion"
    tables.append((caption, (["label", "taken for", *names], confused)))
    return Section("By label", (of,), tables=tuple(tables))


def _share(right: int, rows: int) -> str:
    return f"{right:,} ({right / rows:.0%})"


def _calibration(answers: dict[str, Any], of: str, with_charts: bool) -> Section:
    models = [model for model in answers["models"] if "calibration" in model]
    title = "Calibration of confidence"
    if not models:
        return Section(title)
    rows = [
        [model["name"], *(f"{value:.3f}" for value in (model["calibration"]["error"], _sure(model), model["accuracy"]))]
        for model in models
    ]
    charts: tuple[Chart, ...] = ()
    if with_charts:
        series = {model["name"]: [tuple(each) for each in model["calibration"]["bins"]] for model in models}
        summary = "; ".join(f"{model['name']}: ECE {model['calibration']['error']:.3f}" for model in models)
        charts = (reliability_chart("Reliability: right answers by confidence", series, summary=summary),)
    text = (
        of,
        "Points on the dotted line are as sure as they are right; below it a model is surer than it should be.",
    )
    return Section(title, text, charts, (("", (["model", "ECE", "mean confidence", "accuracy"], rows)),))


def _sure(model: dict[str, Any]) -> float:
    bins = model["calibration"]["bins"]
    return float(sum(sure * count for sure, _, count in bins) / sum(count for _, _, count in bins))


def _robustness(answers: dict[str, Any], of: str) -> Section:
    """The share of answers that stay, and accuracy, on changed texts; and accuracy by length."""
    models = [model for model in answers["models"] if model.get("robustness")]
    changed = []
    for model in models:
        for entry in model["robustness"]:
            row = [model["name"], entry["change"], f"{entry['rows']:,}", f"{entry['same']:.1%}"]
            if answers["labelled"]:
                row += [f"{entry['accuracy_before']:.3f}", f"{entry['accuracy']:.3f}"]
            changed.append(row)
    header = ["model", "change", "rows", "same answer"]
    header += ["accuracy before the change", "accuracy after it"] if answers["labelled"] else []
    lengths = [
        [model["name"], f"{entry['from']} to {entry['to']}", f"{entry['rows']:,}", f"{entry['accuracy']:.3f}"]
        for model in answers["models"]
        for entry in model.get("by_length", ())
    ]
    text = (of, "Typos: two neighbouring letters change places in one word of five, in at least one of each text.")
    tables: tuple[tuple[str, Table], ...] = (
        ("The same texts, changed", (header, changed)),
        ("By length, a third of the rows each", (["model", "words", "rows", "accuracy"], lengths)),
    )
    return Section("Robustness", text, tables=tables)
