"""The sizes of a model are read in one place, from its folder or from the living model alike."""

import numpy as np
import pytest
import torch
from models import FAMILIES, make_checkpoint

from edgelm.anatomy import load_checkpoint, model_layers
from edgelm.anatomy.sizes import sizes_of
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import UnsupportedFamily
from edgelm.graph.session import make_plain_session
from edgelm.graph.synthetic import encoder_graph
from edgelm.shapes import LayerShape
from edgelm.tasks.table import TASKS


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_those_of_the_weights(tmp_path, family):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path, family, layers=3, labels=("a", "b", "c")))
    model = load_checkpoint(checkpoint)
    sizes = sizes_of(checkpoint.config, task=checkpoint.task)
    assert sizes.full() == tuple(LayerShape(layer.heads, layer.ffn) for layer in model_layers(model))
    assert (sizes.vocabulary, sizes.head_size) == (
        model.get_input_embeddings().num_embeddings,
        model_layers(model)[0].head_size,
    )
    types = [weight.shape[0] for name, weight in model.named_parameters() if "token_type_embeddings" in name]
    assert sizes.types in (0, *types)
    assert sizes.outputs == 3
    assert sizes_of(model.config, task=checkpoint.task) == sizes


def test_a_model_without_a_head_has_no_outputs(tmp_path):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path, kind="sentence-embedding"))
    assert sizes_of(checkpoint.config, task=checkpoint.task).outputs == 0
    assert sizes_of(checkpoint.config).outputs == 0


@pytest.mark.parametrize(
    "kind", [kind for kind, task in TASKS.items() if task.architecture != "Model" and not task.generates]
)
def test_the_head_of_every_task_counts(tmp_path, kind):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path, kind=kind, labels=("a", "b", "c")))
    sizes = sizes_of(checkpoint.config, task=checkpoint.task)
    tokens = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():  # of choices there is one
        found = load_checkpoint(checkpoint)(tokens[None] if kind == "multiple-choice" else tokens)
    names = checkpoint.task.output_names
    rows = found[names[0]] if len(names) == 1 else torch.stack([found[name] for name in names], dim=-1)
    session = make_plain_session(encoder_graph(sizes, sizes.full()))
    given = {value.name: np.ones((1, 3), dtype=np.int64) for value in session.get_inputs()}
    assert session.run(None, given)[0].shape == tuple(rows.shape)


def test_sizes_of_an_unknown_family_are_refused():
    with pytest.raises(UnsupportedFamily, match="'mamba' is not supported"):
        sizes_of({"model_type": "mamba"})
