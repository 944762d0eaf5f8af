"""The card of a checkpoint that edgelm made: how it is loaded, how good it is, what it is not, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.cards.front_matter import eval_results, licence_words, render_card
from edgelm.cards.parts import dev_lines, label_lines, limit_lines, remake_lines
from edgelm.cards.remake import remake_checkpoint
from edgelm.checkpoint import Record
from edgelm.files.output import size_on_disk
from edgelm.markdown import escaped
from edgelm.model_folder.card import CARD_FILE, read_card
from edgelm.tasks.text import SentenceEmbedding


def write_checkpoint_card(folder: Path, record: Record, *, name: str, source: Path, base: Path | None = None) -> None:
    """Write the card of a checkpoint around what its folder says of loading it, and put the licence texts of the model
    that it was made from beside it.

    Args:
        folder: as `save_checkpoint` wrote it.
        name: of the folder, once it is in its place.
        source: the folder of that model; a file, such as one of GGUF, has no card.
        base: of an adapter, the model below it.
    """
    origin, lineage = read_card(source, base=base), record.to_dict()
    file = folder / CARD_FILE
    loading = file.read_text(encoding="utf-8").partition("\n")[2] if file.is_file() else ""
    judged = (lineage["data"].get("eval") or {}) if record.stages else {}
    metrics = record.stages[-1].after if record.stages else {}
    results = eval_results(record.task, lineage, metrics, judged["source"]) if judged else []
    lines = [
        f"# {escaped(name)}",
        "",
        f"A checkpoint for {record.task.kind} in {size_on_disk(folder) / 1e6:.1f} MB, made by edgelm.",
        "",
        *label_lines(record.task),
        "## Load it",
        *loading.splitlines(),
        "",
        "## Figures",
        "",
        *_figure_lines(record, lineage),
        "Its speed depends on the machine: `edgelm profile` measures it on yours.",
        "",
        *limit_lines(record.task, lineage, judged.get("source"), ()),
        "## Licence",
        "",
        licence_words(origin),
        "",
        *remake_lines(lineage, remake_checkpoint(lineage, name), record.tools),
    ]
    sentences = isinstance(record.task, SentenceEmbedding)
    text = render_card(
        lines,
        name=name,
        origin=origin,
        task=record.task,
        library="sentence-transformers" if sentences else "transformers",
        tags=[stage for stage in dict.fromkeys(stage.stage for stage in record.stages) if stage != "finetune"],
        results=results,
    )
    file.write_text(text, encoding="utf-8")
    for title, content in origin.texts.items():
        (folder / title).write_bytes(content)


def _figure_lines(record: Record, lineage: Mapping[str, Any]) -> list[str]:
    if not record.stages:
        return []
    lines = dev_lines(lineage)
    if not lines:  # a fine-tuning alone, which has nothing to be compared with
        found = ", ".join(f"{name} {value:.4f}" for name, value in record.stages[-1].after.items())
        rows = (lineage["data"].get("eval") or {}).get("source")
        lines = [f"On dev ({escaped(rows)}): {found}.", ""] if found and rows else []
    return [f"{record.stages[-1].parameters:,} weights.", "", *lines]
