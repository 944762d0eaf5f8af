"""What one run of an ONNX operator has to do: its kind, and operations for each element of its output."""

from __future__ import annotations

from typing import Literal

Kind = Literal["product", "attention", "norm", "pointwise", "move", "view"]

# Operations an element: an exponential, an error function or a tangent counts as ten.
POINTWISE: dict[str, float] = {
    "QuantizeLinear": 3,
    "DequantizeLinear": 2,
    "DynamicQuantizeLinear": 5,
    "Erf": 10,
    "Exp": 10,
    "Tanh": 10,
    "Sigmoid": 10,
    "Gelu": 12,
    "FastGelu": 12,
    "BiasGelu": 13,
}
NORMS: dict[str, float] = {
    "LayerNormalization": 8,
    "SkipLayerNormalization": 10,
    "LpNormalization": 4,
    "Softmax": 12,
    "ReduceMean": 1,
    "ReduceSum": 1,
    "ReduceMax": 1,
    "ReduceL2": 2,
}
_LOOKUPS = ("Gather", "GatherBlockQuantized", "GatherElements", "GatherND")
MOVES = frozenset(
    (*_LOOKUPS, "Split", "Concat", "Transpose", "Slice", "Expand", "Tile", "Pad", "ConstantOfShape", "Range")
)
VIEWS = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Shape", "Size"))
SOFTMAX = NORMS["Softmax"]

# Products with a constant matrix, by the precision that the operator itself says; None: that of its inputs.
PRODUCTS: dict[str, str | None] = {
    "MatMul": None,
    "Gemm": None,
    "FusedMatMul": None,
    "FusedGemm": None,
    "MatMulInteger": "int8",
    "MatMulIntegerToFloat": "int8",
    "QLinearMatMul": "int8",
    "QGemm": "int8",
    "DynamicQuantizeMatMul": "int8-dynamic",
    "MatMulNBits": "int8-weights",  # int4, if its attribute `bits` says so
}
ATTENTIONS: dict[str, str | None] = {"Attention": None, "QAttention": "int8", "MultiHeadAttention": None}


def kind_of(operator: str) -> Kind:
    """What bounds it: products, attention's own products, sums over rows, elements one by one, or nothing but
    memory."""
    if operator in PRODUCTS:
        return "product"
    if operator in ATTENTIONS:
        return "attention"
    if operator in NORMS:
        return "norm"
    return "move" if operator in MOVES else "view" if operator in VIEWS else "pointwise"
