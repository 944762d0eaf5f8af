"""Labels as people mean them; where they can be meant in two ways, a refusal that names both and the option."""

import json

import pytest

from edgelm.data.dataset import Columns, load_dataset
from edgelm.errors import DataError, DataWarning
from edgelm.tasks.text import TextClassification

STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
THREE = ("toxic", "insult", "threat")


def write(tmp_path, labels, kind):
    path = tmp_path / f"a.{kind}"
    texts = [f"text {place}" for place in range(len(labels))]
    if kind == "csv":
        path.write_text(
            "text,label\n" + "".join(f'{text},"{label}"\n' for text, label in zip(texts, labels, strict=True))
        )
    else:
        path.write_text(
            "".join(
                json.dumps({"text": text, "label": label}) + "\n" for text, label in zip(texts, labels, strict=True)
            )
        )
    return path


@pytest.mark.parametrize(
    ("kind", "cells", "known", "names", "values"),
    [
        ("csv", ["0.0", "1.0"], None, ("0", "1"), (0, 1)),
        ("jsonl", [0.0, 1.0], None, ("0", "1"), (0, 1)),
        ("csv", ["0.0", "1.0"], ("no", "yes"), ("no", "yes"), (0, 1)),
        ("csv", ["TRUE", "False"], None, ("false", "true"), (1, 0)),
        ("jsonl", [True, False], None, ("false", "true"), (1, 0)),
        ("csv", ["true", "false"], ("False", "True"), ("False", "True"), (1, 0)),
        ("jsonl", [True, False], ("no", "yes"), ("no", "yes"), (1, 0)),
        ("csv", [" positive", "negative ", "positive"], None, ("negative", "positive"), (1, 0, 1)),
        ("csv", ["Positive", "NEGATIVE"], ("negative", "positive"), ("negative", "positive"), (1, 0)),
        ("csv", list("12345"), None, tuple("12345"), (0, 1, 2, 3, 4)),
        ("csv", list("052"), None, ("0", "2", "5"), (0, 2, 1)),
        ("csv", list("1234"), STARS, STARS, (0, 1, 2, 3)),
        ("csv", list("042"), STARS, STARS, (0, 4, 2)),
        ("csv", list("125"), tuple("abcde"), tuple("abcde"), (0, 1, 4)),
        ("csv", ["-1", "1"], None, ("-1", "1"), (0, 1)),
        ("csv", ["²", "³"], None, ("²", "³"), (0, 1)),
        ("csv", ["007", "1"], None, ("007", "1"), (0, 1)),
        ("csv", ["a | b", "c"], ("a | b", "c"), ("a | b", "c"), (0, 1)),
        ("csv", ["a|b", "a"], None, ("a", "b"), ((1, 1), (1, 0))),
        ("jsonl", [[0, 1, 1], [0, 0, 0]], None, ("label_0", "label_1", "label_2"), ((0, 1, 1), (0, 0, 0))),
        ("jsonl", [[0.0, 1.0], [1.0, 0.0]], None, ("label_0", "label_1"), ((0, 1), (1, 0))),
        ("jsonl", [[False, True], [True, False]], None, ("label_0", "label_1"), ((0, 1), (1, 0))),
        ("csv", ["[0, 1, 1]", "[1, 0, 0]"], None, ("label_0", "label_1", "label_2"), ((0, 1, 1), (1, 0, 0))),
        ("csv", ["[0 1 1]", "[1 0\n 0]"], None, ("label_0", "label_1", "label_2"), ((0, 1, 1), (1, 0, 0))),
        ("csv", ["['a' 'b']", "['b']", "[]"], None, ("a", "b"), ((1, 1), (0, 1), (0, 0))),
        ("csv", ["('a', 'b')", "('b',)"], None, ("a", "b"), ((1, 1), (0, 1))),
        ("jsonl", [["0", "1", "1"], ["1", "0", "0"]], None, ("label_0", "label_1", "label_2"), ((0, 1, 1), (1, 0, 0))),
        ("csv", ["[not a list]", "(other)"], None, ("(other)", "[not a list]"), (1, 0)),
        ("jsonl", [[0, 2], [1]], None, ("0", "1", "2"), ((1, 0, 1), (0, 1, 0))),
    ],
)
def test_labels_are_read_as_people_mean_them(tmp_path, kind, cells, known, names, values):
    rows = load_dataset(write(tmp_path, cells, kind), labels=known)
    assert (rows.label_names, rows.labels) == (names, values)


