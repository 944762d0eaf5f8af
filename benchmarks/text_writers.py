"""Encoder-decoders as functions from texts to texts: transformers, bundles of edgelm, ctranslate2; and how long a text
takes each."""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from edgelm.profile.interval import measure_ratio
from edgelm.runtime import load

PYTORCH = "transformers"
Writer = Callable[[Sequence[str], int], list[str]]  # texts and beams


def pytorch_writer(folder: Path, *, prefix: str, most: int) -> Writer:
    """transformers in FP32; `most`: new tokens."""
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def write(texts: Sequence[str], beams: int) -> list[str]:
        batch = tokenizer([prefix + text for text in texts], return_tensors="pt", padding=True)
        with torch.inference_mode():
            ids = model.generate(**batch, max_new_tokens=most, num_beams=beams, do_sample=False)
        return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]

    return write


def bundle_writer(path: Path, *, most: int, threads: int) -> Writer:
    """A bundle, whose task has its prefix."""
    generator = load(path, provider="cpu", threads=threads)

    def write(texts: Sequence[str], beams: int) -> list[str]:
        answers = generator(list(texts), max_new_tokens=most, num_beams=beams)
        return [answer["text"].strip() for answer in answers]

    return write


def ctranslate2_writers(
    folder: Path, *, prefix: str, most: int, threads: int, work: Path, kinds: Sequence[str] = ("int8", "float32")
) -> dict[str, Writer]:
    """ctranslate2 with the folder's weights, converted in the work folder; nothing where it is not installed."""
    if find_spec("ctranslate2") is None:
        return {}
    import ctranslate2

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def made(kind: str) -> Writer:
        output = work / f"ctranslate2-{kind}"
        if not output.exists():
            ctranslate2.converters.TransformersConverter(str(folder)).convert(str(output), quantization=kind)
        engine = ctranslate2.Translator(str(output), compute_type=kind, intra_threads=threads)

        def write(texts: Sequence[str], beams: int) -> list[str]:
            sources = [tokenizer.convert_ids_to_tokens(tokenizer(prefix + text)["input_ids"]) for text in texts]
            found = engine.translate_batch(sources, beam_size=beams, max_decoding_length=most)
            ids = [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in found]
            return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]

        return write

    return {f"ctranslate2 {kind}": made(kind) for kind in kinds}


def print_times(writers: Mapping[str, Writer], texts: Sequence[str], *, beams: int, rounds: int, threads: int) -> None:
    """Print how long a text takes each, one by one and in turn, and how many times as fast as the first that is."""
    times: dict[str, list[float]] = {name: [] for name in writers}
    for turn in range(rounds + 1):
        for text in texts:
            for name, write in writers.items():
                begin = time.perf_counter()
                write([text], beams)
                if turn:  # the first warms up
                    times[name].append((time.perf_counter() - begin) * 1e3)
    print(f"\na text, {beams} beams, {threads} threads: ms, times PyTorch's speed (95 %)")
    base = times[PYTORCH]
    for name, found in times.items():
        ratio = measure_ratio(found, base, len(texts), against=PYTORCH)
        print(f"{name:24}{median(found):8.1f}{ratio.p50:7.2f}x ({ratio.low:.2f} to {ratio.high:.2f})", flush=True)
