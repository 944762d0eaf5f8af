"""Asked and taken: `EDGELM_DATA=FOLDER python benchmarks/time_limits.py [--layers 6] [--compress 90s ...]
[--budget 90s ...] [--tune 20s ...] [--search 3m ...]`.

`--time-limit` of `edgelm compress` (by a recipe, and to a speed-up whose latency table is measured), `tune`, `search`
against the clock of whoever waits: each command runs as a process of its own and is timed from its start to its end.
The model is a BERT of six layers, 384 wide, with random weights, since its shape alone counts here; rows are SST-2's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from machine import print_machine
from random_encoders import make_classifier

from edgelm.data.dataset import load_dataset
from edgelm.durations import parse_seconds

TRAIN, DEV = 4000, 400  # rows


def write_rows(folder: Path) -> list[str]:
    """The first rows of SST-2 as files of their own, as options."""
    options = []
    for option, name, part, count in (("--data", "train", "train", TRAIN), ("--eval", "dev", "dev", DEV)):
        source = Path(os.environ["EDGELM_DATA"]) / "sst2" / f"{part}.jsonl"
        lines = source.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        options += [option, str(folder / f"{name}.jsonl")]
    return options


def run(*words: object) -> tuple[float, int, str]:
    """Seconds that a command took, its exit code, and the last line of what it said."""
    start = time.monotonic()
    command = [sys.executable, "-m", "edgelm", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    return seconds, done.returncode, ([*done.stderr.splitlines(), ""] if done.returncode else [""])[-2:][0]


def show(name: str, limit: str, taken: tuple[float, int, str]) -> None:
    """One row."""
    asked, (seconds, code, said) = parse_seconds(limit), taken
    print(f"| {name} | {asked:.0f} | {seconds:.1f} | {seconds / asked - 1:+.0%} | {code} {said[:60]}|", flush=True)


def main() -> None:
    """Print a table, one row a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/time-limits"))
    parser.add_argument("--layers", type=int, default=6)
    for command, usual in (
        ("compress", ["90s"]),
        ("budget", ["90s", "15m"]),
        ("tune", ["20s", "60s"]),
        ("search", ["3m"]),
    ):
        parser.add_argument(f"--{command}", nargs="*", default=usual, help=f"Limits; default: {' '.join(usual)}.")
    asked = parser.parse_args()
    print_machine()
    shutil.rmtree(asked.work, ignore_errors=True)
    asked.work.mkdir(parents=True)
    rows = write_rows(asked.work)
    texts = load_dataset(rows[1]).texts
    model = make_classifier(texts, asked.work / "model", layers=asked.layers)
    print("| command | asked s | taken s | over | exit code |\n|---|---:|---:|---:|---|")
    for limit in asked.compress:
        options = [model, *rows, "--recipe", "balanced", "--time-limit", limit, "--overwrite"]
        show("compress --recipe balanced", limit, run("compress", *options, "--output", asked.work / "compressed"))
    for limit in asked.budget:
        options = [model, *rows, "--speedup", "8x", "--time-limit", limit, "--overwrite"]
        show("compress --speedup 8x", limit, run("compress", *options, "--output", asked.work / "faster"))
    if asked.tune:
        export = ["export", model, "--precision", "int8", "--calibration", rows[1], "--output", asked.work / "bundle"]
        _, code, said = run(*export)
        if code:
            raise SystemExit(f"export: {said}")
    for limit in asked.tune:
        bundle = shutil.copytree(asked.work / "bundle", asked.work / f"tuned-{limit}")
        show("tune", limit, run("tune", bundle, "--time-limit", limit))
    for limit in asked.search:
        output = asked.work / f"search-{limit}"
        options = [model, *rows, "--time-limit", limit, "--train-share", "0.05", "--output", output]
        show("search --train-share 0.05", limit, run("search", *options))
        trials = json.loads((output / "front.json").read_text())["trials"]
        print(f"  trials: {', '.join(trial['state'] for trial in trials)}", flush=True)


if __name__ == "__main__":
    main()
