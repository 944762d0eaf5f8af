"""What the other tests take for an export: nodes that were traced once, with the weights of the model at hand."""

import pytest
from models import make_checkpoint
from traced import exporter_of_kept_nodes
from transformers.exporters import OnnxExporter

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.export import trace
from edgelm.export.trace import export_graph


@pytest.fixture
def exported(monkeypatch):
    """The graph of a checkpoint by an exporter, as bytes."""

    def export(exporter, folder, opset=None):
        monkeypatch.setattr(trace, "OnnxExporter", exporter)
        source = TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task, 64)
        return export_graph(source, fused=opset is None, opset=opset).SerializeToString(deterministic=True)

    return export


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind", "opset"),
    [
        ("bert", "fill-mask", 17),
        ("roberta", "sentence-embedding", None),
        ("albert", "question-answering", None),
        ("distilbert", "multiple-choice", None),
        ("mpnet", "token-classification", 20),
        ("deberta-v2", "text-classification", None),
        ("modernbert", "token-classification", None),
    ],
)
def test_kept_nodes_with_other_weights_are_what_the_exporter_gives(family, kind, opset, tmp_path, exported):
    kept = exporter_of_kept_nodes(tmp_path / "nodes")
    first = make_checkpoint(tmp_path / "first", family, kind=kind, layers=1)
    other = make_checkpoint(tmp_path / "other", family, kind=kind, layers=1, seed=1)
    of_first = exported(kept, first, opset)
    assert len(list((tmp_path / "nodes").iterdir())) == 1

    found = exported(kept, other, opset)

    assert len(list((tmp_path / "nodes").iterdir())) == 1, "it was traced again"
    assert found == exported(OnnxExporter, other, opset)
    assert found != of_first


def test_this_run_of_the_tests_gives_what_the_exporter_gives(tmp_path, exported):
    """Of a small BERT, whose nodes other tests have had traced, most likely."""
    folder = make_checkpoint(tmp_path / "m", seed=7)
    assert exported(trace.OnnxExporter, folder) == exported(OnnxExporter, folder)


def test_nodes_are_kept_apart_where_anything_but_weights_differs(tmp_path):
    """Heads of a layer are no shape of its weights; which tensors are one and the same is no shape either."""
    from traced import digest_of_modules

    def digest(folder):
        source = TaskModel(load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder).task, 64)
        sample = trace.sample_inputs(source.tokenizer, 64)
        return digest_of_modules(source.model, sample, trace.exporter_settings(sample, 64))

    digests = [
        digest(make_checkpoint(tmp_path / str(place), family, **settings))
        for place, (family, settings) in enumerate(
            [("bert", {"seed": 1}), ("bert", {"heads": 2}), ("bert", {"layers": 1}), ("bert", {"kind": "fill-mask"})]
        )
    ]
    assert len(set(digests)) == 4
    assert digest(make_checkpoint(tmp_path / "other", "bert", seed=2, labels=("bad", "good"))) == digests[0]
