"""What a command is given and is not there is said at once: before torch is imported, which takes seconds."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgelm.cli.main import app

ROWS = "text,label\nfine,a\nbad,b\n"
ASKED = """
import sys
from edgelm.cli.main import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    print(end.code, sorted({"torch", "transformers"} & set(sys.modules)))
"""
BOTH = ("--data", "rows.csv", "--eval", "rows.csv", "--output", "out")
MODEL = (4, "no such model folder")
FILE = (4, "no.jsonl: no such file")
CASES = {
    "finetune model": (("finetune", "./none", *BOTH), MODEL),
    "finetune data": (("finetune", "model", "--data", "no.jsonl", *BOTH[2:]), FILE),
    "compress model": (("compress", "/none/of/it", *BOTH, "--device", "cpu"), MODEL),
    "compress eval": (("compress", "model", *BOTH[:2], "--eval", "no.jsonl", *BOTH[4:], "--device", "cpu"), FILE),
    "compress texts": (("compress", "model", *BOTH, "--device", "cpu", "--unlabelled", "no.jsonl"), FILE),
    "export model": (("export", "./none", "--output", "out"), MODEL),
    "export calibration": (("export", "model", "--output", "out", "--calibration", "no.jsonl"), FILE),
    "search model": (("search", "./none", *BOTH, "--trials", "1"), MODEL),
    "search data": (("search", "model", "--data", "no.jsonl", *BOTH[2:], "--trials", "1"), FILE),
    "latency-table model": (("latency-table", "none", "--output", "out"), MODEL),
    "profile data": (("profile", "model", "--data", "no.jsonl"), FILE),
    "profile subject": (("profile", "./none"), (4, "nothing that can be measured")),
    "advise model": (("advise", "./none", *BOTH[:2], "--device", "t4", "--max-size", "1MB"), MODEL),
    "make": (("make", "edgelm.yaml"), FILE),
    "hub": (("export", "nobody/none", "--output", "out"), (4, "the model hub did not give it")),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    words = "model: ./model\ndata: {train: rows.csv, eval: no.jsonl}\ndevice: cpu\noutput: out\n"
    (tmp_path / "edgelm.yaml").write_text(words)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_there_is_said_before_anything_heavy_is_imported(place, monkeypatch, case):
    words, (code, told) = CASES[case]
    for heavy in ("edgelm.anatomy", "edgelm.compress", "edgelm.export.pipeline", "torch"):
        monkeypatch.setitem(sys.modules, heavy, None)  # whose import then fails
    done = CliRunner().invoke(app, list(words))
    assert (done.exit_code, told in done.stderr) == (code, True), done.output
    assert len(done.stderr.strip().splitlines()) <= 3
    assert not (place / "out").exists()


def test_a_process_that_says_so_has_not_imported_torch(place):
    words, (code, told) = CASES["compress model"]
    done = subprocess.run([sys.executable, "-c", ASKED, *words], capture_output=True, text=True, check=False)
    assert done.stdout.split(maxsplit=1) == [str(code), "[]\n"], done.stderr
    assert told in done.stderr
