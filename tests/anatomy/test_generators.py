"""Generators are loaded as transformers loads them, and refused in words where their folders cannot be followed."""

import json

import pytest
import torch
from generators import DECODERS, ENCODER_DECODERS, GENERATORS, SENTENCES, make_generator
from models import make_checkpoint
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

from edgelm.anatomy import family_of, find_checkpoint, load_backbone, load_checkpoint, load_tokenizer, save_checkpoint
from edgelm.anatomy.generators import generation_config
from edgelm.anatomy.sizes import text_limit
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import ModelError, UnsupportedFamily
from edgelm.inspection import inspect
from edgelm.tasks.generation import GenerationSettings, Summarization, TextGeneration, Translation
from edgelm.tasks.text import TextClassification


def reference(folder, family):
    auto = AutoModelForCausalLM if family in DECODERS else AutoModelForSeq2SeqLM
    return auto.from_pretrained(folder).eval()


def changed(folder, name, **values):
    """The folder with other entries in one of its files; None takes an entry out."""
    file = folder / name
    old = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({key: value for key, value in (old | values).items() if value is not None}))
    return folder


def logits(model, tokenizer, family):
    batch = tokenizer(list(SENTENCES[:3]), padding=True, return_tensors="pt")
    more = {} if family in DECODERS else {"decoder_input_ids": torch.tensor([[3, 5, 7, 9]] * 3)}
    with torch.no_grad():
        return model(**batch, **more).logits[batch["attention_mask"].bool() if family in DECODERS else slice(None)]


@pytest.mark.parametrize("family", GENERATORS)
def test_a_generator_is_loaded_and_saved_as_transformers_has_it(tmp_path, family):
    folder = make_generator(tmp_path / "m", family)
    checkpoint = open_checkpoint(folder)
    model, tokenizer, expected = load_checkpoint(checkpoint), load_tokenizer(checkpoint), reference(folder, family)
    assert torch.equal(logits(model, tokenizer, family), logits(expected, tokenizer, family))
    save_checkpoint(tmp_path / "saved", model, tokenizer, checkpoint.record)
    again = reference(tmp_path / "saved", family)
    assert torch.equal(logits(again, tokenizer, family), logits(expected, tokenizer, family))
    tied = [one.get_output_embeddings().weight is one.get_input_embeddings().weight for one in (expected, model, again)]
    assert len(set(tied)) == 1
    size = (folder / "model.safetensors").stat().st_size
    assert abs((tmp_path / "saved" / "model.safetensors").stat().st_size - size) < 2048  # a tied table is stored once
    assert open_checkpoint(tmp_path / "saved").task == checkpoint.task


@pytest.mark.parametrize("family", GENERATORS)
def test_what_is_generated_is_what_transformers_generates(tmp_path, family):
    folder = make_generator(tmp_path / "m", family)
    checkpoint = open_checkpoint(folder)
    model, tokenizer, expected = load_checkpoint(checkpoint), load_tokenizer(checkpoint), reference(folder, family)
    batch = tokenizer(SENTENCES[0], return_tensors="pt")
    assert torch.equal(model.generate(**batch, max_new_tokens=12), expected.generate(**batch, max_new_tokens=12))


def test_a_folder_says_how_its_model_writes(tmp_path):
    folder = make_generator(tmp_path / "llama", "llama")
    task = open_checkpoint(folder).task
    assert isinstance(task, TextGeneration)
    assert task.context == 128
    assert "add_generation_prompt" in task.chat_template
    assert task.settings == GenerationSettings(eos_ids=(1,), pad_id=2)
    changed(folder, "generation_config.json", do_sample=True, temperature=0.6, eos_token_id=[1, 3], stop_strings="END")
    settings = open_checkpoint(folder).task.settings
    assert settings == GenerationSettings(
        eos_ids=(1, 3), pad_id=2, do_sample=True, temperature=0.6, top_k=50, stop=("END",)
    )  # transformers draws from the likeliest 50 where a folder does not say from how many


def test_rewriters_know_what_their_decoder_begins_and_ends_with(tmp_path):
    marian = open_checkpoint(make_generator(tmp_path / "marian", "marian")).task
    assert isinstance(marian, Translation)
    pad = marian.settings.pad_id
    assert (marian.settings.decoder_start_id, marian.settings.bad_ids, marian.settings.forced_eos_id) == (
        pad,
        (pad,),
        0,
    )
    bart = open_checkpoint(make_generator(tmp_path / "bart", "bart")).task
    assert isinstance(bart, Summarization)
    assert (bart.settings.decoder_start_id, bart.settings.no_repeat_ngram_size) == (2, 3)


