"""What the answers to rows of data show: which changed, confidence, robustness."""

from __future__ import annotations

from typing import Any

from edgelm.cards.judged_rows import rows_words
from edgelm.markdown import Table
from edgelm.report.bundle_report import BundleReport
from edgelm.report.charts import reliability_chart
from edgelm.report.language import told, tr, tr_all
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
    rows = rows_words(report.bundles[0]["lineage"], answers["source"], answers["rows"], answers["sha256"])
    of = tr("On {rows}.", rows=told(rows))
    return [
        *(_changes(entry, of, shown, several=len(answers["changes"]) > 1) for entry in answers["changes"]),
        _labels(answers, of),
        _calibration(answers, of, with_charts),
        _robustness(answers, of),
    ]


def _changes(entry: dict[str, Any], of: str, shown: int, *, several: bool) -> Section:
    title = tr("Answers that changed") + (f": {entry['name']}" if several else "")
    left = entry["changed"] - shown
    notes = [tr("The first {count} are shown; the JSON report has all.", count=shown)] if left > 0 else []
    if entry["numbers"]:
        notes.append(tr("A number has changed where it moved by more than a tenth of the standard deviation before."))
    if "alike" in entry:
        notes.append(
            tr(
                "On average {share:.0%} of a text stands before the first letter in which the two differ.",
                share=entry["alike"],
            )
        )
    labelled = any(row["label"] is not None for row in entry["answers"])
    scored = any(row["after_score"] is not None for row in entry["answers"])
    before = tr("before ({name})", name=entry["against"])
    header = [tr("text"), *([tr("label")] if labelled else []), before, tr("after")]
    rows = [_changed_row(row, labelled, scored) for row in entry["answers"][:shown]]
    summary = (tr_all("kind", "answers"), _kinds(entry))
    text = (f"{of} {_change_words(entry)}", *notes)
    return Section(title, text, tables=(("", summary), (tr("Each of them"), (header, rows))))


def _change_words(entry: dict[str, Any]) -> str:
    values = {name: entry[name] for name in ("changed", "rows", "against")}
    if "mended" not in entry:
        return tr("{changed:,} of {rows:,} answers are not those of {against}.", **values)
    values |= {name: entry[name] for name in ("mended", "broken", "wrong_either_way")}
    return tr(
        "{changed:,} of {rows:,} answers are not those of {against}: {mended} mended, {broken} broken, "
        "{wrong_either_way} wrong before and after.",
        **values,
    )


def _kinds(entry: dict[str, Any]) -> list[list[str]]:
    names = {"mended": tr("mended"), "broken": tr("broken"), "wrong_either_way": tr("wrong before and after")}
    found = [[title, f"{entry[name]:,}"] for name, title in names.items() if name in entry]
    return [*found, [tr("unchanged"), f"{entry['rows'] - entry['changed']:,}"]]


def _changed_row(row: dict[str, Any], labelled: bool, scored: bool) -> list[str]:
    before, after = (
        f"{row[side]} ({row[f'{side}_score']:.2f})" if scored and row[f"{side}_score"] is not None else row[side]
        for side in ("before", "after")
    )
    return [_short(cell) for cell in (row["text"], *([row["label"] or ""] if labelled else []), before, after)]


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"


def _labels(answers: dict[str, Any], of: str) -> Section:
    """Right answers by label and what was taken for what, each model beside the original."""
    models = [model for model in answers["models"] if "by_label" in model]
    if not models:
        return Section(tr("By label"))
    names = [model["name"] for model in models]
    rows = []
    for place, entry in enumerate(models[0]["by_label"]):
        cells = [_share(model["by_label"][place]["right"], entry["rows"]) for model in models]
        rows.append([entry["label"], f"{entry['rows']:,}", *cells])
    tables: list[tuple[str, Table]] = [(tr("Right answers"), ([*tr_all("label", "rows"), *names], rows))]
    pairs: dict[tuple[str, str], list[int]] = {}
    for place, model in enumerate(models):
        for entry in model["confusion"]:
            pairs.setdefault((entry["label"], entry["answer"]), [0] * len(models))[place] = entry["rows"]
    most = sorted(pairs.items(), key=lambda item: -max(item[1]))[:_CONFUSED]
    confused = [[label, answer, *map(str, counts)] for (label, answer), counts in most]
    caption = tr("Confusion")
    if len(pairs) > len(confused):
        caption = tr("Confusion: the {count} most frequent", count=len(confused))
    tables.append((caption, ([*tr_all("label", "taken for"), *names], confused)))
    return Section(tr("By label"), (of,), tables=tuple(tables))


def _share(right: int, rows: int) -> str:
    return f"{right:,} ({right / rows:.0%})"


def _calibration(answers: dict[str, Any], of: str, with_charts: bool) -> Section:
    models = [model for model in answers["models"] if "calibration" in model]
    title = tr("Calibration of confidence")
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
        charts = (reliability_chart(tr("Reliability: right answers by confidence"), series, summary=summary),)
    text = (
        of,
        tr("Points on the dotted line are as sure as they are right; below it a model is surer than it should be."),
    )
    return Section(title, text, charts, (("", (tr_all("model", "ECE", "mean confidence", "accuracy"), rows)),))


def _sure(model: dict[str, Any]) -> float:
    bins = model["calibration"]["bins"]
    return float(sum(sure * count for sure, _, count in bins) / sum(count for _, _, count in bins))


def _robustness(answers: dict[str, Any], of: str) -> Section:
    """The share of answers that stay, and accuracy, on changed texts; and accuracy by length."""
    models = [model for model in answers["models"] if model.get("robustness")]
    changed = []
    for model in models:
        for entry in model["robustness"]:
            row = [model["name"], tr(entry["change"]), f"{entry['rows']:,}", f"{entry['same']:.1%}"]
            if answers["labelled"]:
                row += [f"{entry['accuracy_before']:.3f}", f"{entry['accuracy']:.3f}"]
            changed.append(row)
    header = tr_all("model", "change", "rows", "same answer")
    header += tr_all("accuracy before the change", "accuracy after it") if answers["labelled"] else []
    lengths = [
        [
            model["name"],
            tr("{low} to {high}", low=entry["from"], high=entry["to"]),
            f"{entry['rows']:,}",
            f"{entry['accuracy']:.3f}",
        ]
        for model in answers["models"]
        for entry in model.get("by_length", ())
    ]
    typos = tr("Typos: two neighbouring letters change places in one word of five, in at least one of each text.")
    tables: tuple[tuple[str, Table], ...] = (
        (tr("The same texts, changed"), (header, changed)),
        (tr("By length, a third of the rows each"), (tr_all("model", "words", "rows", "accuracy"), lengths)),
    )
    return Section(tr("Robustness"), (of, typos), tables=tables)