@pytest.mark.parametrize(
    ("kind", "cells", "known", "options", "hint"),
    [
        ("csv", ["1", "2", "4"], ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4"), {}, "--first-label"),
        ("csv", ["0", "1", "-1"], None, {}, "--missing-label -1"),
        ("csv", ["-1", "1", "2"], None, {}, "--missing-label -1"),
        ("csv", ["-1", "0", "1"], THREE, {}, "--first-label -1"),
        ("jsonl", [[1, 0], [0, 1]], THREE, {}, "--label-format vectors"),
        ("csv", ["Health | Fitness", "Sports"], None, {}, "--problem single-label"),
        ("jsonl", [[0, 1], [1, 0]], None, {}, "--label-format vectors"),
        ("jsonl", [[0, 1], [1, 0]], ("a", "b"), {}, "--label-format indices"),
        ("jsonl", [10**400, 1], None, {}, "--label-column"),
        ("csv", ["NaN", "x"], None, {}, "--missing-label"),
        ("csv", ["inf", "2"], None, {}, "Regression"),
        ("jsonl", [[], []], None, {}, "--label-column"),
        ("jsonl", [None, "x"], None, {}, "--missing-label"),
    ],
)
def test_labels_with_two_readings_are_refused_with_the_option_that_decides(tmp_path, kind, cells, known, options, hint):
    with pytest.raises(DataError) as caught:
        load_dataset(write(tmp_path, cells, kind), labels=known, columns=Columns(**options))
    assert hint in caught.value.hint


def test_the_options_decide(tmp_path):
    five = tuple(f"LABEL_{place}" for place in range(5))
    stars = write(tmp_path, ["1", "4"], "csv")
    assert load_dataset(stars, labels=five, columns=Columns(first_label=1)).labels == (0, 3)
    assert load_dataset(stars, labels=five, columns=Columns(first_label=0)).labels == (1, 4)
    bits = write(tmp_path, [[0, 1], [1, 0]], "jsonl")
    assert load_dataset(bits, labels=("a", "b"), columns=Columns(label_format="vectors")).labels == ((0, 1), (1, 0))
    assert load_dataset(bits, labels=("a", "b"), columns=Columns(label_format="indices")).labels == ((1, 1), (1, 1))
    bar = write(tmp_path, ["Health | Fitness", "Sports"], "csv")
    assert load_dataset(bar, problem="single-label").label_names == ("Health | Fitness", "Sports")
    assert load_dataset(bar, problem="multi-label").label_names == ("Fitness", "Health", "Sports")
    signs = write(tmp_path, ["0", "1", "-1"], "csv")
    assert load_dataset(signs, columns=Columns(missing_label="")).label_names == ("-1", "0", "1")
    with pytest.warns(DataWarning, match="1 row without a label"):
        rows = load_dataset(signs, columns=Columns(missing_label="-1"))
    assert (rows.texts, rows.label_names) == (("text 0", "text 1"), ("0", "1"))


def test_minus_one_is_no_class_of_a_model(tmp_path):
    with pytest.warns(DataWarning, match="1 row without a label"):
        assert load_dataset(write(tmp_path, [0, -1, 1], "jsonl"), labels=("no", "yes")).labels == (0, 1)


def test_vectors_follow_the_order_of_the_model_and_must_be_of_its_length(tmp_path):
    assert load_dataset(write(tmp_path, [[0, 1, 1]], "jsonl"), labels=THREE, problem="multi-label").labels == (
        (0, 1, 1),
    )
    with pytest.raises(DataError, match="each of 3 labels"):
        load_dataset(write(tmp_path, [[0, 1, 1, 0]], "jsonl"), labels=THREE, problem="multi-label")


def test_numbers_of_a_spreadsheet_find_their_names_in_labels_json(tmp_path):
    (tmp_path / "labels.json").write_text('["bad", "good"]')
    path = write(tmp_path, ["1.0", "0.0"], "csv")
    rows = load_dataset(path)
    assert (rows.label_names, rows.labels, dict(rows.origin.matched)) == (
        ("bad", "good"),
        (1, 0),
        {"1": "good", "0": "bad"},
    )
    (tmp_path / "labels.json").write_text('["bad", "bad"]')
    with pytest.raises(DataError, match="'bad' twice"):
        load_dataset(path)


def test_capitals_alone_are_told(tmp_path):
    with pytest.warns(DataWarning, match="Positive, positive"):
        load_dataset(write(tmp_path, ["Positive", "positive"], "csv"))


def test_minus_one_can_be_the_first_label(tmp_path):
    rows = load_dataset(
        write(tmp_path, ["-1", "0", "1"], "csv"), labels=("bad", "fair", "good"), columns=Columns(first_label=-1)
    )
    assert rows.labels == (0, 1, 2)


def test_lists_are_lists_beside_rows_without_a_label(tmp_path):
    with pytest.warns(DataWarning, match="1 row without a label"):
        rows = load_dataset(write(tmp_path, ["", "['a']", "['a', 'b']"], "csv"), columns=Columns(missing_label=""))
    assert (rows.label_names, rows.labels) == (("a", "b"), ((1, 0), (1, 1)))


def test_names_in_other_capitals_find_their_place_in_labels_json(tmp_path):
    (tmp_path / "labels.json").write_text('["good", "bad"]')
    rows = load_dataset(write(tmp_path, ["Bad", "good"], "csv"))
    assert (rows.label_names, rows.labels) == (("good", "bad"), (1, 0))


def test_rows_read_without_a_model_take_its_labels_by_number(tmp_path):
    task = TextClassification(labels=("bad", "poor", "good"))
    path = write(tmp_path, ["1", "2"], "csv")
    with pytest.raises(DataError, match="counted from 0"):
        load_dataset(path).for_task(task)
    assert load_dataset(path).for_task(task, first_label=1).labels == (0, 1)
    assert load_dataset(path, columns=Columns(first_label=0)).for_task(task).labels == (1, 2)
