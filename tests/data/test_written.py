"""Rows of generators as tokens: what is learned is what transformers' own models and templates make of the labels."""

import pytest
import torch
from generators import DECODERS, ENCODER_DECODERS, SENTENCES, make_generator
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from edgelm.anatomy import TaskModel, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.batches import EncodedDataset, Share
from edgelm.compress.distillation.distill import label_loss
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import NO_CLASS
from edgelm.data.written import encode_written, with_ends
from edgelm.errors import DataError, ModelError
from edgelm.tasks.generation import GenerationSettings, TextGeneration, Translation

TALK = (
    ("system", "be brief"),
    ("user", "is it going to rain?"),
    ("assistant", "no rain in the afternoon"),
    ("user", "good"),
    ("assistant", "play some music"),
)
TASK = TextGeneration(GenerationSettings())


def rows(texts, labels=None, schema="prompts"):
    return Dataset("rows.jsonl", tuple(texts), labels=None if labels is None else tuple(labels), schema=schema)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """The tokenizer of a family."""
    folder, made = tmp_path_factory.mktemp("tokenizers"), {}

    def get(family):
        if family not in made:
            made[family] = load_tokenizer(open_checkpoint(make_generator(folder / family, family)))
        return made[family]

    return get


def learned(encoded, number=0):
    """The tokens that count, in order."""
    return [token for token in encoded.originals[number] if token != NO_CLASS]


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_a_decoder_reads_what_the_models_own_shift_makes_of_the_labels(tmp_path, family):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", family))
    tokenizer, task = load_tokenizer(checkpoint), checkpoint.task
    reader = TaskModel(None, tokenizer, task, 64)
    data = EncodedDataset(rows(SENTENCES[:3], [(text,) for text in SENTENCES[3:6]], "targets"), reader)
    batch = data.batch(range(3))
    labels = batch["labels"]
    expected = tokenizer(text_target=list(SENTENCES[3:6]), padding=True, return_tensors="pt")
    assert torch.equal(labels, expected["input_ids"].masked_fill(expected["attention_mask"] == 0, -100))
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "m").eval()
    real = batch["counted"].bool()
    own = model.prepare_decoder_input_ids_from_labels(labels)
    assert torch.equal(batch["decoder_input_ids"][real], own[real])
    one = data.batch([0])  # of one row its mean over tokens is transformers' own loss
    with torch.no_grad():
        loss = label_loss(reader)(model, one, Share())
        theirs = model(input_ids=one["input_ids"], attention_mask=one["attention_mask"], labels=one["labels"]).loss
    torch.testing.assert_close(loss, theirs)


@pytest.mark.parametrize("family", DECODERS)
def test_a_completion_is_learned_with_its_end_and_its_prompt_is_not(tmp_path, tokenizers, family):
    tokenizer = tokenizers(family)
    encoded = encode_written(rows(["turn the"], [" kitchen lights on"]), tokenizer, TASK, max_length=64)
    ids, prompt = encoded.columns["input_ids"][0], tokenizer("turn the")["input_ids"]
    assert ids == [*tokenizer("turn the kitchen lights on")["input_ids"], tokenizer.eos_token_id]
    assert learned(encoded) == ids[len(prompt) :]
    labels = [-100] * len(prompt) + ids[len(prompt) :]
    model = AutoModelForCausalLM.from_pretrained(make_generator(tmp_path / "m", family)).eval()
    batch = {name: torch.tensor(value) for name, value in encoded.columns.items()}
    counted, targets = torch.tensor(encoded.counted), torch.tensor(encoded.originals)
    with torch.no_grad():
        loss = label_loss(TaskModel(model, tokenizer, TASK))(
            model, {**batch, "counted": counted, "labels": targets}, Share()
        )
        theirs = model(**batch, labels=torch.tensor([labels])).loss
    torch.testing.assert_close(loss, theirs)


def test_letters_that_would_join_with_those_of_the_prompt_stay_a_token_apart(tokenizers):
    tokenizer = tokenizers("gpt2")
    prompt = tokenizer(" kitch")["input_ids"]
    encoded = encode_written(rows([" kitch"], ["en lights"]), tokenizer, TASK, max_length=64)
    assert tokenizer(" kitchen lights")["input_ids"][: len(prompt)] != prompt
    assert encoded.columns["input_ids"][0][: len(prompt)] == prompt  # as a device reads it, which knows no completion
    assert tokenizer.decode(encoded.columns["input_ids"][0], skip_special_tokens=True) == " kitchen lights"


def test_a_long_prompt_loses_its_beginning_and_a_long_completion_its_end(tokenizers):
    tokenizer = tokenizers("llama")
    encoded = encode_written(rows([SENTENCES[2]], [" good"]), tokenizer, TASK, max_length=12)
    ids = encoded.columns["input_ids"][0]
    assert len(ids) == 12
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert SENTENCES[2].endswith(tokenizer.decode(ids[1:-1], skip_special_tokens=True).split(" good")[0])
    encoded = encode_written(rows(["play"], [SENTENCES[2]]), tokenizer, TASK, max_length=12)
    assert len(encoded.columns["input_ids"][0]) == 12
    assert sum(encoded.counted[0]) >= 10


