"""Rows as trials read them are the rows that were given."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgelm.dataset import Dataset
from edgelm.search.rows import read_rows, write_rows

TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=8), min_size=2, max_size=2).map(tuple)  # no half characters


@given(
    TEXTS,
    st.none() | TEXTS,
    st.sampled_from(
        [(None, (), None), ((1, 0), ("a", "b"), "single-label"), (((0, 1), (1, 1)), ("a", "b"), "multi-label"), ((0.5, 1.0), ("s",), "regression")]
    ),
)
def test_rows_survive_their_file(texts, pairs, labels):
    rows = Dataset("somewhere", texts, pairs, *labels)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.json", rows)
        again = read_rows(Path(folder) / "rows.json")
    assert again == rows
    assert again.fingerprint() == rows.fingerprint()
