"""Changed copies of rows: deterministic, new, of the words that a method may use, and labelled by the teacher alone."""

import json

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint, make_tokenizer
from numpy.random import default_rng
from typer.testing import CliRunner

from edgelm import compress
from edgelm.anatomy import load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.augmentation.augment import add_noise, augment
from edgelm.compress.augmentation.words import plain, split_words
from edgelm.data.dataset import Dataset
from edgelm.errors import ModelError, RecipeError
from edgelm.recipe import AugmentSettings, Recipe, load_recipe

ROWS = Dataset("memory", texts=TEXTS, labels=(0, 1) * 4, label_names=("negative", "positive"), problem="single-label")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("augment") / "teacher")


@pytest.fixture(scope="module")
def filler(tmp_path_factory):
    """A random masked language model."""
    return make_filler(tmp_path_factory.mktemp("augment") / "filler")


def make_filler(folder, seed=0):
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "initializer_range": 0.5,
    }
    transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings_for(method, filler, **more):
    return AugmentSettings(method=method, model=str(filler) if method == "masked-lm" else None, **more)


def run(rows, settings, folder, seed=0):
    return augment(rows, settings, teacher=load_checkpoint(folder), tokenizer=load_tokenizer(folder), seed=seed)


METHODS = ["noise", "neighbours", "masked-lm"]


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_new_unlabelled_and_the_same_in_every_run(teacher, filler, method):
    settings = settings_for(method, filler, copies=6)
    found = run(ROWS, settings, teacher)
    assert found == run(ROWS, settings, teacher)
    assert found.texts != run(ROWS, settings, teacher, seed=1).texts
    assert (
        found.texts == run(ROWS, settings.model_copy(update={"seed": 0}), teacher, seed=1).texts
    )  # its own seed goes first
    assert found.labels is None
    assert len(TEXTS) < len(found) <= 6 * len(TEXTS)
    assert len(set(found.texts)) == len(found)
    assert not set(found.texts) & {plain(text) for text in TEXTS}


@pytest.mark.parametrize("method", METHODS)
def test_pairs_stay_pairs(teacher, filler, method):
    rows = Dataset("memory", texts=TEXTS[:4], pairs=TEXTS[4:])
    found = run(rows, settings_for(method, filler, copies=3), teacher)
    assert len(found.pairs) == len(found.texts) > 4
    assert not set(zip(found.texts, found.pairs, strict=True)) & set(zip(rows.texts, rows.pairs, strict=True))


@given(st.integers(0, 10_000), st.floats(0.01, 1.0), st.sampled_from(TEXTS))
def test_noise_invents_nothing_and_never_drops_everything(seed, share, text):
    (words,) = split_words([text], make_tokenizer())
    (noisy,) = split_words([add_noise(words, share, default_rng(seed))], make_tokenizer())
    before, after = ([found[index] for index in range(len(found))] for found in (words, noisy))
    assert after
    assert all(after.count(word) <= before.count(word) for word in after)


@pytest.mark.parametrize("method", ["neighbours", "masked-lm"])
def test_replacements_leave_the_rest_of_the_text(teacher, filler, method):
    """Every copy has the words of its row in order, some replaced by whole words of the vocabulary, and its
    punctuation."""
    row = Dataset("memory", texts=("a dull, lifeless movie with no story at all!",))
    found = run(row, settings_for(method, filler, copies=20, share=0.3), teacher)
    vocabulary = set(make_tokenizer().get_vocab())
    own = row.texts[0].replace(",", "").replace("!", "").split()
    changes = []
    for text in found.texts:
        assert text.count(",") == text.count("!") == 1
        words = text.replace(",", "").replace("!", "").split()
        assert len(words) == len(own)
        new = [after for before, after in zip(own, words, strict=True) if before != after]
        assert set(new) <= vocabulary
        changes.append(len(new))
    assert min(changes) >= 1
    assert 1.5 < sum(changes) / len(changes) < 5  # three in ten of nine words, at least one


