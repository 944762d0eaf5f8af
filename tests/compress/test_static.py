"""The stage `static`: a model without layers, from recipe to bundle, and what it is not for."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

import edgelm
import edgelm.runtime
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.check_stages import check_stages
from edgelm.compress.distillation.static_student import principal_components, sif_weights, token_states
from edgelm.data.dataset import Dataset
from edgelm.errors import ModelError, RecipeError, UnsupportedFamily
from edgelm.inspection import inspect
from edgelm.model_folder.own_code import STATIC_MODULES
from edgelm.recipe import Recipe
from edgelm.static_settings import StaticSettings
from edgelm.tasks.text import SentenceEmbedding, TextClassification

LABELS = ("negative", "positive")
ROWS = [(f"{text} {number}", index % 2) for number in range(4) for index, text in enumerate(TEXTS)]
TRAIN = {"max_steps": 60, "batch_size": 16, "learning_rate": 0.01}
STATIC = {"stage": "static", "width": 256, "head": 16, "loss": {"soft": 0.0, "hard": 1.0, "hidden": 0.0}}


def rows(schema_pairs=False):
    texts, labels = zip(*ROWS, strict=True)
    return Dataset("memory", texts, texts if schema_pairs else None, labels, LABELS, "single-label")


def recipe(*stages):
    return Recipe.model_validate({"name": "tiny", "stages": stages})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("static") / "teacher", hidden=256)


@pytest.fixture(scope="module")
def student(teacher):
    """What the command line makes of the teacher."""
    folder = Path(teacher).parent
    lines = [json.dumps({"text": text, "label": LABELS[label]}) for text, label in ROWS]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    stages = [STATIC | {"train": TRAIN}, {"stage": "vocabulary", "frequent": 10}]
    (folder / "recipe.yaml").write_text(json.dumps({"name": "tiny", "stages": stages}), encoding="utf-8")
    paths = ["--data", folder / "train.jsonl", "--eval", folder / "train.jsonl", "--recipe", folder / "recipe.yaml"]
    made = CliRunner().invoke(
        app, [str(word) for word in ("compress", teacher, *paths, "--output", folder / "student")]
    )
    assert made.exit_code == 0, made.output
    return folder / "student"


def logits(model, folder, texts=TEXTS):
    with torch.inference_mode():
        return model(**load_tokenizer(open_checkpoint(folder))(list(texts), padding=True, return_tensors="pt")).logits


def test_a_model_without_layers_learns_and_loses_tokens_later(student):
    checkpoint = open_checkpoint(student)
    model = load_checkpoint(checkpoint)
    static, vocabulary = checkpoint.record.stages
    assert static.after["accuracy"] > 0.9  # every text has words of its own
    assert vocabulary.after == pytest.approx(static.after)  # only unused tokens went
    assert checkpoint.family == "edgelm-static"
    assert model.static.word_embeddings.num_embeddings == checkpoint.record.tokens.kept
    assert checkpoint.record.layers == ()
    parts = inspect(student)["weights_by_part"]
    assert parts["embeddings"] == model.static.word_embeddings.weight.numel() and "layers" not in parts


def test_padding_and_order_change_nothing(student):
    """A mean knows neither; a batch is as each text alone."""
    model = load_checkpoint(student)
    alone = torch.cat([logits(model, student, [text]) for text in TEXTS])
    torch.testing.assert_close(logits(model, student), alone, atol=1e-5, rtol=1e-5)
    turned = [" ".join(reversed(text.split())) for text in TEXTS]
    torch.testing.assert_close(logits(model, student, turned), alone, atol=1e-5, rtol=1e-5)


def test_transformers_builds_it_by_the_module_beside_it(student):
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(student, trust_remote_code=True).eval()
    assert plain.config.id2label == dict(enumerate(LABELS))
    torch.testing.assert_close(logits(plain, student), logits(load_checkpoint(student), student))
    module = (student / "modeling_edgelm_static.py").read_bytes()
    assert hashlib.sha256(module).hexdigest() == STATIC_MODULES[-1]
    assert "trust_remote_code=True" in (student / "README.md").read_text(encoding="utf-8")


def test_another_module_in_its_place_is_refused(student, tmp_path):
    for file in student.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "modeling_edgelm_static.py").open("a") as file:
        file.write("print('hello')\n")
    with pytest.raises(ModelError, match="auto_map"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(("precision", "error"), [pytest.param("fp32", 1e-5, marks=pytest.mark.slow), ("int8", 0.05)])
def test_its_bundle_answers_as_it_does(student, tmp_path, precision, error):
    """INT8 rounds a number by 1/254 of its row's largest, of which the answer is a mean."""
    made = edgelm.export(
        student,
        output=tmp_path / "b",
        device=edgelm.load_device("cpu"),
        precision=precision,
        calibration=rows(),
        evaluation=rows(),
    )
    assert made.manifest.quality["bundle"]["accuracy"] > 0.9
    wanted = logits(load_checkpoint(student), student).softmax(-1).numpy()
    answers = edgelm.runtime.load(tmp_path / "b")(list(TEXTS))
    found = np.array([[answer["scores"][label] for label in LABELS] for answer in answers])
    assert np.abs(found - wanted).max() < error
    assert (tmp_path / "b" / "native.program").exists() == (precision == "int8")


