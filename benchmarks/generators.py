"""Tokens a second of a generator: edgelm's graphs beside llama.cpp, onnxruntime-genai and transformers.

`python benchmarks/generators.py MODEL --work FOLDER [--rounds 5] [--threads 2] [--contexts 16 256 1024] [--prompt 128]
[--subjects edgelm:int4 llama.cpp:q4_0 ...] [--genai-python PYTHON --genai FOLDER] [--cold]`

MODEL is a model folder of a decoder, or a GGUF or its folder. Subjects: `edgelm:PRECISION`, `edgelm:PRECISION+HEAD`,
both with `@BLOCK`, where blocks are not of 32, and with `-cache8`, where keys and values are bytes;
`llama.cpp:PRECISION`, of the same weights, with the library that EDGELM_LLAMA_CPP names (`llama_cpp.py`), and
`llama.cpp:file`, the GGUF that MODEL is; `onnxruntime-genai`, of a folder that its model builder made; `transformers`.
Graphs and GGUFs are made in the folder of --work, where they are not there.
Each subject is a process of its own, and all of them are measured in turn, round after round.

A row: MB of the file; milliseconds of CPU time for one token after so many tokens, and for a prompt; tokens a second by
the clock; which share of the memory's bandwidth the first of these reaches, by the file's bytes, which a token reads
once; the most memory that the process held. Medians of all calls. CPU time holds on a machine that others use too;
threads that spin while they wait count in it. --cold: from the start of a process to the first token behind 16, of
bundles that `edgelm export` makes and of GGUFs (`generator_cold.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from generator_cold import measure_cold
from machine import print_machine

from edgelm.errors import UsageError
from edgelm.hardware.peak_rates import measure_bandwidth
from edgelm.model_folder.gguf import gguf_file

SUBJECTS = (
    "edgelm:int4",
    "edgelm:int4+int4",
    "edgelm:int4@128",
    "edgelm:int4-cache8",
    "edgelm:int8-weights",
    "edgelm:int8-dynamic",
    "edgelm:fp32",
    "llama.cpp:q4_0",
    "llama.cpp:q8_0",
    "transformers",
)
FILE = "llama.cpp:file"
COLD = (
    "edgelm:int4",
    "edgelm:int8-weights",
    "edgelm:int8-dynamic",
    "edgelm:fp32",
    "llama.cpp:q4_0",
    "llama.cpp:q8_0",
    FILE,
)
HERE = Path(__file__).parent
POSITIONS = 2048
CALLS, PROMPTS = 30, 3  # a round
_STREAM_MB, _STREAMS = 256, 5
_CACHE, _TEXTS = "-cache8", 64


def make_graph(model: Path, setting: str, folder: Path) -> None:
    """Build and save the graph of PRECISION+HEAD@BLOCK, its cache in bytes behind -cache8."""
    import numpy as np

    from edgelm.anatomy import load_checkpoint, load_tokenizer
    from edgelm.checkpoint import open_checkpoint
    from edgelm.export.generation.cache_scales import CacheScale, cache_scales
    from edgelm.export.generation.decoder import decoder_graph
    from edgelm.files.shipped import shipped_folder
    from edgelm.graph.external_data import save_graph
    from edgelm.quantize.blocks import BLOCK, BlockWeight, round_blocks
    from edgelm.runtime.graph_spec import GraphSpec

    checkpoint = open_checkpoint(model)
    loaded = load_checkpoint(checkpoint)
    kinds, _, size = setting.removesuffix(_CACHE).partition("@")
    precision, _, head = kinds.partition("+")

    def quantize(name: str, weight: np.ndarray, bits: int) -> BlockWeight:
        return round_blocks(weight, bits, block=int(size or BLOCK))

    texts = (shipped_folder("calibration_data") / "english.jsonl").read_text().splitlines()
    scales: Sequence[CacheScale] = ()
    if setting.endswith(_CACHE):
        read = load_tokenizer(checkpoint)
        scales = cache_scales(loaded, [read(json.loads(text)["text"], return_tensors="pt") for text in texts[:_TEXTS]])
    made = decoder_graph(
        loaded, precision=precision, head=head or None, positions=POSITIONS, quantize=quantize, cache=scales
    )
    folder.mkdir(parents=True)
    save_graph(made.model, folder / "decoder.onnx", "weights.bin")
    spec = GraphSpec(name="decoder", file="decoder.onnx", inputs=made.inputs, outputs=made.outputs, opset=20)
    (folder / "spec.json").write_text(json.dumps(asdict(spec)))


def make_gguf(model: Path, precision: str, path: Path) -> None:
    """Write the weights for llama.cpp."""
    from edgelm.anatomy import load_checkpoint, load_tokenizer
    from edgelm.checkpoint import open_checkpoint
    from edgelm.export.formats.gguf import write_gguf

    checkpoint = open_checkpoint(model)
    write_gguf(load_checkpoint(checkpoint), load_tokenizer(checkpoint), path, precision=precision)


def make_bundle(model: Path, precision: str, path: Path) -> None:
    """Export a bundle."""
    command = [sys.executable, "-m", "edgelm", "export", str(model), "--precision", precision, "--output", str(path)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def prepare(subject: str, model: Path, work: Path, genai: Path | None, *, cold: bool = False) -> Path:
    """The file or folder that an engine loads; `cold`: of edgelm a whole bundle."""
    engine, _, setting = subject.partition(":")
    if engine == "edgelm" and cold:
        path = work / f"{setting}.bundle"
        if not path.exists():
            make_bundle(model, setting, path)
        return path
    if engine == "edgelm":
        path = work / setting
        if not path.exists():
            make_graph(model, setting, path)
        return path
    if subject == FILE:
        found = gguf_file(model)
        if found is None:
            raise UsageError(f"{model}: no GGUF for {FILE}.", hint="Leave the subject out.")
        return found
    if engine == "llama.cpp":
        path = work / f"{setting}.gguf"
        if not path.exists():
            make_gguf(model, setting, path)
        return path
    return genai or work / "genai" if engine == "onnxruntime-genai" else model


def weight_mb(path: Path) -> float:
    """Megabytes of the weights, in a file or in the largest one of a folder."""
    sizes = [path.stat().st_size] if path.is_file() else [file.stat().st_size for file in path.iterdir()]
    return max(sizes) / 1e6


class Subject:
    """A process that measures one engine."""

    def __init__(self, name: str, path: Path, python: str, threads: int) -> None:
        self.name, self.path = name, path
        self.times: dict[tuple[int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.peak_mb = 0.0
        command = [python, str(HERE / "generator_engines.py"), name.partition(":")[0], str(path), str(threads)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )

    def measure(self, before: int, tokens: int, count: int) -> None:
        """Have it time a few calls, and keep what it says."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"before": before, "tokens": tokens, "count": count}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        for clock in ("cpu", "wall"):
            self.times[before, tokens][clock] += answer[clock]
        self.peak_mb = answer["peak_mb"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def row(self, contexts: list[int], prompt: int, bandwidth_gb_s: float) -> str:
        """Its line of the table."""
        cases = [*((context, 1) for context in contexts), (0, prompt)]
        cpu = [f"{statistics.median(self.times[case]['cpu']):.1f}" for case in cases]
        rates = [f"{1000 / statistics.median(self.times[context, 1]['wall']):.0f}" for context in contexts]
        mb, token_ms = weight_mb(self.path), statistics.median(self.times[contexts[0], 1]["wall"])
        share = mb / token_ms / bandwidth_gb_s
        cells = [self.name, f"{mb:.0f}", *cpu, " / ".join(rates), f"{share:.0%}", f"{self.peak_mb:.0f}"]
        return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure all subjects and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contexts", type=int, nargs="+", default=[16, 256, 1024])
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--genai", type=Path)
    parser.add_argument("--genai-python", default=sys.executable)
    parser.add_argument("--cold", action="store_true")
    options: Any = parser.parse_args()
    print_machine()
    if options.cold:
        chosen = [name for name in options.subjects if name in COLD]
        paths = {name: prepare(name, options.model, options.work, None, cold=True) for name in chosen}
        measure_cold(paths, rounds=options.rounds, threads=options.threads)
        return
    bandwidth = max(measure_bandwidth(threads=options.threads, megabytes=_STREAM_MB) for _ in range(_STREAMS))
    print(f"# memory: {bandwidth:.1f} GB/s with {options.threads} threads, read and written by copies")
    subjects = []
    for name in options.subjects:
        path = prepare(name, options.model, options.work, options.genai)
        python = options.genai_python if name == "onnxruntime-genai" else sys.executable
        subjects.append(Subject(name, path, python, options.threads))
    for _ in range(options.rounds):
        for context in options.contexts:
            for subject in subjects:
                subject.measure(context, 1, CALLS)
        for subject in subjects:
            subject.measure(0, options.prompt, PROMPTS)
    columns = ["subject", "MB", *(f"ms after {context}" for context in options.contexts), f"ms prompt {options.prompt}"]
    print(f"| {' | '.join([*columns, 'tokens/s', 'of the bandwidth', 'peak MB'])} |\n|{'---|' * (len(columns) + 3)}")
    for subject in subjects:
        print(subject.row(options.contexts, options.prompt, bandwidth))
        subject.close()


if __name__ == "__main__":
    main()
