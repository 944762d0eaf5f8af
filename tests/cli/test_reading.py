"""What commands say of the rows that they read, and how `run` cuts a file into texts."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.data.dataset import load_dataset
from edgelm.data.reading import count_shared, describe
from tests.models import make_checkpoint

LINES = "the film was good\u2028and nice\nthe plot\twas slow\n\nthe music\x0cwas warm\n"


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    make_checkpoint(folder / "model")
    rows = [("a good\x1b[31m film", 1.0), ("a dull film", 0.0)] * 4
    (folder / "rows.jsonl").write_text(
        "".join(
            json.dumps({"text": f"{text} {place}", "label": label}) + "\n" for place, (text, label) in enumerate(rows)
        )
    )
    (folder / "log.csv").write_text(
        "\ufefftext,label\r\n" + "".join(f'"turn on\n{place}",{"odd" * (place % 7 == 0)}\r\n' for place in range(16))
    )
    return folder


@pytest.fixture(scope="module")
def made(files):
    words = (
        "--precision",
        "fp32",
        "--eval",
        files / "rows.jsonl",
        "--calibration",
        files / "log.csv",
        "--output",
        files / "made.edge",
    )
    return invoke("export", files / "model", *words, "--json")


def test_what_was_read_is_shown_before_work_begins(files, made):
    assert made.exit_code == 0, made.output
    lines = made.stderr.splitlines()
    assert (
        lines[0] == f"Read {files / 'rows.jsonl'}: 8 rows, text in 'text', label in 'label', single-label: negative 4, "
        "positive 4."
    )
    assert lines[1] == "  Labels of the model: 1 is positive, 0 is negative."
    assert lines[2:5] == [
        '  "a good\\x1b[31m film 0" -> positive',
        '  "a dull film 1" -> negative',
        '  "a good\\x1b[31m film 2" -> positive',
    ]
    assert json.loads(made.stdout)["manifest"]["quality"]["checkpoint"]


def test_the_value_of_what_was_read(files):
    rows = load_dataset(files / "rows.jsonl", labels=("negative", "positive"))
    assert describe(rows).to_dict() | {"samples": []} == {
        "source": str(files / "rows.jsonl"),
        "rows": 8,
        "schema": "text",
        "columns": {"text": "text", "label": "label"},
        "problem": "single-label",
        "label_format": None,
        "labels": {"negative": 4, "positive": 4},
        "matched": {"1": "positive", "0": "negative"},
        "samples": [],
    }
    assert count_shared(rows, rows.take([0, 1])) == 2


def test_run_and_the_script_of_a_bundle_cut_a_file_alike(files, made):
    assert made.exit_code == 0, made.output
    (files / "lines.txt").write_bytes(b"\xef\xbb\xbf" + LINES.encode())
    found = invoke("run", files / "made.edge", "--file", files / "lines.txt", "--json")
    script = [sys.executable, files / "made.edge" / "run.py", "--file", files / "lines.txt"]
    other = subprocess.run(script, capture_output=True, check=True, timeout=60).stdout.decode()
    texts = [[json.loads(line)["text"] for line in output.split("\n") if line] for output in (found.stdout, other)]
    assert (
        texts[0] == texts[1] == ["the film was good\u2028and nice", "the plot\twas slow", "", "the music\x0cwas warm"]
    )


def test_unknown_words_of_the_options_are_refused(files):
    rows = ("--data", files / "rows.jsonl", "--eval", files / "rows.jsonl", "--output", files / "none")
    for option, words in ((("--problem", "both"), "single-label"), (("--label-format", "csv"), "vectors")):
        refused = invoke("finetune", files / "model", *rows, *option)
        assert refused.exit_code == 2
        assert words in refused.stderr


def test_texts_are_read_where_the_label_column_is_empty(files, threads_alone):
    for command in (("tune", "--dry-run"), ("profile", "--runs", 3, "--loads", 1)):
        done = invoke(command[0], files / "made.edge", "--data", files / "log.csv", *command[1:], "--quiet")
        assert done.exit_code == 0, done.output
