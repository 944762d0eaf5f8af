"""Rows as trials read them are the rows that were given."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgelm.data.dataset import Columns, Dataset, load_dataset
from edgelm.search.rows import read_rows, write_rows

TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=8), min_size=2, max_size=2).map(
    tuple
)  # no half characters


@given(
    TEXTS,
    st.none() | TEXTS,
    st.sampled_from(
        [
            (None, (), None),
            ((1, 0), ("a", "b"), "single-label"),
            (((0, 1), (1, 1)), ("a", "b"), "multi-label"),
            ((0.5, 1.0), ("s",), "regression"),
        ]
    ),
)
def test_rows_survive_their_file(texts, pairs, labels):
    rows = Dataset("somewhere", texts, pairs, *labels)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.json", rows)
        again = read_rows(Path(folder) / "rows.json")
    assert again == rows
    assert again.fingerprint() == rows.fingerprint()


def test_rows_of_a_file_survive_with_how_they_were_read(tmp_path):
    (tmp_path / "rows.csv").write_text("words,kind\na,1\nb,0\n", encoding="utf-8")
    rows = load_dataset(tmp_path / "rows.csv", columns=Columns(text="words", label="kind"), labels=("no", "yes"))
    write_rows(tmp_path / "rows.json", rows)
    again = read_rows(tmp_path / "rows.json")
    assert (again, again.origin) == (rows, rows.origin)
    assert again.origin is not None
