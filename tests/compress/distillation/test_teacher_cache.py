"""What a teacher said once is what it would say again: kept answers against asking anew, for batches of any rows."""

import pytest
import torch
from models import TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.batches import EncodedDataset
from edgelm.compress.distillation import pace
from edgelm.compress.distillation import teacher_cache as module
from edgelm.compress.distillation.teacher_cache import TeacherCache
from edgelm.data.dataset import Dataset
from edgelm.recipe import DistillSettings, Recipe
from edgelm.training_settings import DistillLoss, TrainSettings

ROWS = Dataset(
    "memory",
    texts=TEXTS,
    labels=tuple(index % 2 for index in range(len(TEXTS))),
    label_names=("negative", "positive"),
    problem="single-label",
)


@pytest.mark.parametrize("kind", ["text-classification", "sentence-embedding"])
def test_what_is_kept_is_what_is_said(tmp_path, kind):
    folder = make_checkpoint(tmp_path / "m", kind=kind)
    asked = TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task, 32)
    rows = EncodedDataset(ROWS.without_labels(), asked, numbered=True)
    teacher = TeacherCache(asked, [0, 2])
    batch = rows.batch((3, 0, 5))
    wanted, states = teacher(batch)
    teacher.prepare(rows, passes=2, half=False)
    teacher.teacher = asked.with_model(None)  # not asked any more
    found, kept = teacher(batch)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)  # FP32 sums in other batches
    real = batch["attention_mask"].bool()
    for layer in (0, 2):
        torch.testing.assert_close(
            kept[layer][real], states[layer][real], atol=2e-3, rtol=2e-3
        )  # kept in half precision


def test_it_is_asked_anew_where_keeping_does_not_pay(tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path / "m")
    asked = TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task, 32)
    rows = EncodedDataset(ROWS, asked, numbered=True)

    def kept(**changed):
        teacher = TeacherCache(asked, [1])
        teacher.prepare(rows, **({"passes": 3, "half": False} | changed))
        return teacher._kept is not None

    assert kept()
    assert not kept(passes=1.5)
    monkeypatch.setattr(pace, "_SURE", -1.0)
    assert not kept(seconds=1e-6)
    monkeypatch.setattr(module, "_MEMORY", 0.0)
    assert not kept()


def test_a_student_learns_the_same_from_what_is_kept(tmp_path, monkeypatch):
    teacher = make_checkpoint(tmp_path / "m")
    train = TrainSettings(epochs=3, batch_size=4, learning_rate=1e-3)
    recipe = Recipe(name="test", stages=(DistillSettings(layers=1, loss=DistillLoss(), train=train),))

    def weights(name):
        made = compress(teacher, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / name)
        return load_checkpoint(made.path).state_dict()

    first = weights("kept")
    monkeypatch.setattr(module, "_MEMORY", 0.0)
    second = weights("asked")
    for name, value in first.items():
        torch.testing.assert_close(
            value, second[name], atol=2e-3, rtol=0
        )  # of the learning rate's size: hidden states are kept in half precision
