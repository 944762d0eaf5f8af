"""What edgelm writes goes to other people: it tells nothing of the machine that made it."""

import json

import pytest
from models import TEXTS, make_checkpoint

from edgelm.anatomy import load_checkpoint, load_tokenizer, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.lineage import data_origin
from edgelm.data.dataset import load_dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.files.places import told_place, told_places

NAMES = ("negative", "positive")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("/home/jo/data/train.csv", "data/train.csv"),
        ("/train.csv", "train.csv"),
        ("/home/jo/data@validation", "jo/data@validation"),
        ("~/models/mine", "models/mine"),
        ("data/train.csv", "data/train.csv"),
        ("../train.csv", "../train.csv"),
        ("org/name", "org/name"),
        ("golden samples", "golden samples"),
        ("/home/jo/data/train.csv (changed by words)", "data/train.csv (changed by words)"),
    ],
)
def test_absolute_paths_keep_their_end_and_all_else_stays(given, told):
    assert told_place(given) == told


def test_settings_are_told_wherever_a_path_stands_in_them():
    settings = {"student": "/home/jo/models/small", "parts": ["/a/b/c", 3, None], "rate": 0.1}
    assert told_places(settings) == {"student": "models/small", "parts": ["b/c", 3, None], "rate": 0.1}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_no_file_of_a_checkpoint_or_a_bundle_names_the_folder_that_it_was_made_in(tmp_path, precision):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": text, "label": NAMES[index % 2]}) + "\n" for index, text in enumerate(TEXTS * 2))
    )
    data = load_dataset(rows)
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model", hidden=128, ffn=256, spread=0.1))
    record = checkpoint.record
    record.data["train"] = data_origin(data)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    save_checkpoint(tmp_path / "saved", model, tokenizer, record)
    device = load_device("cpu")
    options = {"device": device, "precision": precision, "calibration": data, "evaluation": data}
    export(tmp_path / "saved", output=tmp_path / "bundle", **options)
    files = [file for name in ("saved", "bundle") for file in (tmp_path / name).rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        assert str(tmp_path).encode() not in content, file
        if "runtime" not in file.parts:
            assert b"site-packages" not in content, file  # a stack of the exporting program
    assert json.loads((tmp_path / "saved" / "edgelm.json").read_text())["source"].endswith("/model")
