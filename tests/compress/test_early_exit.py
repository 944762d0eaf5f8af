"""The stage `exits`: from a recipe to a bundle, who leaves where, and what it is not for."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

import edgelm
from edgelm.anatomy import TaskModel, layer_shapes, load_checkpoint, load_tokenizer, save_checkpoint
from edgelm.anatomy.exits import exit_after, exit_heads, exits_heard, set_thresholds
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.check_stages import check_stages
from edgelm.compress.early_exit import choose_thresholds
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError, UnsupportedFamily, UsageError
from edgelm.export.trace import export_graph
from edgelm.graph.branches import branch_at_exits, unbranch
from edgelm.graph.external_data import save_graph
from edgelm.graph.session import make_plain_session
from edgelm.recipe import Recipe
from edgelm.report.tables import layer_table
from edgelm.runtime.archive import pack
from edgelm.tasks.text import SentenceEmbedding

LABELS = ("negative", "positive")
ROWS = [(f"{text} {number}", index % 2) for number in range(4) for index, text in enumerate(TEXTS)]
DATA = Dataset(
    "memory", tuple(text for text, _ in ROWS), None, tuple(label for _, label in ROWS), LABELS, "single-label"
)
EXITS, HALVE = {"stage": "exits", "after": [1]}, {"stage": "halve", "after": [1]}
FAMILIES = ("bert", "mpnet", "distilbert", "roberta", "electra", "modernbert", "deberta-v2")


def recipe(*stages):
    return Recipe.model_validate({"name": "tiny", "stages": stages})


def leaving(folder, family="bert", thresholds=None, **sizes):
    """A checkpoint of four layers that some of the texts leave after the first and the second."""
    checkpoint = open_checkpoint(make_checkpoint(folder / "full", family, **({"layers": 4} | sizes)))
    model = load_checkpoint(checkpoint)
    torch.manual_seed(0)
    exit_after(model, [0, 1])
    for head in exit_heads(model):
        torch.nn.init.normal_(head.weight)
    gaps = [np.sort(np.ptp(said.numpy(), axis=-1)) for said in heard(model, checkpoint)]
    chosen = {layer: float(np.mean(gap[len(gap) // 2 - 1 :][:2])) for layer, gap in enumerate(gaps)}
    set_thresholds(model, thresholds or chosen)  # in the middle between two texts
    save_checkpoint(folder / "leaving", model, load_tokenizer(checkpoint), checkpoint.record)
    return folder / "leaving"


def heard(model, folder):
    with torch.inference_mode(), exits_heard(model) as said:
        model(**inputs_of(folder))
    return list(said)


def inputs_of(folder, texts=TEXTS):
    checkpoint = folder if hasattr(folder, "path") else open_checkpoint(folder)
    return dict(load_tokenizer(checkpoint)(list(texts), padding=True, return_tensors="pt"))


def logits(model, folder, texts=TEXTS):
    with torch.inference_mode():
        return model(**inputs_of(folder, texts)).logits


def answers(session, folder, texts=TEXTS):
    inputs = inputs_of(folder, texts)
    return session.run(None, {value.name: inputs[value.name].numpy() for value in session.get_inputs()})[0]


@pytest.mark.parametrize(
    "family", [*FAMILIES[:2], *(pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES[2:])]
)
def test_the_first_head_that_is_sure_answers(tmp_path, family):
    """Of a batch each text for itself, as it does alone."""
    folder = leaving(tmp_path, family)
    model = load_checkpoint(folder)
    thresholds = [shape.leaves for shape in layer_shapes(model)]
    assert thresholds[2:] == [None, None] and None not in thresholds[:2]
    whole = load_checkpoint(folder)
    set_thresholds(whole, {})
    last, early = logits(whole, folder), heard(model, folder)
    places = set()
    for row, found in enumerate(logits(model, folder)):
        place = next((n for n, said in enumerate(early) if float(np.ptp(said[row])) > thresholds[n]), 2)
        torch.testing.assert_close(found, (*early, last)[place][row])
        places.add(place)
        torch.testing.assert_close(logits(model, folder, [TEXTS[row]])[0], found, atol=1e-5, rtol=1e-5)
    assert len(places) == 3
    assert all(not hasattr(module, "early_logits") for module in model.modules())


def test_transformers_builds_it_by_the_module_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = leaving(tmp_path)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    wanted = logits(load_checkpoint(folder), folder)
    torch.testing.assert_close(logits(plain, folder), wanted)
    with torch.inference_mode():
        torch.testing.assert_close(plain(**inputs_of(folder), return_dict=False)[0], wanted)


@pytest.mark.parametrize(
    ("family", "fused"),
    [
        ("bert", True),
        *(pytest.param(family, True, marks=pytest.mark.slow) for family in FAMILIES[1:]),
        *(pytest.param(family, False, marks=pytest.mark.slow) for family in FAMILIES),
    ],
)
def test_what_nobody_waits_for_is_not_computed(tmp_path, family, fused):
    """In a saved graph: layers whose numbers are no numbers do not touch the answers of those who left."""
    folder = leaving(tmp_path, family)
    model, checkpoint = load_checkpoint(folder), open_checkpoint(folder)
    graph = export_graph(TaskModel(model, load_tokenizer(checkpoint), checkpoint.task, 64), fused=fused)
    wanted = logits(model, folder).numpy()
    save_graph(graph, tmp_path / "model.onnx", "weights.bin")
    np.testing.assert_allclose(answers(make_plain_session(graph), folder), wanted, atol=1e-5)
    saved = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    np.testing.assert_allclose(answers(saved, folder), wanted, atol=1e-5)
    count = sum(node.op_type == "If" for node in onnx.load(tmp_path / "model.onnx").graph.node)
    assert count == fused  # the second lies in the branch of the first
    if not fused:
        return
    for tensor in graph.graph.initializer:
        if "layer.3." in tensor.name and tensor.name.endswith("bias"):
            tensor.raw_data = np.full(tuple(tensor.dims), np.nan, np.float32).tobytes()
    save_graph(graph, tmp_path / "model.onnx", "weights.bin")
    broken = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    left = [float(np.ptp(row)) for row in heard(model, folder)[0]]
    threshold = layer_shapes(model)[0].leaves
    sure = [text for text, gap in zip(TEXTS, left, strict=True) if gap > threshold]
    np.testing.assert_allclose(answers(broken, folder, sure), logits(model, folder, sure).numpy(), atol=1e-5)


def test_branches_can_be_undone(tmp_path):
    folder = leaving(tmp_path)
    checkpoint = open_checkpoint(folder)
    graph = export_graph(
        TaskModel(load_checkpoint(folder), load_tokenizer(checkpoint), checkpoint.task, 64), fused=True
    )
    before = {node.name for node in graph.graph.node}, {tensor.name for tensor in graph.graph.initializer}
    branch_at_exits(graph)
    assert len(graph.graph.node) < len(before[0]) and len(graph.graph.initializer) < len(before[1])
    onnx.checker.check_model(graph)
    unbranch(graph)
    assert {tensor.name for tensor in graph.graph.initializer} == before[1]
    assert len(graph.graph.node) == len(before[0])
    np.testing.assert_allclose(
        answers(make_plain_session(graph), folder), logits(load_checkpoint(folder), folder), atol=1e-5
    )


def test_from_the_command_line_to_a_bundle(tmp_path):
    teacher = make_checkpoint(tmp_path / "teacher", hidden=128, ffn=256, spread=0.1)
    lines = [json.dumps({"text": text, "label": LABELS[label]}) for text, label in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    train = {"max_steps": 60, "batch_size": 16, "learning_rate": 0.003}
    loss = {"soft": 0.0, "hard": 1.0, "hidden": 0.01}
    stages = [{"stage": "prune", "keep_ffn": 0.5}, {"stage": "exits", "loss": loss, "train": train}]
    (tmp_path / "recipe.yaml").write_text(json.dumps({"name": "tiny", "stages": stages}), encoding="utf-8")

    def run(*words):
        made = CliRunner().invoke(app, [str(word) for word in words])
        assert made.exit_code == 0, made.output
        return made.output

    data = ["--data", tmp_path / "rows.jsonl", "--eval", tmp_path / "rows.jsonl"]
    run("compress", teacher, *data, "--recipe", tmp_path / "recipe.yaml", "--output", tmp_path / "student")
    record = open_checkpoint(tmp_path / "student").record
    assert record.layers[0].left > 0 and record.stages[-1].after["accuracy"] > 0.9  # every text has words of its own
    assert f"{record.layers[0].left:.0%} of the texts leave behind it" in run("inspect", tmp_path / "student")
    export = ["export", tmp_path / "student", "--device", "cpu", "--calibration", tmp_path / "rows.jsonl"]
    wanted = logits(load_checkpoint(tmp_path / "student"), tmp_path / "student").argmax(-1).tolist()
    run(*export, "--output", tmp_path / "b")
    pack(tmp_path / "b", tmp_path / "b.edgelm")
    for name in ("b", "b.edgelm"):
        found = edgelm.runtime.load(tmp_path / name, provider="cpu")(list(TEXTS))
        same = [LABELS.index(answer["label"]) == label for answer, label in zip(found, wanted, strict=True)]
        assert np.mean(same) > 0.9  # INT8
    assert (tmp_path / "b" / "native.program").read_bytes().startswith(b"edgelm-native 3\n")
    assert "If" in run("inspect", tmp_path / "b" / "model.onnx")


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.floats(0, 20))
def test_no_more_is_lost_than_allowed(seed, drop):
    """Heads that know nothing are left alone, and those that know all are left by."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 60)
    right = np.eye(3, dtype=np.float32)[labels] * 5
    said = [right + random.normal(0, noise, (60, 3)).astype(np.float32) for noise in (random.uniform(0, 9), 1.0)]

    def accuracy(logits):
        return float((logits.argmax(-1) == labels).mean())

    found = choose_thresholds(np.stack([*said, right]), labels.tolist(), [0, 1], accuracy, max_drop=drop)
    assert found.whole == 1.0 and found.score >= 1 - drop / 100 - 1e-9
    assert found.shares.keys() == found.thresholds.keys()
    answered = np.full(60, 2)
    for layer in (1, 0):
        gap = np.sort(said[layer], axis=-1)
        gap = gap[:, -1] - gap[:, -2]
        answered[gap > found.thresholds.get(layer, np.inf) + 1e-3] = layer
    for layer, share in found.shares.items():
        assert np.mean(answered == layer) == pytest.approx(share, abs=0.07)  # thresholds are rounded


