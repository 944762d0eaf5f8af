"""The recipes `balanced` and `no-training` on SST-2: `python benchmarks/sst2.py --work build/sst2 [--threads 2] [--runs
1000]`.

Needs the environment variable EDGELM_DATA: a folder with sst2/train.jsonl, dev.jsonl, test.jsonl and labels.json. A
teacher is fine-tuned from the demo's MiniLM-L6, compressed and exported; what lies in the work folder from an earlier
run is used again. Training looks at train, every choice was made on dev, and the accuracies shown are of test. Latency:
batch 1, unpadded, texts of dev, every subject in a process of its own, in one interleaved run. Beside edgelm's bundles
stand PyTorch eager FP32 and onnxruntime's `quantize_dynamic` of the teacher's graph: of the plain graph of standard
operators, and of the fused one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import onnx
from machine import print_machine
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgelm import compress, export, finetune, load_device, load_recipe, profile
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.demo import find_encoder
from edgelm.export.samples import encode, graph_rows
from edgelm.export.trace import export_graph
from edgelm.graph.fusion import split_norms
from edgelm.graph.session import make_plain_session
from edgelm.metrics.scores import score
from edgelm.training_settings import TrainSettings

TEACHER = TrainSettings(epochs=2, learning_rate=1e-4, batch_size=64, max_length=128, precision="bf16")


def load_rows(folder: Path) -> dict[str, Dataset]:
    """Train, dev and test."""
    return {name: load_dataset(folder / f"{name}.jsonl") for name in ("train", "dev", "test")}


def make_checkpoints(work: Path, rows: dict[str, Dataset]) -> dict[str, float]:
    """Teacher and compressed checkpoint, where they are missing; seconds of each."""
    seconds = {}
    if not (work / "teacher").is_dir():
        start = time.perf_counter()
        finetune(
            find_encoder(), dataset=rows["train"], evaluation=rows["dev"], output=work / "teacher", settings=TEACHER
        )
        seconds["teacher"] = time.perf_counter() - start
    if not (work / "balanced").is_dir():
        start = time.perf_counter()
        recipe = load_recipe("balanced", overrides=["recover.train.precision=bf16"])
        compress(
            work / "teacher", dataset=rows["train"], evaluation=rows["dev"], recipe=recipe, output=work / "balanced"
        )
        seconds["balanced"] = time.perf_counter() - start
    return seconds


def make_bundles(work: Path, rows: dict[str, Dataset]) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """INT8 bundles of both; the metrics on test that their manifests hold, and seconds."""
    quality, seconds = {}, {}
    for checkpoint, name in (("balanced", "balanced"), ("teacher", "no-training")):
        start = time.perf_counter()
        output = work / f"{name}.edge"
        made = export(
            work / checkpoint,
            output=output,
            device=load_device("cpu"),
            calibration=rows["train"],
            evaluation=rows["test"],
            overwrite=True,
        )
        quality[name] = made.manifest.quality
        seconds[f"{name}, export"] = time.perf_counter() - start
    return quality, seconds


def make_rivals(work: Path, rows: dict[str, Dataset]) -> dict[str, float]:
    """`quantize_dynamic` with its defaults, of the teacher's plain and fused graphs; accuracy on test by name."""
    model, tokenizer, task = (
        load_checkpoint(work / "teacher"),
        load_tokenizer(work / "teacher"),
        open_checkpoint(work / "teacher").task,
    )
    found = {}
    for name, fused in (("ort-dynamic-plain", False), ("ort-dynamic-fused", True)):
        source, target = work / f"{name}-fp32.onnx", work / f"{name}.onnx"
        graph = export_graph(TaskModel(model, tokenizer, task, 512), fused=fused)
        split_norms(graph)
        onnx.save(graph, source)
        quantize_dynamic(
            source, target, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT}
        )
        outputs = graph_rows(
            make_plain_session(onnx.load(target)), encode(tokenizer, task, rows["test"].inputs(), max_length=512)
        )
        found[name] = score(task, outputs, rows["test"].labels or ())["accuracy"]
    return found


def measure(work: Path, threads: int, runs: int) -> dict[str, Any]:
    """Everything; a row a subject."""
    rows = load_rows(Path(os.environ["EDGELM_DATA"]) / "sst2")
    seconds = make_checkpoints(work, rows)
    quality, more = make_bundles(work, rows)
    rivals = make_rivals(work, rows)
    others = [work / "no-training.edge", *(work / f"{name}.onnx" for name in rivals), work / "teacher"]
    found = profile(work / "balanced.edge", compare=others, data=rows["dev"], threads=threads, runs=runs)
    accuracy = [
        quality["balanced"]["bundle"]["accuracy"],
        quality["no-training"]["bundle"]["accuracy"],
        *rivals.values(),
    ]
    accuracy.append(quality["no-training"]["checkpoint"]["accuracy"])
    eager = found[-1].cases[0].percentile_ms(50)
    table = [
        {
            "name": item.name,
            "accuracy": share,
            "p50_ms": item.cases[0].percentile_ms(50),
            "p99_ms": item.cases[0].percentile_ms(99),
            "speedup": eager / item.cases[0].percentile_ms(50),
            "size_mb": item.size_mb,
            "load_ms": item.load_ms,
            "peak_memory_mb": item.peak_memory_mb,
        }
        for item, share in zip(found, accuracy, strict=True)
    ]
    return {"rows": table, "seconds": seconds | more, "machine": found[0].machine, "threads": threads, "runs": runs}


def main() -> None:
    """Print a Markdown table or, with --json, everything as one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/sst2"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print_machine(aside=True)
    if "EDGELM_DATA" not in os.environ:
        parser.error("set EDGELM_DATA to the folder that holds sst2/")
    values = measure(options.work, options.threads, options.runs)
    if options.json:
        print(json.dumps(values, indent=1))
        return
    print(
        "| model | test accuracy | p50 ms | p99 ms | vs PyTorch | size MB | load ms | peak MB "
        "|\n|---|---|---|---|---|---|---|---|"
    )
    for row in values["rows"]:
        figures = (
            f"{row['accuracy']:.4f} | {row['p50_ms']:.3f} | {row['p99_ms']:.3f} | {row['speedup']:.2f}x | "
            f"{row['size_mb']:.1f}"
        )
        print(f"| {row['name']} | {figures} | {row['load_ms']:.0f} | {row['peak_memory_mb']:.0f} |")
    print(
        f"\n{values['machine']['cpu']}, {values['threads']} threads, {values['runs']} runs each. Seconds: "
        f"{values['seconds']}"
    )


if __name__ == "__main__":
    main()
