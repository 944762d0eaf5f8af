"""Estimates as tables and pages: every table and page says that nothing was measured."""

from __future__ import annotations

from typing import Any

from edgelm.choices import Language
from edgelm.markdown import Table, as_markdown, markdown_table
from edgelm.report.language import speaking, tr, tr_all
from edgelm.report.page import render_page
from edgelm.report.tables import Estimates, estimates_note


def sections(estimates: Estimates) -> list[tuple[str, Table]]:
    """The tables with their titles: all cases, then the operators of each device's first."""
    if "measure" in estimates[0]["cases"][0]:
        tables = {
            tr("Tokens by context, estimated"): token_table(estimates),
            tr("First token by prompt, estimated"): first_token_table(estimates),
        }
        return [(title, table) for title, table in tables.items() if table[1]]
    shown = [(tr("Latency, estimated"), latency_table(estimates))]
    several = _several(estimates)
    about = [named_on(entry) if several else entry["device"] for entry in estimates]
    return shown + [
        (tr("Time by operator, estimated for {name}", name=name), operator_table(entry))
        for name, entry in zip(about, estimates, strict=True)
    ]


def named_on(estimate: dict[str, Any]) -> str:
    """What was estimated, and for which device."""
    return tr("{name} on {place}", name=estimate["name"], place=estimate["device"])


def latency_table(estimates: Estimates) -> Table:
    """One row a device, case and subject, where there are several; of the p50, what operations, memory and launches
    bound."""
    several = _several(estimates)
    header = [tr("subject")] if several else []
    header += tr_all("device", "batch", "tokens", "p50 ms", "low", "high")
    header += tr_all("compute-bound", "memory-bound", "launches", "source")
    rows = []
    for entry in estimates:
        for case in entry["cases"]:
            bounds = case["bounds"] | {"launch": case["bounds"]["launch"] + case["bounds"]["call"]}
            shares = [f"{bounds[name] / case['p50_ms']:.0%}" for name in ("compute", "memory", "launch")]
            figures = [f"{case[name]:.3g}" for name in ("p50_ms", "low_ms", "high_ms")]
            rows.append(
                [
                    *([entry["name"]] if several else []),
                    entry["device"],
                    str(case["batch"]),
                    str(case["sequence"]),
                    *figures,
                    *shares,
                    tr(entry["source"]),
                ]
            )
    return header, rows


def token_table(estimates: Estimates) -> Table:
    """Of models that write: one row a device, subject and context."""
    header = tr_all("subject", "device", "context", "tokens/s", "p50 ms", "low", "high", "MB a token", "cache MB")
    header += tr_all("bundle + cache, of memory", "source")
    rows = []
    for entry in estimates:
        for case in _of_measure(entry, "token"):
            figures = [f"{case[name]:.3g}" for name in ("tokens_per_s", "p50_ms", "low_ms", "high_ms")]
            read = [f"{case[name]:.1f}" for name in ("bytes_mb", "cache_mb")]
            about = [entry["name"], entry["device"], f"{case['tokens']:,}"]
            rows.append([*about, *figures, *read, memory_cell(case), tr(entry["source"])])
    return header, rows


def first_token_table(estimates: Estimates) -> Table:
    """Of models that write: one row a device, subject and prompt."""
    header = tr_all("subject", "device", "prompt", "p50 ms", "low", "high", "tokens/s read", "bound by", "source")
    rows = []
    for entry in estimates:
        for case in _of_measure(entry, "first-token"):
            figures = [f"{case[name]:.3g}" for name in ("p50_ms", "low_ms", "high_ms", "tokens_per_s")]
            about = [entry["name"], entry["device"], f"{case['tokens']:,}"]
            rows.append([*about, *figures, tr(case["bound"]), tr(entry["source"])])
    return header, rows


def memory_cell(case: dict[str, Any]) -> str:
    """What a bundle and its cache take, in MB, of a device's memory, where that is known."""
    held, there = case["held_mb"], case["memory_mb"]
    if there is None:
        return f"{held:,.1f}"
    of = tr("{held:,.1f} of {there:,.0f}", held=held, there=there)
    return of if held <= there else tr("{held}, does not fit", held=of)


def _of_measure(estimate: dict[str, Any], measure: str) -> list[dict[str, Any]]:
    return [case for case in estimate["cases"] if case["measure"] == measure]


def operator_table(estimate: dict[str, Any]) -> Table:
    """One row an operator of the first case, the slowest first; those that show in no digit are left out."""
    header = tr_all("operator", "nodes", "launches", "ms per call", "share", "bound by")
    rows = [
        [
            row["name"],
            str(row["nodes"]),
            str(row["launches"]),
            f"{row['ms']:.4f}",
            f"{row['share']:.1%}",
            tr(row["bound"]),
        ]
        for row in estimate["cases"][0]["operators"]
        if row["share"] >= 0.0005
    ]
    return header, rows


def _several(estimates: Estimates) -> bool:
    """Whether they are of more than one subject."""
    return len({entry["path"] for entry in estimates}) > 1


def estimates_markdown(estimates: Estimates, *, language: Language = "en") -> str:
    """The tables in Markdown."""
    with speaking(language):
        tables = [line for title, table in sections(estimates) for line in markdown_table(title, table)]
        return as_markdown([f"# {estimates[0]['name']}", "", estimates_note(estimates), "", *tables])


def estimates_html(estimates: Estimates, *, language: Language = "en") -> str:
    """One page with its style inside: it needs no network and no other file.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    with speaking(language):
        shown = [{"title": title, "header": header, "rows": rows} for title, (header, rows) in sections(estimates)]
        title, where = estimates[0]["name"], estimates_note(estimates)
        return render_page("estimates.html", title=title, where=where, sections=shown)
