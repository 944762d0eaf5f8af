"""What llama.cpp writes behind a prompt: `python benchmarks/llama_cpp.py MODEL.gguf "Once upon a time" [--tokens 32]`.

`edgelm.profile.generation.llama_cpp` says which library that takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelm.profile.generation.llama_cpp import CACHES, VARIABLE, Library, LlamaCpp

__all__ = ["CACHES", "VARIABLE", "Library", "LlamaCpp"]


def main() -> None:
    """Write on after a prompt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", choices=tuple(CACHES), default="f16")
    options = parser.parse_args()
    with LlamaCpp(options.model, threads=options.threads, cache=options.cache) as model:
        print(f"{model.describe()}, {model.size} tokens")
        print(model.text(model.greedy(model.tokens(options.prompt), options.tokens)))


if __name__ == "__main__":
    main()
