"""Teachers for the other benchmarks: the demo's MiniLM-L6 fine-tuned on public sets, kept in a work folder.

Needs the environment variable EDGELM_DATA: a folder with NAME/train.jsonl, dev.jsonl and test.jsonl for each set.
`python benchmarks/teachers.py [--work build/teachers] [NAME ...]` makes those that are missing.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edgelm import finetune
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.demo import find_encoder
from edgelm.training_settings import TrainSettings

# Learning rate and epochs were chosen on dev.
SETTINGS = {
    "sst2": TrainSettings(epochs=2, learning_rate=1e-4, batch_size=64, max_length=128, precision="bf16"),
    "ag_news": TrainSettings(epochs=2, learning_rate=1e-4, batch_size=32, max_length=128, precision="bf16"),
    "banking77": TrainSettings(epochs=6, learning_rate=3e-4, batch_size=32, max_length=64, precision="bf16"),
    "snips": TrainSettings(epochs=1, learning_rate=1e-4, batch_size=32, max_length=64),
    "mrpc": TrainSettings(epochs=4, learning_rate=1e-4, batch_size=32, max_length=128, precision="bf16"),
}


def load_rows(name: str, limit: int | None = None) -> dict[str, Dataset]:
    """Train, dev and test of a set; `limit`: rows of train that are drawn."""
    folder = Path(os.environ["EDGELM_DATA"]) / name
    rows = {part: load_dataset(folder / f"{part}.jsonl") for part in ("train", "dev", "test")}
    return rows if limit is None else rows | {"train": rows["train"].sample(limit, seed=0)}


def make_teacher(name: str, work: Path) -> Path:
    """The checkpoint of a set's teacher; trained where it is missing."""
    output = work / name
    if not output.is_dir():
        rows = load_rows(name)
        finetune(find_encoder(), dataset=rows["train"], evaluation=rows["dev"], output=output, settings=SETTINGS[name])
    return output


def main() -> None:
    """Make the teachers that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETTINGS), help=", ".join(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    options = parser.parse_args()
    for name in options.names:
        print(name, make_teacher(name, options.work))


if __name__ == "__main__":
    main()
