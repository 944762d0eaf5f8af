"""Training goes on with the head that a checkpoint has, whichever order its labels are in."""

import dataclasses

import pytest
from models import make_checkpoint
from safetensors.torch import load_file
from task_rows import rows_of

from edgelm.checkpoint import open_checkpoint
from edgelm.compress.finetune import finetune
from edgelm.training_settings import TrainSettings


@pytest.mark.parametrize(
    ("kind", "labels"),
    [("token-classification", ("B-PLACE", "O", "I-PLACE")), ("text-classification", ("positive", "negative"))],
)
def test_labels_are_read_by_name_and_keep_the_order_of_the_head(tmp_path, kind, labels):
    rows = rows_of(kind)
    assert labels != rows.label_names
    before = make_checkpoint(tmp_path / "before", kind=kind, labels=labels)
    barely = TrainSettings(max_steps=1, learning_rate=1e-6, max_length=32)  # a step moves a weight by as much at most
    made = finetune(before, dataset=rows, evaluation=rows, output=tmp_path / "after", kind=kind, settings=barely)
    assert made.record.task.labels == labels
    assert open_checkpoint(tmp_path / "after").config["id2label"] == {str(i): name for i, name in enumerate(labels)}
    head = [load_file(folder / "model.safetensors")["classifier.weight"] for folder in (before, tmp_path / "after")]
    assert (head[0] - head[1]).abs().max() < 1e-5
    sorted_rows = in_order(rows, labels)
    same = finetune(
        before, dataset=sorted_rows, evaluation=sorted_rows, output=tmp_path / "same", kind=kind, settings=barely
    )
    assert made.metrics == same.metrics


def in_order(rows, labels):
    """The same rows, with the numbers of their labels by this order."""
    numbers = [labels.index(name) for name in rows.label_names]
    changed = [tuple(numbers[tag] for tag in row) if isinstance(row, tuple) else numbers[row] for row in rows.labels]
    return dataclasses.replace(rows, labels=tuple(changed), label_names=labels)