def test_words_outside_the_vocabulary_are_replaced_only_with_a_language_model(teacher, filler):
    row = Dataset("memory", texts=("zzqq xxww yyvv",))  # several pieces each
    assert len(run(row, settings_for("neighbours", filler, share=1.0), teacher)) == 0
    assert len(run(row, settings_for("masked-lm", filler, share=1.0), teacher)) > 0


def test_a_masked_word_becomes_one_of_the_likeliest_in_its_place(teacher, filler):
    text = "play some quiet music in the living room"
    found = run(
        Dataset("memory", texts=(text,)),
        settings_for("masked-lm", filler, copies=40, share=0.01, candidates=2),
        teacher,
    )
    model, tokenizer = transformers.BertForMaskedLM.from_pretrained(filler).eval(), load_tokenizer(filler)
    words = text.split()
    for changed in found.texts:
        (place,) = [
            index for index, (before, after) in enumerate(zip(words, changed.split(), strict=True)) if before != after
        ]
        masked = " ".join([*words[:place], "[MASK]", *words[place + 1 :]])
        with torch.no_grad():
            logits = model(**tokenizer(masked, return_tensors="pt")).logits[0, place + 1]
        order = [
            token
            for token in tokenizer.convert_ids_to_tokens(logits.argsort(descending=True).tolist())
            if token.isalnum()
        ]
        best = [token for token in order if token != words[place]][:2]
        assert changed.split()[place] in best


def test_rows_without_words_are_left_alone(teacher, filler):
    for method in METHODS:
        assert len(run(Dataset("memory", texts=("?!", "")), settings_for(method, filler), teacher)) == 0


def test_a_model_without_its_language_head_is_refused(teacher):
    with pytest.raises(ModelError, match="no masked language model"):
        run(ROWS, AugmentSettings(method="masked-lm", model=str(teacher)), teacher)


@pytest.mark.parametrize("values", [{"method": "masked-lm"}, {"method": "noise", "model": "x"}], ids=str)
def test_a_model_and_a_method_that_do_not_fit_are_refused_with_their_place(tmp_path, values):
    (tmp_path / "r.yaml").write_text(f"name: r\naugment: {json.dumps(values)}\nstages: []\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:2: augment: method masked-lm needs model"):
        load_recipe(tmp_path / "r.yaml")


def test_augmented_texts_join_the_training_and_are_in_the_record(teacher, tmp_path):
    stage = {"stage": "recover", "train": {"max_steps": 2, "batch_size": 4}}
    recipe = Recipe(name="r", augment={"copies": 2}, stages=(stage,))
    compress(teacher, dataset=ROWS, evaluation=ROWS, recipe=recipe, output=tmp_path / "out")
    data = open_checkpoint(tmp_path / "out").record.data
    assert 0 < data["augmented"]["rows"] <= 16
    assert data["train"]["rows"] == 8


def test_set_reaches_the_recipes_augmentation(tmp_path, teacher):
    (tmp_path / "r.yaml").write_text("name: r\naugment: {copies: 2}\nstages: []\n")
    assert load_recipe(tmp_path / "r.yaml", overrides=["augment.copies=3"]).augment.copies == 3
    assert load_recipe("balanced", overrides=["augment={method: noise, copies: 1}"]).augment.copies == 1
    with pytest.raises(RecipeError, match="augment is null"):
        load_recipe("balanced", overrides=["augment.copies=3"])
    with pytest.raises(RecipeError, match="no setting 'copy'"):
        load_recipe(tmp_path / "r.yaml", overrides=["augment.copy=3"])


def test_a_recipe_that_trains_nothing_has_no_use_for_texts(tmp_path, teacher):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text, "label": "positive"}) + "\n" for text in TEXTS))
    arguments = [
        "compress",
        str(teacher),
        "--data",
        str(rows),
        "--eval",
        str(rows),
        "--recipe",
        "no-training",
        "--output",
        str(tmp_path / "out"),
    ]
    for more in (["--unlabelled", str(rows)], ["--set", "augment={copies: 1}"]):
        result = CliRunner().invoke(app, [*arguments, *more])
        assert result.exit_code == 4
        assert "trains nothing" in result.stderr
