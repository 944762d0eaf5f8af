"""Training goes on with the head that a checkpoint has, whichever order its labels are in."""

import pytest
from models import make_checkpoint
from safetensors.torch import load_file
from task_rows import TAGS, rows_of

from edgelm.checkpoint import open_checkpoint
from edgelm.compress.finetune import finetune
from edgelm.recipe import TrainSettings


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


def test_a_trained_order_is_learned_by_name(tmp_path):
    """With tags mixed up, training would have to learn all of them anew, and could not in so few steps."""
    rows, kind = rows_of("token-classification"), "token-classification"
    settings = TrainSettings(max_steps=60, learning_rate=2e-3, max_length=32, batch_size=16)
    first = make_checkpoint(tmp_path / "first", kind=kind, labels=tuple(reversed(TAGS)))
    learned = finetune(first, dataset=rows, evaluation=rows, output=tmp_path / "a", kind=kind, settings=settings)
    barely = TrainSettings(max_steps=1, learning_rate=1e-6, max_length=32)
    again = finetune(tmp_path / "a", dataset=rows, evaluation=rows, output=tmp_path / "b", kind=kind, settings=barely)
    assert again.metrics["f1"] == pytest.approx(learned.metrics["f1"], abs=1e-6)
    assert learned.metrics["f1"] > 0.9
