"""Lines end at \\n, \\r\\n and \\r, and nowhere else, in every format that has lines."""

import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.data.dataset import load_dataset
from edgelm.errors import DataError, DataWarning
from edgelm.lines import read_lines, read_texts, split_lines

INSIDE = "the film\u2028was\x85good\x0cand\x0bnice\x1ctoo"


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20), max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_lines_come_back_as_they_were_written(lines, end):
    assert split_lines("".join(line + end for line in lines)) == lines


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("ab\t\r\n\u2028\x0c"), max_size=20))
def test_a_file_is_cut_as_python_reads_text_files(tmp_path, text):
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert list(read_lines(tmp_path / "a.txt")) == [
        line.rstrip("\n") for line in io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_say_the_encoding(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("één\ntwee\n".encode(encoding))
    assert list(read_lines(tmp_path / "a.txt")) == ["één", "twee"]
    (tmp_path / "a.csv").write_bytes("text,label\néén,x\ntwee,y\n".encode(encoding))
    assert load_dataset(tmp_path / "a.csv").texts == ("één", "twee")
    (tmp_path / "a.jsonl").write_bytes('{"text": "één"}\r{"text": "twee"}'.encode(encoding))
    assert load_dataset(tmp_path / "a.jsonl", need_labels=False).texts == ("één", "twee")


def test_utf_16_without_a_mark_is_refused_in_words(tmp_path):
    (tmp_path / "a.csv").write_bytes("text,label\none,x\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="every other byte is zero"):
        load_dataset(tmp_path / "a.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_format_keeps_what_unicode_calls_line_breaks(tmp_path, end):
    rows = [(INSIDE, "x"), ("the plot", "y")]
    (tmp_path / "a.tsv").write_bytes(
        "".join(f"{text}\t{label}{end}" for text, label in [("text", "label"), *rows]).encode()
    )
    (tmp_path / "a.csv").write_bytes(
        "".join(f"{text},{label}{end}" for text, label in [("text", "label"), *rows]).encode()
    )
    (tmp_path / "a.jsonl").write_bytes(
        "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + end for text, label in rows).encode()
    )
    for kind in ("tsv", "csv", "jsonl"):
        assert load_dataset(tmp_path / f"a.{kind}").texts == (INSIDE, "the plot")
    (tmp_path / "a.txt").write_bytes(f"{INSIDE}{end}{end}the plot{end}".encode())
    with pytest.warns(DataWarning, match="1 blank line of 3 left out"):
        assert load_dataset(tmp_path / "a.txt", need_labels=False).texts == (INSIDE, "the plot")


def test_a_tab_separates_the_texts_of_a_pair_where_pairs_are_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\ttwo\tthree\r\nfour\n")
    assert list(read_texts(path, pairs=False)) == ["one\ttwo\tthree", "four"]
    texts = read_texts(path, pairs=True)
    assert next(texts) == ("one", "two\tthree")
    with pytest.raises(DataError, match=r"a\.txt:2: one text, and this model reads pairs: 'four'"):
        next(texts)
