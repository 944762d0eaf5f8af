"""Rows of every task as commands read and show them: by the model's task, with bad rows left out where asked for."""

import json

import pytest
from typer.testing import CliRunner

from edgelm.cli.console import Screen
from edgelm.cli.inputs import read_calibration, read_columns, read_judged, read_rows_of, read_schema, read_unlabelled
from edgelm.cli.main import app
from edgelm.data.dataset import Columns, load_dataset
from edgelm.data.reading import count_shared, describe
from edgelm.errors import DataError, DataWarning, UsageError
from edgelm.tasks.text import MultipleChoice, QuestionAnswering, TokenClassification

CONTEXT = "The torch relay stopped in Ningbo."
FOUND = {"text": ["Ningbo", "in Ningbo"], "answer_start": [27, 24]}
ROWS = {
    "words": [
        {"tokens": ["Ada", "Lovelace", "slept"], "tags": ["B-PER", "I-PER", "O"]},
        {"tokens": ["In", "London"], "tags": ["O", "B-LOC"]},
    ],
    "answers": [
        {
            "question": "Where?",
            "context": CONTEXT,
            "answers": {"text": ["Ningbo", "in Ningbo"], "answer_start": [27, 24]},
        },
        {"question": "Why?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
    ],
    "choices": [
        {"ctx": "They", "endings": ["stay", "go"], "label": 1},
        {"ctx": "We", "endings": ["a", "b"], "label": 0},
    ],
}
TASKS = {
    "words": TokenClassification(labels=("O", "B-LOC", "I-LOC", "B-PER", "I-PER")),
    "answers": QuestionAnswering(null_answers=True),
    "choices": MultipleChoice(choices=2),
}
SHOWN = {
    "words": [
        "2 rows, words in 'tokens', tags in 'tags': O 2, B-LOC 1, I-LOC 0, B-PER 1, I-PER 1.",
        '  "Ada Lovelace slept" -> PER Ada Lovelace',
        '  "In London" -> LOC London',
    ],
    "answers": [
        "2 rows, question in 'question', context in 'context', answers in 'answers': answered 1, unanswered 1.",
        f'  "Where?" | "{CONTEXT}" -> Ningbo, in Ningbo',
        f'  "Why?" | "{CONTEXT}" -> (none)',
    ],
    "choices": [
        "2 rows, text in 'ctx', endings in 'endings', label in 'label': A 1, B 1.",
        "  Labels of the model: 0 is A, 1 is B.",
        '  "They" | "stay" | "go" -> B',
        '  "We" | "a" | "b" -> A',
    ],
}


def write(folder, name, rows):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("schema", ROWS)
def test_rows_are_read_and_shown_as_the_models_task_has_them(tmp_path, capsys, schema):
    train, dev = write(tmp_path, "train.jsonl", ROWS[schema]), write(tmp_path, "dev.jsonl", ROWS[schema][:1])
    screen = Screen(as_json=True, quiet=False, verbose=False)
    with pytest.warns(DataWarning, match=r"1 of 1 rows \(100\.0%\) of .*dev\.jsonl are in .*train\.jsonl too"):
        rows, judged = read_rows_of(TASKS[schema], train, dev, columns=Columns(), screen=screen)
    assert (rows.schema, len(rows), len(judged)) == (schema, 2, 1)
    assert rows.for_task(TASKS[schema]) is rows
    lines = capsys.readouterr().err.splitlines()
    assert lines[: len(SHOWN[schema])] == [f"Read {train}: {SHOWN[schema][0]}", *SHOWN[schema][1:]]
    assert lines[-1].startswith(f"Read {dev}: 1 rows, ")
    assert read_judged(TASKS[schema], train, columns=Columns()) == rows
    assert json.dumps(describe(rows).to_dict())
    assert count_shared(rows, judged) == 1


@pytest.mark.parametrize("schema", ROWS)
def test_rows_to_calibrate_on_need_no_targets(tmp_path, schema):
    targets = ("tags", "answers", "label")
    bare = [{name: cell for name, cell in row.items() if name not in targets} for row in ROWS[schema]]
    source = write(tmp_path, "bare.jsonl", bare)
    rows = read_calibration(source, columns=Columns(), by_label=False, schema=schema)
    assert (rows.labels, rows.schema, len(rows)) == (None, schema, 2)
    assert read_unlabelled(source, schema=schema) == rows
    with pytest.raises(DataError, match="no column with"):
        read_judged(TASKS[schema], source, columns=Columns())


def test_bad_rows_and_questions_without_an_answer_are_left_out_where_asked_for(tmp_path):
    bad = {"question": "Who?", "context": CONTEXT, "answers": {"text": ["Beijing"], "answer_start": [0]}}
    train, dev = write(tmp_path, "a.jsonl", [bad, *ROWS["answers"]]), write(tmp_path, "b.jsonl", ROWS["answers"])
    task = QuestionAnswering()
    with pytest.raises(DataError, match=r"a\.jsonl:1: the answer 'Beijing' is not in its context"):
        read_rows_of(task, train, dev, columns=read_columns(None, None, None))
    with pytest.warns(DataWarning) as told:
        rows, judged = read_rows_of(task, train, dev, columns=read_columns(None, None, None, skip_bad_rows=True))
    assert rows.texts == judged.texts == ("Where?",)
    texts = [str(warning.message) for warning in told]
    assert any("1 of 3 rows cannot be read and are left out" in text for text in texts)
    assert any("1 of 2 questions have no answer and are left out" in text for text in texts)
    assert rows.for_task(task) is rows


def test_unlabelled_rows_say_so(tmp_path, capsys):
    from edgelm.cli.rows import show_rows

    path = write(tmp_path, "a.jsonl", [{"tokens": ["a", "b"]}])
    rows = load_dataset(path, schema="words", need_labels=False)
    show_rows(Screen(as_json=True, quiet=False, verbose=False), rows)
    assert capsys.readouterr().err.splitlines() == [f"Read {path}: 1 rows, words in 'tokens', no tags.", '  "a b"']


def test_an_unknown_task_is_refused_with_those_that_are_known(tmp_path):
    assert read_schema("token-classification") == "words"
    with pytest.raises(UsageError, match="--task is 'ner'") as caught:
        read_schema("ner")
    assert "token-classification" in caught.value.hint
    rows = write(tmp_path, "a.jsonl", ROWS["words"])
    words = ["finetune", str(tmp_path), "--data", rows, "--eval", rows, "--output", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, [*words, "--task", "ner"])
    assert refused.exit_code == 2
    assert "question-answering" in refused.stderr
