"""Recipes for encoders on the demo's intents: `python benchmarks/recipes.py --teacher build/demo/teacher --work
build/recipes`.

Each recipe compresses the teacher that `edgelm demo` made, is exported in INT8 and judged on the test rows; training
takes four epochs instead of the recipes' two or three, for the set has 3,000 rows. Latency: texts of test, batch 1,
unpadded, all subjects in one interleaved run. Checkpoints of an earlier run in the work folder are used again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import print_machine

from edgelm import compress, export, load_dataset, load_device, load_recipe, profile
from edgelm.files.shipped import shipped_folder, shipped_names
from edgelm.recipe import Recipe


def adapt(name: str) -> Recipe:
    """The recipe with four epochs of batches of 32 in every training."""
    stages = [stage.stage for stage in load_recipe(name).stages if stage.stage != "prune"]
    return load_recipe(
        name,
        overrides=[
            f"{stage}.train.{change}" for stage in stages for change in ("epochs=4", "batch_size=32", "max_length=64")
        ],
    )


def measure(teacher: Path, work: Path, threads: int, runs: int) -> dict[str, Any]:
    """A row a recipe, and one for the teacher in PyTorch."""
    data = shipped_folder("calibration_data") / "intents"
    train, dev, test = (load_dataset(data / f"{name}.jsonl") for name in ("train", "dev", "test"))
    names = [name for name in shipped_names("recipes") if not name.startswith(("generator", "seq2seq"))]
    quality = {}
    for name in names:
        if not (work / name).is_dir():
            compress(teacher, dataset=train, evaluation=dev, recipe=adapt(name), output=work / name)
        made = export(
            work / name,
            output=work / f"{name}.edge",
            device=load_device("cpu"),
            calibration=train,
            evaluation=test,
            overwrite=True,
        )
        quality[name] = made.manifest.quality
    first, *others = [work / f"{name}.edge" for name in names]
    found = profile(first, compare=[*others, teacher], data=test, threads=threads, runs=runs)
    accuracy = [quality[name]["bundle"]["accuracy"] for name in names] + [
        quality["no-training"]["checkpoint"]["accuracy"]
    ]
    rows = [
        {"name": item.name, "accuracy": share, "p50_ms": item.cases[0].percentile_ms(50), "size_mb": item.size_mb}
        for item, share in zip(found, accuracy, strict=True)
    ]
    return {"rows": rows, "machine": found[0].machine, "threads": threads, "runs": runs}


def main() -> None:
    """Print a Markdown table or, with --json, everything as one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, default=Path("build/demo/teacher"))
    parser.add_argument("--work", type=Path, default=Path("build/recipes"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print_machine(aside=True)
    values = measure(options.teacher, options.work, options.threads, options.runs)
    if options.json:
        print(json.dumps(values, indent=1))
        return
    eager = values["rows"][-1]["p50_ms"]
    print("| recipe | test accuracy | p50 ms | vs PyTorch | size MB |\n|---|---|---|---|---|")
    for row in values["rows"]:
        print(
            f"| {row['name']} | {row['accuracy']:.3f} | {row['p50_ms']:.3f} | {eager / row['p50_ms']:.1f}x | "
            f"{row['size_mb']:.1f} |"
        )
    print(f"\n{values['machine']['cpu']}, {values['threads']} threads, {values['runs']} runs each")


if __name__ == "__main__":
    main()
