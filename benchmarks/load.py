"""What hashing costs when a bundle is loaded: `python benchmarks/load.py BUNDLE [--runs 15] [--drop-caches]`.

Each load is a process of its own, with hashes and without in turn. Time in ms from the process's first import to the
loaded model, and of `load` alone, which imports onnxruntime and tokenizers. Cold, with `--drop-caches`: the bundle's
files are taken out of the system's cache before each load; warm: they are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

LOAD = """
import json, sys, time
start = time.perf_counter()
from edgelm.runtime import load
imported = time.perf_counter()
load(sys.argv[1], check_hashes=sys.argv[2] == "1")
end = time.perf_counter()
print(json.dumps([(end - start) * 1000, (end - imported) * 1000]))
"""


def drop_from_cache(bundle: Path) -> None:
    """Ask the system to forget the content of every file of the bundle."""
    for file in [bundle] if bundle.is_file() else [path for path in bundle.rglob("*") if path.is_file()]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--drop-caches", action="store_true")
    options = parser.parse_args()
    samples: dict[bool, list[list[float]]] = {True: [], False: []}
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    for number in range(options.runs + 1):
        for hashes in (True, False) if number % 2 else (False, True):
            if options.drop_caches:
                drop_from_cache(options.bundle)
            command = [sys.executable, "-c", LOAD, str(options.bundle), str(int(hashes))]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            if number:  # the first pair warms Python's own files
                samples[hashes].append(json.loads(done.stdout))
    for position, what in enumerate(("import and load", "load alone, with the libraries that it imports")):
        with_hashes, without = (
            statistics.median(sample[position] for sample in samples[hashes]) for hashes in (True, False)
        )
        cost = with_hashes - without
        print(
            f"{what}: {with_hashes:.1f} ms with hashes, {without:.1f} without: {cost:+.1f} ms, {cost / without:+.1%} "
            f"(medians of {options.runs})"
        )


if __name__ == "__main__":
    main()
