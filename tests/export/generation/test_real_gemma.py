"""Gemma 3 270M from its GGUF: what transformers writes, also behind more tokens than its sliding window, and what is
lost in few bits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import edgelm.runtime
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.files.shipped import shipped_folder
from edgelm.quantize.settings import Quantization
from edgelm.tasks.generation import GenerationSettings

FOLDER = Path(os.environ.get("EDGELM_MODELS", "")) / "gemma3-270m-gguf"
PROMPTS, TOKENS = 24, 24
WINDOW = 512  # tokens that most of its layers look back
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "EDGELM_MODELS" not in os.environ or not FOLDER.is_dir(),
        reason="EDGELM_MODELS names no folder with the GGUF of Gemma 3 270M in gemma3-270m-gguf/",
    ),
]


def texts() -> list[str]:
    lines = (shipped_folder("calibration_data") / "english.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def prompts(generator: Any) -> list[list[int]]:
    """The beginnings of texts, and one that is longer than the window."""
    short = [generator.reader(text)[: 4 + number] for number, text in enumerate(texts()[:PROMPTS])]
    return [*short, generator.reader(" ".join(texts()))[: WINDOW + 150]]


def test_it_writes_the_tokens_of_transformers(tmp_path: Path) -> None:
    export(FOLDER, output=tmp_path / "gemma.edge", device=load_device("cpu"), precision="fp32")
    generator = edgelm.runtime.load(tmp_path / "gemma.edge")
    (file,) = FOLDER.glob("*.gguf")
    model = AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=file.name, dtype=torch.float32).eval()

    asked = prompts(generator)
    assert len(asked[-1]) > WINDOW
    for prompt in asked:
        given = torch.tensor([prompt])
        with torch.inference_mode():
            wanted = model.generate(given, max_new_tokens=TOKENS, do_sample=False, eos_token_id=None)[0]
        settings = GenerationSettings(max_new_tokens=TOKENS)
        (row,) = generator.write([prompt], settings)
        assert row.written == wanted[len(prompt) :].tolist()


@pytest.mark.parametrize(
    ("precision", "table", "largest_mb", "changed"),
    # Shares of tokens that change for the worse: none was measured with 8 bits, 7.8 % with the table in 4 bits too, of
    # the 10 % that export accepts; 317 and 183 MB, of which the tokenizer is 14.
    [("int8-weights", 8, 325, 0.01), ("int4", 8, 280, 0.1), ("int4", 4, 190, 0.1)],
)
def test_few_bits_write_almost_the_same(
    tmp_path: Path, precision: str, table: int, largest_mb: float, changed: float
) -> None:
    made = export(
        FOLDER,
        output=tmp_path / "gemma.edge",
        device=load_device("cpu"),
        precision=precision,
        quantization=Quantization(embedding_bits=table),
    )

    parity = made.manifest.graphs[0].parity
    assert parity is not None and parity.changed <= changed
    assert made.size_mb < largest_mb
    text = edgelm.runtime.load(tmp_path / "gemma.edge")("The capital of France is", max_new_tokens=12)["text"]
    assert len(text.split()) > 5
