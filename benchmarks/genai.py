"""onnxruntime-genai in a process of its own: greedy tokens and the times of its steps.

It brings an onnxruntime of its own and stays out of edgelm's environment: EDGELM_GENAI_PYTHON names the interpreter of
one with `pip install onnxruntime-genai`. `Genai` starts this file there and talks to it in lines of JSON.
`python benchmarks/genai.py FOLDER "Once upon a time" [--tokens 32] [--threads 2]` prints what a model writes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "EDGELM_GENAI_PYTHON"


@dataclass(frozen=True)
class Times:
    """What a run took.

    Attributes:
        prompt: seconds until the first token.
        steps: seconds of each further token.
        peak_mb: the most memory that the process has had.
    """

    prompt: float
    steps: tuple[float, ...]
    peak_mb: float


class Genai:
    """A folder of onnxruntime-genai, opened in its own interpreter.

    Args:
        folder: with genai_config.json.
        context: positions of the cache.
        threads: of onnxruntime.
        python: the interpreter; default: what EDGELM_GENAI_PYTHON names.

    Raises:
        FileNotFoundError: no such interpreter.
        RuntimeError: onnxruntime-genai does not open the folder; its own words.
    """

    def __init__(
        self, folder: str | Path, *, context: int = 2048, threads: int = 2, python: str | Path | None = None
    ) -> None:
        interpreter = os.fspath(python or os.environ.get(VARIABLE, ""))
        if not interpreter:
            raise FileNotFoundError(f"{VARIABLE} names no interpreter that has onnxruntime-genai.")
        command = [interpreter, str(Path(__file__).resolve()), "serve", os.fspath(folder), str(context), str(threads)]
        outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=outside
        )
        self._read()

    def __enter__(self) -> Genai:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """At most `count` tokens after a prompt; fewer where a token ends the text, which is the last."""
        return list(self._ask("greedy", ids=list(ids), count=count))

    def tokens(self, text: str) -> list[int]:
        """Ids of a text."""
        return list(self._ask("tokens", text=text))

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self._ask("text", ids=list(ids)))

    def time(self, ids: Sequence[int], count: int) -> Times:
        """Read a prompt and write `count` tokens, whatever they are."""
        prompt, steps, peak = self._ask("time", ids=list(ids), count=count)
        return Times(prompt, tuple(steps), peak)

    def _ask(self, order: str, **given: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": order} | given) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._process.communicate()[1].strip().splitlines()[-1])
        return json.loads(line)


class _Served:
    """What runs in onnxruntime-genai's interpreter."""

    def __init__(self, folder: str, context: int, threads: int) -> None:
        import onnxruntime_genai

        self._engine, self._context = onnxruntime_genai, context
        config = onnxruntime_genai.Config(folder)
        options = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = onnxruntime_genai.Model(config)
        self._tokenizer: Any = None

    def answer(self, order: str, **given: Any) -> Any:
        return getattr(self, order)(**given)

    def _start(self, ids: list[int], **options: Any) -> Any:
        params = self._engine.GeneratorParams(self._model)
        params.set_search_options(do_sample=False, max_length=self._context, repetition_penalty=1.0, **options)
        generator = self._engine.Generator(self._model, params)
        generator.append_tokens(ids)
        return generator

    def greedy(self, ids: list[int], count: int) -> list[int]:
        generator, written = self._start(ids), []
        while len(written) < count and not generator.is_done():
            generator.generate_next_token()
            written.append(int(generator.get_next_tokens()[0]))
        return written

    def time(self, ids: list[int], count: int) -> tuple[float, list[float], float]:
        began = time.perf_counter()
        generator = self._start(ids, min_length=len(ids) + count + 1)
        generator.generate_next_token()
        marks = [time.perf_counter()]
        for _ in range(count - 1):
            generator.generate_next_token()
            marks.append(time.perf_counter())
        steps = [after - before for before, after in itertools.pairwise(marks)]
        return marks[0] - began, steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000

    def tokens(self, text: str) -> list[int]:
        return [int(each) for each in self._words().encode(text)]

    def text(self, ids: list[int]) -> str:
        return str(self._words().decode(ids))

    def _words(self) -> Any:
        if self._tokenizer is None:
            self._tokenizer = self._engine.Tokenizer(self._model)
            self._tokenizer.update_options(add_special_tokens="true")  # left out by default
        return self._tokenizer


def _serve(folder: str, context: str, threads: str) -> None:
    served = _Served(folder, int(context), int(threads))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(served.answer(**json.loads(line))), flush=True)


def main() -> None:
    """Write on after a prompt."""
    if sys.argv[1:2] == ["serve"]:
        _serve(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with Genai(options.folder, threads=options.threads) as model:
        print(model.text(model.greedy(model.tokens(options.prompt), options.tokens)))


if __name__ == "__main__":
    main()
