"""What reports are made of in tests: rows of random words, profiles of made-up times, names of strangers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from bundles import SENTIMENT

from edgelm.profile.result import Case, Profile

WORDS = ("good", "bad", "film", "a", "very", "the")
EVIL = "<script>alert('x')</script> $x_1$ | \x1b[2J"
MACHINE = {"system": "Linux", "cpu": "A CPU", "cores": 2, "instructions": ["avx2"], "python": "3.11", "versions": {}}


def rows_file(folder: Path, count: int = 120, *, labels: bool = True) -> Path:
    """Rows of random words, the longest of eight."""
    rng = np.random.default_rng(1)
    file = folder / "test.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            text = " ".join(rng.choice(WORDS, size=rng.integers(1, 9)))
            label = {"label": SENTIMENT.labels[number % 2]} if labels else {}
            stream.write(json.dumps({"text": f"{text} {EVIL if number == 0 else number}"} | label) + "\n")
    return file


def a_profile(
    name: str, kind: str, middle: float, manifest: dict, *, size_mb: float, seed: int = 0, **changes
) -> Profile:
    """A profile of a model whose calls take about `middle` ms."""
    rng = np.random.default_rng(seed)
    samples = {
        (batch, tokens): tuple(rng.normal(middle * batch * tokens / 8, middle / 50, size=200).clip(0.01))
        for batch in (1, 4)
        for tokens in (8, 32)
    }
    values = {
        "name": name, "path": f"/home/somebody/{name}", "kind": kind, "precision": "fp32", "size_mb": size_mb,
        "cases": tuple(Case(*shape, found) for shape, found in samples.items()), "load_ms": 10.0,
        "peak_memory_mb": 50.0, "tokenization_ms": 0.1,
        "operators": ({"name": "MatMul", "nodes": 2, "ms_per_call": 0.5, "share": 1.0},) if kind == "bundle" else (),
        "machine": MACHINE, "settings": {"threads": 1, "runs": 200, "texts": "/home/somebody/t.csv"},
        "created": "2026-01-01T00:00:00+00:00", "device": None, "manifest": manifest,
    }  # fmt: skip
    return Profile(**values | changes)


def write_profiles(file: Path, *profiles: Profile) -> Path:
    file.write_text(json.dumps({"schema": 1, "profiles": [profile.to_dict() for profile in profiles]}))
    return file
