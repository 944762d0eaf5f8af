"""Rows of questions and answers: the forms that answers are written in, and answers that are not in their context."""

import csv
import json

import pytest

from edgelm.data.dataset import Columns, load_dataset
from edgelm.errors import DataError, DataWarning
from edgelm.tasks.text import QuestionAnswering

CONTEXT = "Denver beat Carolina. Denver won the game."


def write(tmp_path, rows, name="a.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(answers, question="Who won?", context=CONTEXT):
    return {"question": question, "context": context, "answers": answers}


@pytest.mark.parametrize(
    ("answers", "label"),
    [
        ({"text": ["Denver", "Carolina"], "answer_start": [22, 12]}, (("Denver", 22), ("Carolina", 12))),
        ({"text": [], "answer_start": []}, ()),
        ({"text": "Carolina", "answer_start": 12}, (("Carolina", 12),)),
        ({"text": ["Carolina"]}, (("Carolina", 12),)),
        ([{"text": "Carolina", "answer_start": 12, "id": 7}], (("Carolina", 12),)),
        ([], ()),
        ("Carolina", (("Carolina", 12),)),
        (["Carolina"], (("Carolina", 12),)),
        ("", ()),
    ],
)
def test_answers_are_read_in_every_form(tmp_path, answers, label):
    rows = load_dataset(write(tmp_path, [asked(answers)]), schema="answers")
    assert (rows.texts, rows.pairs, rows.labels) == (("Who won?",), (CONTEXT,), (label,))
    assert (rows.inputs(), rows.schema) == ([("Who won?", CONTEXT)], "answers")


def test_answers_are_read_from_cells_of_csv(tmp_path):
    cells = [json.dumps({"text": ["Denver"], "answer_start": [22]}), str({"text": ["Denver"], "answer_start": [0]}), ""]
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("Question", "passage", "answer"), *(("q", CONTEXT, cell) for cell in cells)])
    assert load_dataset(tmp_path / "a.csv", schema="answers").labels == ((("Denver", 22),), (("Denver", 0),), ())


@pytest.mark.parametrize("indent", [None, 2])
def test_squads_own_files_are_read(tmp_path, indent):
    questions = [
        {
            "id": "1",
            "question": "Who won?",
            "answers": [{"text": "Denver", "answer_start": 22}],
            "is_impossible": False,
        },
        {
            "id": "2",
            "question": "Who sang?",
            "answers": [],
            "plausible_answers": [{"text": "x"}],
            "is_impossible": True,
        },
    ]
    articles = [{"title": "Final", "paragraphs": [{"context": CONTEXT, "qas": questions}]}]
    (tmp_path / "a.json").write_text(json.dumps({"version": "v2.0", "data": articles}, indent=indent))
    rows = load_dataset(tmp_path / "a.json", schema="answers")
    assert (rows.texts, rows.pairs) == (("Who won?", "Who sang?"), (CONTEXT, CONTEXT))
    assert rows.labels == ((("Denver", 22),), ())
    articles[0]["paragraphs"].append({"qas": 1})
    (tmp_path / "b.json").write_text(json.dumps({"data": articles}))
    with pytest.raises(DataError, match="not SQuAD's form: qas"):
        load_dataset(tmp_path / "b.json", schema="answers")


def test_a_text_that_occurs_twice_is_counted_and_its_first_place_taken(tmp_path):
    path = write(tmp_path, [asked("Carolina"), asked("Denver")])
    with pytest.warns(DataWarning, match=r"1 answer without a place occur several times .*a\.jsonl:2: the first"):
        rows = load_dataset(path, schema="answers")
    assert rows.labels[1] == (("Denver", 0),)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (asked("Seattle"), "a.jsonl:2: the answer 'Seattle' is not in its context."),
        (
            asked({"text": ["Denver"], "answer_start": [21]}),
            "a.jsonl:2: the answer 'Denver' is not in its context at character 21, where ' Denve' stands.",
        ),
        (asked({"text": ["Denver"], "answer_start": [-1]}), "a.jsonl:2: the answer 'Denver' is not in its context at"),
        (asked({"text": ["Denver"], "answer_start": [0, 22]}), "a.jsonl:2: column 'answers' is"),
        (asked({"text": ["Denver", ""], "answer_start": [0, 0]}), "a.jsonl:2: one answer of several is empty"),
        (asked("{'text': array(['Denver'], dtype=object)}"), "a.jsonl:2: column 'answers' is \"{'text': array"),
        (asked(None), "a.jsonl:2: column 'answers' is None; expected answers"),
        (asked("Denver", context=""), "a.jsonl:2: the text in column 'context' is empty"),
        (asked("Denver", question=" "), "a.jsonl:2: the text in column 'question' is empty"),
        ({"question": "q", "answers": "x"}, "a.jsonl:2: column 'context' is None; expected text"),
    ],
)
def test_a_broken_row_is_refused_with_its_line_or_left_out(tmp_path, row, words):
    path = write(tmp_path, [asked("Carolina"), row])
    with pytest.raises(DataError) as caught:
        load_dataset(path, schema="answers")
    assert words in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 4
    with pytest.warns(DataWarning, match=r"1 of 2 rows cannot be read and are left out\. The first: .*a\.jsonl:2"):
        rows = load_dataset(path, schema="answers", columns=Columns(skip_bad_rows=True))
    assert rows.labels == ((("Carolina", 12),),)


def test_questions_without_an_answer_need_a_model_that_can_say_so(tmp_path):
    rows = load_dataset(write(tmp_path, [asked("Carolina"), asked([])]), schema="answers")
    assert rows.for_task(QuestionAnswering(null_answers=True)) is rows
    with pytest.raises(DataError, match="1 of 2 questions have no answer, the first in row 2") as caught:
        rows.for_task(QuestionAnswering())
    assert "null answers" in caught.value.hint
    assert rows.take([0]).for_task(QuestionAnswering()).labels == ((("Carolina", 12),),)


def test_questions_alone_are_read_without_answers(tmp_path):
    path = write(tmp_path, [{"question": "q", "document": "d", "answers": "not in it"}])
    assert load_dataset(path, schema="answers", read="texts").labels is None
    with pytest.raises(DataError, match="no column with answers; there are: question, context"):
        load_dataset(write(tmp_path, [{"question": "q", "context": "d"}]), schema="answers")
    with pytest.raises(DataError, match="no column looks like context") as caught:
        load_dataset(write(tmp_path, [{"question": "q", "answers": "d"}]), schema="answers")
    assert "--pair-column" in caught.value.hint
