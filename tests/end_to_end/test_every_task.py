"""Every kind of task the whole way: a head trained, cut and taught, exported, answered and proven; and what of a bundle
must not differ from the model it was made of."""

import dataclasses

import numpy as np
import pytest
import torch
from models import FAMILIES, make_checkpoint
from task_rows import TAGS, rows_of

import edgelm.runtime
from edgelm.anatomy import load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.finetune import finetune
from edgelm.compress.pipeline import compress
from edgelm.device import load_device
from edgelm.errors import ParityError, UsageError
from edgelm.export.pipeline import export
from edgelm.export.samples import encode, torch_rows
from edgelm.precision import PRECISIONS
from edgelm.recipe import Recipe
from edgelm.runtime.verify import verify
from edgelm.tasks.table import TASKS
from edgelm.training_settings import TrainSettings

# Generators have tests of their own (tests/compress/test_finetune_generators.py): they are trained, but neither made
# smaller nor exported as one graph.
TRAINED = [kind for kind, task in TASKS.items() if task.architecture != "Model" and not task.generates]
NEW = [kind for kind in TRAINED if kind != "text-classification"]
# The others, and most pairs of a family and a task, take minutes in all; every task goes the whole way to INT8 as well.
QUICK = [("token-classification", "int8")]
TRAIN = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-3, "max_length": 32}
RECIPE = Recipe.model_validate(
    {
        "name": "every-stage",
        "stages": [
            {"stage": "vocabulary", "min_count": 1},
            {"stage": "prune", "keep_heads": 0.5, "keep_ffn": 0.5, "ffn_multiple": 8, "samples": 8, "max_length": 32},
            {"stage": "fit", "speedup": 1.5, "samples": 8, "judged": 8, "multiple": 8, "max_length": 32},
            {"stage": "recover", "train": TRAIN, "loss": {"soft": 1.0, "hard": 0.5, "hidden": 1.0, "relations": 0.1}},
        ],
    }
)


def labels_of(kind):
    return {"labels": TAGS} if kind == "token-classification" else {}


def recipe_of(kind):
    """A head that names tokens keeps them all."""
    return RECIPE.model_copy(update={"stages": RECIPE.stages[1:]}) if kind == "fill-mask" else RECIPE


def samples_of(kind, count):
    """What a bundle is asked: of texts with a mask, which token it is."""
    inputs = rows_of(kind, count).inputs()
    return [f"{text} [MASK]" for text in inputs] if kind == "fill-mask" else inputs


@pytest.mark.parametrize("kind", TRAINED)
def test_a_task_goes_the_whole_way(tmp_path, kind):
    base = make_checkpoint(tmp_path / "base", kind="sentence-embedding")
    rows = rows_of(kind)
    settings = TrainSettings.model_validate(TRAIN)
    trained = finetune(base, dataset=rows, evaluation=rows, output=tmp_path / "t", kind=kind, settings=settings)
    task = trained.record.task
    assert task.metric in trained.metrics
    made = compress(
        tmp_path / "t", dataset=rows, evaluation=rows, recipe=recipe_of(kind), output=tmp_path / "c", max_length=32
    )
    assert {task.metric, "agreement"} <= made.record.stages[-1].after.keys()
    assert made.parameters < made.original["parameters"]
    bundle = export(
        tmp_path / "c",
        output=tmp_path / "b",
        device=load_device("cpu"),
        precision="int8",
        calibration=rows,
        evaluation=rows,
        max_length=32,
    )
    quality = bundle.manifest.quality
    assert quality["checkpoint"].keys() == quality["bundle"].keys()
    assert task.metric in quality["bundle"]
    assert verify(tmp_path / "b").ok
    answers = edgelm.runtime.load(tmp_path / "b")(samples_of(kind, 3))
    assert len(answers) == 3


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        pytest.param(kind, name, marks=[] if (kind, name) in QUICK else pytest.mark.slow)
        for kind in NEW
        for name in PRECISIONS
        if name != "bf16"
    ],
)
def test_a_task_has_bundles_of_every_precision(tmp_path, kind, precision):
    # Matrices large enough for integers, and weights that keep random answers from being ties.
    folder = make_checkpoint(tmp_path / "m", kind=kind, hidden=128, ffn=256, spread=0.1, **labels_of(kind))
    rows = rows_of(kind)
    made = export(
        folder, output=tmp_path / "b", device=load_device("cpu"), precision=precision, calibration=rows, max_length=32
    )
    assert made.manifest.graph().parity.changed <= made.manifest.graph().parity.tolerance or precision in (
        "fp32",
        "fp16",
    )
    assert verify(tmp_path / "b").ok


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(family, kind, marks=[] if number % len(NEW) == place else pytest.mark.slow)
        for number, family in enumerate(FAMILIES)
        for place, kind in enumerate(NEW)
    ],
)
def test_heads_of_every_family_answer_alike_alone_and_in_batches(tmp_path, family, kind):
    folder = make_checkpoint(tmp_path / "m", family, kind=kind, **labels_of(kind))
    rows = rows_of(kind, 6)
    export(folder, output=tmp_path / "b", device=load_device("cpu"), precision="fp32", calibration=rows, max_length=32)
    model = edgelm.runtime.load(tmp_path / "b")
    samples = samples_of(kind, 6)
    if kind == "fill-mask":
        samples = [sample.replace("[MASK]", model.manifest.task.mask_token) for sample in samples]
    alone, together = [model(sample) for sample in samples], model(samples)
    checkpoint = open_checkpoint(folder)
    own = encode(load_tokenizer(checkpoint), model.manifest.task, samples, max_length=32)
    wanted = torch_rows(load_checkpoint(checkpoint), own)
    found = own.rows(lambda feed: [model.infer(feed)])
    # float32 in another order of sums; positions where no answer may be have the same lowest number in both
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)
    for one, other in zip(alone, together, strict=True):
        assert scores_of(one) == pytest.approx(scores_of(other), abs=1e-5)


