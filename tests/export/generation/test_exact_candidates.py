"""A head in few bits whose likeliest tokens have exact logits, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm.export.generation.builder import GraphBuilder
from edgelm.export.generation.candidates import FullRows
from edgelm.export.generation.products import Products
from edgelm.graph.session import make_plain_session
from edgelm.quantize.blocks import round_blocks

VOCABULARY, WIDTH, COUNT = 300, 48, 24  # the last block of 32 inputs is half empty
# What is left at most, as a share of the largest weight: a step of the table is 1 / 128 or 1 / 8 of it, half of one
# is the rest, a step of which is 1 / 128 of that, and half of one is what it loses.
LEFT = {"int8-weights": 1 / 65536, "int4": 1 / 4096}


@pytest.mark.parametrize("head", LEFT)
def test_the_likeliest_tokens_have_exact_logits(head: str) -> None:
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
    weight[7] = 0
    states = draw.standard_normal((2, 3, WIDTH)).astype(np.float32)
    ids = np.array([[3, 7, 299]])
    graph = GraphBuilder("test")
    graph.input("states", np.float32, ("batch", "rows", WIDTH), "embedding")
    graph.input("ids", np.int64, ("batch", "sequence"), "tokens")
    for name in ("rounded", "corrected"):
        graph.output(name, np.float32, ("batch", "rows", VOCABULARY), "logits")
    graph.output("full", np.float32, ("batch", "sequence", WIDTH), "embedding")
    products = Products(graph, "fp32", head=head)
    table = products.table("words", weight)
    full = FullRows(products, table, weight, round_blocks(weight.T, table.bits))
    rounded = products.project("states", table, "head")
    graph.node_giving(["rounded"], "Identity", [rounded], "rounded")
    graph.node_giving(["corrected"], "Identity", [full.correct("states", rounded, COUNT)], "corrected")
    graph.node_giving(["full"], "Identity", [full.look_up("ids")], "full")

    feeds = {"states": states, "ids": ids}
    before, after, rows = make_plain_session(graph.finish().model).run(["rounded", "corrected", "full"], feeds)

    tolerance = 2 * LEFT[head] * np.abs(weight).max()  # scales are chosen among clipping ones too
    assert np.abs(rows - weight[ids]).max() <= tolerance
    exact = states @ weight.T
    found = before.argsort(axis=-1)[..., -COUNT:]
    error = np.abs(np.take_along_axis(after - exact, found, axis=-1))
    assert error.max() <= tolerance * np.abs(states).sum(axis=-1).max()
    assert error.mean() < np.abs(before - exact).mean() / 50  # the rounding that is gone
    assert (after.argmax(axis=-1) == exact.argmax(axis=-1)).all()
    others = np.ones_like(before, dtype=bool)
    np.put_along_axis(others, found, False, axis=-1)
    np.testing.assert_array_equal(after[others], before[others])
