"""The training loop takes accumulated batches for one."""

import pytest
import torch
from models import TEXTS, make_checkpoint

from edgelm.anatomy import load_checkpoint, load_tokenizer
from edgelm.compress.teaching.training import train
from edgelm.dataset import Dataset
from edgelm.recipe import TrainSettings
from edgelm.task import Task

ROWS = Dataset("memory", texts=TEXTS, labels=(0, 1) * 4, label_names=("negative", "positive"), problem="single-label")


@pytest.mark.parametrize("own_loss", [False, True], ids=["labels", "own loss"])
def test_two_accumulated_batches_of_four_are_one_of_eight(tmp_path, own_loss):
    task = Task("text-classification", labels=("negative", "positive"))
    make_checkpoint(tmp_path / "m")
    trained = []
    for batch_size, accumulation in ((8, 1), (4, 2)):
        model = load_checkpoint(tmp_path / "m")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        settings = TrainSettings(
            max_steps=1,
            batch_size=batch_size,
            gradient_accumulation=accumulation,
            optimizer="sgd",
            learning_rate=0.1,
            warmup=0.0,
            max_grad_norm=1e9,
            weight_decay=0.0,
        )
        loss = (lambda student, batch, share: student(**batch).loss) if own_loss else None
        work = tmp_path / f"work-{accumulation}"
        trained.append(train(model, load_tokenizer(tmp_path / "m"), task, ROWS, settings, work=work, seed=0, loss=loss).state_dict())
    first, second = trained
    assert not torch.equal(first["classifier.weight"], load_checkpoint(tmp_path / "m").classifier.weight)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-5, rtol=1e-4)  # sums in another order
