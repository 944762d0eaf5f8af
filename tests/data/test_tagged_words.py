"""Rows of words with tags: every kind of file, tags by name and number, the schemes, and what is refused."""

import csv
import json
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.data.dataset import Columns, Dataset, load_dataset
from edgelm.errors import DataError, DataWarning, UsageError
from edgelm.tasks.text import TextClassification, TokenClassification

WORDS, TAGS = ["Ada", "Lovelace", "in", "London"], ["B-PER", "I-PER", "O", "B-LOC"]
NAMES = ("O", "B-LOC", "B-PER", "I-PER")


def write(tmp_path, rows, name="a.jsonl"):
    path = tmp_path / name
    path.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def tagged(*tags, words=None):
    return {"tokens": words or [f"w{place}" for place in range(len(tags))], "tags": list(tags)}


def named(rows):
    return [tuple(rows.label_names[tag] for tag in tags) for tags in rows.labels]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", json.dumps({"tokens": WORDS, "ner_tags": TAGS}) + "\n"),
        ("a.json", json.dumps([{"words": WORDS, "labels": TAGS}])),
        ("a.csv", f'tokens,tags\n"{WORDS}","{TAGS}"\n'),
        ("a.conll", "-DOCSTART- -X- -X- O\n\n" + "".join(f"{w} NNP X {t}\n" for w, t in zip(WORDS, TAGS, strict=True))),
        ("a.bio", "".join(f"{word}\t{tag}\r\n" for word, tag in zip(WORDS, TAGS, strict=True)) + "\r\n\r\n"),
    ],
)
def test_words_and_tags_are_read_from_every_kind_of_file(tmp_path, name, content):
    rows = load_dataset(write(tmp_path, content, name), schema="words")
    assert (rows.texts, rows.inputs()) == ((tuple(WORDS),), [tuple(WORDS)])
    assert (rows.label_names, rows.labels, rows.pairs, rows.schema) == (NAMES, ((2, 3, 0, 1),), None, "words")
    assert named(rows) == [tuple(TAGS)]


sentences = st.lists(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9), min_size=1).filter(
        lambda words: any(word.strip() for word in words)
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sentences, st.sampled_from(["csv", "jsonl", "parquet"]))
def test_words_come_back_as_they_were_written(tmp_path, found, kind):
    path = tmp_path / f"rows.{kind}"
    rows = [tagged(*["O"] * len(words), words=words) for words in found]
    if kind == "jsonl":
        write(tmp_path, rows, path.name)
    elif kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            cells = [[json.dumps(value, ensure_ascii=False) for value in row.values()] for row in rows]
            csv.writer(stream).writerows([("tokens", "tags"), *cells])
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert load_dataset(path, schema="words").inputs() == [tuple(words) for words in found]


def test_tags_of_a_data_sets_features_are_read(tmp_path):
    import datasets

    kinds = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    features = {
        "tokens": datasets.Sequence(datasets.Value("string")),
        "ner_tags": datasets.Sequence(datasets.ClassLabel(names=kinds)),
    }
    data = datasets.Dataset.from_dict({"tokens": [WORDS], "ner_tags": [[1, 2, 0, 3]]}, datasets.Features(features))
    data.save_to_disk(tmp_path / "saved")
    rows = load_dataset(tmp_path / "saved", schema="words")
    assert (rows.label_names, rows.labels) == (tuple(kinds), ((1, 2, 0, 3),))


def test_numbers_take_their_names_from_labels_json_or_from_the_model(tmp_path):
    path = write(tmp_path, [{"tokens": WORDS, "tags": [1, 2, 0, 3]}])
    with pytest.raises(DataError, match=r"a\.jsonl:1: tag 1 is a number") as caught:
        load_dataset(path, schema="words")
    assert "labels.json" in caught.value.hint
    model = ("O", "B-PER", "I-PER", "B-LOC")
    assert named(load_dataset(path, schema="words", labels=model)) == [tuple(TAGS)]
    (tmp_path / "labels.json").write_text(json.dumps(model))
    rows = load_dataset(path, schema="words")
    assert (rows.label_names, named(rows)) == (model, [tuple(TAGS)])
    assert dict(rows.origin.matched) == {"1": "B-PER", "2": "I-PER", "0": "O", "3": "B-LOC"}
    with pytest.raises(DataError, match=r"b\.jsonl:1: tag 9, but there are names for 4"):
        load_dataset(write(tmp_path, [tagged(9)], "b.jsonl"), schema="words")


