"""The shipped text sets are what their generators make, and no text stands in two splits."""

import importlib.util
from pathlib import Path

import pytest

from edgelm.data.dataset import load_dataset
from edgelm.files.shipped import shipped_folder


def generator(name):
    spec = importlib.util.spec_from_file_location(name, shipped_folder("calibration_data") / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "folder"), [("generate_intents", "intents"), ("generate_text", "")])
def test_generators_reproduce_their_files(tmp_path, name, folder):
    generator(name).write(tmp_path)
    made = sorted(tmp_path.glob("*.jsonl"))
    assert made
    for file in made:
        assert file.read_bytes() == (Path(shipped_folder("calibration_data")) / folder / file.name).read_bytes()


def test_intents_splits_share_no_text_and_all_labels():
    folder = shipped_folder("calibration_data") / "intents"
    train, dev, test = (load_dataset(folder / f"{name}.jsonl") for name in ("train", "dev", "test"))
    assert (len(train), len(dev), len(test)) == (3000, 500, 1000)
    assert train.label_names == dev.label_names == test.label_names
    lowered = [{text.lower() for text in split.texts} for split in (train, dev, test)]
    assert not (lowered[0] & lowered[1] or lowered[0] & lowered[2] or lowered[1] & lowered[2])