def scores_of(answer):
    if "entities" in answer:
        return [entity["score"] for entity in answer["entities"]]
    if "masks" in answer:
        return [entry["score"] for mask in answer["masks"] for entry in mask["tokens"]]
    return [answer["score"], *([answer["start"]] if "start" in answer else [answer["index"]])]


def test_a_sentence_encoder_has_no_head_to_train(tmp_path):
    base = make_checkpoint(tmp_path / "base", kind="sentence-embedding")
    with pytest.raises(UsageError, match="sentence-embedding"):
        finetune(
            base,
            dataset=rows_of("sentence-embedding"),
            evaluation=rows_of("sentence-embedding"),
            output=tmp_path / "t",
            kind="sentence-embedding",
        )
    assert not (tmp_path / "t").exists()


def test_a_bundle_whose_tags_differ_is_not_written(tmp_path, monkeypatch):
    from edgelm.export import text_steps

    folder = make_checkpoint(tmp_path / "m", kind="token-classification", labels=TAGS)
    real = text_steps.expected_answers

    def wrong(*arguments, **options):
        found = real(*arguments, **options)
        return dataclasses.replace(found, outputs=[-outputs for outputs in found.outputs])

    monkeypatch.setattr(text_steps, "expected_answers", wrong)
    with pytest.raises(ParityError):
        export(
            folder,
            output=tmp_path / "b",
            device=load_device("cpu"),
            precision="fp32",
            calibration=rows_of("token-classification"),
            max_length=32,
        )
    assert not (tmp_path / "b").exists()


def test_words_of_a_sentence_weigh_as_much_as_those_of_another():
    from edgelm.anatomy import Rows
    from edgelm.compress.distillation.losses import hard_loss

    rows = Rows(torch.randn(5, 3), torch.tensor([0, 0, 0, 0, 1]), 2)
    targets = torch.tensor([0, 1, 2, 0, 1])
    each = torch.nn.functional.cross_entropy(rows.values, targets, reduction="none")
    assert hard_loss(rows, targets, "classes").item() == pytest.approx(
        ((each[:4].mean() + each[4]) / 2).item(), rel=1e-6
    )


def test_words_that_stand_alone_are_read_as_in_a_text(tmp_path):
    """RoBERTa's tokenizer tells a word by the blank before it: without one, words of a list would be ends of words."""
    base = make_checkpoint(tmp_path / "base", "roberta", kind="sentence-embedding")
    rows = rows_of("token-classification")
    settings = TrainSettings.model_validate(TRAIN | {"max_steps": 1})
    finetune(base, dataset=rows, evaluation=rows, output=tmp_path / "t", kind="token-classification", settings=settings)
    tokenizer = load_tokenizer(open_checkpoint(tmp_path / "t"))
    words = rows.texts[0]
    alone = tokenizer(list(words), is_split_into_words=True)["input_ids"]
    assert alone == tokenizer(" ".join(words))["input_ids"]
    assert tokenizer.convert_ids_to_tokens(alone)[1].startswith("\u0120")