@pytest.mark.parametrize("stage", [{"stage": "distill", "layers": 1}, {"stage": "fit"}, {"stage": "depth"}])
def test_stages_that_choose_layers_do_not_follow(tmp_path, stage):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    with pytest.raises(RecipeError, match="before the stage exits"):
        check_stages(recipe(EXITS, stage), checkpoint, pairs=False)
    layers = tuple(replace(shape, leaves=2.0) for shape in layer_shapes(load_checkpoint(checkpoint)))
    again = replace(checkpoint, record=replace(checkpoint.record, layers=layers))
    with pytest.raises(RecipeError, match="before the stage exits"):
        check_stages(recipe(stage), again, pairs=False)


@pytest.mark.parametrize("stages", [[EXITS, HALVE], [HALVE, EXITS]])
def test_means_of_tokens_are_not_halved(tmp_path, stages):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    with pytest.raises(RecipeError, match="do not go together"):
        check_stages(recipe(*stages), checkpoint, pairs=False)


def test_other_tasks_families_and_last_layers_are_refused(tmp_path):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m"))
    tasks = (SentenceEmbedding(), replace(checkpoint.task, problem="regression", labels=("score",)))
    for task, said in zip(tasks, ("sentence-embedding", "regressions"), strict=True):
        other = replace(checkpoint, record=replace(checkpoint.record, task=task))
        with pytest.raises(RecipeError, match=said):
            check_stages(recipe(EXITS), other, pairs=False)
    albert = open_checkpoint(make_checkpoint(tmp_path / "a", "albert"))
    with pytest.raises(UnsupportedFamily, match="share their weights"):
        check_stages(recipe(EXITS), albert, pairs=False)
    for stage, error, said in (
        (EXITS | {"after": [2]}, UsageError, "after layer 2 of 2"),
        (EXITS, RecipeError, "--eval"),
    ):
        judged = DATA if error is UsageError else replace(DATA, labels=None)
        with pytest.raises(error, match=said):
            edgelm.compress(
                checkpoint.path, dataset=DATA, evaluation=judged, recipe=recipe(stage), output=tmp_path / "out"
            )


def test_a_report_says_how_many_get_to_each_layer():
    layers = [{"heads": 4, "ffn": 64, "left": left, "origin": None} for left in (None, 0.5, 0.25, None)]
    header, rows = layer_table({"manifest": {"lineage": {"layers": layers}}})
    place = header.index("texts that get there")
    assert [row[place] for row in rows] == ["100%", "100%", "50%", "25%"]
    assert {len(row) for row in rows} == {len(header)}
