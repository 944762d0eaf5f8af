"""Small pieces of text and tables that several commands draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from edgelm.cli.folding import FoldingTable

_BARS = " ▁▂▃▄▅▆▇█"


def metrics_line(metrics: dict[str, float]) -> str:
    """Metrics in one line, such as `accuracy 0.912, macro_f1 0.910`."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "no labels to judge by"


def tokens_line(tokens: dict[str, Any]) -> str:
    """What is left of a vocabulary, in one line, out of `KeptTokens`."""
    line = (
        f"Tokens: {tokens['kept']:,} of {tokens['original']:,} kept, {tokens['saved_mb']:.1f} MB of embeddings saved; "
        f"nothing lost in {tokens['covered_texts']:.1%} of the evaluation rows, {tokens['covered_tokens']:.1%} of "
        "their tokens kept"
    )
    if tokens.get("same_characters") is None:
        return line
    return (
        f"{line}; {tokens['same_characters']:.1%} of their characters in the same tokens, {tokens['more_tokens']:.2f} "
        "tokens more a text"
    )


def hidden_line(hidden: dict[str, int]) -> str:
    """What is left of a hidden size, in one line, out of `KeptHidden`."""
    return f"Hidden size: {hidden['kept']:,} of {hidden['original']:,} dimensions kept"


def make_table(*columns: str, title: str = "", numbers_from: int = 1) -> Table:
    """A plain table whose columns from `numbers_from` on are right-aligned; it folds where the terminal is narrow."""
    table = FoldingTable(
        title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index >= numbers_from else "left", no_wrap=index >= numbers_from)
    return table


_PLAIN_AXES = 2  # texts and tokens


def shapes_line(profiles: list[dict[str, Any]]) -> str:
    """What each profile of an engine takes: the sizes of its axes, texts x tokens, or of more axes by their names."""
    if any(len(profile["axes"]) > _PLAIN_AXES for profile in profiles):
        ranges = [{name: (least, most) for name, (least, _, most) in profile["axes"].items()} for profile in profiles]
        return "; ".join(
            ", ".join(
                f"{name} {least}" if least == most else f"{name} {least}-{most}" for name, (least, most) in each.items()
            )
            for each in ranges
        )
    shapes = [
        ["x".join(str(sizes[which]) for sizes in profile["axes"].values()) for which in range(3)]
        for profile in profiles
    ]
    return "; ".join(f"{least} to {most}, fastest at {usual}" for least, usual, most in shapes)


def sparkline(counts: Sequence[int]) -> str:
    """Counts as a line of bars, their heights logarithmic: outliers are few, and are what matters."""
    top = math.log1p(max(counts, default=0)) or 1.0
    return "".join(_BARS[math.ceil(math.log1p(count) / top * (len(_BARS) - 1))] for count in counts)


def draw_layers(console: Console, layers: list[dict[str, Any]], unit: str) -> None:
    """What was kept of every layer, as bars, and what it costs."""
    from edgelm.report.tables import bar

    crossing = any("cross" in row for row in layers)
    parts = [("heads", "heads", "attention_cost"), ("cross heads", "cross", "cross_cost")][: 1 + crossing]
    parts.append(("FFN channels", "ffn", "ffn_cost"))
    titles = [name for title, *_ in parts for name in (title, "", "cost")]
    table = make_table("layer", *titles, "norms", numbers_from=99)
    for row in layers:
        cells = [f"{row['stack']} {row['layer']}" if crossing else str(row["layer"])]
        for _, kept, cost in parts:
            before = row.get(f"{kept}_before")
            cells += [f"{row[kept]}/{before}", bar(row[kept] / before), f"{row[cost]:.3g}"] if before else ["", "", ""]
        table.add_row(*cells, f"{row['norms_cost']:.3g}")
    console.print(table)
    console.print(f"Costs in {unit}.")


def draw_budget(console: Console, verdicts: list[dict[str, Any]]) -> None:
    """Each bound: asked, got, and what to do where it is not met."""
    if not verdicts:
        return
    table = make_table("budget", "asked", "got", "unit", "figure", "", numbers_from=99)
    for row in verdicts:
        figure = row["source"] + (f", {row['band'][0]:.3g} to {row['band'][1]:.3g}" if row.get("band") else "")
        table.add_row(
            row["name"],
            f"{row['asked']:.3g}",
            f"{row['got']:.3g}",
            row["unit"],
            figure,
            "met" if row["met"] else "not met",
        )
    console.print(table)
    for row in verdicts:
        if not row["met"]:
            console.print(
                f"{row['name']}: {row['got'] - row['asked']:.3g} {row['unit']} too much; {row['advice']}.",
                soft_wrap=True,
            )
