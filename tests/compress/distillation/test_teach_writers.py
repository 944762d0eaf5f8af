"""Models that write are taught by their teacher: the loss is that of transformers' full logits, what is kept of the
teacher changes nothing that matters, and an interrupted run goes on to the same model."""

import json

import pytest
import torch
from generators import DECODERS, SENTENCES, make_generator

from edgelm import compress
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.batches import EncodedDataset, Share
from edgelm.compress.distillation.distill import label_loss
from edgelm.compress.distillation.divergence import Divergence
from edgelm.compress.distillation.on_policy import prompts_in, student_writes
from edgelm.compress.distillation.teacher_texts import encode_taught
from edgelm.compress.distillation.token_teacher import TokenTeacher
from edgelm.compress.distillation.writing_loss import writing_loss
from edgelm.data.dataset import Dataset
from edgelm.errors import DataError, RecipeError
from edgelm.recipe import Recipe
from edgelm.training_settings import DistillLoss, OnPolicySettings, WrittenSettings

TEXTS = Dataset("memory", SENTENCES * 2, schema="prompts")
PAIRS = Dataset("memory", SENTENCES, labels=tuple((text,) for text in SENTENCES[::-1]), schema="targets")
SOURCES = Dataset("memory", SENTENCES, schema="targets")
TRAIN = {"max_steps": 6, "batch_size": 4, "learning_rate": 3e-3, "max_length": 24}
LOSS = {"temperature": 1.5, "soft": 0.7, "hard": 0.3, "hidden": 0.0}
FAMILIES = ("gpt2", "llama", "gemma3_text", "t5", "bart", "marian")


def made(folder, family, **options):
    """A random generator that writes few tokens."""
    make_generator(folder, family, spread=0.1, **options)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_new_tokens": 8}))
    return folder


def rows_for(family):
    return TEXTS if family in DECODERS else PAIRS


def asked(folder, length=24):
    checkpoint = open_checkpoint(folder)
    return TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task, length)


