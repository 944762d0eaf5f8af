"""Answers of edgelm-native beside those of the graph: `python benchmarks/native_parity.py BUNDLE ROWS [ROWS ...]
[--rows 20000] [--reference 200]`.

Every text runs alone, by onnxruntime with exact sums and by the library with 1, 2 and 4 threads; the first
`--reference` rows also in every instruction set that runs here. A row whose outputs differ by more than 1e-5 of the
span of all outputs has a rounding that fell to the other side: both compute floats in another order, and a value that
lies between two bytes of an activation goes to either. Those rows are counted, and so are answers that are others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import edgelm_native
import numpy as np
import onnx
from machine import print_machine

import edgelm.runtime
from edgelm.data.dataset import load_dataset
from edgelm.graph.session import make_plain_session
from edgelm.runtime.bundle import open_bundle
from edgelm.runtime.manifest import WEIGHTS_FILE
from edgelm.runtime.native import PROGRAM_FILE, NativeSession

_NEAR = 1e-5  # of the span
_THREADS = (1, 2, 4)


def main() -> None:
    """Print the machine and the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--reference", type=int, default=200)
    options = parser.parse_args()
    print_machine()
    bundle = open_bundle(options.bundle)
    graph = bundle.manifest.graph()
    model = edgelm.runtime.load(options.bundle)
    texts = [text for file in options.files for text in load_dataset(file).inputs()][: options.rows]
    theirs = make_plain_session(onnx.load(bundle.path / graph.file), threads=1, exact=True)
    mine = {threads: NativeSession(bundle, graph, threads=threads) for threads in _THREADS}
    program, weights = bundle.read(PROGRAM_FILE), bundle.read(WEIGHTS_FILE)
    sets = {
        name: edgelm_native.Encoder(program, weights, instruction_set=name) for name in edgelm_native.instruction_sets()
    }
    wanted, found = [], []
    unlike = dict.fromkeys([*(f"{threads} threads" for threads in _THREADS[1:]), *sets], 0)
    for number, text in enumerate(texts):
        feeds = model.tokenize([text])
        wanted.append(theirs.run(None, feeds)[0][0])
        first, *others = ((f"{threads} threads", each.run(None, feeds)[0][0]) for threads, each in mine.items())
        if number < options.reference:
            for name, each in sets.items():
                others.append((name, each(feeds)[graph.outputs[0].name][0].reshape(first[1].shape)))
        for name, values in others:
            unlike[name] += not np.array_equal(values, first[1])
        found.append(first[1])
    there, here = np.stack(wanted), np.stack(found)
    errors = np.abs(there - here).reshape(len(texts), -1).max(1) / np.ptp(there)
    print(
        f"{len(texts):,} rows; errors as shares of the span: median {np.median(errors):.1e}, largest {errors.max():.1e}"
    )
    print(f"{(errors > _NEAR).mean():.2%} of rows have a rounding that fell to the other side")
    print(f"{(there.argmax(-1) != here.argmax(-1)).reshape(len(texts), -1).any(1).sum()} rows have another answer")
    print("rows with other bits than by one thread: " + ", ".join(f"{name} {count}" for name, count in unlike.items()))


if __name__ == "__main__":
    main()
