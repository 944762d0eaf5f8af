"""TensorRT-RTX's own builder, which needs no GPU, on models that write: what it makes of their graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
from generators import GENERATORS, SENTENCES, make_generator

from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.runtime import load
from edgelm.runtime.provider import FallbackWarning
from edgelm.runtime.verify import verify

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install edgelm[tensorrt])")

TEXTS = Dataset("memory", texts=SENTENCES)
FEW = (("gpt2", "fp16"), ("llama", "int4"), ("t5", "fp32"))


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        pytest.param(family, precision, marks=[] if (family, precision) in FEW else pytest.mark.slow)
        for family in GENERATORS
        for precision in ("fp32", "fp16", "int8", "int4")
    ],
)
def test_export_puts_an_engine_of_each_graph_into_the_bundle(tmp_path: Path, family: str, precision: str) -> None:
    """For a GPU that is not here: nobody has run it, and onnxruntime writes the golden tokens meanwhile."""
    made = export(
        make_generator(tmp_path / "model", family, hidden=64),
        output=tmp_path / "b.edge",
        device=load_device("rtx-4090"),
        precision=precision,
        calibration=TEXTS,
        max_length=64,
    )

    assert made.no_engine == ""
    names = [graph.name for graph in made.manifest.graphs]
    assert names == (["encoder", "decoder"] if family in GENERATORS[6:] else ["decoder"])
    for graph in made.manifest.graphs:
        (engine,) = graph.engines
        assert (engine.package, engine.compute_capabilities) == ("tensorrt-rtx", ("8.9",))
        assert engine.difference is None
        assert engine.plan == graph.plan
        assert len(engine.plan.profiles) == (2 if graph.name == "decoder" else 1)
        assert (made.path / engine.path).stat().st_size > 50_000
    with pytest.warns(FallbackWarning, match="no GPU answers|cuda-python is missing"):
        assert load(made.path).opened.provider == "cpu"
    assert verify(made.path, provider="cpu").ok
