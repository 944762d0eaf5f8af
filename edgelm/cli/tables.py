"""Small pieces of text and tables that several commands draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

_BARS = " ▁▂▃▄▅▆▇█"


def metrics_line(metrics: dict[str, float]) -> str:
    """Metrics in one line, such as `accuracy 0.912, macro_f1 0.910`."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "no labels to judge by"


def tokens_line(tokens: dict[str, Any]) -> str:
    """What is left of a vocabulary, in one line, out of `KeptTokens`."""
    return (
        f"Tokens: {tokens['kept']:,} of {tokens['original']:,} kept, {tokens['saved_mb']:.1f} MB of embeddings saved; "
        f"nothing lost in {tokens['covered_texts']:.1%} of the evaluation rows, {tokens['covered_tokens']:.1%} of their tokens kept"
    )


def make_table(*columns: str, title: str = "", numbers_from: int = 1) -> Table:
    """A plain table whose columns from `numbers_from` on are right-aligned."""
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index >= numbers_from else "left", no_wrap=index >= numbers_from)
    return table


def sparkline(counts: Sequence[int]) -> str:
    """Counts as a line of bars, their heights logarithmic: outliers are few, and are what matters."""
    top = math.log1p(max(counts, default=0)) or 1.0
    return "".join(_BARS[math.ceil(math.log1p(count) / top * (len(_BARS) - 1))] for count in counts)
