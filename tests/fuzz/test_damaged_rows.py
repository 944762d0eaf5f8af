"""Files of rows in every format, damaged in any place and read for every schema."""

import io
import json

import pytest
from fuzzing import damaged_bytes, damaged_json, hold, inputs
from hypothesis import given
from hypothesis import strategies as st

from edgelm.data.dataset import load_dataset
from edgelm.data.schemas import SCHEMAS

pytestmark = pytest.mark.fuzz
TEXTS = [
    {"text": "a good film", "label": "good"},
    {"text": 'a "bad" film', "label": "bad"},
    {"text": "a", "label": "bad"},
]
ROWS = {
    "text": TEXTS,
    "words": [{"tokens": ["a", "film"], "tags": ["O", "B-X"]}, {"tokens": ["b"], "tags": ["O"]}],
    "answers": [{"question": "who?", "context": "by Ada", "answers": {"text": ["Ada"], "answer_start": [3]}}],
    "choices": [{"text": "a", "ending0": "b", "ending1": "c", "label": 0}],
    "prompts": [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}],
    "targets": [{"source": "a", "target": "b"}, {"source": "c", "target": "d"}],
}
TALK = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
SQUAD = {
    "data": [
        {"title": "t", "paragraphs": [{"context": "by Ada", "qas": [{"id": "1", "question": "who?", "answers": []}]}]}
    ]
}
PLAIN = {
    ".csv": b'text,label\n"a, good film",good\n"b ""x""",bad\nc,bad\n',
    ".tsv": b'text\tlabel\na good film\tgood\n"b"\tbad\nc\tbad\n',
    ".txt": b"a good film\n\nb\r\nc\r",
    ".conll": b"-DOCSTART- O\n\na O\nfilm B-X\n\nb O\n",
    ".jsonl": b"\n".join(json.dumps(row).encode() for row in TEXTS),
}


def parquet():
    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(TEXTS), stream)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [*PLAIN, ".parquet"])
def test_a_file(suffix, tmp_path, request):
    whole = parquet() if suffix == ".parquet" else PLAIN[suffix]
    schema = "words" if suffix == ".conll" else "text"

    @inputs(request, 0.5)
    @given(data=damaged_bytes(whole), any_schema=st.sampled_from([schema, schema, *SCHEMAS]), need=st.booleans())
    def hammer(data, any_schema, need):
        (tmp_path / f"rows{suffix}").write_bytes(data)
        hold(lambda: load_dataset(tmp_path / f"rows{suffix}", schema=any_schema, need_labels=need))

    hammer()


@pytest.mark.parametrize("schema", [*ROWS, "talk", "squad"])
def test_rows_of_a_schema(schema, tmp_path, request):
    rows = {"talk": TALK, "squad": SQUAD}.get(schema) or ROWS[schema]
    name = {"talk": "prompts", "squad": "answers"}.get(schema, schema)

    @inputs(request, 0.25)
    @given(data=damaged_json(rows), known=st.sampled_from([None, ("good", "bad"), ("O", "B-X")]))
    def hammer(data, known):
        (tmp_path / "rows.json").write_bytes(data)
        hold(lambda: load_dataset(tmp_path / "rows.json", schema=name, labels=known))

    hammer()
