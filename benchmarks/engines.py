"""TensorRT engines of a model in each precision, by the real builder: `python benchmarks/engines.py [CHECKPOINT]
[--device rtx-4090]`

How many bytes graph and engine have, and how long the engine takes to build. tensorrt-rtx builds for a GPU that need
not be here; where one is, it builds for that, and replays the golden samples on it. Without CHECKPOINT: the SST-2
teacher of `teachers.py`, which needs EDGELM_DATA, calibrated on dev. How fast engines are is for `gpu.py` to say. Every
family, full and pruned, is built by `tests/engines/test_real_builder.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ending import run
from teachers import load_rows, make_teacher

from edgelm import export, load_device
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.device import Device
from edgelm.engines import BuildResult, build
from edgelm.hardware.machine import describe_machine
from edgelm.runtime import open_bundle
from edgelm.runtime.graph_spec import GRAPH_FILE
from edgelm.runtime.manifest import WEIGHTS_FILE

PRECISIONS = ("fp32", "fp16", "int8")
MAX_LENGTH = 128


def measure(
    checkpoint: Path, calibration: Dataset | None, device: Device, package: str, folder: Path
) -> dict[str, tuple[int, BuildResult]]:
    """By precision: bytes of the graph with its weights, and the engine."""
    found = {}
    for precision in PRECISIONS:
        output = folder / f"{device.name}-{precision}.edge"
        # The engine alone is timed, so it is not built on the way.
        export(
            checkpoint,
            output=output,
            device=device,
            precision=precision,
            calibration=calibration,
            max_length=MAX_LENGTH,
            engine=False,
            overwrite=True,
        )
        graph = sum(
            entry.size for entry in open_bundle(output).manifest.files if entry.path in (GRAPH_FILE, WEIGHTS_FILE)
        )
        found[precision] = graph, build(output, package=package)
    return found


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="Default: the SST-2 teacher.")
    parser.add_argument(
        "--calibration", type=Path, help="Texts for INT8 of CHECKPOINT. Default: English text that edgelm ships."
    )
    parser.add_argument("--device", default="rtx-4090")
    parser.add_argument("--package", default="tensorrt-rtx")
    parser.add_argument(
        "--teachers", type=Path, default=Path("build/teachers"), help="where teachers.py keeps its models"
    )
    parser.add_argument("--work", type=Path, default=Path("build/engines"))
    options = parser.parse_args()
    checkpoint = options.checkpoint or make_teacher("sst2", options.teachers)
    calibration = load_dataset(options.calibration, need_labels=False) if options.calibration else None
    if options.checkpoint is None:
        calibration = load_rows("sst2")["dev"]
    folder = options.work / checkpoint.name
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(checkpoint, calibration, load_device(options.device), options.package, folder)
    engine = found["fp32"][1].engine
    print(
        f"{checkpoint.name}, {engine.package} {engine.version}, compute capability {engine.compute_capabilities[0]}; "
        f"{describe_machine().cpu}\n"
    )
    print("| precision | graph, MB | engine, MB | engine / FP32 engine | seconds to build |\n|---|---|---|---|---|")
    for precision, (graph, made) in found.items():
        share = made.size_mb / found["fp32"][1].size_mb
        print(f"| {precision} | {graph / 1e6:.2f} | {made.size_mb:.2f} | {share:.1%} | {made.engine.seconds:.1f} |")


if __name__ == "__main__":
    run(main)