def test_an_encoder_decoder_is_taken_for_the_use_that_is_asked_for(tmp_path):
    folder = make_generator(tmp_path / "t5", "t5")
    uses = {
        "summarization": {"prefix": "summarize: ", "num_beams": 4, "length_penalty": 2.0, "max_length": 200},
        "translation_en_to_de": {"prefix": "translate English to German: ", "max_length": 300},
    }
    changed(folder, "config.json", task_specific_params=uses)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.task.prefix == "summarize: "
    # T5's lengths count the token that the decoder begins with.
    assert (checkpoint.task.settings.num_beams, checkpoint.task.settings.max_new_tokens) == (4, 199)
    translation = find_checkpoint(folder, task="translation").task
    assert isinstance(translation, Translation)
    assert (translation.prefix, translation.settings.max_new_tokens) == ("translate English to German: ", 299)
    with pytest.raises(ModelError, match="not for text-generation"):
        checkpoint.for_task("text-generation")


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_a_text_is_as_long_as_the_models_positions(tmp_path, family):
    folder = make_generator(tmp_path / "m", family, positions=100)
    limit = text_limit(open_checkpoint(folder).config)
    assert limit > 1_000_000 if family == "t5" else limit == 100
    assert load_tokenizer(open_checkpoint(folder)).model_max_length == limit


def test_a_generator_does_not_classify_and_an_encoder_does_not_generate(tmp_path):
    generator = open_checkpoint(make_generator(tmp_path / "g", "gpt2"))
    with pytest.raises(ModelError, match="gpt2 model writes texts"):
        load_backbone(generator, TextClassification(labels=("a", "b")))
    with pytest.raises(ModelError, match="for text-generation, not for text-classification"):
        generator.for_task("text-classification")
    encoder = open_checkpoint(make_checkpoint(tmp_path / "e"))
    with pytest.raises(ModelError, match="bert is an encoder"):
        encoder.for_task("text-generation")
    with pytest.raises(UnsupportedFamily, match="this works on encoders alone"):
        family_of("llama")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("config.json", {"architectures": ["GPT2ForSequenceClassification"]}, "the model is a GPT2ForSequence"),
        ("config.json", {"n_positions": None, "max_position_embeddings": 0}, "leaves no room for a text"),
        ("generation_config.json", {"penalty_alpha": 0.6}, "penalty_alpha is 0.6"),
        ("generation_config.json", {"eos_token_id": 446}, "name token 446"),
        ("generation_config.json", {"bad_words_ids": [[1, 2]]}, "bad_words_ids"),
        ("generation_config.json", {"do_sample": True, "temperature": 0.0}, "temperature is 0.0"),
        ("generation_config.json", {"early_stopping": "never"}, "early_stopping"),
    ],
)
def test_a_folder_that_cannot_be_followed_is_refused_by_the_entry(tmp_path, name, values, words):
    folder = changed(make_generator(tmp_path / "m", "gpt2"), name, **values)
    with pytest.raises(ModelError, match=words) as error:
        open_checkpoint(folder)
    assert error.value.exit_code == 4


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    folder = make_generator(tmp_path / "m", "gpt2", sentences=SENTENCES[:1])
    make_generator(tmp_path / "more", "gpt2")
    (folder / "tokenizer.json").write_text((tmp_path / "more" / "tokenizer.json").read_text())
    with pytest.raises(ModelError, match="the tokenizer has ids up to"):
        load_tokenizer(open_checkpoint(folder))


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_a_generator_is_shown_with_its_parts(tmp_path, family):
    folder = make_generator(tmp_path / "m", family)
    parts = inspect(folder)["weights_by_part"]
    assert parts["embeddings"] >= open_checkpoint(folder).config["vocab_size"] * 32
    assert parts["layers"] > sum(parts.values()) / 4


def test_weights_that_are_missing_are_named(tmp_path):
    folder = make_generator(tmp_path / "m", "llama")
    changed(folder, "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"model\.layers\.2"):
        load_checkpoint(folder)


def test_settings_go_to_transformers_and_come_back(tmp_path):
    task = Translation(
        GenerationSettings(num_beams=3, length_penalty=0.5, early_stopping=True, bad_ids=(4,), decoder_start_id=2)
    )
    made = generation_config(task)
    made.save_pretrained(tmp_path)
    read = GenerationConfig.from_pretrained(tmp_path)
    assert (read.num_beams, read.length_penalty, read.early_stopping, read.bad_words_ids) == (3, 0.5, True, [[4]])


def test_a_family_has_a_small_model_in_the_tests():
    from edgelm.model_folder.generators import generator_types

    assert {name.removesuffix("-gated") for name in (*DECODERS, *ENCODER_DECODERS)} == set(generator_types())
