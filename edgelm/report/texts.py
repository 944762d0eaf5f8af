"""What models that write know of texts, as tables and marked examples."""

from __future__ import annotations

from typing import Any

from edgelm.markdown import Table
from edgelm.report.language import tr, tr_all

MARK = "▸"  # stands in plain text where an output begins to differ
Texts = dict[str, Any]


def text_sections(texts: Texts | None) -> list[tuple[str, Table]]:
    """Perplexity by file and by position, with their titles; nothing where no texts were judged."""
    if texts is None:
        return []
    return [(tr("Perplexity by file"), file_table(texts)), (tr("Perplexity by position"), position_table(texts))]


def file_table(texts: Texts) -> Table:
    """One row a file: perplexity of each subject, and how many times the last one's; where their tokens differ, bits a
    byte of text, and the ratio of these."""
    names, compared = texts["subjects"], "perplexity" if texts["same_tokens"] else "bits_per_byte"
    header = [*tr_all("texts", "tokens"), *(tr("{name}: perplexity", name=name) for name in names)]
    header += [] if texts["same_tokens"] else [tr("{name}: bits a byte", name=name) for name in names]
    header += _against(names)
    rows = []
    for entry in texts["files"]:
        counts = [f"{count:,}" for count in dict.fromkeys(entry["tokens"])]
        row = [entry["source"], " / ".join(counts), *(f"{value:.2f}" for value in entry["perplexity"])]
        row += [] if texts["same_tokens"] else [f"{value:.3f}" for value in entry["bits_per_byte"]]
        rows.append([*row, *_ratios(entry[compared])])
    return header, rows


def position_table(texts: Texts) -> Table:
    """One row a bucket of positions: perplexity of each subject, and how many times the last one's."""
    names = texts["subjects"]
    header = [tr("positions"), *(tr("{name}: perplexity", name=name) for name in names)]
    header += _against(names) if texts["same_tokens"] else []
    rows = []
    for entry in texts["positions"]:
        figures = ["" if value is None else f"{value:.2f}" for value in entry["perplexity"]]
        ratios = _ratios(entry["perplexity"]) if texts["same_tokens"] else []
        rows.append([f"{entry['first']:,}-{entry['last']:,}", *figures, *ratios])
    return header, rows


def example_parts(texts: Texts | None) -> list[dict[str, Any]]:
    """Of each example the prompt, and for each subject, the last first, what the last one wrote too and what not."""
    if texts is None:
        return []
    found = []
    for entry in texts["examples"]:
        rows = [
            {"name": name, "same": text[:same], "other": text[same:], "equal": text == entry["texts"][-1]}
            for name, text, same in zip(texts["subjects"], entry["texts"], entry["same"], strict=True)
        ]
        found.append({"prompt": entry["prompt"], "source": entry["source"], "rows": rows[::-1]})
    return found


def example_lines(texts: Texts | None) -> list[str]:
    """The examples as lines of Markdown, under a heading."""
    parts = example_parts(texts)
    if not parts:
        return []
    greedy = tr("Greedy; {mark} stands where a text begins to differ.", mark=MARK)
    lines = [f"## {tr('Examples')}", "", greedy, ""]
    for part in parts:
        lines += ["| | |", "|---|---|", f"| {tr('prompt')} | {_cell(part['prompt'])} |"]
        for row in part["rows"]:
            lines.append(f"| {_cell(row['name'])} | {_cell(marked(row))} |")
        lines.append("")
    return lines


def marked(row: dict[str, Any]) -> str:
    """A text with a mark where it begins to differ."""
    return str(row["same"]) if row["equal"] else f"{row['same']}{MARK}{row['other']}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _against(names: list[str]) -> list[str]:
    return [tr("{name} vs {other}", name=name, other=names[-1]) for name in names[:-1]]


def _ratios(values: list[float | None]) -> list[str]:
    last = values[-1]
    return ["" if value is None or not last else f"{value / last:.3f}x" for value in values[:-1]]
