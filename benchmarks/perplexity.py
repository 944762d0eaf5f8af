"""Perplexity of generators in few bits: `EDGELM_MODELS=FOLDER EDGELM_DATA=FOLDER python benchmarks/perplexity.py
[--models smollm2] [--methods int8 int4 ...] [--windows 40] [--length 512] [--threads 1] [--unaligned]`.

Reads the models NAME/ of EDGELM_MODELS, folders of decoders, of Hugging Face or with a GGUF, and wikitext2's
train.jsonl and test.jsonl. FP32 of a GGUF is what its integers stand for; `llama.cpp` is that file in llama.cpp itself
(`llama_cpp.py`), whose activations are bytes too: `--models gemma3-270m-gguf --methods llama.cpp int8 int4 int4+int4`.
Integers are made on windows of the first nine tenths of train, choices are made on the rest (`--judge dev`), figures
are of windows of test. Each method's integers are turned to floats again and judged in PyTorch: what they cost, without
what a kernel's activations in bytes add. `int8` and `int4` are what export makes; `int4@64` and `int4@128` the same in
other blocks, where as many matrices keep 8 bits as hold the loss down as far. Q8_0 and Q4_0 are made by the `gguf`
package, as llama.cpp stores them: the table of tokens in Q8_0. `+int4` is the table in 4 bits too. A window begins
with the token that the tokenizer begins texts with.

`--unaligned` permutes the channels of a Llama-like model first, which changes nothing that it computes: weights that
came from a file of few bits lie on the grid of that file's blocks, and would be judged too well by the same blocks.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from ending import run
from machine import print_machine
from transformers.pytorch_utils import Conv1D

from edgelm.anatomy import load_checkpoint, load_tokenizer
from edgelm.anatomy.token_head import read_states, token_head
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.distillation.chunked_rows import CHUNK
from edgelm.errors import UsageError
from edgelm.export.generation.few_bits import dequantized, quantize_generator
from edgelm.export.generation.modules import to_array
from edgelm.profile.generation.llama_cpp import LlamaCpp
from edgelm.quantize.few_bits import DEFAULTS, FewBits

Batches = Sequence[Mapping[str, torch.Tensor]]
METHODS = {
    "int8": DEFAULTS["int8-weights"],
    "int4": DEFAULTS["int4"],
    "int4+int4": replace(DEFAULTS["int4"], head_bits=4),
    "int4@64": replace(DEFAULTS["int4"], block=64),
    "int4@128": replace(DEFAULTS["int4"], block=128),
    "int4-plain": FewBits(),
    "int4-64": FewBits(block=64),
    "int4-zeros": FewBits(zeros=True),
    "int4-128": FewBits(block=128),
    "int4-gptq": FewBits(method="gptq"),
    "int4-weighted": FewBits(method="weighted"),
    "int4-nearest": FewBits(method="nearest"),
}
FILE, _ROWS = "llama.cpp", 128  # tokens whose logits are held at a time
FORMATS = {"Q8_0": gguf.GGMLQuantizationType.Q8_0, "Q4_0": gguf.GGMLQuantizationType.Q4_0}


def read_windows(tokenizer: Any, folder: Path, part: str, count: int, length: int) -> torch.Tensor:
    """(count, length) tokens of a part, drawn evenly."""
    name = "test" if part == "test" else "train"
    texts = [json.loads(line)["text"] for line in (folder / "wikitext2" / f"{name}.jsonl").open()]
    cut = len(texts) * 9 // 10
    chosen = {"test": texts, "train": texts[:cut], "dev": texts[cut:]}[part]
    ids = tokenizer("\n".join(chosen), add_special_tokens=False, return_tensors="pt").input_ids[0]
    own = torch.tensor(tokenizer("a")["input_ids"])
    begin = own[:1] if own[0] == tokenizer.bos_token_id else own[:0]
    size = length - len(begin)
    last = len(ids) // size - 1
    starts = np.linspace(0, last, min(count, last + 1)).round().astype(int) * size
    return torch.stack([torch.cat([begin, ids[start : start + size]]) for start in starts])


@torch.inference_mode()
def losses_of(model: Any, windows: torch.Tensor) -> torch.Tensor:
    """The loss at every token but the first of each window, in nats."""
    head, found = token_head(model), []
    rows = max(1, CHUNK // head.vocabulary)
    for window in windows:
        states, _ = read_states(model, {"input_ids": window[None, :-1]}, torch.ones(1, len(window) - 1))
        for part, right in zip(states.split(rows), window[1:].split(rows), strict=True):
            found.append(torch.nn.functional.cross_entropy(head(part), right, reduction="none"))
    return torch.cat(found)


def losses_in_llama_cpp(file: Path, windows: torch.Tensor, threads: int) -> torch.Tensor:
    """The same by llama.cpp, from the model's own file."""
    found = []
    with LlamaCpp(file, context=windows.shape[1], threads=threads, every_row=True) as engine:
        for window in windows:
            engine.cut(0)
            for part, right in zip(window[:-1].split(_ROWS), window[1:].split(_ROWS), strict=True):
                logits = torch.from_numpy(engine.step(part.tolist(), every=True))
                found.append(torch.nn.functional.cross_entropy(logits, right, reduction="none"))
    return torch.cat(found)


