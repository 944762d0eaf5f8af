"""`edgelm finetune` and `edgelm compress` as a user meets them: results, resuming, refusals."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from models import FAMILIES, TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm.anatomy import layer_shapes, load_backbone, load_checkpoint, load_tokenizer, model_layers, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.report.tables import bar, layer_table
from edgelm.tasks.text import TextClassification

RECIPE = """
name: tiny
stages:
  - stage: distill
    layers: 2
    train: {max_steps: 4, batch_size: 4, learning_rate: 0.001}
  - stage: prune
    keep_heads: 0.5
    keep_ffn: 0.5
    ffn_multiple: 8
  - stage: recover
    train: {max_steps: 4, batch_size: 4, learning_rate: 0.001}
"""


@pytest.fixture
def files(tmp_path):
    """A teacher of three layers, training and evaluation rows, and a recipe."""
    make_checkpoint(tmp_path / "teacher", layers=3)
    for name, repeat in (("train", 4), ("dev", 2)):
        rows = [
            {"text": f"{text} {number}", "label": "positive" if index % 2 else "negative"}
            for number in range(repeat)
            for index, text in enumerate(TEXTS)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def compress_arguments(files, output="out", *more):
    paths = [
        str(files / "teacher"),
        "--data",
        str(files / "train.jsonl"),
        "--eval",
        str(files / "dev.jsonl"),
        "--recipe",
        str(files / "recipe.yaml"),
    ]
    return ["compress", *paths, "--output", str(files / output), *more]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def weights(folder):
    return dict(load_checkpoint(folder).state_dict().items())


def test_compress_writes_a_smaller_checkpoint_that_loads_and_tells_its_history(files):
    result = run(*compress_arguments(files, "out", "--json"))
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    model = load_checkpoint(files / "out")
    assert len(model_layers(model)) == 2
    assert sum(layer.heads for layer in model_layers(model)) == 4
    assert sum(layer.ffn for layer in model_layers(model)) == 64
    record = open_checkpoint(files / "out").record
    assert [stage.stage for stage in record.stages] == ["distill", "prune", "recover"]
    assert all({"accuracy", "agreement"} <= set(stage.after) for stage in record.stages)
    assert values["parameters"] < values["original"]["parameters"]
    assert values["record"]["stages"][1]["before"] == values["record"]["stages"][0]["after"]
    assert not (files / "out.work").exists()


def test_the_table_shows_every_stage(files):
    result = run(*compress_arguments(files))
    assert result.exit_code == 0, result.output
    for word in ("original", "distill", "prune", "recover", "accuracy", "Next:", "edgelm export"):
        assert word in result.stdout


def test_what_was_kept_of_every_layer_of_the_original_is_shown_in_terminal_and_report(files):
    result = run(*compress_arguments(files))
    assert result.exit_code == 0, result.output
    lineage = open_checkpoint(files / "out").record.to_dict()
    header, rows = layer_table({"manifest": {"lineage": lineage}})
    assert header == ["layer", "heads", "", "FFN channels", ""]
    kept = {1: lineage["layers"][0], 2: lineage["layers"][1]}  # the student has the second and the third
    for number, row in enumerate(rows):
        heads, channels = (kept[number]["heads"], kept[number]["ffn"]) if number in kept else (0, 0)
        assert row == [str(number), f"{heads}/4", bar(heads / 4), f"{channels}/64", bar(channels / 64)]
        (shown,) = [line.split() for line in result.stdout.splitlines() if line.startswith(f"{number} ")]
        assert shown[1:3] + shown[4:6] == row[1:]
        assert float(shown[3]) > 0 if heads else float(shown[3]) == 0
    assert len(rows) == 3


def test_layers_that_went_earlier_keep_their_numbers(files):
    (files / "half.yaml").write_text(
        "name: half\nstages: [{stage: distill, layers: [0, 2], train: {max_steps: 1, batch_size: 4}}]\n"
    )
    (files / "cut.yaml").write_text("name: cut\nstages: [{stage: prune, keep_heads: 0.5, ffn_multiple: 8}]\n")
    rows = ["--data", files / "train.jsonl", "--eval", files / "dev.jsonl"]
    assert (
        run("compress", files / "teacher", *rows, "--recipe", files / "half.yaml", "--output", files / "half").exit_code
        == 0
    )
    assert (
        run("compress", files / "half", *rows, "--recipe", files / "cut.yaml", "--output", files / "cut").exit_code == 0
    )
    record = open_checkpoint(files / "cut").record
    assert [layer.origin for layer in record.layers] == [0, 2]
    _, shown = layer_table({"manifest": {"lineage": record.to_dict()}})
    assert [row[0] for row in shown] == ["0", "1", "2"]
    assert [row[1] for row in shown].count("0/4") == 1


def test_set_changes_the_recipe(files):
    result = run(
        *compress_arguments(
            files,
            "out",
            "--set",
            "prune.keep_ffn=0.25",
            "--set",
            "distill.layers=1",
            "--set",
            "recover.train.max_steps=2",
        )
    )
    assert result.exit_code == 0, result.output
    model = load_checkpoint(files / "out")
    assert [(layer.heads, layer.ffn) for layer in model_layers(model)] == [(2, 16)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("prune.keep_fnn=0.5", "keep_fnn"),
        ("prune.keep_ffn=1.5", "1.5"),
        ("polish.keep_ffn=0.5", "polish"),
        ("prune.keep_ffn", "stage.key=value"),
        ("distill.layers=9", "9"),
    ],
)
def test_impossible_changes_are_refused_by_name(files, change, message):
    result = run(*compress_arguments(files, "out", "--set", change))
    assert result.exit_code == 4
    assert message in result.stderr
    assert not (files / "out").exists()


def test_an_unknown_key_in_a_recipe_is_refused_with_its_line(files):
    (files / "recipe.yaml").write_text(RECIPE.replace("keep_heads", "keep_hats"), encoding="utf-8")
    result = run(*compress_arguments(files))
    assert result.exit_code == 4
    assert "keep_hats" in result.stderr
    assert "recipe.yaml:8" in result.stderr


def test_an_output_that_exists_is_refused_and_kept(files):
    (files / "out").mkdir()
    (files / "out" / "mine.txt").write_text("mine")
    result = run(*compress_arguments(files))
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert (files / "out" / "mine.txt").read_text() == "mine"


def test_labels_that_the_model_does_not_know_are_refused(files):
    (files / "dev.jsonl").write_text(
        '{"text": "a", "label": "positive"}\n{"text": "b", "label": "lukewarm"}\n', encoding="utf-8"
    )
    result = run(*compress_arguments(files))
    assert result.exit_code == 4
    assert "lukewarm" in result.stderr
    assert "dev.jsonl:2" in result.stderr


def test_a_sentence_encoder_is_compressed_on_text_alone(files):
    make_checkpoint(files / "encoder", kind="sentence-embedding", layers=3)
    (files / "text.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 4), encoding="utf-8"
    )
    pairs = [{"text_a": a, "text_b": b, "label": index + 0.5} for index, (a, b) in enumerate(itertools.pairwise(TEXTS))]
    (files / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    arguments = [
        "compress",
        files / "encoder",
        "--data",
        files / "text.jsonl",
        "--recipe",
        files / "recipe.yaml",
        "--json",
    ]
    judged_by_text = run(*arguments, "--eval", files / "text.jsonl", "--output", files / "a")
    assert judged_by_text.exit_code == 0, judged_by_text.output
    assert set(json.loads(judged_by_text.stdout)["original"]["metrics"]) == {"agreement"}
    judged_by_pairs = run(*arguments, "--eval", files / "pairs.jsonl", "--output", files / "b")
    assert judged_by_pairs.exit_code == 0, judged_by_pairs.output
    assert {"spearman", "agreement"} <= set(json.loads(judged_by_pairs.stdout)["original"]["metrics"])


def test_a_given_student_learns_from_the_teacher(files):
    make_checkpoint(files / "student", layers=1, hidden=16, heads=2, ffn=32, seed=1)
    recipe = (
        f"name: given\nstages:\n  - stage: distill\n    student: {files / 'student'}\n    train: {{max_steps: 3, "
        "batch_size: 4}\n"
    )
    (files / "recipe.yaml").write_text(recipe, encoding="utf-8")
    result = run(*compress_arguments(files))
    assert result.exit_code == 0, result.output
    assert load_checkpoint(files / "out").config.hidden_size == 16


TRAIN = "train: {max_steps: 2, batch_size: 4}"
STAGES = {
    "prune": f"[{{stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}}, {{stage: recover, {TRAIN}}}]",
    "shape": "[{stage: distill, shape: {hidden: 16, ffn: 32}, loss: {relations: 1.0, matching: dynamic}, "
    f"{TRAIN}}}]",
    "fit": "[{stage: fit, method: both, speedup: 2, tries: 2, multiple: 8, reconstruct: true}]",
    "quantize": f"[{{stage: quantize, samples: 8, {TRAIN}}}]",
}


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_a_model_that_has_lost_whole_parts_is_compressed_further(files, stages):
    """As the stage fit leaves it: a layer without heads, another without channels."""
    checkpoint = open_checkpoint(files / "teacher")
    model = load_checkpoint(checkpoint)
    model_layers(model)[0].cut(heads=[])
    model_layers(model)[1].cut(ffn=[])
    save_checkpoint(
        files / "lost", model, load_tokenizer(checkpoint), replace(checkpoint.record, layers=layer_shapes(model))
    )
    (files / "recipe.yaml").write_text(f"name: further\nstages: {stages}\n", encoding="utf-8")
    paths = [
        "--data",
        files / "train.jsonl",
        "--eval",
        files / "dev.jsonl",
        "--recipe",
        files / "recipe.yaml",
        "--output",
        files / "out",
    ]
    result = run("compress", files / "lost", *paths)
    assert result.exit_code == 0, result.output
    layers = layer_shapes(load_checkpoint(files / "out"))
    assert [(shape.heads, shape.ffn) for shape in layers] == [
        (shape.heads, shape.ffn) for shape in open_checkpoint(files / "out").record.layers
    ]


@pytest.mark.parametrize("kind", ["sentence-embedding", "text-classification"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_encoder_keeps_its_weights_and_shape_under_another_head(tmp_path, family, kind):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", family, kind=kind, layers=3))
    model = load_checkpoint(checkpoint)
    model_layers(model)[0].cut(heads=[1, 3], ffn=range(16))
    model_layers(model)[1].cut(heads=[])
    save_checkpoint(
        tmp_path / "cut", model, load_tokenizer(checkpoint), replace(checkpoint.record, layers=layer_shapes(model))
    )
    task = TextClassification(labels=("a", "b", "c"))
    again = load_backbone(open_checkpoint(tmp_path / "cut"), task, allow_new_head=True)
    assert layer_shapes(again) == layer_shapes(model)
    inputs = dict(load_tokenizer(checkpoint)(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.no_grad():
        assert torch.equal(again.base_model(**inputs)[0], model.base_model(**inputs)[0])
        assert again(**inputs).logits.shape == (len(TEXTS), 3)


def test_a_cut_encoder_is_fine_tuned_in_its_shape(files):
    make_checkpoint(files / "whole", kind="sentence-embedding", layers=3)
    (files / "recipe.yaml").write_text(
        "name: cut\nstages: [{stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}]\n"
    )
    paths = [
        "--data",
        files / "train.jsonl",
        "--eval",
        files / "dev.jsonl",
        "--recipe",
        files / "recipe.yaml",
        "--output",
        files / "encoder",
    ]
    assert run("compress", files / "whole", *paths).exit_code == 0
    result = run(*finetune_arguments(files, "tuned", "--max-steps", 1))
    assert result.exit_code == 0, result.output
    assert layer_shapes(load_checkpoint(files / "tuned")) == layer_shapes(load_checkpoint(files / "encoder"))
    assert open_checkpoint(files / "tuned").record.layers == open_checkpoint(files / "encoder").record.layers


FINETUNE_STEPS = 30


def finetune_arguments(files, output, *more):
    rows = ["--data", files / "train.jsonl", "--eval", files / "dev.jsonl"]
    return [
        "finetune",
        files / "encoder",
        *rows,
        "--output",
        files / output,
        "--max-steps",
        FINETUNE_STEPS,
        "--batch-size",
        4,
        "--lr",
        "0.001",
        *more,
    ]


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("adamw", 0.005), ("adam", 0.005), ("sgd", 0.1), ("adagrad", 0.02), ("rmsprop", 0.001)]
)
def test_finetune_learns_with_every_optimizer(files, optimizer, rate):
    make_checkpoint(files / "encoder", kind="sentence-embedding", spread=0.1)
    for name, repeat in (("train", 16), ("dev", 8)):  # one word tells the label
        rows = [
            {"text": f"a {word} movie {number}", "label": label}
            for number in range(repeat)
            for word, label in (("dull", "no"), ("good", "yes"))
        ]
        (files / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--optimizer", optimizer, "--schedule", "cosine", "--lr", rate, "--max-steps", 40, "--batch-size", 8)
    result = run(*finetune_arguments(files, "tuned", *options, "--json"))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["metrics"]["accuracy"] > 0.9
    assert open_checkpoint(files / "tuned").task.labels == ("no", "yes")


def test_finetune_writes_tensorboard_logs_stops_early_and_accumulates(files):
    make_checkpoint(files / "encoder", kind="sentence-embedding")
    more = (
        "--tensorboard",
        files / "logs",
        "--early-stopping",
        1,
        "--gradient-accumulation",
        2,
        "--train-precision",
        "bf16",
        "--schedule",
        "constant",
    )
    result = run(*finetune_arguments(files, "tuned", *more))
    assert result.exit_code == 0, result.output
    assert list((files / "logs").glob("events.*"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("--optimizer", "adamx"), ("--batch-size", 0), ("--schedule", "zigzag"), ("--train-precision", "fp7")],
)
def test_impossible_options_are_wrong_usage(files, option, value):
    make_checkpoint(files / "encoder", kind="sentence-embedding")
    result = run(*finetune_arguments(files, "tuned", option, value))
    assert result.exit_code == 2
    assert option in result.stderr


def test_the_same_seed_gives_the_same_weights(files):
    make_checkpoint(files / "encoder", kind="sentence-embedding")
    for name in ("a", "b"):
        assert run(*finetune_arguments(files, name)).exit_code == 0
    first, second = weights(files / "a"), weights(files / "b")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        pytest.param("finetune", signal.SIGINT, id="finetune-ctrl-c"),
        pytest.param("distill", signal.SIGKILL, id="distill-kill-9", marks=pytest.mark.slow),
        pytest.param("finetune", signal.SIGKILL, id="finetune-kill-9", marks=pytest.mark.slow),
        pytest.param("distill", signal.SIGINT, id="distill-ctrl-c", marks=pytest.mark.slow),
        pytest.param("recover", signal.SIGINT, id="recover-ctrl-c", marks=pytest.mark.slow),
        pytest.param("recover", signal.SIGKILL, id="recover-kill-9", marks=pytest.mark.slow),
    ],
)
def test_interrupted_work_goes_on_and_ends_with_the_same_result(files, stage, how):
    """Killed when the training of a stage has written its first state; the second run must not start from nothing."""
    make_checkpoint(files / "encoder", kind="sentence-embedding", layers=3)
    more = [] if stage == "finetune" else ["--set", f"{stage}.train.max_steps={FINETUNE_STEPS}"]
    arguments = {
        name: finetune_arguments(files, name) if stage == "finetune" else compress_arguments(files, name, *more)
        for name in ("whole", "broken")
    }
    assert run(*arguments["whole"]).exit_code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "edgelm", *map(str, arguments["broken"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    pattern = (
        "broken.work/*/checkpoint-*/whole"
        if stage == "finetune"
        else f"broken.work/*-{stage}-*.training/checkpoint-*/whole"
    )
    deadline = time.monotonic() + 120
    while not list(files.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0, "it ended before it could be interrupted"
    assert not (files / "broken").exists()
    again = run(*arguments["broken"])
    assert again.exit_code == 0, again.output
    whole, broken = weights(files / "whole"), weights(files / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
