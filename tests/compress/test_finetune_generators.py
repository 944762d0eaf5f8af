"""Generators are trained on texts, prompts, conversations and targets, and judged as transformers would judge them."""

import json
import math

import pytest
import torch
from generators import DECODERS, ENCODER_DECODERS, GENERATORS, SENTENCES, make_generator
from models import make_checkpoint
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.evaluate import evaluate
from edgelm.compress.finetune import finetune
from edgelm.compress.training import loop
from edgelm.compress.write import write
from edgelm.data.dataset import Dataset
from edgelm.errors import DataError, ModelError, UsageError
from edgelm.tasks.table import TASKS
from edgelm.training_settings import TrainSettings

TALK = (("user", "is it going to rain?"), ("assistant", "no rain in the afternoon"))
FEW = TrainSettings(max_steps=6, batch_size=4, learning_rate=5e-3, max_length=32)


def rows_for(kind, family="gpt2"):
    """Rows of each kind of task that repeat themselves, so that a few steps learn something."""
    if kind == "text-generation":
        return Dataset("memory", SENTENCES * 3, schema="prompts")
    targets = tuple((text,) for text in SENTENCES[1:3])
    return Dataset("memory", SENTENCES[:2] * 8, labels=targets * 8, schema="targets")


def judged(folder, rows, *, max_length=32, **options):
    """Metrics of the model in a folder, and its predictions."""
    checkpoint = open_checkpoint(folder)
    task = checkpoint.task
    model = TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), task, max_length)
    return evaluate(model, rows.for_task(task), **options)


def train(folder, rows, output, kind, settings=FEW, **options):
    return finetune(folder, dataset=rows, evaluation=rows, output=output, kind=kind, settings=settings, **options)


def made(folder, family, **options):
    """A random generator that writes few tokens."""
    make_generator(folder, family, **options)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_new_tokens": 12}))
    return folder


def kind_of(family):
    return {"marian": "translation"}.get(family, "text-generation" if family in DECODERS else "summarization")


