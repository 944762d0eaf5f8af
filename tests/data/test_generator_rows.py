"""Rows for generators are found in the files that people have, and bad ones are refused by file and line."""

import json

import pytest

from edgelm.data.dataset import Columns, load_dataset
from edgelm.data.reading import describe
from edgelm.errors import DataError, DataWarning

TALK = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi there"}]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path, schema, need_labels=False, **columns):
    return load_dataset(path, schema=schema, need_labels=need_labels, columns=Columns(**columns))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"source": "a cat", "target": "eine Katze"}\n'),
        ("rows.csv", "en,de\na cat,eine Katze\n"),
        ("rows.tsv", "id\ten\tde\n1\ta cat\teine Katze\n"),
        ("rows.jsonl", '{"translation": {"en": "a cat", "de": "eine Katze"}}\n'),
        ("rows.jsonl", '{"document": "a cat", "summary": "eine Katze"}\n'),
        ("rows.csv", "article,highlights,id\na cat,eine Katze,1\n"),
        ("rows.jsonl", '{"source": ["a", "cat"], "target": ["eine Katze"]}\n'),
        ("rows.tsv", "English\tDeutsch\na cat\teine Katze\n"),
    ],
)
def test_sources_and_targets_are_found_by_their_usual_names(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    rows = read(tmp_path / name, "targets", need_labels=True)
    assert (rows.texts, rows.labels) == (("a cat",), (("eine Katze",),))


def test_the_direction_of_a_translation_can_be_chosen(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"translation": {"en": "a cat", "de": "eine Katze"}}])
    rows = read(path, "targets", text="de", label="en")
    assert (rows.texts, rows.labels) == (("eine Katze",), (("a cat",),))


def test_several_references_stay_together(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"source": "a", "target": ["b", "c"]}, {"source": "d", "target": "e"}])
    assert read(path, "targets").labels == (("b", "c"), ("e",))
    table = tmp_path / "rows.csv"
    table.write_text('source,target\na,"[""b"", ""c""]"\n')
    assert read(table, "targets").labels == (("b", "c"),)


def test_prompts_completions_conversations_and_texts_are_told_apart(tmp_path):
    pairs = written(tmp_path / "pairs.jsonl", [{"prompt": "a", "completion": "b"}])
    assert (read(pairs, "prompts").texts, read(pairs, "prompts").labels) == (("a",), ("b",))
    talks = written(tmp_path / "talks.jsonl", [{"messages": TALK}])
    rows = read(talks, "prompts")
    assert (rows.texts, rows.labels) == (((("user", "hello"), ("assistant", "hi there")),), None)
    assert describe(rows).samples == ({"text": ["user: hello", "assistant: hi there"]},)
    table = tmp_path / "talks.csv"
    table.write_text('messages\n"' + json.dumps(TALK).replace('"', '""') + '"\n')
    assert read(table, "prompts").texts == rows.texts
    texts = written(tmp_path / "texts.jsonl", [{"text": "= A ="}, {"text": ""}, {"text": "long"}])
    assert (read(texts, "prompts").texts, read(texts, "prompts").labels) == (("= A =", "long"), None)


def test_a_plain_text_is_cut_at_its_blank_lines_or_else_at_each_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\n\nthree\n")
    assert read(path, "prompts").texts == ("one\ntwo", "three")
    path.write_text("one\ntwo\n")
    assert read(path, "prompts").texts == ("one", "two")
    path.write_text("one\n\ntwo\n")
    with pytest.warns(DataWarning, match="blank line"):
        assert read(path, "text").texts == ("one", "two")  # of other tasks a line is a row, whatever is between


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": [{"role": "robot", "content": "x"}]}, r"talks\.jsonl:2: message 1 has the role 'robot'"),
        ({"messages": [{"role": "user"}]}, "message 1 is .* expected role and content"),
        ({"messages": []}, "expected a conversation"),
        ({"messages": [TALK[0]]}, "nothing to learn"),
        ({"messages": [TALK[1]]}, "an empty prompt"),
        ({"messages": [TALK[0], {"role": "assistant", "content": " "}]}, r"message 2 \(assistant\) is empty"),
        ({"messages": [TALK[0], {"role": "assistant", "content": None}]}, "the content of message 2 is None"),
    ],
)
def test_a_conversation_that_cannot_be_learned_is_named_by_its_row(tmp_path, row, words):
    path = written(tmp_path / "talks.jsonl", [{"messages": TALK}, row])
    with pytest.raises(DataError, match=words) as error:
        read(path, "prompts")
    assert error.value.exit_code == 4
    with pytest.warns(DataWarning, match="1 of 2 rows cannot be read"):
        assert len(read(path, "prompts", skip_bad_rows=True)) == 1


@pytest.mark.parametrize(
    ("schema", "row", "words"),
    [
        ("prompts", {"prompt": " ", "completion": "b"}, "the prompt in column 'prompt' is empty"),
        ("prompts", {"prompt": "a", "completion": ""}, "the completion in column 'completion' is empty"),
        ("prompts", {"text": "  "}, "every text in column 'text' is empty"),
        ("targets", {"source": "", "target": "b"}, "the source in column 'source' is empty"),
        ("targets", {"source": "a", "target": ["b", ""]}, "a target in column 'target' is empty"),
        ("targets", {"source": "a", "target": 3}, "column 'target' is 3; expected text"),
    ],
)
def test_an_empty_text_is_refused(tmp_path, schema, row, words):
    with pytest.raises(DataError, match=words):
        read(written(tmp_path / "rows.jsonl", [row]), schema)


def test_sources_without_targets_are_enough_where_none_are_needed(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"source": "a"}])
    assert read(path, "targets").labels is None
    with pytest.raises(DataError, match="no column with target"):
        read(path, "targets", need_labels=True)
