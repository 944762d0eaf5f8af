"""What was read, shown before work begins: columns, labels with counts, how they map to the model's, and the first
rows."""

from __future__ import annotations

from typing import Any

from edgelm.cli.console import Screen
from edgelm.data.dataset import Dataset
from edgelm.data.reading import Reading, describe
from edgelm.data.schemas import SCHEMAS
from edgelm.metrics.spans import spans_of

_WIDTH = 60  # characters of a text
_LABELS = 8


def show_rows(screen: Screen, *sets: Dataset) -> None:
    """Say on stderr what was read: in full of the first set, in a line of each other."""
    for number, rows in enumerate(sets):
        found = describe(rows)
        for line in _draw(found) if number == 0 else _draw(found)[:1]:
            screen.aside(line)


def _draw(found: Reading) -> list[str]:
    columns = ", ".join(f"{what} in {name!r}" for what, name in found.columns.items())
    target = next(column.what for column in SCHEMAS[found.schema].columns if column.role == "label")
    kind = f", {found.problem}" if found.problem else ""
    kind += f" ({found.label_format})" if found.label_format else ""
    unnamed = not any(target in sample for sample in found.samples) and not found.labels
    if unnamed and found.schema != "prompts":  # whose texts are their own targets
        kind = ", no labels" if found.schema == "text" else f", no {target}"
    labels = f": {_listed(f'{tidy(name)} {count}' for name, count in found.labels.items())}" if found.labels else ""
    lines = [f"Read {tidy(found.source, 200)}: {found.rows} rows, {columns}{kind}{labels}."]
    if found.matched:
        lines.append(
            "  Labels of the model: "
            f"{_listed(f'{tidy(name)} is {tidy(known)}' for name, known in found.matched.items())}."
        )
    return lines + [f"  {_row(sample, target)}" for sample in found.samples]


def _row(sample: dict[str, Any], target: str) -> str:
    inputs = [value for what, value in sample.items() if what != target]
    if target == "tags":
        inputs = [" ".join(value) if isinstance(value, list) else value for value in inputs]
    texts = " | ".join(
        f'"{tidy(text)}"' for value in inputs for text in (value if isinstance(value, list) else [value])
    )
    if target not in sample:
        return texts
    value = sample[target]
    if target == "tags":
        words = next(iter(sample.values()))
        value = ", ".join(f"{kind} {' '.join(words[first:end])}" for kind, first, end in spans_of(value))
    elif isinstance(value, list):
        value = ", ".join(value)
    return f"{texts} -> {tidy(str(value)) or '(none)'}"


def _listed(parts: Any) -> str:
    found = list(parts)
    return ", ".join(found[:_LABELS]) + (f", and {len(found) - _LABELS} more" if len(found) > _LABELS else "")


def tidy(text: str, width: int = _WIDTH) -> str:
    """A text on one line, shortened, with every character that a terminal could act on as its escape."""
    short = text if len(text) <= width else text[: width - 3] + "..."
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in short
    )
