"""The training loop takes accumulated batches for one."""

from dataclasses import replace

import pytest
import torch
from models import TEXTS, make_checkpoint

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.compress.training import loop as training
from edgelm.compress.training.loop import train
from edgelm.data.dataset import Dataset
from edgelm.hardware.machine import describe_machine
from edgelm.tasks.text import TextClassification
from edgelm.training_settings import TrainSettings

ROWS = Dataset("memory", texts=TEXTS, labels=(0, 1) * 4, label_names=("negative", "positive"), problem="single-label")


@pytest.mark.parametrize("own_loss", [False, True], ids=["labels", "own loss"])
def test_two_accumulated_batches_of_four_are_one_of_eight(tmp_path, own_loss):
    task = TextClassification(labels=("negative", "positive"))
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
        trained.append(
            train(
                TaskModel(model, load_tokenizer(tmp_path / "m"), task), ROWS, settings, work=work, seed=0, loss=loss
            ).state_dict()
        )
    first, second = trained
    assert not torch.equal(first["classifier.weight"], load_checkpoint(tmp_path / "m").classifier.weight)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-5, rtol=1e-4)  # sums in another order


@pytest.mark.parametrize("share", [None, 0.0])
def test_a_training_drops_out_what_it_is_told_to(tmp_path, share):
    """And the model's own dropout is there again afterwards."""
    make_checkpoint(tmp_path / "m")
    model = load_checkpoint(tmp_path / "m")
    dropouts = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    for module in dropouts:
        module.p = 0.25
    seen = set()

    def loss(student, batch, _):
        seen.update(module.p for module in dropouts)
        return student(**batch).loss

    task = TextClassification(labels=("negative", "positive"))
    train(
        TaskModel(model, load_tokenizer(tmp_path / "m"), task),
        ROWS,
        TrainSettings(max_steps=1, dropout=share),
        work=tmp_path / "w",
        seed=0,
        loss=loss,
    )
    assert seen == {0.25 if share is None else share}
    assert {module.p for module in dropouts} == {0.25}


@pytest.mark.parametrize(
    ("precision", "instructions", "wanted"),
    [("auto", ("avx512_bf16",), True), ("auto", ("avx2",), False), ("fp32", ("amx_bf16",), False), ("bf16", (), True)],
)
def test_auto_is_bf16_where_the_processor_computes_in_it(monkeypatch, precision, instructions, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(training, "describe_machine", lambda: replace(describe_machine(), instructions=instructions))
    assert training.computes_in_bf16(TrainSettings(precision=precision)) is wanted
