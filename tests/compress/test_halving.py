"""The stage `halve`: from a recipe to a bundle, what it computes, and what it is not for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

import edgelm
from edgelm.anatomy import TaskModel, layer_shapes, load_checkpoint, load_tokenizer, save_checkpoint
from edgelm.anatomy.halving import halve, halve_after, halved_to, left_tokens
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.check_stages import check_stages
from edgelm.compress.distillation.layer_matching import masked_distance
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError, UnsupportedFamily, UsageError
from edgelm.export.trace import export_graph
from edgelm.graph.session import make_plain_session
from edgelm.graph.token_types import drop_token_types
from edgelm.graph.unpadded import for_one_text
from edgelm.latency_table import count_operations
from edgelm.recipe import Recipe
from edgelm.report.tables import layer_table
from edgelm.shapes import LayerShape, ModelSizes
from edgelm.tasks.text import SentenceEmbedding, TextClassification

LABELS = ("negative", "positive")
ROWS = [(f"{text} {number}", index % 2) for number in range(4) for index, text in enumerate(TEXTS)]
HALVE = {"stage": "halve", "after": [1]}
FAMILIES = ("bert", "distilbert", "roberta", "electra")


def recipe(*stages):
    return Recipe.model_validate({"name": "tiny", "stages": stages})


def halved(folder, family="bert", after=(0, 1), **sizes):
    """A checkpoint that halves its tokens behind these layers of four."""
    checkpoint = open_checkpoint(make_checkpoint(folder / "full", family, **({"layers": 4} | sizes)))
    model = load_checkpoint(checkpoint)
    halve_after(model, after)
    save_checkpoint(folder / "halved", model, load_tokenizer(checkpoint), checkpoint.record)
    return folder / "halved"


def inputs_of(folder, texts=TEXTS):
    return dict(load_tokenizer(open_checkpoint(folder))(list(texts), padding=True, return_tensors="pt"))


def logits(model, folder, texts=TEXTS):
    with torch.inference_mode():
        return model(**inputs_of(folder, texts)).logits


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_the_first_stays_and_two_others_become_their_mean(lengths, seed):
    """As by a loop over each text alone, whatever padding stands behind it."""
    tokens = max(lengths)
    states = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(lengths), tokens, 3)).astype(np.float32))
    mask = (torch.arange(tokens) < torch.tensor(lengths)[:, None]).long()
    found, left = halve(states, mask), left_tokens(mask)
    assert found.shape[1] == tokens // 2 + 1
    for row, length in enumerate(lengths):
        own = states[row, :length]
        wanted = torch.stack([own[0], *(own[at : at + 2].mean(0) for at in range(1, length, 2))])
        assert left[row].tolist() == [True] * len(wanted) + [False] * (found.shape[1] - len(wanted))
        torch.testing.assert_close(found[row, : len(wanted)], wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_answers_as_each_text_alone(tmp_path, family):
    folder = halved(tmp_path, family)
    model = load_checkpoint(folder)
    assert [shape.halves for shape in layer_shapes(model)] == [True, True, False, False]
    alone = torch.cat([logits(model, folder, [text]) for text in TEXTS])
    for kernel in ("eager", "sdpa"):
        model.set_attn_implementation(kernel)
        torch.testing.assert_close(logits(model, folder), alone, atol=1e-5, rtol=1e-5)
    full = load_checkpoint(tmp_path / "full")
    assert not torch.allclose(logits(full, folder), alone, atol=1e-3)


def test_transformers_builds_it_by_the_module_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = halved(tmp_path)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    torch.testing.assert_close(logits(plain, folder), logits(load_checkpoint(folder), folder))


@pytest.mark.parametrize(
    ("family", "fused"),
    [
        ("bert", True),
        *(pytest.param(family, True, marks=pytest.mark.slow) for family in FAMILIES[1:]),
        *(pytest.param(family, False, marks=pytest.mark.slow) for family in FAMILIES),
    ],
)
def test_graphs_compute_what_the_model_computes(tmp_path, family, fused):
    """In batches; and one by one, where a graph for that pools no mask."""
    folder = halved(tmp_path, family, layers=3)
    model, checkpoint = load_checkpoint(folder), open_checkpoint(folder)
    graph = export_graph(TaskModel(model, load_tokenizer(checkpoint), checkpoint.task, 64), fused=fused)
    assert [shape.halves for shape in layer_shapes(model)] == [True, True, False]  # the model is as it was

    def answers(texts):
        session, inputs = make_plain_session(graph), inputs_of(folder, texts)
        return session.run(None, {value.name: inputs[value.name].numpy() for value in session.get_inputs()})[0]

    wanted = logits(model, folder).numpy()
    np.testing.assert_allclose(answers(TEXTS), wanted, atol=1e-5)
    if fused:
        drop_token_types(graph)
        for_one_text(graph)
        operators = [node.op_type for node in graph.graph.node]
        assert operators.count("AveragePool") == 2 and not {"Div", "Ceil"} & set(operators)
    for text, row in zip(TEXTS, wanted, strict=True):
        np.testing.assert_allclose(answers([text])[0], row, atol=1e-5)


def test_from_the_command_line_to_a_bundle(tmp_path):
    teacher = make_checkpoint(tmp_path / "teacher", hidden=128, ffn=256, spread=0.1)
    lines = [json.dumps({"text": text, "label": LABELS[label]}) for text, label in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    train = {"max_steps": 60, "batch_size": 16, "learning_rate": 0.003}
    loss = {"soft": 0.0, "hard": 1.0, "hidden": 0.01}
    stages = [{"stage": "prune", "keep_ffn": 0.5}, HALVE, {"stage": "recover", "loss": loss, "train": train}]
    (tmp_path / "recipe.yaml").write_text(json.dumps({"name": "tiny", "stages": stages}), encoding="utf-8")

    def run(*words):
        made = CliRunner().invoke(app, [str(word) for word in words])
        assert made.exit_code == 0, made.output
        return made.output

    data = ["--data", tmp_path / "rows.jsonl", "--eval", tmp_path / "rows.jsonl"]
    run("compress", teacher, *data, "--recipe", tmp_path / "recipe.yaml", "--output", tmp_path / "student")
    shown = run("inspect", tmp_path / "student")
    assert "gives on half of the tokens" in shown
    record = open_checkpoint(tmp_path / "student").record
    assert [shape.halves for shape in record.layers] == [True, False]
    assert record.layers[0].ffn < 256 and record.stages[-1].after["accuracy"] > 0.9  # every text has words of its own
    export = ["export", tmp_path / "student", "--device", "cpu", "--calibration", tmp_path / "rows.jsonl"]
    run(*export, "--output", tmp_path / "b")
    assert (tmp_path / "b" / "native.program").read_bytes().startswith(b"edgelm-native 2\n")
    wanted = logits(load_checkpoint(tmp_path / "student"), tmp_path / "student").argmax(-1).tolist()
    answers = edgelm.runtime.load(tmp_path / "b")(list(TEXTS))
    same = [LABELS.index(answer["label"]) == label for answer, label in zip(answers, wanted, strict=True)]
    assert np.mean(same) > 0.9  # INT8


def test_hidden_states_of_a_teacher_are_halved_to_be_compared():
    """Those of a student that halved them already stay."""
    random = np.random.default_rng(0)
    full = torch.from_numpy(random.normal(size=(2, 9, 4)))
    mask = torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    once, left = halve(full, mask), left_tokens(mask)
    twice = halve(once, left)
    other = twice + left_tokens(left).unsqueeze(-1)
    assert masked_distance(full, other, mask) == pytest.approx(1.0)
    assert masked_distance(other, once, mask) == pytest.approx(1.0)
    assert halved_to(once, mask, 9)[0] is once


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([HALVE, {"stage": "distill", "layers": 1}], "before the stage halve"),
        ([HALVE, {"stage": "fit"}], "before the stage halve"),
        ([HALVE, {"stage": "depth"}], "before the stage halve"),
        ([HALVE, {"stage": "recover", "loss": {"relations": 1.0}}], "relations"),
    ],
)
def test_stages_that_compare_layers_do_not_follow(tmp_path, stages, reason):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    with pytest.raises(RecipeError, match=reason):
        check_stages(recipe(*stages), checkpoint, pairs=False)
    layers = tuple(replace(shape, halves=True) for shape in layer_shapes(load_checkpoint(checkpoint)))
    again = replace(checkpoint, record=replace(checkpoint.record, layers=layers))
    with pytest.raises(RecipeError, match=reason):
        check_stages(recipe(*stages[1:]), again, pairs=False)


@pytest.mark.parametrize("family", ["mpnet", "albert", "modernbert", "deberta-v2"])
def test_families_that_ask_for_distances_or_share_weights_are_refused(tmp_path, family):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", family))
    with pytest.raises(UnsupportedFamily, match="halved"):
        check_stages(recipe(HALVE), checkpoint, pairs=False)


def test_other_tasks_and_last_layers_are_refused(tmp_path):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    other = replace(checkpoint, record=replace(checkpoint.record, task=SentenceEmbedding()))
    with pytest.raises(RecipeError, match="sentence-embedding"):
        check_stages(recipe(HALVE), other, pairs=False)
    data = Dataset(
        "memory", tuple(text for text, _ in ROWS), None, tuple(label for _, label in ROWS), LABELS, "single-label"
    )
    assert isinstance(checkpoint.task, TextClassification)
    with pytest.raises(UsageError, match="after layer 2 of 2"):
        edgelm.compress(
            checkpoint.path,
            dataset=data,
            evaluation=data,
            recipe=recipe(HALVE | {"after": [2]}),
            output=tmp_path / "out",
        )


def test_layers_that_read_half_of_the_tokens_cost_half():
    """Of operations; their weights weigh what they weigh."""
    sizes = ModelSizes(layers=3, hidden=64, heads=4, ffn=128, vocabulary=100)
    shapes = [LayerShape(4, 128, halves=True), LayerShape(4, 128, halves=True), LayerShape(4, 128)]
    counted = count_operations(sizes, 32)
    assert counted.predict(shapes) == pytest.approx(counted.predict(sizes.full()) * (1 + 1 / 2 + 1 / 4) / 3)
    whole, cut = (counted.layer_costs(each)["ffn"] for each in (sizes.full(), shapes))
    assert np.divide(cut, whole).tolist() == [1, 0.5, 0.25]
    weights = replace(counted, unit="MB")
    assert weights.predict(shapes) == weights.predict(sizes.full())


def test_a_report_says_which_layers_read_fewer_tokens():
    layers = [{"heads": 4, "ffn": 64, "halves": number == 1, "origin": None} for number in range(4)]
    header, rows = layer_table({"manifest": {"lineage": {"layers": layers}}})
    place = header.index("reads of the tokens")
    assert [row[place] for row in rows] == ["100%", "100%", "50%", "50%"]
    assert {len(row) for row in rows} == {len(header)}
