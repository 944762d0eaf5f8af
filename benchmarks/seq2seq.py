"""A T5 in every precision: `EDGELM_MODELS=FOLDER EDGELM_DATA=FOLDER python benchmarks/seq2seq.py [--model
flan-t5-small-titler] [--texts 120] [--new 20] [--beams 4] [--threads 2] [--rounds 9] [--only quality speed]`.

quality: the share of greedy outputs that are those of transformers in FP32, half of the prompts the abstracts of
scitldr to summarize, half sentences of multi30k_en_de to translate. A prompt whose two likeliest tokens are nearly as
likely tells precisions apart first, and a model that was not trained for these tasks has many.

speed: CPU time of a source of 82 tokens and 16 new ones, greedy, and with beams; engines take turns, medians in ms.
Where ctranslate2 is installed its INT8 and FP32 stand beside, converted from the same folder.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import print_machine
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from edgelm.export.generation.builder import GeneratorGraph
from edgelm.export.generation.encoder_decoder import encoder_decoder_graphs
from edgelm.graph.external_data import save_graphs

VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp32, head int8": {"head": "int8-weights"},
    "fp32, head int4": {"head": "int4"},
    "int8, head int8": {"precision": "int8-weights"},
    "int8, head int8, rounded": {"precision": "int8-weights", "candidates": 0},
    "int8, head int4": {"precision": "int8-weights", "head": "int4"},
    "int4, head int4": {"precision": "int4", "head": "int4"},
    "int4, head int8, rounded": {"precision": "int4", "candidates": 0},
    "int8-dynamic, head int8": {"precision": "int8-dynamic"},
}
Outputs = list[list[int]]
SENTENCE = "The house is small and has a garden where children play. "


class Graphs:
    """Greedy and beam search over the two graphs, cache in place."""

    def __init__(self, graphs: dict[str, GeneratorGraph], *, start: int, eos: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting is no work
        with tempfile.TemporaryDirectory() as folder:
            save_graphs({f"{name}.onnx": graph.model for name, graph in graphs.items()}, Path(folder), "weights.bin")
            self.megabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
            self.encoder, self.decoder = (
                onnxruntime.InferenceSession(f"{folder}/{name}.onnx", options, providers=["CPUExecutionProvider"])
                for name in ("encoder", "decoder")
            )
        self.past = [spec for spec in graphs["decoder"].inputs if spec.role in ("past-key", "past-value")]
        self.start, self.eos = start, eos

    def generate(self, ids: np.ndarray, mask: np.ndarray, *, new: int, beams: int = 1, least: int = 0) -> Outputs:
        """New tokens of each row, up to its end."""
        names = [output.name for output in self.encoder.get_outputs()]
        memory = self.encoder.run(names, {"input_ids": ids, "attention_mask": mask})
        binding, rows = self.decoder.io_binding(), len(ids) * beams
        binding.bind_output("logits")
        for name, values in zip(names, memory, strict=True):
            binding.bind_cpu_input(name, values)
        binding.bind_cpu_input("encoder_attention_mask", mask)
        binding.bind_cpu_input("logit_positions", np.zeros((rows, 1), np.int64))
        cache = []
        for spec in self.past:
            cache.append(np.zeros((rows, spec.shape[1], new, spec.shape[3]), np.float32))
            buffer = onnxruntime.OrtValue.ortvalue_from_numpy(cache[-1])
            cache[-1] = buffer.numpy()  # the buffer itself, in which beams are put in order
            binding.bind_ortvalue_input(spec.name, buffer)
            binding.bind_ortvalue_output(spec.name.replace("past_key_values", "present"), buffer)
        tokens = np.full((rows, 1), self.start)
        scores = np.tile([0.0] + [-np.inf] * (beams - 1), len(ids))
        for step in range(new):
            binding.bind_cpu_input("input_ids", np.ascontiguousarray(tokens[:, -1:]))
            binding.bind_cpu_input("attention_mask", np.ones((rows, step + 1), np.int64))
            self.decoder.run_with_iobinding(binding)
            logits = binding.get_outputs()[0].numpy()[:, 0]
            if step < least:
                logits[:, self.eos] = -np.inf
            if beams == 1:
                tokens = np.concatenate([tokens, logits.argmax(axis=-1)[:, None]], axis=1)
                if (tokens == self.eos).any(axis=1).all():
                    break
                continue
            origin, token, scores = best_beams(logits, scores, beams)
            tokens = np.concatenate([tokens[origin], token[:, None]], axis=1)
            for values in cache:
                values[:, :, : step + 1] = values[origin, :, : step + 1]
        return [ended(row[1:], self.eos) for row in tokens[::beams].tolist()]


def best_beams(logits: np.ndarray, scores: np.ndarray, beams: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, token and score of the best continuations, for time alone: none of them ends."""
    vocabulary = logits.shape[1]
    top = logits.max(axis=-1, keepdims=True)
    total = scores[:, None] + logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
    flat = total.reshape(-1, beams * vocabulary)
    best = np.argpartition(-flat, beams, axis=-1)[:, :beams]
    row = best // vocabulary + beams * np.arange(len(best))[:, None]
    return row.ravel(), (best % vocabulary).ravel(), np.take_along_axis(flat, best, axis=-1).ravel()


def ended(tokens: Sequence[int], eos: int) -> list[int]:
    """Tokens before the end."""
    return list(tokens[: tokens.index(eos)] if eos in tokens else tokens)