def test_a_models_tags_keep_their_order_and_others_are_refused_with_their_row(tmp_path):
    path = write(tmp_path, [tagged("O"), tagged("B-PER", "B-LOC")])
    model = ("B-LOC", "I-LOC", "B-PER", "O")
    assert load_dataset(path, schema="words", labels=model).labels == ((3,), (2, 0))
    rows = load_dataset(path, schema="words").for_task(TokenClassification(labels=model))
    assert (rows.labels, rows.label_names) == (((3,), (2, 0)), model)
    with pytest.raises(DataError, match=r"a\.jsonl:2: tag 'B-LOC' is none"):
        load_dataset(path, schema="words", labels=("O", "B-PER"))
    with pytest.raises(DataError, match=r"row 2: tag 'B-LOC' is none of the model's"):
        load_dataset(path, schema="words").for_task(TokenClassification(labels=("O", "B-PER")))
    with pytest.raises(DataError, match="read as words"):
        load_dataset(path, schema="words").for_task(TextClassification(labels=("a", "b")))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "a.jsonl:2: 2 words and 1 tag;"),
        ({"tokens": [], "tags": []}, "a.jsonl:2: no words"),
        ({"tokens": [" "], "tags": ["O"]}, "a.jsonl:2: no words"),
        ({"tokens": "two words", "tags": ["O", "O"]}, "a.jsonl:2: column 'tokens' is 'two words'; expected a list"),
        ({"tokens": ["a", 5], "tags": ["O", "O"]}, "a.jsonl:2: word 2 in column 'tokens' is 5"),
        ({"tokens": ["a", "\ud83d"], "tags": ["O", "O"]}, "a.jsonl:2: word 2 in column 'tokens' holds half"),
        ({"tokens": ["a"], "tags": [None]}, "a.jsonl:2: tag 1 in column 'tags' is None"),
        ({"tokens": ["a"], "tags": "O"}, "a.jsonl:2: column 'tags' is 'O'; expected a list of tags"),
        (tagged("B-X", "O", "S-X"), "a.jsonl:2: tag 2 is 'O' after 'B-X', which BIOES"),
        (tagged("S-X", "B-X"), "a.jsonl:2: the row ends after 'B-X', which BIOES"),
        (tagged("U-X", "B-X", "L-Y"), "a.jsonl:2: tag 3 is 'L-Y' after 'B-X', which BIOES"),
        (tagged("I-X", "S-X"), "a.jsonl:2: tag 1 is 'I-X', which BIOES"),
        (tagged("B-X", "X"), "a.jsonl:2: tag 'X' has no letter"),
    ],
)
def test_a_broken_row_is_refused_with_its_line_or_left_out(tmp_path, row, words):
    path = write(tmp_path, [tagged("O", "O"), row])
    with pytest.raises(DataError) as caught:
        load_dataset(path, schema="words")
    assert words in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 4
    with pytest.warns(DataWarning, match=r"1 of 2 rows cannot be read and are left out\. The first: .*a\.jsonl:2"):
        rows = load_dataset(path, schema="words", columns=Columns(skip_bad_rows=True))
    assert (rows.texts, named(rows)) == ((("w0", "w1"),), [("O", "O")])


def test_rows_that_are_all_broken_are_refused_even_so(tmp_path):
    with pytest.raises(DataError, match="none of the 1 rows can be read"):
        load_dataset(write(tmp_path, [tagged(words=["a"])]), schema="words", columns=Columns(skip_bad_rows=True))


