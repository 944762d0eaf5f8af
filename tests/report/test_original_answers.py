"""`edgelm report --data --original CHECKPOINT` of every kind of task: what changed is what anybody counts who asks the
checkpoint by transformers' own classes, and the bundle by its runtime."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch
import transformers
from bundles import make_bundle
from models import TEXTS, make_checkpoint
from pages import check_page
from task_rows import TAGS, rows_of
from typer.testing import CliRunner

from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.metrics.spans import spans_of
from edgelm.report.bundle_report import report_schema
from edgelm.runtime import load
from edgelm.runtime.preprocessing import TextProcessing

COUNT = 12
PAIRS = tuple(zip(TEXTS[:COUNT], (*TEXTS[1:COUNT], TEXTS[0]), strict=True))


def written(kind, folder):
    """A file of rows of a kind of task, and the rows."""
    rows = rows_of(kind, COUNT) if kind in ("token-classification", "question-answering", "multiple-choice") else None
    if rows is None:
        lines = [{"text": first, "label": number / 7} for number, (first, _) in enumerate(PAIRS)]
        if kind == "pairs":
            lines = [
                {"sentence1": first, "sentence2": second, "score": number / 7}
                for number, (first, second) in enumerate(PAIRS)
            ]
        if kind == "texts":
            lines = [{"text": text} for text, _ in PAIRS]
    elif kind == "token-classification":
        lines = [
            {"tokens": list(words), "tags": [TAGS[tag] for tag in tags]}
            for words, tags in zip(rows.texts, rows.labels, strict=True)
        ]
    elif kind == "question-answering":
        lines = [
            {"question": question, "context": context, "answers": {"text": [text], "answer_start": [start]}}
            for question, context, ((text, start),) in zip(rows.texts, rows.pairs, rows.labels, strict=True)
        ]
    else:
        lines = [
            {"sent1": text} | {f"ending{place}": ending for place, ending in enumerate(endings)} | {"label": right}
            for text, endings, right in zip(rows.texts, rows.pairs, rows.labels, strict=True)
        ]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file, rows or Dataset("memory", tuple(first for first, _ in PAIRS), tuple(second for _, second in PAIRS))


def asked(folder, kind):
    """The checkpoint's model and tokenizer, as plain transformers loads them."""
    auto = {
        "token-classification": "AutoModelForTokenClassification",
        "question-answering": "AutoModelForQuestionAnswering",
        "multiple-choice": "AutoModelForMultipleChoice",
        "regression": "AutoModelForSequenceClassification",
    }.get(kind, "AutoModel")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return getattr(transformers, auto).from_pretrained(folder).eval(), tokenizer


def vectors_of(model, tokenizer, texts):
    """Mean of the tokens, of length one."""
    found = []
    for text in texts:
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        found.append(torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy())
    return np.array(found)


@torch.inference_mode()
def original_answers(kind, folder, rows):
    """What the checkpoint answers to each row: in words, or a number."""
    model, tokenizer = asked(folder, kind)
    if kind == "regression":
        return [float(model(**tokenizer(text, return_tensors="pt")).logits[0, 0]) for text in rows.texts]
    if kind in ("texts", "pairs"):
        first = vectors_of(model, tokenizer, rows.texts)
        if kind == "pairs":
            return (first * vectors_of(model, tokenizer, rows.pairs)).sum(axis=1).tolist()
        cosines = first @ first.T - 2 * np.eye(len(first))
        return [rows.texts[place] for place in cosines.argmax(axis=1)]
    found = []
    for number, text in enumerate(rows.texts):
        if kind == "token-classification":
            encoded = tokenizer(list(text), is_split_into_words=True, return_tensors="pt")
            best, owners = model(**encoded).logits[0].argmax(dim=-1).tolist(), encoded.word_ids()
            tags = [TAGS[best[owners.index(word)]] for word in range(len(text))]
            spans = [f"{' '.join(text[first:end])} ({name})" for name, first, end in spans_of(tags, scheme="IOB1")]
            found.append(", ".join(spans) or "(none)")
        elif kind == "multiple-choice":
            endings = rows.pairs[number]
            encoded = tokenizer([text] * len(endings), list(endings), return_tensors="pt", padding=True)
            logits = model(**{name: values[None] for name, values in encoded.items()}).logits[0]
            found.append(endings[int(logits.argmax())])
        else:
            context = rows.pairs[number]
            encoded = tokenizer(text, context, return_tensors="pt", return_offsets_mapping=True)
            offsets, owners = encoded.pop("offset_mapping")[0].tolist(), encoded.sequence_ids()
            out = model(**encoded)
            places = [place for place, owner in enumerate(owners) if owner == 1]
            sums = {
                (start, end): float(out.start_logits[0, start] + out.end_logits[0, end])
                for start in places
                for end in places
                if start <= end < start + 15
            }
            start, end = max(sums, key=sums.get)
            found.append(context[offsets[start][0] : offsets[end][1]])
    return found


