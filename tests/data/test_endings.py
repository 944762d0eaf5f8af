"""Rows of multiple choice: endings in one column or several, labels by place or letter."""

import csv
import json

import pytest

from edgelm.data.dataset import Columns, load_dataset
from edgelm.errors import DataError, DataWarning
from edgelm.tasks.text import MultipleChoice

TWO = ("stay", "go")


def write(tmp_path, rows, name="a.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def chosen(label, endings=TWO, text="They"):
    return {"ctx": text, "endings": list(endings), "label": label}


@pytest.mark.parametrize("labels", [(0, 1), ("0", "1"), (0.0, 1.0), ("A", "B"), ("a", "b"), (1, 2)])
def test_the_right_ending_is_named_by_its_place_or_letter(tmp_path, labels):
    rows = load_dataset(write(tmp_path, [chosen(label) for label in labels]), schema="choices")
    assert (rows.texts, rows.pairs, rows.labels) == (("They", "They"), (TWO, TWO), (0, 1))
    assert (rows.inputs()[0], rows.schema) == (("They", TWO), "choices")


def test_numbered_columns_are_endings_and_swags_go_on_from_its_second_sentence(tmp_path):
    swag = {"sent1": "He runs.", "sent2": "He", "startphrase": "He runs. He", "label": 1}
    swag |= {f"ending{place}": word for place, word in enumerate(("stops.", "falls."))}
    rows = load_dataset(write(tmp_path, [swag, swag | {"label": 0}]), schema="choices")
    assert rows.inputs()[0] == ("He runs.", ("He stops.", "He falls."))
    assert rows.origin.text_pair == "ending0, ending1"
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("choice_2", "choice_1", "question", "answer"), ("b", "a", "q", "B")])
    rows = load_dataset(tmp_path / "a.csv", schema="choices")
    assert (rows.inputs(), rows.labels) == ([("q", ("a", "b"))], (1,))


def test_choices_with_letters_of_their_own_are_read(tmp_path):
    marked = {"question": "q", "choices": {"label": ["1", "2"], "text": list(TWO)}}
    rows = load_dataset(write(tmp_path, [marked | {"answerKey": "2"}, marked | {"answerKey": "1"}]), schema="choices")
    assert (rows.pairs[0], rows.labels) == (TWO, (1, 0))


def test_numbers_without_a_zero_are_decided_by_the_option(tmp_path):
    path = write(tmp_path, [chosen(1, endings="abc"), chosen(2, endings="abc")])
    with pytest.raises(DataError, match="counted from 0") as caught:
        load_dataset(path, schema="choices")
    assert "--first-label" in caught.value.hint
    assert load_dataset(path, schema="choices", columns=Columns(first_label=1)).labels == (0, 1)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (chosen(0, endings="abc"), "a.jsonl:3: 3 endings; the rows before have 2"),
        (chosen(0, endings="a"), "a.jsonl:3: column 'endings' is ['a']; expected a list of endings"),
        (chosen(0, endings=("a", " ")), "a.jsonl:3: ending 2 is empty"),
        (chosen(0, endings=("a", 5)), "a.jsonl:3: ending 2 is 5; expected text"),
        (chosen(0, text=" "), "a.jsonl:3: the text in column 'ctx' is empty"),
        (chosen("Z"), "a.jsonl:3: label 'Z' is none of 2 endings"),
        (chosen(""), "a.jsonl:3: the label in column 'label' is ''"),
    ],
)
def test_a_broken_row_is_refused_with_its_line_or_left_out(tmp_path, row, words):
    letter = isinstance(row["label"], str)
    path = write(tmp_path, [chosen("A" if letter else 0), chosen("B" if letter else 1), row])
    with pytest.raises(DataError) as caught:
        load_dataset(path, schema="choices")
    assert words in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 4
    with pytest.warns(DataWarning, match="1 of 3 rows cannot be read and are left out"):
        rows = load_dataset(path, schema="choices", columns=Columns(skip_bad_rows=True))
    assert rows.labels == (0, 1)


def test_rows_without_a_label_are_left_out_by_their_mark(tmp_path):
    path = write(tmp_path, [chosen("0"), chosen(""), chosen("1")])
    assert load_dataset(path, schema="choices", columns=Columns(missing_label="")).labels == (0, 1)
    assert load_dataset(path, schema="choices", read="texts").labels is None


def test_a_model_takes_as_many_endings_as_it_was_made_for(tmp_path):
    rows = load_dataset(write(tmp_path, [chosen(0), chosen(1)]), schema="choices")
    assert rows.for_task(MultipleChoice(choices=2)) is rows
    with pytest.raises(DataError, match="row 1: 2 endings; the model was made for 4"):
        rows.for_task(MultipleChoice(choices=4))
    other = load_dataset(write(tmp_path, [chosen(0, endings="abc")], "b.jsonl"), schema="choices")
    with pytest.raises(DataError, match="texts with 3 endings, but"):
        rows.join(other)
