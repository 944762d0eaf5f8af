"""What the runtime costs beside onnxruntime: `python benchmarks/runtime_overhead.py BUNDLE [--threads 2] [--json]`.

Model.infer against a bare session.run (same inputs, alternating calls), the import time of edgelm.runtime, the peak
memory of the bundle's own run.py, and the p50 of `edgelm profile` against an independent loop.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import print_machine

from edgelm.profile.pipeline import profile
from edgelm.runtime import load, open_bundle
from edgelm.runtime.golden import Golden

MEMORY = """
import runpy, sys
sys.argv = ["run.py", *sys.argv[1:]]
try:
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
except SystemExit as end:
    if end.code:
        raise
print(next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


# The independent loop: onnxruntime alone, the golden inputs in turn.
LOOP = """
import json, statistics, sys, time, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options)
samples = json.load(open(sys.argv[2]))["inputs"]
feeds = [{name: numpy.array(rows) for name, rows in sample.items()} for sample in samples]
samples = []
for number in range(20 + int(sys.argv[4])):
    start = time.perf_counter()
    session.run(None, feeds[number % len(feeds)])
    samples.append(time.perf_counter() - start)
print(1000 * statistics.median(samples[20:]))
"""


def time_overhead(bundle: Path, threads: int, runs: int) -> tuple[float, float]:
    """Medians in ms of Model.infer and of session.run on the same session, each call of one followed by one of the
    other."""
    model = load(bundle, threads=threads)
    golden = Golden.from_json(open_bundle(bundle).read("golden.json"))
    feeds = [golden.feeds(index) for index in range(len(golden.texts))]
    names = [model.manifest.outputs[0].name]
    calls = {"infer": model.infer, "bare": lambda feed: model.session.run(names, feed)[0]}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(runs):
        order = list(calls) if number % 2 else list(reversed(calls))
        for name in order:
            start = time.perf_counter()
            calls[name](feeds[number % len(feeds)])
            samples[name].append((time.perf_counter() - start) * 1000)
    return statistics.median(samples["infer"][20:]), statistics.median(samples["bare"][20:])


def time_import(processes: int = 7) -> float:
    """Median in ms of `import edgelm.runtime` in fresh processes."""
    script = (
        "import time; start = time.perf_counter(); import edgelm.runtime; print((time.perf_counter() - start) * 1000)"
    )
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
        for _ in range(processes)
    )


def peak_memory(bundle: Path, threads: int) -> float | None:
    """Peak in 10^6 bytes of the bundle's run.py answering one text; None for a single-file bundle, which has to be
    unpacked first."""
    if bundle.is_file():
        return None
    text = Golden.from_json(open_bundle(bundle).read("golden.json")).texts[0]
    line = "\t".join(text) if isinstance(text, list) else text
    command = [sys.executable, "-c", MEMORY, str(bundle / "run.py"), line, "--threads", str(threads)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]) / 1e6


def profile_p50(bundle: Path, threads: int, runs: int) -> float:
    """p50 in ms of `edgelm profile`."""
    return profile(bundle, threads=threads, runs=runs, loads=1)[0].cases[0].percentile_ms(50)


def independent_p50(bundle: Path, threads: int, runs: int) -> float:
    """p50 in ms of `LOOP` in a fresh process."""
    command = [
        sys.executable,
        "-c",
        LOOP,
        str(bundle / "model.onnx"),
        str(bundle / "golden.json"),
        str(threads),
        str(runs),
    ]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(bundle: Path, threads: int, runs: int, repeats: int = 21) -> dict[str, float | None]:
    """All figures; profile and loop take turns, and the difference is the median over `repeats` pairs."""
    infer, bare = time_overhead(bundle, threads, runs)
    pairs = []
    for number in range(repeats):
        calls = {"profile": profile_p50, "loop": independent_p50}
        found = {name: calls[name](bundle, threads, runs) for name in sorted(calls, reverse=number % 2 == 1)}
        pairs.append((found["profile"], found["loop"]))
    ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    return {
        "infer_ms": infer,
        "session_run_ms": bare,
        "overhead_ms": infer - bare,
        "import_ms": time_import(),
        "run_py_peak_memory_mb": peak_memory(bundle, threads),
        "profile_p50_ms": ours,
        "independent_p50_ms": theirs,
        "difference": statistics.median(first / second for first, second in pairs) - 1,
    }


def main() -> None:
    """Print the figures as a table or, with --json, as one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print_machine(aside=True)
    figures = measure(options.bundle, options.threads, options.runs)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24}{'-' if value is None else f'{value:.4f}':>12}")


if __name__ == "__main__":
    main()
