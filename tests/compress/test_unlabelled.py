"""Texts without labels join the training, for every problem; students of a shape go through all stages."""

import json

import pytest
import torch
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm import compress
from edgelm.anatomy import load_checkpoint, model_layers
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.errors import DataError
from edgelm.recipe import Recipe

STAGE = {"stage": "recover", "train": {"max_steps": 4, "batch_size": 8}}
RECIPE = Recipe(name="r", stages=(STAGE,))
LABELS = {"single-label": (0, 1) * 4, "multi-label": ((0, 1), (1, 1)) * 4, "regression": (0.5, -1.25) * 4}


def rows_of(problem, texts=TEXTS):
    names = ("score",) if problem == "regression" else ("negative", "positive")
    return Dataset("memory", texts=texts, labels=LABELS[problem], label_names=names, problem=problem)


def weights(folder):
    return load_checkpoint(folder).state_dict()


@pytest.mark.parametrize("problem", LABELS)
def test_unlabelled_texts_teach_and_are_in_the_record(tmp_path, problem):
    labels = ("score",) if problem == "regression" else ("negative", "positive")
    make_checkpoint(tmp_path / "teacher", labels=labels, problem=problem)
    rows, more = rows_of(problem), Dataset("more", texts=tuple(f"{text} again" for text in TEXTS))
    for name, unlabelled in (("without", None), ("with", more)):
        compress(
            tmp_path / "teacher",
            dataset=rows,
            evaluation=rows,
            unlabelled=unlabelled,
            recipe=RECIPE,
            output=tmp_path / name,
        )
    without, with_ = weights(tmp_path / "without"), weights(tmp_path / "with")
    assert all(torch.isfinite(tensor).all() for tensor in with_.values())
    assert not all(torch.equal(without[name], with_[name]) for name in without)
    data = open_checkpoint(tmp_path / "with").record.data
    assert data["unlabelled"] == {"source": "more", "rows": 8, "sha256": more.fingerprint()}
    assert "unlabelled" not in open_checkpoint(tmp_path / "without").record.data


def test_pairs_and_single_texts_do_not_mix(tmp_path):
    make_checkpoint(tmp_path / "teacher")
    rows, pairs = rows_of("single-label"), Dataset("pairs.csv", texts=TEXTS, pairs=TEXTS)
    with pytest.raises(DataError, match=r"pairs\.csv: pairs of texts, but memory has single texts"):
        compress(
            tmp_path / "teacher",
            dataset=rows,
            evaluation=rows,
            unlabelled=pairs,
            recipe=RECIPE,
            output=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_the_command_leaves_a_column_of_labels_unread(tmp_path):
    make_checkpoint(tmp_path / "teacher")
    with (tmp_path / "train.jsonl").open("w") as train, (tmp_path / "more.csv").open("w") as more:
        more.write("text,label\n")
        for index, text in enumerate(TEXTS):
            train.write(json.dumps({"text": text, "label": "positive" if index % 2 else "negative"}) + "\n")
            more.write(f'"{text} please",{"" if index % 2 else "lukewarm"}\n')
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\nstages:\n  - {stage: recover, train: {max_steps: 2, batch_size: 4}}\n")
    arguments = [
        tmp_path / "teacher",
        "--data",
        tmp_path / "train.jsonl",
        "--eval",
        tmp_path / "train.jsonl",
        "--recipe",
        recipe,
    ]
    run = CliRunner().invoke(
        app,
        ["compress", *map(str, arguments), "--unlabelled", str(tmp_path / "more.csv"), "--output", str(tmp_path / "o")],
    )
    assert run.exit_code == 0, run.output
    assert open_checkpoint(tmp_path / "o").record.data["unlabelled"]["rows"] == len(TEXTS)


def test_other_texts_begin_the_stages_anew(tmp_path):
    """The kept result of a stage is used again only where it was taught by the same texts."""
    make_checkpoint(tmp_path / "teacher")
    rows = rows_of("single-label")
    one, other = (Dataset(name, texts=tuple(f"{text} {name}" for text in TEXTS)) for name in ("one", "other"))
    options = {"dataset": rows, "evaluation": rows, "recipe": Recipe(name="r", stages=(STAGE, STAGE))}

    def stop(description, done, total):
        if (tmp_path / "out.work").exists() and any((tmp_path / "out.work").glob("1-recover-*/edgelm.json")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(tmp_path / "teacher", unlabelled=one, output=tmp_path / "out", progress=stop, **options)
    seen = []
    compress(
        tmp_path / "teacher",
        unlabelled=other,
        output=tmp_path / "out",
        progress=lambda what, *_: seen.append(what),
        **options,
    )
    assert seen.count("recover") == 8  # both stages, four steps each
    compress(tmp_path / "teacher", unlabelled=other, output=tmp_path / "whole", **options)
    first, second = weights(tmp_path / "out"), weights(tmp_path / "whole")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "text-classification"),
        ("bert", "sentence-embedding"),
        ("distilbert", "text-classification"),
        ("electra", "sentence-embedding"),
    ],
)
def test_a_student_of_a_shape_learns_is_cut_and_loads_back(tmp_path, family, kind):
    make_checkpoint(tmp_path / "teacher", family, kind=kind, layers=3, hidden=48, heads=6, ffn=96)
    rows = rows_of("single-label") if kind == "text-classification" else Dataset("memory", texts=TEXTS)
    stage = {
        "stage": "distill",
        "shape": {"layers": 2, "hidden": 32, "heads": 3, "ffn": 40},
        "loss": {"relations": 1.0, "matching": "dynamic"},
        "train": {"max_steps": 3, "batch_size": 4},
    }
    prune = {"stage": "prune", "keep_heads": 0.7, "keep_ffn": 0.5, "ffn_multiple": 4}
    recipe = Recipe(name="r", stages=(stage, prune, STAGE))
    result = compress(tmp_path / "teacher", dataset=rows, evaluation=rows, recipe=recipe, output=tmp_path / "student")
    record = result.record
    assert 0 <= record.stages[0].after["agreement"] <= 1
    student = load_checkpoint(tmp_path / "student")
    assert sum(layer.heads for layer in model_layers(student)) == 4
    assert all(set(layer.kept_heads) <= set(range(6)) for layer in record.layers)
