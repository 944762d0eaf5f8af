"""INT8 where sums have 16 bits: `python benchmarks/saturation.py [--work build/saturation] [--there "COMMAND"] [--texts
64]`.

Bundles of the demo's encoder, with weights of all eight bits (x86-vnni) and with room in the sums of neighbours (cpu),
answer texts here and by another interpreter: COMMAND runs Python, by default on a Haswell under qemu. Each is run by
plain onnxruntime, as bundles were until 16-bit sums were looked at, and by edgelm's runtime. Times of an emulator say
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from ending import run
from machine import print_machine

from edgelm import export, load_device
from edgelm.data.dataset import load_dataset
from edgelm.demo import find_encoder
from edgelm.files.shipped import shipped_folder

BUNDLES = {"eight bits": "x86-vnni", "room": "cpu"}
PRECISIONS = ("int8", "int8-dynamic")

# Answers of one bundle: by onnxruntime as it is and by edgelm's runtime, one thread, with the median time of a text.
ANSWER = """
import json, statistics, sys, time, warnings, onnxruntime, edgelm.runtime
warnings.simplefilter("ignore")
model = edgelm.runtime.load(sys.argv[1], threads=1)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
disabled = model.manifest.session.get("disabled_optimizers")
graph, cpu = sys.argv[1] + "/model.onnx", ["CPUExecutionProvider"]
plain = onnxruntime.InferenceSession(graph, options, providers=cpu, disabled_optimizers=disabled)
feeds = [model.tokenize([text]) for text in json.loads(open(sys.argv[2]).read())]
ways = {"onnxruntime": lambda feed: plain.run([model.manifest.outputs[0].name], feed)[0], "edgelm": model.infer}
found = {way: {"vectors": [answer(feed)[0].tolist() for feed in feeds]} for way, answer in ways.items()}
times = {way: [] for way in ways}
for _ in range(int(sys.argv[3])):
    for way, answer in ways.items():
        for feed in feeds:
            start = time.perf_counter()
            answer(feed)
            times[way].append(time.perf_counter() - start)
print(json.dumps({way: entry | {"ms": 1e3 * statistics.median(times[way])} for way, entry in found.items()}))
"""


def answers(command: list[str], bundle: Path, texts: Path, rounds: int) -> dict[str, dict[str, object]]:
    """What an interpreter makes of a bundle: vectors and milliseconds, by the way it is run."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            [os.environ.get("PYTHONPATH", ""), *(entry for entry in sys.path if entry)]
        ).strip(":")
    }
    done = subprocess.run(
        [*command, "-c", ANSWER, str(bundle), str(texts), str(rounds)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return json.loads(done.stdout)


def compare(here: object, there: object) -> str:
    """Cells of a table: least cosine, largest difference, and the share of texts with another nearest neighbour."""
    first, second = np.asarray(here), np.asarray(there)
    cosine = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    nearest = [(vectors @ vectors.T - 9 * np.eye(len(vectors))).argmax(axis=1) for vectors in (first, second)]
    return f"{cosine.min():.5f} | {np.abs(first - second).max():.5f} | {np.mean(nearest[0] != nearest[1]):.1%}"


def main() -> None:
    """Export, answer here and there, and print a row for each bundle and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/saturation"))
    parser.add_argument("--there", default=f"qemu-x86_64-static -cpu Haswell {Path(sys.executable).resolve()}")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1, help="of all texts, for the times")
    given = parser.parse_args()
    print_machine()
    rows = load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False)
    given.work.mkdir(parents=True, exist_ok=True)
    texts = given.work / "texts.json"
    texts.write_text(json.dumps(rows.texts[300 : 300 + given.texts]))
    print(f"there: {given.there}\n")
    print(
        "| precision | weights | run by | parity, changed | least cosine | largest difference | other neighbour | ms "
        "here | ms there |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for precision in PRECISIONS:
        for name, device in BUNDLES.items():
            output = given.work / f"{device}-{precision}"
            made = export(
                find_encoder(),
                device=load_device(device),
                precision=precision,
                calibration=rows.take(range(128)),
                output=output,
                overwrite=True,
            )
            here = answers([sys.executable], output, texts, given.rounds)
            there = answers(shlex.split(given.there), output, texts, given.rounds)
            for way in here:
                cells = compare(here[way]["vectors"], there[way]["vectors"])
                parity = made.manifest.graph().parity
                changed = "-" if parity is None else f"{parity.changed:.5f}"
                print(
                    f"| {precision} | {name} | {way} | {changed} | {cells} | {here[way]['ms']:.2f} | "
                    f"{there[way]['ms']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    run(main)