@torch.no_grad()
def permute_channels(model: Any) -> None:
    """Reorder the channels of a Llama-like model, in place: it computes what it did."""
    generator = torch.Generator().manual_seed(0)
    config, body = model.config, model.model
    hidden = torch.randperm(config.hidden_size, generator=generator)
    body.embed_tokens.weight.copy_(body.embed_tokens.weight[:, hidden])
    if model.lm_head.weight is not body.embed_tokens.weight:
        model.lm_head.weight.copy_(model.lm_head.weight[:, hidden])
    body.norm.weight.copy_(body.norm.weight[hidden])
    groups = config.num_attention_heads // config.num_key_value_heads
    for layer in body.layers:
        attention, network = layer.self_attn, layer.mlp
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.copy_(norm.weight[hidden])
        for module in (attention.q_proj, attention.k_proj, attention.v_proj, network.gate_proj, network.up_proj):
            module.weight.copy_(module.weight[:, hidden])
        inner = torch.randperm(config.intermediate_size, generator=generator)
        network.gate_proj.weight.copy_(network.gate_proj.weight[inner])
        network.up_proj.weight.copy_(network.up_proj.weight[inner])
        network.down_proj.weight.copy_(network.down_proj.weight[hidden][:, inner])
        size = attention.head_dim
        inside = [torch.randperm(size, generator=generator) for _ in range(config.num_key_value_heads)]
        values = torch.cat([order + head * size for head, order in enumerate(inside)])
        mixed = torch.cat([inside[head // groups] + head * size for head in range(config.num_attention_heads)])
        attention.v_proj.weight.copy_(attention.v_proj.weight[values])
        attention.o_proj.weight.copy_(attention.o_proj.weight[hidden][:, mixed])


def in_format(model: Any, names: Collection[str], kind: str) -> tuple[Any, int]:
    """A copy of a model with the matrices that are named as llama.cpp stores them, and their bytes."""
    result = dequantized(model, {})
    table, size = result.get_input_embeddings(), 0
    for name in names:
        module = result.get_submodule(name)
        stored = FORMATS["Q8_0" if module is table else kind]
        transposed = isinstance(module, Conv1D)
        floats = to_array(module.weight).T if transposed else to_array(module.weight)
        packed = gguf.quantize(np.ascontiguousarray(floats), stored)
        values = torch.from_numpy(gguf.dequantize(packed, stored))
        module.weight.data.copy_(values.T if transposed else values)
        size += packed.nbytes
    return result, size


def judge(name: str, options: argparse.Namespace, models: Path, data: Path) -> None:
    """Print a model's rows."""
    checkpoint = open_checkpoint(models / name)
    tokenizer, model = load_tokenizer(checkpoint), load_checkpoint(checkpoint)
    if options.unaligned:
        permute_channels(model)
    windows = read_windows(tokenizer, data, options.judge, options.windows, options.length)
    batches: Batches = [{"input_ids": row[None]} for row in read_windows(tokenizer, data, "train", 32, options.length)]
    exact = losses_of(model, windows)
    plain = quantize_generator(model, (), METHODS["int8"])
    floats = 4 * sum(weight.values.size for weight in plain.values())

    def row(method: str, losses: torch.Tensor, size: int, seconds: float) -> None:
        rise = (losses - exact).mean().item()
        error = (losses - exact).std().item() / math.sqrt(len(losses))
        print(
            f"| {name} | {method} | {math.exp(losses.mean()):.3f} | {math.expm1(rise):+.2%} ± {error:.2%} | "
            f"{size / 1e6:.1f} | {8 * size * 4 / floats:.2f} | {seconds:.0f} |",
            flush=True,
        )

    row("FP32", exact, floats, 0)
    for method in options.methods:
        start = time.process_time()
        if method == FILE:
            if checkpoint.path.is_file():
                losses = losses_in_llama_cpp(checkpoint.path, windows, options.threads)
                row(method, losses, checkpoint.path.stat().st_size, 0)
            continue
        if method in FORMATS:
            changed, size = in_format(model, plain, method)
        else:
            made = quantize_generator(model, batches, METHODS[method])
            changed, size = dequantized(model, made), sum(weight.nbytes for weight in made.values())
        seconds = time.process_time() - start
        row(method, losses_of(changed, windows), size, seconds)


def folder_of(variable: str) -> Path:
    """A folder that an environment variable names."""
    if variable not in os.environ:
        raise UsageError(f"{variable} is not set.", hint="Set it to the folder that the models or the data lie in.")
    return Path(os.environ[variable])


def main() -> None:
    """Print a table, a row for each model and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["smollm2"])
    choices = [*METHODS, *FORMATS, FILE]
    parser.add_argument("--methods", nargs="+", default=choices, choices=choices)
    parser.add_argument("--judge", default="test", choices=["dev", "test"])
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--unaligned", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models, data = folder_of("EDGELM_MODELS"), folder_of("EDGELM_DATA")
    print_machine()
    print("\n| model | method | perplexity | rise | MB of matrices | bits a weight | CPU s to make |")
    print("|---|---|---|---|---|---|---|")
    for name in options.models:
        judge(name, options, models, data)


if __name__ == "__main__":
    run(main)
