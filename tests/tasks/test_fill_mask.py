"""Fill-mask from a pretrained masked language model: which folders it is, what of a text is masked, what it refuses."""

import warnings

import numpy as np
import pytest
import torch
from models import TEXTS, make_checkpoint, make_tokenizer
from task_rows import rows_of

import edgelm.runtime
from edgelm.anatomy import TaskModel, find_checkpoint, load_checkpoint, load_tokenizer
from edgelm.checkpoint import RECORD_FILE
from edgelm.compress.finetune import finetune
from edgelm.compress.pipeline import compress
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import NO_CLASS, encode_samples, targets
from edgelm.device import load_device
from edgelm.errors import DataError, ModelError, RecipeError
from edgelm.export.pipeline import export
from edgelm.export.precision import Material
from edgelm.export.trace import export_graph
from edgelm.metrics.judge import Predictions, judge
from edgelm.recipe import Recipe
from edgelm.tasks.text import FillMask
from edgelm.training_settings import TrainSettings


@pytest.fixture
def pretrained(tmp_path):
    """A masked language model as it comes from pretraining, without edgelm.json."""
    folder = make_checkpoint(tmp_path / "pretrained", kind="fill-mask")
    (folder / RECORD_FILE).unlink()
    return folder


def test_a_pretrained_folder_is_an_encoder_and_fills_masks_when_asked_to(pretrained, tmp_path):
    assert find_checkpoint(pretrained).task.kind == "sentence-embedding"
    rows = rows_of("fill-mask")
    options = {"device": load_device("cpu"), "precision": "fp32", "calibration": rows, "max_length": 32}
    export(pretrained, output=tmp_path / "b", kind="fill-mask", **options)
    (mask,) = edgelm.runtime.load(tmp_path / "b")("turn the [MASK] lights on")["masks"]
    assert len(mask["tokens"]) == 5


def test_a_folder_without_a_head_for_masks_says_what_it_is(tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    with pytest.raises(ModelError, match=r"BertForSequenceClassification.*no head for fill-mask"):
        find_checkpoint(folder, task="fill-mask")


def test_finetuning_begins_with_the_pretrained_head_and_needs_no_labels(pretrained, tmp_path):
    rows = Dataset("memory", TEXTS)
    settings = TrainSettings(max_steps=1, batch_size=4, learning_rate=1e-9, max_length=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a head that is made anew is warned of
        finetune(pretrained, dataset=rows, evaluation=rows, output=tmp_path / "t", kind="fill-mask", settings=settings)
    before = load_checkpoint(find_checkpoint(pretrained, task="fill-mask")).state_dict()
    after = find_checkpoint(tmp_path / "t")
    assert after.task == FillMask()
    for name, weight in load_checkpoint(after).state_dict().items():
        torch.testing.assert_close(weight, before[name], atol=1e-6, rtol=0)  # one step of at most 1e-9


def test_a_text_has_the_same_masks_whenever_it_is_read_and_never_for_special_tokens():
    tokenizer = make_tokenizer()
    plain = tokenizer(list(TEXTS))["input_ids"]
    encoded = encode_samples(TEXTS, tokenizer, FillMask(), max_length=64)
    for number, ids in enumerate(plain):
        alone = encode_samples([TEXTS[number]], tokenizer, FillMask(), max_length=64)
        assert alone.columns["input_ids"][0] == encoded.columns["input_ids"][number]
        masked = [place for place, counts in enumerate(encoded.counted[number]) if counts]
        assert len(masked) == max(1, round(0.15 * (len(ids) - 2)))
        assert not {0, len(ids) - 1} & set(masked)
        wanted = targets(encoded, TEXTS, FillMask())[number]
        assert [wanted[place] for place in masked] == [ids[place] for place in masked]
        assert all(wanted[place] == NO_CLASS for place in range(len(ids)) if place not in masked)


def test_accuracy_is_of_the_masks_whose_token_is_known():
    tokenizer = make_tokenizer()
    rows = Dataset("memory", (TEXTS[0], "[MASK] on"))
    encoded = encode_samples(rows.texts, tokenizer, FillMask(), max_length=64)
    wanted = next(token for token in encoded.originals[0] if token != NO_CLASS)
    outputs = np.zeros((sum(map(sum, encoded.counted)), len(tokenizer)), dtype=np.float32)
    outputs[0, wanted] = 1
    assert judge(FillMask(), Predictions(outputs, encoded), rows) == {"accuracy": 1.0}


def test_a_largest_drop_is_measured_on_masks_whose_token_is_known(pretrained):
    checkpoint = find_checkpoint(pretrained, task="fill-mask")
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    rows, task = rows_of("fill-mask", 6), checkpoint.task.read_by(tokenizer)
    graph = export_graph(TaskModel(model, tokenizer, task, 64), fused=True)
    trial = Material(rows, None, tokenizer, task, 64, 0).judge(graph, rows)
    encoded = encode_samples(sorted(rows.texts, key=len), tokenizer, task, max_length=64)
    known = [token for row in encoded.originals for token in row if token != NO_CLASS]
    right = np.eye(trial.wanted.shape[1], dtype=np.float32)[known]
    assert trial.score(right) == 1.0
    assert trial.score(np.roll(right, 1, axis=1)) == 0.0


def test_pairs_of_texts_are_refused():
    with pytest.raises(DataError, match="single texts"):
        Dataset("memory", TEXTS, TEXTS).for_task(FillMask())


def test_the_vocabulary_of_a_model_that_names_tokens_is_not_cut(pretrained, tmp_path):
    rows = rows_of("fill-mask")
    recipe = Recipe.model_validate({"name": "cut", "stages": [{"stage": "vocabulary", "min_count": 1}]})
    with pytest.raises(RecipeError, match="vocabulary"):
        compress(pretrained, dataset=rows, evaluation=rows, recipe=recipe, output=tmp_path / "c", kind="fill-mask")
