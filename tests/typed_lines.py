"""A reader of the documentation: the model and the rows that the pages speak of, and a command typed among them."""

import csv
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from generators import make_generator
from models import TEXTS, make_checkpoint
from task_rows import TAGS, words_and_tags
from typer.testing import CliRunner

from edgelm.anatomy.sizes import sizes_of
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.errors import EXIT_BUDGET, EXIT_DONE
from edgelm.latency_table import count_operations

_BOUNDS = ("--speedup", "--max-drop", "--max-latency", "--max-size", "make")


def lay_out(here: Path) -> Path:
    """Make what the pages speak of in a folder."""
    make_checkpoint(here / "my-model", layers=3, hidden=64, heads=4, ffn=128)
    make_checkpoint(here / "ENCODER", kind="sentence-embedding", layers=2, hidden=64, heads=4, ffn=128)
    make_generator(here / "my-llama", "llama", heads=2, kv_heads=1)
    for name in ("texts.txt", "dev.txt"):
        (here / name).write_text("\n\n".join(TEXTS), encoding="utf-8")
    model = open_checkpoint(here / "my-model")
    table = count_operations(sizes_of(model.config, task=model.task), 10)  # to measure one takes minutes
    replace(table, source="measured", unit="ms", precision="int8", pytorch=100.0).save(here / "table.json")
    for name, columns in {
        "train": ("text", "label"),
        "dev": ("text", "label"),
        "test": ("text", "label"),
        "texts": ("text",),
        "rows": ("body", "topic"),
        "held-out": ("body", "topic"),
    }.items():
        rows = [(f"{text} {number}", ("negative", "positive")[number % 2]) for number, text in enumerate(TEXTS * 4)]
        with (here / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *(row[: len(columns)] for row in rows)])
    for name in ("train", "dev"):
        tagged = [words_and_tags(text) for text in TEXTS * 4]
        lines = [json.dumps({"tokens": words, "tags": [TAGS[tag] for tag in tags]}) for words, tags in tagged]
        (here / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return here


def type_line(line: str, more: str = "") -> None:
    """Run a command in the folder that is the current one, with further options, and look at what it says and leaves.
    A budget may be missed: no small model of random weights meets those of the pages."""
    program, *words = shlex.split(f"{line} {more}")
    if program == "python":
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        return
    assert program == "edgelm", f"{line}: neither run nor excused"
    result = CliRunner().invoke(app, words)
    allowed = (EXIT_DONE, EXIT_BUDGET) if set(words) & set(_BOUNDS) else (EXIT_DONE,)
    assert result.exit_code in allowed, result.output
    for option, path in pairwise(words):
        if option in ("--output", "--html"):
            assert Path(path).exists()