@pytest.mark.parametrize("family", DECODERS)
def test_packing_loses_no_token(tokenizers, family):
    tokenizer = tokenizers(family)
    encoded = encode_written(rows(SENTENCES), tokenizer, TASK, max_length=16)
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    stream = [token for text in SENTENCES for token in [*tokenizer(text)["input_ids"], end]]
    begins = stream[0] == begin
    assert all(len(ids) <= 16 for ids in encoded.columns["input_ids"])
    assert len(encoded) <= len(stream) // 14 + 1
    wanted = stream if begins else stream[1:]
    assert [token for number in range(len(encoded)) for token in learned(encoded, number)] == [
        token for token in wanted if not begins or token != begin
    ]
    if begins:
        assert all(ids[0] == begin for ids in encoded.columns["input_ids"])


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_of_a_conversation_what_the_assistant_wrote_is_learned(tokenizers, family):
    tokenizer = tokenizers(family)
    talk = TALK if family != "gemma3_text" else TALK[1:]
    encoded = encode_written(rows([talk]), tokenizer, TASK, max_length=256)
    messages = [{"role": role, "content": content} for role, content in talk]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    assert encoded.columns["input_ids"] == [whole]
    texts = tokenizer.decode(learned(encoded))
    ends = {"llama": "<|eot|>", "qwen2": "<|im_end|>", "gemma3_text": "<end_of_turn>"}[family]
    assert texts == f"no rain in the afternoon{ends}play some music{ends}"


def test_a_template_that_marks_answers_itself_marks_the_same_ones(tokenizers):
    tokenizer = tokenizers("qwen3")
    encoded = encode_written(rows([TALK]), tokenizer, TASK, max_length=256)
    before = tokenizer.chat_template
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}"
        "{% else %}{{ m['content'] }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    )
    messages = [{"role": role, "content": content} for role, content in TALK]
    theirs = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    tokenizer.chat_template = before
    assert encoded.columns["input_ids"] == [theirs["input_ids"]]
    assert [0, *encoded.counted[0][:-1]] == theirs["assistant_masks"]


def test_a_model_that_learned_a_template_stops_at_its_mark(tokenizers):
    tokenizer = tokenizers("gemma3_text")
    task = TextGeneration(GenerationSettings(eos_ids=(9,)))
    ends = [9, tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    assert list(with_ends(task, rows([TALK[1:]]), tokenizer).settings.eos_ids) == ends
    assert list(with_ends(task, rows(SENTENCES), tokenizer).settings.eos_ids) == ends[:2]


def test_answers_that_the_template_writes_otherwise_later_are_learned_one_by_one(tokenizers):
    tokenizer = tokenizers("qwen3")
    before = tokenizer.chat_template
    # As Qwen 3 has it: an empty thought stands before the last answer alone.
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}(thought)"
        "{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% endif %}"
    )
    encoded = encode_written(rows([TALK]), tokenizer, TASK, max_length=256)
    tokenizer.chat_template = before
    texts = [tokenizer.decode(learned(encoded, number)) for number in range(len(encoded))]
    assert texts == ["(thought)no rain in the afternoon<|im_end|>", "(thought)play some music<|im_end|>"]


def test_a_conversation_that_the_template_refuses_is_named_by_its_row(tokenizers):
    with pytest.raises(DataError, match=r"rows\.jsonl, row 2: the chat template refuses .* must alternate"):
        encode_written(rows([TALK[1:3], TALK]), tokenizers("gemma3_text"), TASK, max_length=64)
    with pytest.raises(ModelError, match="no chat template"):
        encode_written(rows([TALK]), tokenizers("gpt2"), TASK, max_length=64)


def test_a_tokenizer_without_an_end_and_a_model_without_a_beginning_are_refused(tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "t5"))
    tokenizer = load_tokenizer(checkpoint)
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        encode_written(rows(["a"], [("b",)], "targets"), tokenizer, Translation(), max_length=8)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no token that ends a text"):
        encode_written(rows(["a"], [("b",)], "targets"), tokenizer, checkpoint.task, max_length=8)


def test_an_empty_prompt_is_refused_where_nothing_begins_a_text(tokenizers):
    with pytest.raises(DataError, match=r"rows\.jsonl, row 1: the prompt is empty"):
        encode_written(rows([""], ["on"]), tokenizers("gpt2"), TASK, max_length=8)


def test_a_prefix_stands_before_every_source(tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "t5"))
    tokenizer = load_tokenizer(checkpoint)
    task = Translation(checkpoint.task.settings, "please set ")
    encoded = encode_written(rows(["lights on"], [("b",)], "targets"), tokenizer, task, max_length=64)
    assert encoded.columns["input_ids"] == [tokenizer("please set lights on")["input_ids"]]
