"""Parts that the cards of checkpoints and of bundles have in common, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgelm.cards.judged_rows import dev_metrics, role_of, rows_words
from edgelm.markdown import Table, escaped, markdown_code, markdown_rows
from edgelm.tasks.task import Task

_LABELS = 50  # that are named; a file has all of them


def metric_lines(before: str, after: str, pair: tuple[Mapping[str, float], Mapping[str, float]]) -> list[str]:
    """A table of metrics that both of two models have.

    Args:
        before, after: what the two are.
    """
    one, other = pair
    rows = [[name, f"{one[name]:.4f}", f"{value:.4f}"] for name, value in other.items() if name in one]
    table: Table = (["metric", before, after], rows)
    return markdown_rows(table) if rows else []


def dev_lines(lineage: Mapping[str, Any]) -> list[str]:
    """What compressing cost on the rows that it judged by; nothing where it judged by none."""
    data = (lineage.get("data") or {}).get("eval") or {}
    lines = metric_lines("original", "compressed checkpoint", dev_metrics(lineage))
    if not lines or not data.get("source"):
        return lines
    rows = rows_words(lineage, data["source"], data.get("rows"))
    return [f"Compressing was judged on the way by these rows ({escaped(rows)}), which are no test of it:", "", *lines]


def label_lines(task: Task) -> list[str]:
    """The labels, or as many of them as are read at a glance."""
    if not task.labels:
        return []
    more = len(task.labels) - _LABELS
    named = ", ".join(task.labels[:_LABELS])
    return [escaped(f"Labels: {named}{f', and {more} more' if more > 0 else ''}."), ""]


def limit_lines(task: Task, lineage: Mapping[str, Any], source: str | None, others: Iterable[str]) -> list[str]:
    """What a reader should not expect, as a list.

    Args:
        source: of the rows that the figures above are of; None: there are no figures.
        others: further limits, as sentences.
    """
    limits = [*others]
    if task.labels:
        limits.append("It answers in its labels alone, also where none of them fits.")
    tokens = lineage.get("tokens")
    if tokens:
        limits.append(
            f"Its vocabulary was cut to {tokens['kept']:,} of {tokens['original']:,} tokens, which have "
            f"{tokens['covered_tokens']:.1%} of those in the rows it was judged by; other words are read in worse "
            "pieces, or as unknown."
        )
    if source is None:
        limits.append("How good its answers are was not measured.")
    elif role_of(lineage, source) != "test":
        limits.append("The figures are of rows that choices were made on; on others expect somewhat less.")
    if lineage.get("stages"):
        limits.append(
            "Compressing may cost more on some kinds of texts than the means say; `edgelm report --data --original` "
            "lists every answer that changed."
        )
    limits.append("What the original learnt wrong, it has wrong too: its biases are carried over.")
    return ["## Limits", "", *(f"- {limit}" for limit in limits), ""]


def remake_lines(lineage: Mapping[str, Any], code: Sequence[tuple[str, str]], tools: Mapping[str, str]) -> list[str]:
    """What it was made from and by, and the commands that make it again."""
    stages = ", ".join(stage["stage"] for stage in lineage.get("stages") or [])
    made = f"Made from {lineage.get('source')}{f' by: {stages}' if stages else ''}."
    lines = ["## Make it again", "", f"{escaped(made)} Paths are told without the folders of its maker's machine.", ""]
    for caption, text in code:
        commands = caption == "Commands"
        lines += [] if commands else [f"`{caption}`:", ""]
        lines += markdown_code(text, "bash" if commands else "yaml")
    versions = ", ".join(f"{name} {number}" for name, number in tools.items())
    return [*lines, *([f"Versions: {versions}.", ""] if versions else [])]
