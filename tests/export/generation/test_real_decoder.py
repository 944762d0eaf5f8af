"""A real model in the graph that edgelm builds: what transformers writes, token by token."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from decoding import Decoding
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgelm.export.generation.decoder import decoder_graph

FOLDER = Path(os.environ.get("EDGELM_MODELS", "")) / "smollm2"
PROMPTS = ("The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a village by the sea,")


@pytest.mark.slow
@pytest.mark.skipif(
    "EDGELM_MODELS" not in os.environ or not FOLDER.is_dir(),
    reason="EDGELM_MODELS names no folder with SmolLM2-135M in smollm2/",
)
def test_smollm2_writes_the_tokens_of_transformers() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    prompts = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    count = 32
    wanted = [
        model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False, eos_token_id=None)[0]
        for prompt in prompts
    ]

    tokens, _ = Decoding(decoder_graph(model), len(prompts), capacity=64).write(prompts, count)

    assert tokens == [row[len(prompt) :].tolist() for row, prompt in zip(wanted, prompts, strict=True)]
