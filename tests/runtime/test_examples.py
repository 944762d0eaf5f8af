"""What a bundle's card and its C++ example say of each kind of task."""

import re
import subprocess
import sys

import pytest
from bundles import make_bundle

from edgelm.bundles.card import card_text
from edgelm.bundles.cpp_example import ANSWERED, cpp_files, cpp_program
from edgelm.model_folder.card import ModelCard
from edgelm.runtime import open_bundle
from edgelm.runtime.inputs.files import example_words
from edgelm.tasks.table import TASKS, make_task
from edgelm.tasks.text import TextClassification


def make(kind):
    return make_task(kind, labels=("O", "B-A")) if kind.endswith("classification") else make_task(kind)


@pytest.mark.parametrize(
    "task",
    # A generator's bundle has other graphs, which this maker of bundles does not make.
    [*(make(kind) for kind in TASKS if not TASKS[kind].generates), TextClassification(labels=("no", "yes"), pair=True)],
    ids=lambda task: task.kind + "-pair" * (task.pair and task.kind == "text-classification"),
)
def test_the_line_of_the_card_and_the_next_step_of_verify_can_be_pasted(tmp_path, task):
    folder = make_bundle(tmp_path / "b", task)
    card = card_text(open_bundle(folder).manifest, ModelCard(), size_mb=1.0)
    line = re.search(r"Answer: `python (run\.py .*?)`\. Check", card)[1]
    commands = (
        f"{sys.executable} {folder}/{line}",
        f"{sys.executable} -m edgelm run {folder} " + " ".join(f"'{word}'" for word in example_words(task)),
    )
    for command in commands:
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    assert ("cpp/" in card) == bool(cpp_program(task))


@pytest.mark.parametrize(
    ("program", "kinds"),
    [("answer", set(ANSWERED)), ("write", {kind for kind, task in TASKS.items() if task.generates})],
)
def test_the_cpp_example_names_the_tasks_that_it_answers(program, kinds):
    source = cpp_files(program)[f"cpp/{program}.cpp"].read_text()
    refused = re.search(r"if \((kind != .*?)\) \{", source)[1]
    assert set(re.findall(r'"([\w-]+)"', refused)) == kinds
