"""One bundle in many threads and processes: each answers as if it were alone, all map the same weights, and nothing is
kept of a request."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from bundles import WORDS, make_bundle, reseal
from onnx import numpy_helper

import edgelm.runtime
from edgelm.graph.external_data import save_graph

TEXTS = [" ".join(WORDS[2:][(place * step) % 6] for step in range(1, 2 + place % 7)) for place in range(48)]
ROWS = 500_000  # of the table of words, for weights that show in a process's memory: 8 MB
MB = 1_000_000

# Asks a bundle from 16 threads, and says what it answered and what the process holds.
ASK = """
import json, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from edgelm.runtime import load
bundle, texts, rounds = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
model = load(bundle, threads=1)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
with ThreadPoolExecutor(16) as pool:
    sizes = []
    for _ in range(rounds):
        found = list(pool.map(lambda text: model(text)["scores"], texts))
        sizes.append(resident())
print(json.dumps([found, sizes]), flush=True)
sys.stdin.readline()
mapped, name = {}, ""
for line in open("/proc/self/smaps"):
    words = line.split()
    if not words[0].endswith(":"):
        name = words[-1]
    elif name.endswith("/weights.bin") and words[-1] == "kB":
        mapped[words[0]] = mapped.get(words[0], 0) + 1024 * int(words[1])
print(json.dumps(mapped))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle whose weights lie in a file of their own."""
    folder = make_bundle(tmp_path_factory.mktemp("many") / "b.edge")
    graph = onnx.load(folder / "model.onnx")
    for tensor in graph.graph.initializer:
        if tensor.name == "table":
            table = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.resize(table, (ROWS, table.shape[1])), "table"))
    save_graph(graph, folder / "model.onnx", "weights.bin")
    return reseal(folder)


@pytest.fixture(scope="module")
def alone(bundle):
    model = edgelm.runtime.load(bundle, threads=1)
    return [model(text)["scores"] for text in TEXTS]


def start(bundle, *, rounds=1, texts=TEXTS):
    command = [sys.executable, "-c", ASK, str(bundle), json.dumps(texts), str(rounds)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_sixteen_threads_are_answered_as_alone(bundle, alone):
    model = edgelm.runtime.load(bundle, threads=1)
    with ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            assert list(pool.map(lambda text: model(text)["scores"], TEXTS)) == alone


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no system says what is mapped")
def test_eight_processes_answer_as_one_and_map_the_weights_once(bundle, alone):
    running = [start(bundle) for _ in range(8)]
    try:
        assert [json.loads(process.stdout.readline())[0] for process in running] == [alone] * 8
        mapped = [json.loads(process.communicate("\n", timeout=120)[0]) for process in running]
    finally:
        for process in running:
            process.kill()
    for held in mapped:
        assert held["Size:"] >= ROWS * 16
        assert held["Anonymous:"] == 0  # no copy of its own


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_requests(bundle):
    """`benchmarks/serving.py --soak 100000` in small: 3,000 requests by 16 threads, of which the first 1,000 fill
    what is kept for good, such as each thread's heap."""
    process = start(bundle, rounds=15, texts=TEXTS * 4 + TEXTS[:8])
    try:
        _, sizes = json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()
    assert max(sizes) - sizes[4] < max(0.01 * sizes[4], MB)  # the allocator gives and takes whole arenas
