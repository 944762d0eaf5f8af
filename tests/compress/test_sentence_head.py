"""The layers behind a sentence encoder's pooling go through compression, and stay what the library reads."""

import json

import numpy as np
import pytest
from models import TEXTS, make_checkpoint
from sentence_folders import add_modules, dense, edit, make_sentence_folder, pooling

from edgelm.anatomy import TaskModel, load_checkpoint
from edgelm.compress.pipeline import compress
from edgelm.data.dataset import Dataset
from edgelm.errors import ModelError
from edgelm.recipe import Recipe

ROWS = Dataset(texts=TEXTS, source="test", label_names=())
DISTILL = {"stage": "distill", "layers": [0], "train": {"epochs": 1, "max_steps": 2, "batch_size": 4}}


def recipe(*stages):
    return Recipe.model_validate({"name": "test", "stages": list(stages)})


def test_a_compressed_encoder_keeps_its_layers_its_prompt_and_its_cut(tmp_path):
    from sentence_transformers import SentenceTransformer

    from edgelm.anatomy import find_checkpoint, load_tokenizer
    from edgelm.compress.evaluate import predict

    folder = make_sentence_folder(tmp_path / "m", pooling("mean", "cls"), dense(64, 16), ("Normalize", {}))
    edit(
        folder / "config_sentence_transformers.json", prompts={"q": "is it "}, default_prompt_name="q", truncate_dim=12
    )
    result = compress(
        folder, dataset=ROWS, evaluation=ROWS, recipe=recipe(DISTILL, {"stage": "vocabulary"}), output=tmp_path / "c"
    )
    checkpoint = find_checkpoint(result.path)
    assert checkpoint.task == find_checkpoint(folder).task
    found = predict(TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task), ROWS).rows
    wanted = SentenceTransformer(str(result.path), device="cpu").encode(list(TEXTS))
    assert wanted.shape == (len(TEXTS), 12)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert "Dense 64 to 16" in json.dumps(checkpoint.record.to_dict())


def test_a_narrower_student_is_refused_where_the_teachers_layers_do_not_take_it(tmp_path):
    teacher = make_sentence_folder(tmp_path / "teacher", pooling("mean"), dense(32, 8))
    student = make_checkpoint(tmp_path / "student", kind="sentence-embedding", hidden=16)
    stage = {key: value for key, value in DISTILL.items() if key != "layers"} | {"student": str(student)}
    with pytest.raises(ModelError, match="16"):
        compress(teacher, dataset=ROWS, evaluation=ROWS, recipe=recipe(stage), output=tmp_path / "c")


def test_a_given_student_takes_the_teachers_layers_in_place_of_its_own(tmp_path):
    teacher = make_sentence_folder(tmp_path / "teacher", pooling("mean"), dense(32, 8))
    student = add_modules(
        make_checkpoint(tmp_path / "student", kind="sentence-embedding", layers=1), pooling("cls"), dense(32, 4)
    )
    stage = {key: value for key, value in DISTILL.items() if key != "layers"} | {"student": str(student)}
    result = compress(teacher, dataset=ROWS, evaluation=ROWS, recipe=recipe(stage), output=tmp_path / "c")
    assert result.record.task.pooling == "mean"
    assert load_checkpoint(result.path).sentence_head[0].linear.out_features == 8