def prompts(count: int) -> list[str]:
    """Half to summarize, half to translate."""
    data = Path(os.environ["EDGELM_DATA"])

    def read(name: str, prefix: str) -> list[str]:
        lines = (data / name / "test.jsonl").read_text(encoding="utf-8").splitlines()[: count // 2]
        return [prefix + json.loads(line)["source"][:400] for line in lines]

    return read("scitldr", "summarize: ") + read("multi30k_en_de", "translate English to German: ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="flan-t5-small-titler")
    parser.add_argument("--texts", type=int, default=120)
    parser.add_argument("--new", type=int, default=20)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=["quality", "speed"], choices=["quality", "speed"])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    print_machine()
    torch.set_num_threads(arguments.threads)
    folder = Path(os.environ["EDGELM_MODELS"]) / arguments.model
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    settings = {"start": model.generation_config.decoder_start_token_id, "eos": tokenizer.eos_token_id}
    graphs = {
        name: Graphs(encoder_decoder_graphs(model, **VARIANTS[name]), threads=arguments.threads, **settings)
        for name in arguments.variants
    }
    rivals = ctranslate2_engines(folder, arguments.threads) if find_spec("ctranslate2") else {}
    if "quality" in arguments.only:
        quality(model, tokenizer, graphs, rivals, arguments)
    if "speed" in arguments.only:
        speed(model, tokenizer, graphs, rivals, arguments)


def quality(model: Any, tokenizer: Any, graphs: dict[str, Graphs], rivals: dict[str, Any], arguments: Any) -> None:
    """Print each one's share of outputs that are transformers' own."""
    texts, wanted = prompts(arguments.texts), Outputs()
    found: dict[str, Outputs] = {name: [] for name in (*graphs, *rivals)}
    for begin in range(0, len(texts), 8):
        part = tokenizer(texts[begin : begin + 8], return_tensors="pt", padding=True, truncation=True, max_length=128)
        written = model.generate(**part, max_new_tokens=arguments.new, do_sample=False)[:, 1:].tolist()
        wanted += [ended(row, tokenizer.eos_token_id) for row in written]
        ids, mask = part["input_ids"].numpy(), part["attention_mask"].numpy()
        for name, engine in graphs.items():
            found[name] += engine.generate(ids, mask, new=arguments.new)
        sources = [tokenizer.convert_ids_to_tokens(row[row != tokenizer.pad_token_id]) for row in ids]
        for name, engine in rivals.items():
            results = engine.translate_batch(sources, beam_size=1, max_decoding_length=arguments.new)
            found[name] += [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
    print(f"outputs of {len(texts)} prompts equal to transformers' FP32, greedy, up to {arguments.new} tokens")
    for name, outputs in found.items():
        equal = sum(one == other for one, other in zip(outputs, wanted, strict=True)) / len(wanted)
        size = f"{graphs[name].megabytes:6.1f} MB" if name in graphs else ""
        print(f"{name:34}{equal:7.1%} {size}", flush=True)


def speed(model: Any, tokenizer: Any, graphs: dict[str, Graphs], rivals: dict[str, Any], arguments: Any) -> None:
    """Print median CPU times, greedy and with beams."""
    batch = tokenizer("summarize: " + SENTENCE * 6, return_tensors="pt")
    ids, mask = batch["input_ids"].numpy(), batch["attention_mask"].numpy()
    source = [tokenizer.convert_ids_to_tokens(ids[0])]
    for beams in (1, arguments.beams):
        exact = {"max_new_tokens": 16, "min_new_tokens": 16, "num_beams": beams, "do_sample": False}
        calls: dict[str, Callable[[], Any]] = {"transformers": lambda exact=exact: model.generate(**batch, **exact)}
        for name, engine in graphs.items():
            calls[name] = lambda engine=engine, beams=beams: engine.generate(ids, mask, new=16, beams=beams, least=16)
        bounds = {"beam_size": beams, "min_decoding_length": 16, "max_decoding_length": 16}
        for name, engine in rivals.items():
            calls[name] = lambda engine=engine, bounds=bounds: engine.translate_batch(source, **bounds)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(arguments.rounds + 1):
            for name, call in calls.items():
                begin = cpu_seconds()
                call()
                if turn:  # the first warms up
                    times[name].append((cpu_seconds() - begin) * 1e3)
        base = median(times["transformers"])
        print(f"source of {ids.shape[1]} tokens, 16 new ones, {beams} beams, {arguments.threads} threads: CPU ms")
        for name, values in times.items():
            print(f"{name:34}{median(values):8.1f}{base / median(values):7.2f}x", flush=True)


def cpu_seconds() -> float:
    """Of all threads of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ctranslate2_engines(folder: Path, threads: int) -> dict[str, Any]:
    """ctranslate2 with the folder's weights."""
    import ctranslate2

    engines = {}
    for kind in ("int8", "float32"):
        output = tempfile.mkdtemp()
        ctranslate2.converters.TransformersConverter(str(folder)).convert(output, quantization=kind, force=True)
        engines[f"ctranslate2 {kind}"] = ctranslate2.Translator(output, compute_type=kind, intra_threads=threads)
    return engines


if __name__ == "__main__":
    begun = time.monotonic()
    main()
    print(f"# {time.monotonic() - begun:.0f} s")
