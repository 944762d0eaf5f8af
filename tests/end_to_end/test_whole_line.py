"""finetune, compress, export, profile, verify, run, inspect: the whole line for every kind of task."""

import json

import pytest
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm.cli.main import app

RECIPE = """
name: r
stages:
  - {stage: distill, layers: 1, train: {max_steps: 2, batch_size: 4}}
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}
  - {stage: recover, train: {max_steps: 2, batch_size: 4}}
"""
ROWS = {
    "pair": [
        {"text_a": a, "text_b": b, "label": ["no", "yes"][index % 2]}
        for index, (a, b) in enumerate(zip(TEXTS, TEXTS[::-1], strict=True))
    ],
    "multi-label": [
        {"text": text, "labels": [["home"], ["film"], ["home", "film"], []][index % 4]}
        for index, text in enumerate(TEXTS)
    ],
    "regression": [{"text": text, "score": index + 0.5} for index, text in enumerate(TEXTS)],
    "embedding": [
        {"text_a": a, "text_b": b, "score": index / 8 + 0.05}
        for index, (a, b) in enumerate(zip(TEXTS, TEXTS[::-1], strict=True))
    ],
}
METRIC = {"pair": "accuracy", "multi-label": "micro_f1", "regression": "spearman", "embedding": "spearman"}


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--json")])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow  # README's commands, which test_documented_commands.py runs, are the same line for single texts
@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_of_task_goes_from_encoder_to_answer(tmp_path, kind):
    make_checkpoint(tmp_path / "encoder", kind="sentence-embedding", spread=0.1)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[kind] * 2))
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 2))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    rows, teacher, train = tmp_path / "rows.jsonl", tmp_path / "teacher", tmp_path / "rows.jsonl"
    if kind == "embedding":
        teacher, train = tmp_path / "encoder", tmp_path / "text.jsonl"
    else:
        tuned = run(
            "finetune", tmp_path / "encoder", "--data", rows, "--eval", rows, "--max-steps", 2, "--output", teacher
        )
        assert METRIC[kind] in tuned["metrics"]
    small = run(
        "compress",
        teacher,
        "--data",
        train,
        "--eval",
        rows,
        "--recipe",
        tmp_path / "recipe.yaml",
        "--output",
        tmp_path / "small",
    )
    assert {METRIC[kind], "agreement"} <= set(small["record"]["stages"][-1]["after"])
    bundle = tmp_path / "b.edgelm"
    made = run(
        "export", tmp_path / "small", "--precision", "fp32", "--calibration", train, "--eval", rows, "--output", bundle
    )
    assert made["manifest"]["quality"]["bundle"][METRIC[kind]] == pytest.approx(
        made["manifest"]["quality"]["checkpoint"][METRIC[kind]], abs=1e-3
    )
    assert run("profile", bundle, "--runs", 10, "--loads", 1)["profiles"][0]["cases"][0]["p50_ms"] > 0
    assert run("verify", bundle)["ok"]
    assert run("inspect", bundle)["manifest"]["precision"] == "fp32"
    second = ["--pair", TEXTS[1]] if kind == "pair" else []
    answer = run("run", bundle, TEXTS[0], *second)
    assert {"pair": "label", "multi-label": "labels", "regression": "score", "embedding": "embedding"}[kind] in answer
