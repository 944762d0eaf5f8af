"""The card of a folder for another engine: how it is run there, how good it is, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.cards.front_matter import eval_results, licence_words, render_card
from edgelm.cards.judged_rows import rows_words
from edgelm.cards.parts import label_lines, metric_lines
from edgelm.files.places import told_place
from edgelm.markdown import escaped
from edgelm.model_folder.card import ModelCard
from edgelm.runtime.graph_spec import Parity
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask
from edgelm.version import __version__


@dataclass(frozen=True)
class Engine:
    """An engine that is given a folder of its own.

    Attributes:
        name: as its makers write it.
        library: its name on Hugging Face's hub.
        packages: what its code needs, as pip takes it.
        code: Python that runs the folder; `TEXTS` stands for what its tokenizer reads, `LENGTH` for the most tokens.
        note: what else must be known, as sentences of Markdown.
    """

    name: str
    library: str
    packages: str
    code: str
    note: str


def engine_card(
    name: str,
    origin: ModelCard,
    engine: Engine,
    *,
    task: Task,
    family: str,
    precision: str,
    max_length: int,
    size_mb: float,
    lineage: Mapping[str, Any],
    parity: Parity,
    quality: Mapping[str, Any],
) -> str:
    """The text of the folder's README.md.

    Args:
        name: of the folder.
        origin: what the card of the checkpoint says.
        max_length: longest text, in tokens.
        size_mb: of the folder, 10^6 bytes.
        lineage: of the checkpoint.
        parity: of the model as the engine ran it, against transformers.
        quality: metrics of checkpoint and folder, as a bundle's manifest has them; empty: there are none.
    """
    source = told_place(quality["source"]) if quality else None
    results = eval_results(task, lineage, quality["bundle"], str(source)) if quality else []
    code = engine.code.replace("LENGTH", str(max_length)).replace("TEXTS", _example(task))
    lines = [
        f"# {escaped(name)}",
        "",
        f"A {family} model for {task.kind}, {precision}, {size_mb:.1f} MB, for {engine.name}, written by edgelm "
        f"{__version__}.",
        "",
        *label_lines(task),
        "## Use it",
        "",
        f"In this folder, after `pip install {engine.packages}`:",
        "",
        "```python",
        *code.strip().splitlines(),
        "```",
        "",
        engine.note,
        "",
        "## Figures",
        "",
        f"Against PyTorch on {parity.samples} texts: largest error {parity.max_error:.3g}, mean "
        f"{parity.mean_error:.3g}, {parity.changed:.2%} of the answers changed.",
        "",
    ]
    if quality and source is not None:
        rows = rows_words(lineage, source, quality["samples"])
        table = metric_lines("checkpoint", engine.name, (quality["checkpoint"], quality["bundle"]))
        lines += [f"On {escaped(rows)}:", "", *table]
    lines += ["## Licence", "", licence_words(origin)]
    tags = [engine.library, precision]
    return render_card(lines, name=name, origin=origin, task=task, library=engine.library, tags=tags, results=results)


def _example(task: Task) -> str:
    """Arguments for the tokenizer: a text, or two where the model reads two."""
    if isinstance(task, FillMask):
        return f'"This is a {task.mask_token} day."'
    two = task.pair or task.schema in ("answers", "choices")
    return '"This is the first text.", "This is the second."' if two else '"This is a text."'