def test_vectors_begin_as_what_the_teacher_says_of_each_token(teacher):
    asked = TaskModel(load_checkpoint(teacher), load_tokenizer(open_checkpoint(teacher)), TextClassification())
    states = token_states(asked)
    token = asked.tokenizer.convert_tokens_to_ids(asked.tokenizer.tokenize(TEXTS[0])[0])
    ids = torch.tensor([[asked.tokenizer.cls_token_id, token, asked.tokenizer.sep_token_id]])
    with torch.inference_mode():
        alone = asked.model.base_model(ids).last_hidden_state.mean(1)[0]
    torch.testing.assert_close(states[token], alone, atol=1e-4, rtol=1e-4)  # a batch sums in another order
    found = principal_components(states, 5).numpy()
    _, sizes, _ = np.linalg.svd((states - states.mean(0)).double().numpy())
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), sizes[:5], rtol=1e-3)  # as by another algorithm
    np.testing.assert_allclose(sif_weights(np.array([1, 0, 3]), 4, 0.25), [0.5, 1.0, 0.25, 1.0])


def test_a_regression_is_learnt_too(tmp_path):
    teacher = make_checkpoint(tmp_path / "teacher", labels=("score",), problem="regression")
    labels = tuple(float(label) for _, label in ROWS)
    data = Dataset("memory", tuple(text for text, _ in ROWS), None, labels, (), "regression")
    made = edgelm.compress(
        teacher, dataset=data, evaluation=data, recipe=recipe(STATIC | {"train": TRAIN}), output=tmp_path / "out"
    )
    assert made.record.stages[-1].after["spearman"] > 0.8  # every text has words of its own


@pytest.mark.parametrize(
    ("stages", "error", "reason"),
    [
        ([STATIC, {"stage": "prune"}], UnsupportedFamily, "prune"),
        ([STATIC, {"stage": "recover"}], UnsupportedFamily, "recover"),
        ([STATIC, {"stage": "distill", "layers": 1, "loss": {"hidden": 0.0}}], UnsupportedFamily, "distill"),
        ([STATIC, STATIC], RecipeError, "none already"),
    ],
)
def test_stages_that_need_layers_do_not_follow(teacher, stages, error, reason):
    with pytest.raises(error, match=reason):
        check_stages(recipe(*stages), open_checkpoint(teacher), pairs=False)


def test_pairs_and_other_tasks_are_refused(teacher, tmp_path):
    with pytest.raises(RecipeError, match="single texts"):
        edgelm.compress(
            teacher, dataset=rows(True), evaluation=rows(True), recipe=recipe(STATIC), output=tmp_path / "out"
        )
    checkpoint = open_checkpoint(teacher)
    other = replace(checkpoint, record=replace(checkpoint.record, task=SentenceEmbedding()))
    with pytest.raises(RecipeError, match="sentence-embedding"):
        check_stages(recipe(STATIC), other, pairs=False)


@pytest.mark.parametrize("more", [{"loss": {"hidden": 1.0}}, {"loss": {"hidden": 0.0, "relations": 1.0}}])
def test_hidden_states_are_no_part_of_its_loss(more):
    with pytest.raises(ValueError, match="no hidden states"):
        StaticSettings.model_validate(more)
