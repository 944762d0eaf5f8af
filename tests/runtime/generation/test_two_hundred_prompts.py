"""Every family writes what transformers writes behind 200 prompts, greedy and with beams."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generator_bundles import load_generator, make_model
from generators import DECODERS, GENERATORS

import edgelm.runtime
from edgelm.anatomy import load_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.device import load_device
from edgelm.export.pipeline import export

PROMPTS, TOKENS = 200, 10
REAL = Path(os.environ.get("EDGELM_MODELS", "")) / "smollm2"
pytestmark = pytest.mark.slow


def random_prompts(size: int, first: int, count: int = PROMPTS, longest: int = 24) -> list[list[int]]:
    """Prompts of 1 to `longest` tokens; the lowest ids are left out, which are special."""
    drawn = random.Random(0)
    return [[drawn.randrange(first, size) for _ in range(drawn.randint(1, longest))] for _ in range(count)]


def wrong(generator: Any, model: Any, prompts: list[list[int]], beams: int, *, behind: bool) -> list[int]:
    """The prompts behind which another text is written than by transformers."""
    own, ends = generator.task.settings, model.generation_config.eos_token_id
    eos_ids = () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)
    settings = replace(own, max_new_tokens=TOKENS, num_beams=beams, do_sample=False, eos_ids=eos_ids)
    found = []
    for number, prompt in enumerate(prompts):
        given = torch.tensor([prompt])
        with torch.inference_mode():
            wanted = model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=TOKENS, num_beams=beams, do_sample=False
            )[0].tolist()[len(prompt) if behind else 1 :]
        (row,) = generator.write([prompt], settings)
        until = next((place + 1 for place, token in enumerate(wanted) if token in eos_ids), len(wanted))
        texts = wanted[:until], list(row.written)
        if texts[0] != texts[1] and not (beams == 1 and tied(model, prompt, *texts, behind=behind)):
            found.append(number)
    return found


def tied(model: Any, prompt: list[int], wanted: list[int], written: list[int], *, behind: bool) -> bool:
    """Whether the two texts part at tokens that transformers finds equally likely, but for the rounding of sums."""
    place = next(place for place, pair in enumerate(zip(wanted, written, strict=False)) if pair[0] != pair[1])
    given = {"input_ids": torch.tensor([prompt + wanted[:place] if behind else prompt])}
    if not behind:
        given["decoder_input_ids"] = torch.tensor([[model.config.decoder_start_token_id, *wanted[:place]]])
    with torch.inference_mode():
        logits = model(**given).logits[0, -1]
    return bool(abs(logits[wanted[place]] - logits[written[place]]) < 1e-4)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("family", GENERATORS)
def test_a_small_random_model_of_each_family(family, beams):
    model, _ = make_model(family)
    prompts = random_prompts(model.config.vocab_size, first=8)
    assert wrong(load_generator(family), model, prompts, beams, behind=family in DECODERS) == []


@pytest.mark.skipif(
    "EDGELM_MODELS" not in os.environ or not REAL.is_dir(), reason="EDGELM_MODELS names no folder with smollm2/"
)
def test_a_real_decoder(tmp_path):
    export(REAL, output=tmp_path / "real.edge", device=load_device("cpu"), precision="fp32")
    generator, model = edgelm.runtime.load(tmp_path / "real.edge"), load_checkpoint(open_checkpoint(REAL))
    words = Path(__file__).read_text(encoding="utf-8").split()
    drawn = random.Random(0)
    prompts = [generator.reader(" ".join(drawn.choices(words, k=drawn.randint(2, 12)))) for _ in range(PROMPTS)]
    assert wrong(generator, model, prompts, 1, behind=True) == []