def test_spans_that_begin_with_i_are_counted_and_kept(tmp_path):
    path = write(tmp_path, [tagged("B-X", "I-X"), tagged("O", "I-X", "I-Y"), tagged("I-X")])
    with pytest.warns(DataWarning, match=r"3 spans in 2 rows begin with I- and no B- before it, first at .*a\.jsonl:2"):
        rows = load_dataset(path, schema="words")
    assert named(rows)[1] == ("O", "I-X", "I-Y")


@pytest.mark.parametrize(
    "rows",
    [
        [tagged("B-X", "I-X", "O", "B-Y")],
        [tagged("B-X", "I-X", "E-X", "S-Y", "O"), tagged("O")],
        [tagged("B-X", "L-X", "U-Y")],
        [tagged("NOUN", "VERB", "O")],  # parts of speech
        [tagged("PER", "PER", "O")],
    ],
)
def test_tags_of_every_scheme_pass_without_a_warning(tmp_path, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_dataset(write(tmp_path, rows), schema="words")
    assert named(found) == [tuple(row["tags"]) for row in rows]


def test_plain_texts_and_words_without_tags_are_read_unlabelled(tmp_path):
    path = write(tmp_path, [{"text": "turn it on", "label": "x"}])
    rows = load_dataset(path, schema="words", read="texts")
    assert (rows.texts, rows.labels, rows.schema) == (("turn it on",), None, "words")
    with pytest.raises(DataError, match="no column with tags"):
        load_dataset(path, schema="words")
    words = load_dataset(write(tmp_path, [{"tokens": ["a", "b"]}], "b.jsonl"), schema="words", need_labels=False)
    assert (words.texts, words.labels) == ((("a", "b"),), None)
    joined = load_dataset(write(tmp_path, [tagged("O")], "c.jsonl"), schema="words").join(rows)
    assert (joined.texts, joined.labels) == ((("w0",), "turn it on"), ((0,), None))
    with pytest.raises(DataError, match=r"a\.jsonl:1: the text in column 'text' is empty"):
        load_dataset(write(tmp_path, [{"text": " "}]), schema="words", need_labels=False)


def test_a_conll_file_with_a_broken_line_is_refused_with_it(tmp_path):
    with pytest.raises(DataError, match=r"a\.conll:3: 'three' has 1 fields; the first line has 2"):
        load_dataset(write(tmp_path, "one O\ntwo O\nthree\n", "a.conll"), schema="words")
    path = write(tmp_path, "one O\n\ntwo S-X\nthree B-X\n", "b.conll")
    with pytest.raises(DataError, match=r"b\.conll:3: the row ends after 'B-X'"):
        load_dataset(path, schema="words")


def test_rows_of_words_are_taken_drawn_and_told_apart(tmp_path):
    rows = load_dataset(write(tmp_path, [tagged("O"), tagged("B-X"), tagged("O", "O")]), schema="words")
    assert rows.take([2, 0]).labels == (rows.labels[2], rows.labels[0])
    assert len(rows.sample(2, seed=3)) == 2
    assert rows.without_labels().schema == "words"
    assert rows.fingerprint() != rows.take([0, 1]).fingerprint()
    texts = Dataset("memory", ("a",))
    assert texts.fingerprint() != Dataset("memory", ("a",), schema="words").fingerprint()
    with pytest.raises(DataError, match=r"single texts, but .* has words"):
        rows.join(texts)


def test_an_unknown_schema_and_options_of_other_rows_are_refused(tmp_path):
    path = write(tmp_path, [tagged("O")])
    with pytest.raises(UsageError, match="schema is 'spans'"):
        load_dataset(path, schema="spans")
    with pytest.raises(UsageError, match="--first-label says nothing about rows of words"):
        load_dataset(path, schema="words", columns=Columns(first_label=1))
    with pytest.raises(UsageError, match="--problem says nothing"):
        load_dataset(path, schema="words", problem="single-label")
    with pytest.raises(DataError, match="named as a second input"):
        load_dataset(path, schema="words", columns=Columns(text_pair="tags"))
