"""Whether bundles answer on arm64 as they do here, on emulated CPUs: `python benchmarks/arm64.py [PRECISION ...]
[--texts 32] [--work build/teachers]`.

Needs the environment variables EDGELM_DATA, as `teachers.py` does, and EDGELM_ARM64: the folder that `bash
scripts/arm64.sh FOLDER` made. The SST-2 teacher is exported for `arm64`, calibrated on training rows; a bundle that
lies in the work folder from an earlier run is used again. Each emulated CPU replays the golden samples and answers
texts of dev, one at a time. Emulation shows what CPUs of that kind answer, not how fast. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
from teachers import load_rows, make_teacher

from edgelm import export, load_device

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from emulated import CPUS, EmulatedCpu, Missing, outputs_here

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int4")
SAMPLES = 256


def make_bundle(precision: str, work: Path) -> Path:
    """The teacher's bundle, where it is missing."""
    output = work / "sst2-arm64" / precision
    if not output.is_dir():
        rows = load_rows("sst2")["train"].take(range(SAMPLES))
        export(
            make_teacher("sst2", work),
            output=output,
            device=load_device("arm64"),
            precision=precision,
            calibration=rows,
            max_length=128,
        )
    return output


def main() -> None:
    """Print a row for each bundle and CPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("precisions", nargs="*", default=PRECISIONS, help=", ".join(PRECISIONS))
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--work", type=Path, default=Path("build/teachers"))
    options = parser.parse_args()
    dev = load_rows("sst2")["dev"]
    texts = [dev.texts[index] for index in random.Random(0).sample(range(len(dev)), options.texts)]
    print(
        "| precision | CPU | golden samples | largest difference, relative to the largest output | other answers "
        "|\n|---|---|---|---|---|"
    )
    with contextlib.ExitStack() as stack:
        try:
            cpus = [EmulatedCpu(name, Path(stack.enter_context(tempfile.TemporaryDirectory()))) for name in CPUS]
        except Missing as missing:
            parser.error(str(missing))
        for cpu in cpus:
            stack.callback(cpu.close)
        for precision in options.precisions:
            bundle = make_bundle(precision, options.work)
            here = outputs_here(bundle, texts)
            for cpu in cpus:
                verified = "pass" if cpu.verify(bundle)["ok"] else "fail"
                there = cpu.outputs(bundle, texts)
                difference = np.abs(there - here).max() / np.abs(here).max()
                changed = int((there.argmax(axis=1) != here.argmax(axis=1)).sum())
                print(
                    f"| {precision} | {cpu.name} | {verified} | {difference:.2g} | {changed} of {len(texts)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
