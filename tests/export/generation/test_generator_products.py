"""Products and tables of generators' graphs against numpy on the weights that are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from edgelm.errors import ModelError, UsageError
from edgelm.export.generation.builder import GraphBuilder
from edgelm.export.generation.products import Product, Products
from edgelm.graph.rewrites import weights_of
from edgelm.graph.session import make_plain_session
from edgelm.quantize.blocks import BlockWeight, round_blocks
from edgelm.quantize.grid import quantize_columns

DRAW = np.random.default_rng(0)
IDS = np.array([[3, 69, 0]])
IN, LEFT, RIGHT = 48, 24, 16  # the last block of 32 inputs is half empty
# FP32: another order of sums. FP16: ten bits. Integers: activations become bytes, one part in 127 of a block's largest.
TOLERANCES = {"fp32": 1e-5, "fp16": 5e-3, "int8-dynamic": 2e-2, "int8-weights": 2e-2, "int4": 2e-2}


@dataclass
class Remember:
    """A `Quantize` that keeps what it gave."""

    bits: dict[str, int]
    made: dict[str, BlockWeight]
    block: int = 32
    zeros: bool = False

    def __call__(self, name: str, weight: np.ndarray, bits: int) -> BlockWeight:
        self.made[name] = round_blocks(weight, self.bits.get(name, bits), block=self.block, zeros=self.zeros)
        return self.made[name]


def two_products() -> tuple[Product, Product]:
    left = Product("left", DRAW.standard_normal((IN, LEFT)).astype(np.float32))
    right = Product(
        "right", DRAW.standard_normal((IN, RIGHT)).astype(np.float32), DRAW.standard_normal(RIGHT).astype(np.float32)
    )
    return left, right


def run(precision: str, quantize: Remember, left: Product, right: Product, source: np.ndarray) -> np.ndarray:
    graph = GraphBuilder("test", half=precision == "fp16")
    graph.input("x", graph.float_type, ("batch", "sequence", IN), "embedding")
    graph.output("y", graph.float_type, ("batch", "sequence", LEFT + RIGHT), "logits")
    joined = Products(graph, precision, quantize=quantize).linear("x", left, right, place="both")
    graph.node_giving(["y"], "Identity", [joined], "y")
    (result,) = make_plain_session(graph.finish().model, exact=True).run(None, {"x": source.astype(graph.float_type)})
    return result.astype(np.float32)


def run_tied(
    precision: str, head: str | None, quantize: Remember, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, onnx.ModelProto]:
    """Rows of a table, their products with all of it, and the graph."""
    graph = GraphBuilder("test", half=precision == "fp16")
    graph.input("ids", np.int64, ("batch", "sequence"), "tokens")
    graph.output("rows", graph.float_type, ("batch", "sequence", IN), "embedding")
    graph.output("logits", graph.float_type, ("batch", "sequence", len(weight)), "logits")
    products = Products(graph, precision, head=head, quantize=quantize)
    table = products.table("words", weight)
    rows = products.look_up(table, "ids")
    graph.node_giving(["rows"], "Identity", [rows], "rows")
    graph.node_giving(["logits"], "Identity", [products.project(rows, table, "head")], "head")
    model = graph.finish().model
    found, logits = make_plain_session(model, exact=True).run(None, {"ids": IDS})
    return found, logits, model


@pytest.mark.parametrize("precision", TOLERANCES)
def test_joined_products_are_products_of_the_stored_weights(precision: str) -> None:
    left, right = two_products()
    source = DRAW.standard_normal((2, 3, IN)).astype(np.float32)
    quantize = Remember({}, {})

    result = run(precision, quantize, left, right, source)

    def stored(product: Product) -> np.ndarray:
        if precision == "int8-dynamic":
            return quantize_columns(product.weight).floats()
        return quantize.made[product.name].floats() if quantize.made else product.weight

    wanted = np.concatenate([source @ stored(left), source @ stored(right) + right.bias], axis=-1)
    assert np.abs(result - wanted).max() <= TOLERANCES[precision] * np.abs(wanted).max()


def test_products_of_different_bits_stand_side_by_side() -> None:
    left, right = two_products()
    source = DRAW.standard_normal((2, 3, IN)).astype(np.float32)
    quantize = Remember({"right": 8}, {})

    result = run("int4", quantize, left, right, source)

    wanted = np.concatenate(
        [source @ quantize.made["left"].floats(), source @ quantize.made["right"].floats() + right.bias], axis=-1
    )
    assert {name: made.bits for name, made in quantize.made.items()} == {"left": 4, "right": 8}
    assert np.abs(result - wanted).max() <= TOLERANCES["int4"] * np.abs(wanted).max()


@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("precision", ["int8-weights", "int4"])
def test_blocks_have_the_size_and_zero_points_that_they_were_made_with(block: int, zeros: bool, precision: str) -> None:
    left, right = two_products()
    source = DRAW.standard_normal((2, 3, IN)).astype(np.float32)
    quantize = Remember({}, {}, block, zeros)

    result = run(precision, quantize, left, right, source)

    stored = [quantize.made[name].floats() for name in ("left", "right")]
    wanted = np.concatenate([source @ stored[0], source @ stored[1] + right.bias], axis=-1)
    assert np.abs(result - wanted).max() <= TOLERANCES[precision] * np.abs(wanted).max()


@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_tied_table_has_them_too(block: int, bits: int) -> None:
    weight = DRAW.standard_normal((70, IN)).astype(np.float32)
    quantize = Remember({"words": bits}, {}, block, zeros=True)

    found, logits, _ = run_tied("int4", None, quantize, weight)

    stored = quantize.made["words"].floats().T
    assert np.abs(found - stored[IDS]).max() <= 1e-6 * np.abs(stored).max()
    wanted = stored[IDS] @ stored.T
    assert np.abs(logits - wanted).max() <= TOLERANCES["int4"] * np.abs(wanted).max()


@pytest.mark.parametrize(("precision", "head"), [("fp32", None), ("fp16", None), ("int4", None), ("int4", "int4")])
def test_a_tied_head_reads_the_table_of_the_lookup(precision: str, head: str | None) -> None:
    weight = DRAW.standard_normal((70, IN)).astype(np.float32)
    quantize = Remember({}, {})

    found, logits, model = run_tied(precision, head, quantize, weight)

    stored = quantize.made["words"].floats().T if quantize.made else weight
    tolerance = 5e-3 if precision == "fp16" else 1e-6
    assert np.abs(found - stored[IDS]).max() <= tolerance * np.abs(stored).max()
    wanted = stored[IDS] @ stored.T
    assert np.abs(logits - wanted).max() <= TOLERANCES[precision] * np.abs(wanted).max()
    assert sum(tensor.dims[0] == 70 and "scale" not in tensor.name for tensor in weights_of(model).values()) == 1


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_precision_that_generators_lack_is_refused(precision: str) -> None:
    with pytest.raises(UsageError, match=f"not exported in {precision}"):
        Products(GraphBuilder("test"), precision)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ModelError, match=r"mlp: the activation 'xielu' has no operator"):
        GraphBuilder("test").activation("x", "xielu", "mlp")