def plain_perplexity(folder, family, rows, length):
    """By a loop over transformers' own model: the mean loss of all targets, in windows of a length or row by row."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    losses, right = [], []
    if family in DECODERS:
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        end, begin = tokenizer.eos_token_id, tokenizer.bos_token_id
        stream = [token for text in rows.texts for token in [*tokenizer(text)["input_ids"], end]]
        place = 0
        while place < len(stream) - 1:
            lead = [begin] if stream[0] == begin and stream[place] != begin else []
            room = length - len(lead)
            ids, nexts = lead + stream[place : place + room], stream[place + 1 : place + room + 1]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, len(lead) : len(lead) + len(nexts)]
            for row, token in zip(logits, nexts, strict=True):
                if stream[0] != begin or token != begin:
                    losses.append(-row.double().log_softmax(dim=-1)[token].item())
                    right.append(row.argmax().item() == token)
            place += room
    else:
        model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        for text, (target,) in zip(rows.texts, rows.labels, strict=True):
            batch = tokenizer(text, text_target=target, return_tensors="pt")
            with torch.no_grad():
                logits = model(**batch).logits[0]
            for row, token in zip(logits, batch["labels"][0], strict=True):
                losses.append(-row.double().log_softmax(dim=-1)[token].item())
                right.append(row.argmax().item() == token)
    return math.exp(sum(losses) / len(losses)), sum(right) / len(right)


@pytest.mark.parametrize("family", GENERATORS)
def test_perplexity_and_accuracy_are_those_of_a_plain_loop(tmp_path, family):
    folder = make_generator(tmp_path / "m", family)
    rows = rows_for(kind_of(family))
    metrics, predictions = judged(folder, rows, max_length=24, written=False)
    perplexity, accuracy = plain_perplexity(folder, family, rows, 24)
    # The loop adds up in FP64; batches of other shapes are summed in another order in FP32.
    assert metrics["perplexity"] == pytest.approx(perplexity, rel=1e-4)
    assert metrics["token_accuracy"] == pytest.approx(accuracy)
    assert metrics["log_likelihood"] == pytest.approx(-math.log(perplexity), abs=1e-4)
    again, _ = judged(folder, rows, reference=predictions, max_length=24, written=False)
    assert again["agreement"] == 1.0


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "t5-gated", "bart", "marian"])
def test_a_generator_is_trained_to_a_plain_folder(tmp_path, family):
    kind = kind_of(family)
    folder, rows = made(tmp_path / "m", family, spread=0.1), rows_for(kind)
    before, _ = judged(folder, rows)
    result = train(folder, rows, tmp_path / "t", kind)
    assert result.metrics["perplexity"] < before["perplexity"] / 1.5
    assert result.record.task.metric in result.metrics
    checkpoint = open_checkpoint(tmp_path / "t")
    assert checkpoint.task == result.record.task
    auto = AutoModelForCausalLM if family in DECODERS else AutoModelForSeq2SeqLM
    model, base = auto.from_pretrained(tmp_path / "t"), auto.from_pretrained(folder)
    tied = [one.get_output_embeddings().weight is one.get_input_embeddings().weight for one in (model, base)]
    assert tied[0] == tied[1]
    asked = TaskModel(model.eval(), AutoTokenizer.from_pretrained(tmp_path / "t"), checkpoint.task, 32)
    metrics, _ = evaluate(asked, rows)
    assert metrics == pytest.approx(result.metrics)


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "t5", "bert"])
def test_lora_is_merged_into_a_plain_folder(tmp_path, family):
    if family == "bert":
        folder, kind = make_checkpoint(tmp_path / "m", kind="sentence-embedding"), "text-classification"
        labels = tuple(index % 2 for index in range(16))
        rows = Dataset("memory", SENTENCES * 2, None, labels, ("no", "yes"), "single-label")
    else:
        folder, kind = made(tmp_path / "m", family, spread=0.1), kind_of(family)
        rows = rows_for(kind)
    result = train(folder, rows, tmp_path / "t", kind, lora=4)
    assert result.record.stages[-1].settings["lora"] == 4
    checkpoint = open_checkpoint(tmp_path / "t")
    model = load_checkpoint(checkpoint)
    assert not any("lora" in name for name in model.state_dict())
    if family != "bert":
        base = load_checkpoint(folder)
        changed = [
            name for name, weight in base.named_parameters() if not torch.equal(weight, model.get_parameter(name))
        ]
        assert changed
        assert all(base.get_parameter(name).ndim == 2 for name in changed)
        assert torch.equal(base.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert judged(tmp_path / "t", rows)[0] == pytest.approx(result.metrics)


def test_an_interrupted_training_goes_on_to_the_same_model(tmp_path, monkeypatch):
    folder, rows = make_generator(tmp_path / "m", "gpt2"), rows_for("text-generation")
    settings = FEW.model_copy(update={"evaluations": 3})
    whole = train(folder, rows, tmp_path / "a", "text-generation", settings)
    calls, judge = [], loop.evaluate

    def stop(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(*args, **options)

    monkeypatch.setattr(loop, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(
            folder, dataset=rows, evaluation=rows, output=tmp_path / "b", kind="text-generation", settings=settings
        )
    monkeypatch.undo()
    resumed = train(folder, rows, tmp_path / "b", "text-generation", settings)
    assert resumed.metrics == whole.metrics


def test_conversations_and_completions_are_learned(tmp_path):
    folder = make_generator(tmp_path / "m", "llama", spread=0.1)
    talks = Dataset("memory", (TALK,) * 8, schema="prompts")
    longer = FEW.model_copy(update={"max_steps": 30, "max_length": 64})
    result = train(folder, talks, tmp_path / "t", "text-generation", longer)
    assert result.metrics["token_accuracy"] > 0.9
    model, tokenizer = load_checkpoint(tmp_path / "t"), load_tokenizer(open_checkpoint(tmp_path / "t"))
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": TALK[0][1]}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**asked)[0, asked["input_ids"].shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True) == TALK[1][1]
    pairs = Dataset("memory", ("is it",) * 8, labels=(" going to rain",) * 8, schema="prompts")
    result = train(folder, pairs, tmp_path / "p", "text-generation", longer)
    assert result.metrics["token_accuracy"] > 0.9


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_what_is_written_is_what_transformers_writes_one_by_one(tmp_path, family):
    checkpoint = open_checkpoint(made(tmp_path / "m", family))
    texts = write(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task, SENTENCES, batch_size=3)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "m").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    alone = [model.generate(**tokenizer(text, return_tensors="pt"))[0] for text in SENTENCES]
    assert texts == [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in alone]


def test_a_prefix_is_kept_with_the_model(tmp_path):
    folder, rows = made(tmp_path / "m", "t5"), rows_for("translation")
    result = train(folder, rows, tmp_path / "t", "translation", prefix="to German: ")
    assert result.metrics.keys() >= {"bleu", "chrf", "log_likelihood"}
    assert open_checkpoint(tmp_path / "t").task.prefix == "to German: "


def test_what_cannot_be_trained_is_refused(tmp_path):
    generator = make_generator(tmp_path / "g", "gpt2")
    encoder = make_checkpoint(tmp_path / "e", kind="sentence-embedding")
    texts, targets, output = rows_for("text-generation"), rows_for("translation"), tmp_path / "t"
    labelled = Dataset("memory", SENTENCES[:2], None, (0, 1), ("no", "yes"), "single-label")
    with pytest.raises(ModelError, match="bert is an encoder"):
        train(encoder, texts, output, "text-generation")
    with pytest.raises(ModelError, match="gpt2 model writes texts"):
        train(generator, labelled, output, "text-classification")
    with pytest.raises(ModelError, match="not for translation"):
        train(generator, targets, output, "translation")
    with pytest.raises(UsageError, match="--prefix says nothing"):
        train(generator, texts, output, "text-generation", prefix="x")
    with pytest.raises(UsageError, match="--lora is 0"):
        train(generator, texts, output, "text-generation", lora=0)
    with pytest.raises(DataError, match="sources with targets"):
        train(generator, targets, output, "text-generation")
    with pytest.raises(UsageError, match="at most 128"):
        train(generator, texts, output, "text-generation", TrainSettings(max_length=129))


def test_every_kind_of_generator_is_trained_here():
    assert {kind_of(family) for family in GENERATORS} == {kind for kind, task in TASKS.items() if task.generates}