def plain_loss(teacher, student, batch, loss):
    """By transformers' own logits, row by row: the mean over rows of the mean over each one's targets."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "decoder_input_ids") if name in batch}
    own, wanted = (model(**inputs).logits / loss.temperature for model in (student, teacher))
    total = 0.0
    for row, counted in enumerate(batch["counted"].bool()):
        p, q = (logits[row][counted].log_softmax(-1) for logits in (wanted.detach(), own))
        soft = loss.temperature**2 * (p.exp() * (p - q)).sum(-1)
        targets = batch["labels"][row][counted]
        hard = -(own[row][counted] * loss.temperature).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
        total = total + (loss.soft * soft + loss.hard * hard).mean() / len(batch["counted"])
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_full_logits(tmp_path, family):
    teacher = asked(made(tmp_path / "t", family))
    student = load_checkpoint(made(tmp_path / "s", family, seed=1, hidden=16, heads=2, kv_heads=1))
    batch = EncodedDataset(rows_for(family), teacher).batch(range(4))
    loss = DistillLoss(**LOSS)
    lessons = TokenTeacher(teacher, Divergence(temperature=1.5), folder=tmp_path, top_k=4)
    found = writing_loss(teacher, loss, lessons)(student, batch, Share())
    found.backward()
    gradients = {name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None}
    student.zero_grad()
    wanted = plain_loss(teacher.model, student, batch, loss)
    wanted.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)  # FP32, summed in another order
    assert len(gradients) > 10
    for name, weight in student.named_parameters():
        if weight.grad is not None:
            scale = float(weight.grad.abs().max())
            torch.testing.assert_close(gradients[name], weight.grad, atol=1e-5 * scale + 1e-7, rtol=1e-3)
    own = label_loss(teacher)(student, batch, Share())
    assert own.item() == pytest.approx(
        plain_loss(teacher.model, student, batch, DistillLoss(temperature=1, soft=0, hard=1)).item(), rel=1e-5
    )


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_what_is_kept_of_the_teacher_is_what_it_says(tmp_path, family):
    teacher = asked(made(tmp_path / "t", family))
    student = load_checkpoint(made(tmp_path / "s", family, seed=1))
    rows = EncodedDataset(rows_for(family), teacher, numbered=True)
    vocabulary = teacher.model.config.vocab_size
    loss = DistillLoss(**LOSS)
    batch = rows.batch((3, 0, 2))

    def value(**options):
        lessons = TokenTeacher(teacher, Divergence(temperature=1.5), **options)
        lessons.prepare(rows, passes=2, half=False)
        return writing_loss(teacher, loss, lessons)(student, batch, Share()).item(), lessons

    live = writing_loss(teacher, loss, TokenTeacher(teacher, Divergence(temperature=1.5), folder=tmp_path, top_k=8))(
        student, batch, Share()
    ).item()
    whole, lessons = value(folder=tmp_path / "a", top_k=vocabulary)
    # FP16 has 11 bits: each logarithm of at most some ten is off by at most 2^-11 of itself.
    assert whole == pytest.approx(live, abs=5e-3)
    few, _ = value(folder=tmp_path / "b", top_k=8)
    assert few <= live + 5e-3  # tokens that are taken together hide differences
    assert few > 0.2 * live
    assert lessons._kept is not None

    class Gone(Exception):
        pass

    def stop(what, done, total):
        raise Gone

    small = TokenTeacher(teacher, Divergence(temperature=1.5), folder=tmp_path / "c", top_k=8)
    with pytest.raises(Gone):
        small.prepare(rows, passes=2, half=False, progress=stop)
    again, _ = value(folder=tmp_path / "c", top_k=8)
    assert again == few
    once = TokenTeacher(teacher, Divergence(), folder=tmp_path / "d", top_k=8)
    once.prepare(rows, passes=1.5, half=False)
    assert once._kept is None
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("family", [pytest.param("gpt2", marks=pytest.mark.slow), "t5"])
def test_an_interrupted_recipe_goes_on_to_the_same_model(tmp_path, family):
    """Distilled with the student's own texts and the teacher's, then trained on the grid of 4 bits."""
    teacher, rows = made(tmp_path / "t", family), rows_for(family)
    made(tmp_path / "s", family, seed=1, hidden=16, heads=2)
    loss = LOSS | {"written": {"method": "sample", "max_new_tokens": 6, "prompt_tokens": 4}}
    loss |= {"on_policy": {"share": 0.5, "max_new_tokens": 5, "prompt_tokens": 4}, "hidden": 0.5}
    stages = (
        {"stage": "distill", "student": str(tmp_path / "s"), "loss": loss, "train": TRAIN},
        {"stage": "recover", "loss": LOSS | {"divergence": "jensen-shannon"}, "train": TRAIN},
        {"stage": "quantize", "loss": LOSS | {"divergence": "reverse-kl"}, "train": TRAIN},
    )
    options = {"dataset": rows, "evaluation": rows, "recipe": Recipe(name="r", stages=stages), "max_length": 24}
    whole = compress(teacher, output=tmp_path / "whole", **options)

    class Gone(Exception):
        pass

    for what, place in (("write", 8), ("distill", 4), ("teacher", 4), ("quantize", 5)):

        def stop(description, done, total, what=what, place=place):
            if description == what and done >= place:
                raise Gone

        with pytest.raises(Gone):
            compress(teacher, output=tmp_path / "broken", progress=stop, **options)
    compress(teacher, output=tmp_path / "broken", **options)
    one, other = (load_checkpoint(tmp_path / name).state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    metrics = whole.record.stages[-1].after
    assert {"perplexity", "agreement"} | ({"rougeL"} if family == "t5" else set()) <= metrics.keys()
    assert [stage.stage for stage in whole.record.stages] == ["distill", "recover", "quantize"]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_student_comes_closer_to_its_teacher(tmp_path, family):
    """On texts and sources alone, without a target for any of them."""
    teacher = made(tmp_path / "t", family)
    rows = TEXTS if family in DECODERS else SOURCES
    made(tmp_path / "s", family, seed=1)
    results = {}
    for steps in (1, 40):
        train = TRAIN | {"max_steps": steps, "learning_rate": 5e-3 if steps > 1 else 1e-9}
        stage = {"stage": "distill", "student": str(tmp_path / "s"), "loss": LOSS | {"hard": 0.0}, "train": train}
        recipe = Recipe(name="r", stages=(stage,))
        made_of = compress(
            teacher, dataset=rows, evaluation=rows_for(family), recipe=recipe, output=tmp_path / f"{steps}"
        )
        results[steps] = made_of.record.stages[-1].after["agreement"]
    assert results[40] > results[1] + 0.05


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_teacher_writes_what_transformers_writes(tmp_path, family):
    teacher = asked(made(tmp_path / "t", family))
    rows = TEXTS.take(range(6)) if family == "llama" else SOURCES.take(range(6))
    wanted = WrittenSettings(method="beam", num_beams=2, max_new_tokens=5, prompt_tokens=3)
    encoded = encode_taught(teacher, rows, wanted, work=tmp_path / "w", seed=0)
    tokenizer, end = teacher.tokenizer, teacher.task.settings.eos_ids
    for number, text in enumerate(rows.texts):
        ids = tokenizer(text)["input_ids"]
        if family == "llama":
            ids = ids[:3]
        given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        alone = teacher.model.generate(**given, max_new_tokens=5, num_beams=2, do_sample=False)[0].tolist()
        alone = alone[len(ids) if family == "llama" else 1 :]
        until = next((place + 1 for place, token in enumerate(alone) if token in end), len(alone))
        counted, nexts = encoded.counted[number], encoded.originals[number]
        written = [token for token, flag in zip(nexts, counted, strict=True) if flag]
        assert written == alone[:until]
        assert encoded.columns["input_ids"][number][: len(ids)] == ids
    lines = (tmp_path / "w" / "written.jsonl").read_text()
    (tmp_path / "w" / "written.jsonl").write_text(lines[:-5])  # cut off while it was written
    again = encode_taught(teacher, rows, wanted, work=tmp_path / "w", seed=0)
    assert again == encoded


def test_rows_without_a_target_get_the_teachers(tmp_path):
    teacher = asked(made(tmp_path / "t", "t5"))
    rows = PAIRS.take(range(3)).join(SOURCES.take(range(3, 5)))
    encoded = encode_taught(teacher, rows, None, work=tmp_path / "w", seed=0)
    own = EncodedDataset(PAIRS.take(range(3)), teacher).encoded
    assert encoded.originals[:3] == own.originals
    assert len(encoded) == 5
    assert all(counted and sum(counted) for counted in encoded.counted)


@pytest.mark.parametrize("family", ["qwen2", "bart"])
def test_the_student_writes_behind_the_prompts_of_a_batch(tmp_path, family):
    learner = asked(made(tmp_path / "t", family))
    rows = TEXTS if family == "qwen2" else PAIRS
    batch = EncodedDataset(rows, learner, numbered=True).batch(range(3))
    settings = OnPolicySettings(share=1.0, max_new_tokens=4, prompt_tokens=5)
    torch.manual_seed(0)
    found = student_writes(learner, settings)(learner.model, batch)
    assert "labels" not in found
    assert "row" not in found
    counts = found["counted"].sum(dim=1)
    assert ((counts >= 1) & (counts <= 4)).all()
    for prompt, ids in zip(prompts_in(batch, learner.task, 5), found["input_ids"].tolist(), strict=True):
        assert ids[: len(prompt)] == prompt
        assert family == "bart" or len(prompt) == 5


def test_training_with_lora_and_recomputed_layers(tmp_path):
    teacher = made(tmp_path / "t", "gpt2")
    results = []
    for more in ({}, {"gradient_checkpointing": True}):
        stage = {"stage": "recover", "loss": LOSS, "train": TRAIN | {"lora": 2} | more}
        out = tmp_path / f"{len(results)}"
        compress(teacher, dataset=TEXTS, evaluation=TEXTS, recipe=Recipe(name="r", stages=(stage,)), output=out)
        results.append(load_checkpoint(out).state_dict())
    before = load_checkpoint(teacher).state_dict()
    assert results[0].keys() == before.keys()
    changed = [name for name in before if not torch.equal(before[name], results[0][name])]
    assert changed
    assert all("c_" in name and name.endswith("weight") for name in changed)
    for name in before:
        torch.testing.assert_close(results[0][name], results[1][name], atol=1e-5, rtol=1e-4)  # summed in another order


def test_what_does_not_go_together_is_refused(tmp_path):
    teacher = made(tmp_path / "t", "gpt2")
    made(tmp_path / "s", "gpt2", hidden=16, heads=2)
    talks = Dataset("memory", ((("user", "hello"), ("assistant", "hi")),) * 4, schema="prompts")

    def run(stage, rows=TEXTS):
        recipe = Recipe(name="r", stages=(stage | {"train": TRAIN | stage.get("train", {})},))
        compress(teacher, dataset=rows, evaluation=TEXTS, recipe=recipe, output=tmp_path / "o")

    with pytest.raises(RecipeError, match="relations"):
        run({"stage": "recover", "loss": LOSS | {"relations": 1.0}})
    with pytest.raises(RecipeError, match=r"quantize\.train\.lora"):
        run({"stage": "quantize", "loss": LOSS, "train": {"lora": 2}})
    with pytest.raises(RecipeError, match=r"train\.lora"):
        run({"stage": "distill", "student": str(tmp_path / "s"), "loss": LOSS | {"hidden": 1.0}, "train": {"lora": 2}})
    with pytest.raises(DataError, match="conversations"):
        run({"stage": "recover", "loss": LOSS | {"written": {}}}, talks)
