"""Rows from every kind of file, and every kind of broken file refused with its place."""

import csv
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.data.dataset import Columns, Dataset, load_dataset
from edgelm.errors import DataError, DataWarning
from edgelm.tasks.text import TextClassification

rows = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
        st.sampled_from(["a", "b", "c"]),
    ),
    min_size=2,
    max_size=12,
).filter(lambda found: len({label for _, label in found}) > 1 and any(text.strip() for text, _ in found))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.sampled_from(["csv", "tsv", "jsonl", "json", "parquet"]))
def test_rows_come_back_as_they_were_written(tmp_path, found, kind):
    path = tmp_path / f"rows.{kind}"
    values = [{"text": text, "label": label} for text, label in found]
    if kind in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(
                stream, ["text", "label"], delimiter="," if kind == "csv" else "\t", quoting=csv.QUOTE_ALL
            )
            writer.writeheader()
            writer.writerows(values)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(values), encoding="utf-8")
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(values), path)
    dataset = load_dataset(path)
    assert list(dataset.texts) == [text for text, _ in found]
    assert [dataset.label_names[label] for label in dataset.labels] == [label for _, label in found]
    assert dataset.fingerprint() == load_dataset(path).fingerprint()


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.csv", "text,label\none,x\ntwo\n", "a.csv:3: 1 cells"),
        ("a.csv", "text,label\none,x,y\n", "a.csv:2: 3 cells"),
        ("a.csv", "words,mood\none,x\n", "words, mood"),
        ("a.csv", "text,label\none,x\ntwo,x\n", "two classes"),
        ("a.csv", "text,label\none,x\ntwo,\n", "a.csv:3: the label"),
        ("a.csv", b"text,label\ncaf\xe9,x\n", "a.csv:2: not UTF-8 at byte 14"),
        ("a.csv", "text,label\n,x\n  ,y\n", "is empty"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": 5, "label": "y"}\n', "a.jsonl:2: column 'text' is 5"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": null, "label": "y"}\n', "a.jsonl:2"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{broken\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", '["a"]\n', "a.jsonl:1: expected a JSON object"),
        ("a.jsonl", '{"text": "a", "label": {"x": 1}}\n', "a.jsonl:1: the label"),
        ("a.json", "{}", "list of JSON objects"),
        ("a.parquet", "PAR1 not really", "not a Parquet file"),
        ("a.xlsx", "x", "unknown kind"),
        ("a.jsonl", '{"text": "a"}\n', "no column with labels"),
    ],
)
def test_broken_files_are_refused_with_their_place(tmp_path, name, content, words):
    with pytest.raises(DataError) as caught:
        load_dataset(write(tmp_path, name, content))
    assert words in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 4


def test_a_missing_file_and_a_missing_column_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_dataset(tmp_path / "none.csv")
    path = write(tmp_path, "a.csv", "text,label\none,x\ntwo,y\n")
    with pytest.raises(DataError, match="no column 'body'; there are: text, label"):
        load_dataset(path, columns=Columns(text="body"))


