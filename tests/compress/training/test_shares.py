"""How processes share a batch: every row in exactly one part, and the parts' means, by their shares, are the batch's
mean."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint, make_tokenizer
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from edgelm import distributed as processes
from edgelm.anatomy import FAMILIES, TaskModel, load_checkpoint, model_layers, model_outputs
from edgelm.cli.main import app
from edgelm.compress.batches import Collator, EncodedDataset, LengthGroupedSampler, Share
from edgelm.compress.distillation.attention_relations import PARTS, relation_loss
from edgelm.compress.distillation.distill import distillation_loss, hidden_loss, label_loss, student_from_layers
from edgelm.compress.training.loop import check_batches
from edgelm.compress.training.modes import only_read_weights
from edgelm.data.dataset import Dataset
from edgelm.errors import UsageError
from edgelm.tasks.table import make_task
from edgelm.tasks.text import SentenceEmbedding, TextClassification
from edgelm.training_settings import DistillLoss, TrainSettings

TASK = TextClassification(labels=("no", "yes"))


def encoded(rows):
    """Rows of different lengths, each told from the others by its label."""
    texts = tuple(" ".join(TEXTS[: 1 + index % 5]) for index in range(rows))
    return EncodedDataset(Dataset("rows", texts, None, tuple(range(rows))), TaskModel(None, make_tokenizer(), TASK, 64))


@given(rows=st.integers(1, 40), each=st.integers(1, 3), count=st.integers(2, 4), epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_row_is_in_one_part_and_parts_average_to_the_batch(rows, each, count, epoch):
    data = encoded(rows)
    batch_size = each * count

    def batches(collate):
        sampler = LengthGroupedSampler(data.lengths, batch_size, seed=0)
        sampler.set_epoch(epoch)
        return list(DataLoader(data, batch_size=batch_size, sampler=sampler, collate_fn=collate))

    whole = batches(Collator(make_tokenizer()))
    parts = [batches(Collator(make_tokenizer(), process=index, processes=count)) for index in range(count)]
    seen = []
    for batch, *mine in zip(whole, *parts, strict=True):
        labels = [label for part in mine if part["share"].rows > 0 for label in part["labels"].tolist()]
        assert sorted(labels) == sorted(batch["labels"].tolist())
        seen += labels
        # a mean over rows (of the label) and one over real tokens (of the token's id), as the losses make them
        by_rows = sum(part["share"].rows * part["labels"].double().mean() for part in mine) / count
        by_tokens = sum(part["share"].tokens * mean_of_tokens(part) for part in mine) / count
        assert by_rows == pytest.approx(float(batch["labels"].double().mean()), rel=1e-12)  # float64, a few additions
        assert by_tokens == pytest.approx(mean_of_tokens(batch), rel=1e-12)
    assert sorted(seen) == list(range(rows))


def mean_of_tokens(batch):
    mask = batch["attention_mask"].double()
    return float((batch["input_ids"].double() * mask).sum() / mask.sum())


def test_hidden_loss_over_parts_is_that_over_the_batch():
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    student, teacher = ([torch.randn(3, 4, 8, dtype=torch.float64)] for _ in range(2))
    whole = hidden_loss(student, teacher, [(0, 0)], mask)
    means = [hidden_loss([student[0][part]], [teacher[0][part]], [(0, 0)], mask[part]) for part in ([0, 2], [1])]
    shares = [2 * 5 / 7, 2 * 2 / 7]  # 5 and 2 of the 7 real tokens, for 2 processes
    assert float((shares[0] * means[0] + shares[1] * means[1]) / 2) == pytest.approx(float(whole), rel=1e-12)


def test_relation_loss_over_parts_is_that_over_the_batch():
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    student, teacher = ({part: torch.randn(3, 4, 8, dtype=torch.float64) for part in PARTS} for _ in range(2))

    def loss(rows):
        return float(
            relation_loss(
                {part: student[part][rows] for part in PARTS},
                {part: teacher[part][rows] for part in PARTS},
                mask[rows],
                heads=2,
            )
        )

    assert (2 * 5 / 7 * loss([0, 2]) + 2 * 2 / 7 * loss([1])) / 2 == pytest.approx(
        loss([0, 1, 2]), rel=1e-6
    )  # summed up in FP32


@pytest.mark.parametrize("family", [name for family in FAMILIES for name in family.model_types])
@pytest.mark.parametrize("kind", ["text-classification", "sentence-embedding"])
def test_a_loss_reaches_every_weight_that_is_trained(tmp_path, family, kind):
    """Training on several processes waits for the gradient of each: also where an encoder has a pooler, or a layer has
    nothing left."""
    task = TASK if kind == TASK.kind else make_task(kind)
    teacher = load_checkpoint(make_checkpoint(tmp_path, family, kind=kind, layers=3))
    student = student_from_layers(teacher, [0, 1, 2])
    model_layers(student)[0].cut(heads=[])
    model_layers(student)[1].cut(ffn=[])
    tokenizer = make_tokenizer(family)
    batch = EncodedDataset(labelled(), TaskModel(teacher, tokenizer, TASK, 32)).batch(range(4))
    for loss in [
        distillation_loss(TaskModel(teacher, tokenizer, task), student, DistillLoss(soft=0.0, relations=1.0)),
        *([label_loss(TaskModel(student, tokenizer, TASK))] if task is TASK else []),
    ]:
        student.zero_grad()
        with only_read_weights(student, task):
            loss(student, batch, Share()).backward()
            assert [
                name for name, weight in student.named_parameters() if weight.requires_grad and weight.grad is None
            ] == []
    assert all(weight.requires_grad for weight in student.parameters())


def test_what_all_texts_of_a_batch_have_to_do_with_each_other_is_learnt_from_all(tmp_path, monkeypatch):
    """A narrow student's cosines: the gradients that three processes average, of which one has no text, are those of
    one process."""
    task = SentenceEmbedding()
    teacher = load_checkpoint(make_checkpoint(tmp_path / "wide", kind="sentence-embedding", hidden=16, heads=2))
    student = load_checkpoint(make_checkpoint(tmp_path / "narrow", kind="sentence-embedding", hidden=8, heads=2))
    loss = distillation_loss(TaskModel(teacher, make_tokenizer(), task), student, DistillLoss(hidden=0.0))
    rows = [{name: ids for name, ids in row.items() if name != "labels"} for row in encoded(2)]
    whole = gradient(loss, student, Collator(make_tokenizer())(rows), Share())
    parts = [Collator(make_tokenizer(), process=index, processes=3)(rows) for index in range(3)]
    shares = [part.pop("share") for part in parts]
    rows_of = [len(part["input_ids"]) if share.rows else 0 for part, share in zip(parts, shares, strict=True)]
    vectors = [
        [model_outputs(model, task, part)[0].detach()[:count] for part, count in zip(parts, rows_of, strict=True)]
        for model in (student, teacher)
    ]
    monkeypatch.setenv("WORLD_SIZE", "3")
    found = []
    for index, (part, share) in enumerate(zip(parts, shares, strict=True)):
        monkeypatch.setenv("RANK", str(index))
        both = iter(vectors)
        monkeypatch.setattr(processes, "gather", lambda _, both=both: list(next(both)))
        found.append(gradient(loss, student, part, share))
    torch.testing.assert_close(
        sum(found) / 3, whole, atol=1e-6, rtol=1e-4
    )  # FP32 sums in another order, padded otherwise


def gradient(loss, student, batch, share):
    student.zero_grad()
    loss(student, batch, share).backward()
    return torch.cat([weight.grad.flatten() for weight in student.parameters() if weight.grad is not None])


def labelled():
    return Dataset("rows", TEXTS[:4], None, (0, 1, 0, 1), ("no", "yes"), "single-label")


def test_batches_that_cannot_be_split_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    check_batches(TrainSettings(batch_size=33))
    with pytest.raises(UsageError, match="batches of 32 rows cannot be split evenly among 3 processes"):
        check_batches(TrainSettings(batch_size=33), TrainSettings(batch_size=32))


@pytest.mark.parametrize(
    "names", [("WORLD_SIZE", "RANK"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK")]
)
def test_the_launcher_says_who_a_process_is(monkeypatch, names):
    assert (processes.count(), processes.index(), processes.is_main()) == (1, 0, True)
    for name, value in zip(names, ("4", "2"), strict=True):
        monkeypatch.setenv(name, value)
    assert (processes.count(), processes.index(), processes.is_main()) == (4, 2, False)


def test_a_command_that_does_not_train_answers_on_every_machine_of_a_cluster(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert "balanced" in CliRunner().invoke(app, ["recipes", "list"]).stdout
    assert "no recipe 'none'" in CliRunner().invoke(app, ["recipes", "show", "none"]).stderr
