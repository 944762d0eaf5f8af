"""A projection is one (out, in) matrix, whatever module holds it: cuts leave the function of what stays as it was."""

import pytest
import torch
from models import make_checkpoint
from torch import nn
from transformers.pytorch_utils import Conv1D

from edgelm.anatomy import Projection, load_checkpoint, model_layers
from edgelm.errors import UnsupportedFamily, UsageError


def fused(kind, *, parts=3, out=4, inputs=5):
    """A module of several matrices side by side, as GPT-2's c_attn or ModernBERT's Wqkv."""
    torch.manual_seed(0)
    module = Conv1D(parts * out, inputs) if kind == "Conv1D" else nn.Linear(inputs, parts * out, bias=kind == "Linear")
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


KINDS = ["Linear", "no bias", "Conv1D"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_a_fused_matrix_compute_its_shares(kind):
    module, inputs = fused(kind), torch.randn(2, 7, 5)
    whole = module(inputs)
    for part, wanted in enumerate(whole.chunk(3, dim=-1)):
        projection = Projection.of(module, part, 3)
        torch.testing.assert_close(nn.functional.linear(inputs, projection.weight, projection.bias), wanted)
        assert torch.equal(projection.split(whole), wanted)
        assert (projection.out_features, projection.in_features) == (4, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_cut_from_every_part_at_once(kind):
    module, inputs = fused(kind), torch.randn(2, 7, 5)
    wanted = torch.cat([share[..., [1, 3]] for share in module(inputs).chunk(3, dim=-1)], dim=-1)
    Projection.of(module, 1, 3).keep_outputs(torch.tensor([1, 3]))
    torch.testing.assert_close(module(inputs), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_cut(kind):
    module, inputs = fused(kind), torch.randn(2, 7, 5)
    wanted = module(inputs * torch.tensor([1.0, 0, 1, 0, 1]))
    Projection.of(module).keep_inputs(torch.tensor([0, 2, 4]))
    torch.testing.assert_close(module(inputs[..., [0, 2, 4]]), wanted)


def test_a_bias_is_made_once_and_changes_nothing():
    module, inputs = fused("no bias"), torch.randn(2, 5)
    wanted = module(inputs)
    Projection.of(module).ensure_bias()
    made = module.bias
    Projection.of(module).ensure_bias()
    assert module.bias is made
    assert torch.equal(module(inputs), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_is_replaced_by_one_of_another_shape(kind):
    module, inputs = fused(kind), torch.randn(6, 3)
    weight, bias = torch.randn(8, 3), torch.randn(8)
    Projection.of(module).replace(weight, bias)
    torch.testing.assert_close(module(inputs), inputs @ weight.T + bias)
    with pytest.raises(UsageError, match="fused"):
        Projection.of(module, 0, 2).replace(weight, bias)


def test_what_is_no_linear_layer_is_refused_by_name(tmp_path):
    model = load_checkpoint(make_checkpoint(tmp_path / "m"))
    layer = model_layers(model)[0]
    layer.root.set_submodule("attention.self.query", nn.Bilinear(2, 2, 2))
    with pytest.raises(UnsupportedFamily, match=r"attention\.self\.query is a Bilinear"):
        layer.projection("query")
    with pytest.raises(UnsupportedFamily, match="ffn_gate"):
        layer.projection("ffn_gate")


def test_a_unit_that_is_not_there_is_refused(tmp_path):
    layer = model_layers(load_checkpoint(make_checkpoint(tmp_path / "m")))[0]
    with pytest.raises(UsageError, match="4 units"):
        layer.cut(heads=[0, 4])
    assert layer.heads == 4
