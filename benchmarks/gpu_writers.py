"""One model that writes, in a process of its own, for `gpu_generators.py`: `gpu_writers.py KIND PATH PROVIDER SETTING`.

KIND is `transformers` (a model folder; SETTING is its precision, behind it `+compile` for a static cache and
`torch.compile`) or `edgelm` (a bundle that PROVIDER must run). It answers lines of JSON: {"do": "load"}, and {"do":
"write", "ids": [...], "new": 32, "beams": 1, "count": 3} with the milliseconds of each time that so many tokens were
written behind a prompt or for a source, and the tokens. What fails is answered by {"error": ...}. `generate` and a
bundle's own writing are timed from token ids on the host to token ids on the host.
"""

from __future__ import annotations

import edgelm  # noqa: F401  # isort: skip  # before onnxruntime: it turns its telemetry off

import json
import os
import sys
import time
from dataclasses import replace
from typing import Any, Protocol

from peak_memory import peak_mb


class Writer(Protocol):
    """Writes tokens.

    Attributes:
        runs_on: what runs it, in words.
    """

    runs_on: str

    def forget(self) -> None:
        """Forget the prompt of before, which else would not be read again."""

    def write(self, ids: list[int], new: int, beams: int) -> list[int]:
        """So many tokens behind a prompt or for a source, no fewer."""


class Transformers:
    """`generate` of a model folder."""

    def __init__(self, path: str, provider: str, setting: str) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

        precision, _, how = setting.partition("+")
        auto = AutoModelForSeq2SeqLM if AutoConfig.from_pretrained(path).is_encoder_decoder else AutoModelForCausalLM
        self._torch, self._device = torch, torch.device(provider)
        kind = {"fp32": torch.float32, "fp16": torch.float16}[precision]
        self._model: Any = auto.from_pretrained(path, dtype=kind).to(self._device).eval()
        # transformers compiles the steps of a static cache by itself on a GPU.
        self._how: dict[str, Any] = {"cache_implementation": "static"} if how else {}
        self.runs_on = f"{provider}, by PyTorch {torch.__version__}"

    def forget(self) -> None:
        """It keeps nothing."""

    def write(self, ids: list[int], new: int, beams: int) -> list[int]:
        """See `Writer`."""
        torch = self._torch
        with torch.inference_mode():
            given = torch.tensor([ids], device=self._device)
            found = self._model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                do_sample=False,
                num_beams=beams,
                max_new_tokens=new,
                min_new_tokens=new,
                **self._how,
            )[0].tolist()
        begin = 1 if self._model.config.is_encoder_decoder else len(ids)
        return [int(token) for token in found[begin:]]


class Edgelm:
    """A bundle."""

    def __init__(self, path: str, provider: str, setting: str) -> None:
        from edgelm.runtime import load

        self._generator = load(path, provider=provider)
        self.runs_on = self._generator.opened.why

    def forget(self) -> None:
        """See `Writer`."""
        self._generator.reading.begin(1)

    def write(self, ids: list[int], new: int, beams: int) -> list[int]:
        """See `Writer`."""
        settings = replace(
            self._generator.settings, do_sample=False, num_beams=beams, max_new_tokens=new, min_new_tokens=new
        )
        return self._generator.write([ids], settings)[0].written


WRITERS: dict[str, Any] = {"transformers": Transformers, "edgelm": Edgelm}


def answer(writer: Writer, ids: list[int], new: int, beams: int, count: int) -> dict[str, Any]:
    """Time a text, a few times."""
    times, tokens = [], []
    for _ in range(count):
        writer.forget()
        begun = time.perf_counter()
        tokens = writer.write(ids, new, beams)
        times.append(1000 * (time.perf_counter() - begun))
    return {"ms": times, "tokens": tokens}


def main() -> None:
    """Answer one line after another."""
    kind, path, provider, setting = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    if kind == "transformers":  # imported while others do the same; loading is one after another
        import torch  # noqa: F401
        import transformers  # noqa: F401
    writer: Writer | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        what = asked.pop("do")
        try:
            if what == "load":
                writer = WRITERS[kind](path, provider, setting)
                said: dict[str, Any] = {"runs_on": writer.runs_on}
            else:
                assert writer is not None
                said = answer(writer, **asked) | {"peak_mb": peak_mb()}
        except Exception as error:  # whatever it is, it is an answer
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
