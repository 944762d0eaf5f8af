"""TSV files with quoting and without it, and headers that cannot be used."""

import csv
import io

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgelm.data.dataset import load_dataset
from edgelm.errors import DataError, DataWarning

cells = st.text(st.sampled_from('ab "\t\n,'), min_size=1, max_size=8).filter(str.strip)


def write(tmp_path, content, name="a.tsv"):
    (tmp_path / name).write_bytes(content.encode())
    return tmp_path / name


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        cells.map(lambda text: text.replace("\t", " ").replace("\n", " ")).filter(str.strip), min_size=2, max_size=6
    )
)
@pytest.mark.filterwarnings("ignore::edgelm.errors.DataWarning")
def test_rows_without_quoting_come_back_as_they_were_written(tmp_path, texts):
    assume(not any(text[0] == text[-1] == '"' for text in texts))  # a cell between quotes can be meant either way
    path = write(
        tmp_path, "text\tlabel\n" + "".join(f"{text}\t{'xy'[place % 2]}\n" for place, text in enumerate(texts))
    )
    assert list(load_dataset(path).texts) == texts


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(cells, min_size=2, max_size=6), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_rows_that_a_program_has_quoted_come_back_as_they_were_written(tmp_path, texts, quoting):
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter="\t", quoting=quoting).writerows(
        [["text", "label"], *([text, "xy"[place % 2]] for place, text in enumerate(texts))]
    )
    assert list(load_dataset(write(tmp_path, stream.getvalue())).texts) == texts


def test_a_quote_that_closes_lines_later_is_a_character(tmp_path):
    with pytest.warns(DataWarning, match="3 rows, one a line; with quoting they would be 2"):
        rows = load_dataset(write(tmp_path, 'text\tlabel\n" a warm film\t1\na dull plot "\t0\nnice\t1\n'))
    assert (rows.texts, rows.labels) == (('" a warm film', 'a dull plot "', "nice"), (1, 0, 1))


def test_cells_with_tabs_line_breaks_and_doubled_quotes_as_pandas_writes_them(tmp_path):
    rows = load_dataset(
        write(tmp_path, 'text\tlabel\n"one\ttwo"\tx\n"three\nfour"\ty\n"she said ""no"""\tx\nplain\ty\n')
    )
    assert rows.texts == ("one\ttwo", "three\nfour", 'she said "no"', "plain")


def test_what_can_be_meant_either_way_is_refused_with_its_line(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.tsv:2: the quotes can belong to the texts or enclose cells: 2 rows"
    ) as caught:
        load_dataset(write(tmp_path, 'text\n"one\ntwo"\n'), need_labels=False)
    assert ".jsonl" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,label,label\na,x,y\n", "'label' twice"),
        ("text;label\na;x\nb;y\n", "separated by ';'"),
        ("text\tlabel\na\tx\n", "separated by tabs"),
    ],
)
def test_headers_that_cannot_be_used_are_refused(tmp_path, content, words):
    with pytest.raises(DataError, match=words):
        load_dataset(write(tmp_path, content, "a.csv"))


def test_the_index_that_pandas_writes_is_no_column(tmp_path):
    assert load_dataset(write(tmp_path, ",text, label\n0,a,x\n1,b,y\n", "a.csv")).texts == ("a", "b")


def test_texts_that_begin_and_end_with_a_quote_in_turn_stay_rows_of_their_own(tmp_path):
    with pytest.warns(DataWarning, match="4 rows, one a line"):
        rows = load_dataset(write(tmp_path, 'text\tlabel\n"a\tx\na"\ty\n"b\tx\nb"\ty\n'))
    assert rows.texts == ('"a', 'a"', '"b', 'b"')