def bundle_answers(kind, bundle, rows):
    model = load(bundle)
    if kind == "regression":
        return [model(text)["score"] for text in rows.texts]
    if kind in ("texts", "pairs"):
        first, second = ([np.array(model(text)["embedding"]) for text in side] for side in (rows.texts, rows.pairs))
        cosine = lambda one, two: float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))  # noqa: E731
        if kind == "pairs":
            return [cosine(one, two) for one, two in zip(first, second, strict=True)]
        near = [[cosine(one, two) - 9 * (one is two) for two in first] for one in first]
        return [rows.texts[int(np.argmax(row))] for row in near]
    answers = [model(sample) for sample in rows.inputs()]
    if kind == "token-classification":
        named = [[f"{part['text']} ({part['entity']})" for part in answer["entities"]] for answer in answers]
        return [", ".join(parts) or "(none)" for parts in named]
    return [answer["answer" if kind == "question-answering" else "choice"] for answer in answers]


KINDS = ("token-classification", "question-answering", "multiple-choice", "regression", "texts", "pairs")


@pytest.mark.parametrize("kind", KINDS)
def test_what_changed_from_a_checkpoint_is_what_anybody_counts(tmp_path, kind):
    task_kind = {"regression": "text-classification", "texts": "sentence-embedding", "pairs": "sentence-embedding"}
    problem = {"problem": "regression", "labels": ("score",)} if kind == "regression" else {}
    labels = {"labels": TAGS} if kind == "token-classification" else problem
    original = make_checkpoint(tmp_path / "teacher", kind=task_kind.get(kind, kind), **labels)
    task = open_checkpoint(original).task
    task = replace(task, choices=3) if kind == "multiple-choice" else task
    bundle = make_bundle(tmp_path / "b.edge", task, tokenization=TextProcessing(128, pad_id=0, pad_token="[PAD]"))
    file, rows = written(kind, tmp_path)
    page = tmp_path / "page.md"
    words = ["report", bundle, "--data", file, "--original", original, "--no-replay", "--markdown", page, "--json"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    jsonschema.Draft202012Validator(report_schema()).validate(values)
    before, after = original_answers(kind, original, rows), bundle_answers(kind, bundle, rows)
    if isinstance(before[0], float):
        moved = np.abs(np.array(after) - np.array(before)) > 0.1 * np.std(before)
        expected = [(int(row), f"{before[row]:.4g}", f"{after[row]:.4g}") for row in np.flatnonzero(moved)]
    else:
        pairs = enumerate(zip(before, after, strict=True))
        expected = [(row, old, new) for row, (old, new) in pairs if old != new]
    (change,) = values["answers"]["changes"]
    assert change["changed"] == len(expected) > 0
    found = [(entry["row"], entry["before"], entry["after"]) for entry in change["answers"]]
    if isinstance(before[0], float):  # of two ways to sum, the last digits may differ
        assert [(row, float(new)) for row, _, new in found] == [
            (row, pytest.approx(float(new), abs=2e-3)) for row, _, new in expected
        ]
        assert [float(old) for _, old, _ in found] == pytest.approx([float(old) for _, old, _ in expected], abs=2e-3)
    else:
        assert found == expected
    if kind not in ("texts", "multiple-choice"):
        (compared,) = [row for row in values["headlines"] if row["quality"]]
        assert compared["quality"]["metric"] == task.metric
    assert "Answers that changed" in page.read_text()


@pytest.mark.slow
def test_what_a_translator_writes_otherwise_than_its_original_is_told(tmp_path):
    from generator_bundles import make_generator_bundle
    from generators import make_generator

    bundle = make_generator_bundle(tmp_path / "b.edge", "bart", settings={"max_new_tokens": 6, "num_beams": 1})
    original = make_generator(tmp_path / "teacher", "bart", seed=1)
    rows = [{"source": first, "target": second} for first, second in PAIRS]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["report", bundle, "--data", file, "--original", original, "--no-replay", "--json"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    tokenizer = transformers.AutoTokenizer.from_pretrained(original)
    model, ours, expected = transformers.AutoModelForSeq2SeqLM.from_pretrained(original).eval(), load(bundle), []
    for number, row in enumerate(rows):
        ids = model.generate(**tokenizer(row["source"], return_tensors="pt"), max_new_tokens=6, num_beams=1)
        before, after = tokenizer.decode(ids[0], skip_special_tokens=True).strip(), ours(row["source"])["text"]
        if before != after:
            expected.append((number, before or "(none)", after or "(none)", row["target"]))
    (change,) = json.loads(result.stdout)["answers"]["changes"]
    found = [(entry["row"], entry["before"], entry["after"], entry["label"]) for entry in change["answers"]]
    assert found == expected
    assert len(expected) > 3


def test_what_a_writer_goes_on_with_is_told_beside_what_its_original_wrote(tmp_path):
    from generator_bundles import make_generator_bundle
    from generators import make_generator

    bundle = make_generator_bundle(tmp_path / "b.edge", "gpt2", settings={"temperature": 1.0, "do_sample": True})
    original = make_generator(tmp_path / "teacher", "gpt2", seed=1)
    texts = [f"{first} {second}" for first, second in PAIRS[:3]]
    file, page = tmp_path / "texts.txt", tmp_path / "page.html"
    file.write_text("".join(f"{text}\n" for text in [*texts, texts[0]]))
    words = ["report", bundle, "--data", file, "--original", original, "--no-replay", "--html", page, "--json"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    jsonschema.Draft202012Validator(report_schema()).validate(values)
    tokenizer = transformers.AutoTokenizer.from_pretrained(original)
    model, ours, expected, alike = (
        transformers.AutoModelForCausalLM.from_pretrained(original).eval(),
        load(bundle),
        [],
        [],
    )
    for number, text in enumerate(texts):
        given = tokenizer(text, return_tensors="pt")
        made = model.generate(**given, max_new_tokens=48, do_sample=False)[0, given["input_ids"].shape[1] :]
        before = tokenizer.decode(made, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        after = ours(text, max_new_tokens=48, do_sample=False)["text"]
        same = len(os.path.commonprefix([before, after]))  # noqa: RUF071
        alike.append(same / max(len(before), len(after)))
        if before != after:
            expected.append((number, text, before, after))
    (change,) = values["answers"]["changes"]
    assert (change["rows"], change["changed"], len(expected)) == (3, 3, 3)
    assert [
        tuple(entry[name] for name in ("row", "text", "before", "after")) for entry in change["answers"]
    ] == expected
    assert change["alike"] == pytest.approx(np.mean(alike))
    assert "stands before the first letter in which the two differ" in check_page(page.read_text()).text_content()
    alone = CliRunner().invoke(app, ["report", str(bundle), "--data", str(file), "--no-replay"])
    assert alone.exit_code == 2
    assert "--original" in alone.stderr