def test_a_label_that_was_never_seen_is_refused_with_its_line(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\none,x\ntwo,z\n")
    with pytest.raises(DataError, match=r"a\.csv:3: label 'z' was never seen") as caught:
        load_dataset(path, labels=("x", "y"))
    assert "x, y" in caught.value.hint


def test_labels_are_put_in_the_order_of_the_models_by_name(tmp_path):
    (tmp_path / "dev.csv").write_text("text,label\na,zebra\nb,horse\n")
    task = TextClassification(labels=("zebra", "cow", "horse"))
    aligned = load_dataset(tmp_path / "dev.csv").for_task(task)
    assert [task.labels[label] for label in aligned.labels] == ["zebra", "horse"]
    assert aligned.for_task(task) is aligned
    (tmp_path / "numbers.csv").write_text("text,label\na,2\nb,0\n")
    assert load_dataset(tmp_path / "numbers.csv").for_task(task).labels == (2, 0)
    several = Dataset(
        "memory", ("a", "b"), labels=((1, 1), (0, 1)), label_names=("horse", "zebra"), problem="multi-label"
    )
    assert several.for_task(TextClassification(problem="multi-label", labels=task.labels)).labels == (
        (1, 0, 1),
        (1, 0, 0),
    )
    assert load_dataset(tmp_path / "numbers.csv").for_task(
        TextClassification(problem="regression", labels=("s",))
    ).labels == (2.0, 0.0)
    with pytest.raises(DataError, match=r"one number a row, the model gives 2 \(joy, fear\)"):
        load_dataset(tmp_path / "numbers.csv").for_task(
            TextClassification(problem="regression", labels=("joy", "fear"))
        )
    with pytest.raises(DataError, match="horse"):
        load_dataset(tmp_path / "dev.csv").for_task(TextClassification(labels=("zebra", "cow")))


def test_kinds_of_labels_are_told_apart(tmp_path):
    assert load_dataset(write(tmp_path, "a.csv", "text,score\none,0.5\ntwo,2\n")).problem == "regression"
    several = load_dataset(
        write(tmp_path, "b.jsonl", '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": []}\n')
    )
    assert (several.problem, several.labels, several.label_names) == ("multi-label", ((1, 1), (0, 0)), ("x", "y"))
    numbers = load_dataset(write(tmp_path, "c.csv", "text,label\none,10\ntwo,9\n"))
    assert numbers.label_names == ("9", "10")
    (tmp_path / "labels.json").write_text('["bad", "good", "fine"]')
    named = load_dataset(write(tmp_path, "d.jsonl", '{"text": "a", "label": 2}\n{"text": "b", "label": 0}\n'))
    assert (named.label_names, named.labels) == (("bad", "good", "fine"), (2, 0))


def test_pairs_are_found_by_their_usual_names(tmp_path):
    dataset = load_dataset(write(tmp_path, "a.csv", "Premise,Hypothesis,label\na,b,x\nc,d,y\n"))
    assert dataset.inputs() == [("a", "b"), ("c", "d")]


def test_a_byte_order_mark_and_very_long_texts_are_fine(tmp_path):
    dataset = load_dataset(write(tmp_path, "a.csv", "\ufefftext,label\n" + "x" * 200_000 + ",a\n,b\n"))
    assert [len(text) for text in dataset.texts] == [200_000, 0]


def test_samples_follow_the_seed(tmp_path):
    path = write(tmp_path, "a.jsonl", "".join(json.dumps({"text": str(number)}) + "\n" for number in range(50)))
    dataset = load_dataset(path, need_labels=False)
    assert dataset.sample(10, seed=1) == dataset.sample(10, seed=1)
    assert dataset.sample(10, seed=1) != dataset.sample(10, seed=2)
    assert dataset.sample(99) is dataset


def test_a_saved_folder_of_datasets_is_read(tmp_path):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).save_to_disk(
        tmp_path / "saved"
    )
    dataset = load_dataset(tmp_path / "saved")
    assert (dataset.texts, dataset.labels, dataset.label_names) == (("a", "b"), (1, 0), ("no", "yes"))


@pytest.mark.parametrize("names", [("text", "text_pair"), ("sentence_a", "sentence_b"), ("text1", "text2")])
def test_usual_names_of_two_texts_are_a_pair(tmp_path, names):
    (tmp_path / "a.csv").write_text(f"{names[0]},{names[1]},label\na,b,x\nc,d,y\n")
    assert load_dataset(tmp_path / "a.csv").inputs() == [("a", "b"), ("c", "d")]


def test_json_lines_are_read_under_the_name_of_json(tmp_path):
    (tmp_path / "a.json").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    assert load_dataset(tmp_path / "a.json").texts == ("a", "b")


def test_half_a_character_is_refused_with_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"text": "\\ud83d"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: column 'text' holds half"):
        load_dataset(tmp_path / "a.jsonl", need_labels=False)


def test_texts_that_are_none_are_left_out_where_asked_for(tmp_path):
    rows = [("a", "x", "l"), (5, "y", "m"), ("b", None, "n"), ("c", "z", "m")]
    lines = [json.dumps(dict(zip(("text", "text_pair", "label"), row, strict=True))) for row in rows]
    path = write(tmp_path, "a.jsonl", "\n".join(lines))
    with pytest.raises(DataError, match=r"a\.jsonl:2: column 'text' is 5; expected text"):
        load_dataset(path)
    with pytest.warns(DataWarning, match=r"2 of 4 rows cannot be read and are left out\. The first: .*a\.jsonl:2"):
        found = load_dataset(path, columns=Columns(skip_bad_rows=True))
    assert (found.inputs(), found.label_names, found.labels) == ([("a", "x"), ("c", "z")], ("l", "m"), (0, 1))
