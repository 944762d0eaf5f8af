"""The longest text of a training: what was asked for holds beyond what the folder's tokenizer cuts at."""

import json

import pytest
from models import make_checkpoint
from task_rows import rows_of

from edgelm.anatomy import load_tokenizer
from edgelm.compress.finetune import finetune
from edgelm.training_settings import TrainSettings


@pytest.mark.parametrize(("settings", "longest"), [({"max_length": 24}, 24), ({}, 8)])
def test_a_length_that_was_asked_for_is_kept_in_the_checkpoint(tmp_path, settings, longest):
    encoder = make_checkpoint(tmp_path / "encoder", kind="sentence-embedding")
    file = encoder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 8}))
    rows = rows_of("text-classification")
    made = tmp_path / "made"
    finetune(encoder, dataset=rows, evaluation=rows, output=made, settings=TrainSettings(max_steps=1, **settings))
    assert load_tokenizer(made).model_max_length == longest
