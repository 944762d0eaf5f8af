"""The tutorial notebook: committed as it is written, and run from its first cell to its last, by a small encoder on few
rows."""

import ast
import json
import os
import re
import sys

import lxml.html
import pytest
from documented import REPOSITORY
from models import make_checkpoint

NOTEBOOK = REPOSITORY / "docs" / "tutorial.ipynb"
# What is written otherwise before it runs: with the encoder and the rows of the notebook it takes minutes of CPU time.
SMALLER = {
    "from edgelm.demo import find_encoder": "find_encoder = lambda: {encoder!r}",
    "sample(800)": "sample(64)",
    "sample(300)": "sample(24)",
    "sample(500)": "sample(24)",
    "epochs=4": "epochs=2",
    "runs=100": "runs=20",
}


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_committed_without_what_it_printed():
    assert len(code_cells()) >= 8
    for cell in code_cells():
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
        ast.parse("".join(cell["source"]))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Of each code cell, by its id: what it showed, by its media type."""
    nbformat = pytest.importorskip("nbformat", reason="the extra dev brings it")
    nbclient = pytest.importorskip("nbclient", reason="the extra dev brings it")
    pytest.importorskip("ipykernel", reason="the extra dev brings it")
    folder = tmp_path_factory.mktemp("notebook")
    encoder = make_checkpoint(folder / "encoder", kind="sentence-embedding", hidden=64, heads=4, ffn=128, spread=0.1)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert [words for words in SMALLER if words not in text] == []
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        for words, others in SMALLER.items():
            cell.source = cell.source.replace(words, others.format(encoder=str(encoder)))
    places = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path[1:]])}
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}})
    client.execute(env=os.environ | places)
    assert (folder / "build" / "notebook" / "report.html").is_file()
    assert (folder / "build" / "notebook" / "intents.edge" / "run.py").is_file()
    return shown(notebook)


def shown(notebook):
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found[cell.id] = {}
            for output in cell.outputs:
                found[cell.id] |= output.get("data", {})
    return found


def rows(html):
    page = lxml.html.fromstring(html)
    return [[cell.text_content() for cell in row.iter("th", "td")] for row in page.iter("tr")]


@pytest.mark.slow
def test_the_bundle_answers_with_an_intent(outputs):
    assert re.search(r"'label': '\w+'", outputs["ask"]["text/plain"])


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["teacher", "smaller", "bundle"])
def test_every_step_is_drawn_as_a_table(outputs, cell):
    tables = rows(outputs[cell]["text/html"])
    if cell == "bundle":  # metric, checkpoint, bundle
        found = next(row for row in tables if row[0] == "accuracy")[1:]
    else:  # a row a stage
        found = [row[tables[0].index("accuracy")] for row in tables if row[0] in ("finetune", "original", "recover")]
    assert found and all(0 <= float(value) <= 1 for value in found)


@pytest.mark.slow
def test_the_report_has_bundle_and_teacher_side_by_side(outputs):
    table = outputs["speed"]["text/markdown"]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    bundle, teacher = (dict(zip(lines[0], line, strict=True)) for line in lines[2:4])
    assert float(bundle["size MB"]) > 0 and float(teacher["size MB"]) > 0
    assert "p50 ms" in table
