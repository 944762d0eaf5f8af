"""Matrices in blocks of few bits: their grids, their errors, and the operators that read them."""

from __future__ import annotations

import gguf
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelm.quantize import blocks
from edgelm.quantize.block_descent import descend
from edgelm.quantize.block_scales import Grid, fit_grid
from edgelm.quantize.blocks import BlockWeight, pack, pack_zeros, round_blocks
from edgelm.quantize.rounding import hessian

WAYS = [(bits, block, zeros) for bits in (4, 8) for block in (32, 128) for zeros in (False, True)]


def heavy_tails(rows, columns, seed=0):
    """Weights with outliers, as trained ones have them."""
    return np.random.default_rng(seed).standard_t(4, size=(rows, columns)).astype(np.float32) / 20


def correlated_inputs(width, seed=0):
    """Second moments of inputs that share few directions, some channels much larger than others."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(400, width // 4)) @ rng.normal(size=(width // 4, width)) * rng.lognormal(size=width)
    return hessian((inputs.T @ inputs).astype(np.float32), len(inputs))


def output_error(weight, made, matrix):
    wrong = made.floats().astype(np.float64) - weight
    return np.einsum("io,io->o", wrong, matrix @ wrong)


def least_error(column, importance, *, zeros):
    """Of one block in 4 bits, by trying 4,000 steps of either sign and all zero points."""
    steps = np.linspace(0.2, 1.4, 4000) * np.abs(column).max() / 8
    steps = np.concatenate([steps, -steps])[:, None].astype(np.float32)
    errors = []
    for zero in range(16) if zeros else (8,):
        values = np.clip(np.rint(column / steps) + zero, 0, 15)
        errors.append((importance * ((values - zero) * steps - column) ** 2).sum(axis=1))
    return np.min(errors)


@pytest.mark.parametrize("zeros", [False, True])
def test_the_grid_of_a_block_is_nearly_the_best_that_there_is(zeros):
    rng = np.random.default_rng(1)
    weight, importance = heavy_tails(32, 24, seed=2), rng.lognormal(size=32).astype(np.float32)
    scale, zero = fit_grid(weight, Grid(4, zeros), importance)
    step, offset = scale.astype(np.float32), zero.astype(np.float32)
    values = np.clip(np.rint(weight / step) + offset, 0, 15)
    errors = (importance[:, None] * ((values - offset) * step - weight) ** 2).sum(axis=0)
    best = np.array([least_error(column, importance, zeros=zeros) for column in weight.T])
    # a few dozen candidates against 8,000: a tenth more error in the mean, and nowhere half as much again
    assert (errors / best).mean() < 1.1
    assert (errors / best).max() < 1.5


@pytest.mark.parametrize(("bits", "block", "zeros"), WAYS)
def test_no_weight_inside_the_grid_is_further_off_than_half_a_step(bits, block, zeros):
    weight = heavy_tails(block * 2 + 5, 40)
    made = round_blocks(weight, bits, block=block, zeros=zeros)
    rows = np.arange(len(weight)) // block
    inside = (made.values > 0) & (made.values < 2**bits - 1)
    half = np.abs(made.scale.astype(np.float32))[rows] / 2
    assert (np.abs(made.floats() - weight)[inside] <= half[inside] * (1 + 1e-5)).all()  # FP32's own rounding
    assert inside.mean() > 0.8


@pytest.mark.parametrize(("bits", "block", "zeros"), WAYS)
def test_zeros_stay_zeros(bits, block, zeros):
    weight = heavy_tails(2 * block, 6)
    weight[::3] = 0
    weight[:, 5] = 0
    assert (round_blocks(weight, bits, block=block, zeros=zeros).floats()[weight == 0] == 0).all()


def test_a_zero_point_is_for_blocks_that_lie_on_one_side():
    weight = np.random.default_rng(0).uniform(0.1, 0.9, size=(32, 50)).astype(np.float32)
    errors = [((round_blocks(weight, 4, zeros=zeros).floats() - weight) ** 2).sum() for zeros in (False, True)]
    assert errors[1] < 0.4 * errors[0]  # twice as fine: a quarter of the error


def test_errors_go_where_inputs_are_small():
    weight = heavy_tails(64, 30)
    importance = np.ones(64, dtype=np.float32)
    importance[::8] = 1000
    plain, weighted = (round_blocks(weight, 4, importance=given).floats() - weight for given in (None, importance))
    weighed = importance[:, None]
    assert (weighed * weighted**2).sum() < 0.7 * (weighed * plain**2).sum()


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize(("bits", "block", "zeros"), WAYS)
def test_gptq_leaves_less_error_in_the_outputs_than_rounding_to_the_nearest(bits, block, zeros, act_order):
    weight, matrix = heavy_tails(block * 2, 32), correlated_inputs(block * 2)
    importance = np.diagonal(matrix)
    settings = {"block": block, "zeros": zeros, "importance": importance}
    nearest = output_error(weight, round_blocks(weight, bits, **settings), matrix)
    compensated = output_error(weight, round_blocks(weight, bits, matrix, act_order=act_order, **settings), matrix)
    assert compensated.sum() < 0.8 * nearest.sum()


@pytest.mark.parametrize(("bits", "block", "zeros"), WAYS)
def test_descent_behind_gptq_raises_no_output_s_error_and_lowers_their_sum(bits, block, zeros):
    weight, matrix = heavy_tails(block * 2 + 9, 32), correlated_inputs(block * 2 + 9)
    begun = round_blocks(weight, bits, matrix, block=block, zeros=zeros, importance=np.diagonal(matrix), act_order=True)
    made = descend(weight, begun, matrix)
    before, after = output_error(weight, begun, matrix), output_error(weight, made, matrix)
    assert (after <= before * 1.01).all()  # steps are judged in FP32, errors of 8 bits are small beside its rounding
    assert after.sum() < 0.98 * before.sum()
    assert (made.block, made.bits, made.zero is None) == (block, bits, not zeros)
    assert made.values.max() < 2**bits


def test_the_order_of_rounding_does_not_move_channels():
    weight = heavy_tails(96, 16)
    matrix = np.diag(np.random.default_rng(0).lognormal(size=96))  # no channel says anything of another
    importance = np.diagonal(matrix)
    ordered = round_blocks(weight, 4, matrix, importance=importance, act_order=True)
    np.testing.assert_array_equal(ordered.values, round_blocks(weight, 4, importance=importance).values)


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_leave_no_more_error_than_those_of_llama_cpp(bits):
    kind = gguf.GGMLQuantizationType.Q4_0 if bits == 4 else gguf.GGMLQuantizationType.Q8_0
    weight = heavy_tails(256, 64)
    theirs = gguf.dequantize(gguf.quantize(np.ascontiguousarray(weight.T), kind), kind).T
    ours = round_blocks(weight, bits).floats()
    assert ((ours - weight) ** 2).sum() < ((theirs - weight) ** 2).sum()


def test_grids_of_llama_cpp_are_kept_exactly():
    kind = gguf.GGMLQuantizationType.Q4_0
    weight = gguf.dequantize(gguf.quantize(heavy_tails(64, 256), kind), kind).T
    np.testing.assert_array_equal(round_blocks(weight, 4).floats(), weight)


def graph_of(node, inputs, weights):
    graph = helper.make_graph([node], "blocks", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def stored(made: BlockWeight):
    zero = pack_zeros(made)
    weights = {"packed": pack(made), "scale": np.ascontiguousarray(made.scale.T).astype(np.float32)}
    return weights if zero is None else weights | {"zero": zero}


@pytest.mark.parametrize(("bits", "block", "zeros"), WAYS)
def test_onnxruntime_multiplies_what_was_packed(bits, block, zeros):
    weight = heavy_tails(block * 3 - 7, 20)
    made = round_blocks(weight, bits, block=block, zeros=zeros)
    weights = stored(made)
    sizes = {"K": len(weight), "N": 20, "bits": bits, "block_size": block}
    node = helper.make_node("MatMulNBits", ["x", *weights], ["y"], domain="com.microsoft", **sizes)
    session = graph_of(node, [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, len(weight)])], weights)
    given = np.random.default_rng(3).normal(size=(5, len(weight))).astype(np.float32)
    # sums of a few hundred products in another order
    np.testing.assert_allclose(session.run(None, {"x": given})[0], given @ made.floats(), atol=1e-4)


@pytest.mark.parametrize("block", [32, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_onnxruntime_looks_up_rows_in_the_table_that_it_multiplies_with(bits, block):
    table = heavy_tails(50, block * 3, seed=5)  # (rows, width)
    made = round_blocks(table.T, bits, block=block)
    weights = stored(made)
    weights["scale"] = weights["scale"][:, :, None]
    settings = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 2}
    node = helper.make_node(
        "GatherBlockQuantized", ["packed", "ids", "scale"], ["y"], domain="com.microsoft", **settings
    )
    session = graph_of(node, [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 4])], weights)
    ids = np.array([[0, 49, 7, 7]])
    found = session.run(None, {"ids": ids})[0].reshape(1, 4, -1)
    np.testing.assert_array_equal(found, made.floats().T[ids])


@pytest.mark.parametrize(("bits", "block", "zeros"), WAYS)
def test_bytes_are_those_that_are_stored(bits, block, zeros):
    made = round_blocks(heavy_tails(block * 3 - 7, 20), bits, block=block, zeros=zeros)
    weights = stored(made)
    assert made.nbytes == weights["packed"].nbytes + made.scale.nbytes + (weights["zero"].nbytes if zeros else 0)


@pytest.mark.parametrize("zeros", [False, True])
def test_a_wide_matrix_is_rounded_some_columns_at_a_time(monkeypatch, zeros):
    weight = heavy_tails(70, 50)
    wanted = round_blocks(weight, 4, zeros=zeros)
    monkeypatch.setattr(blocks, "_COLUMNS", 16)
    made = round_blocks(weight, 4, zeros=zeros)
    np.testing.assert_array_equal(made.values, wanted.values)
    np.testing.assert_array_equal(made.scale, wanted.scale)
    assert (made.zero is None) == (wanted.zero is None)
    np.testing.assert_array_equal(made.floats(), wanted.floats())
