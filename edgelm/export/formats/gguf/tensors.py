"""A decoder's weights under GGUF's names and in its order of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from edgelm.errors import ModelError
from edgelm.export.formats.gguf.families import Family
from edgelm.export.formats.gguf.rope import rope_divisors

HEAD_TENSORS = ("token_embd.weight", "output.weight")
_PLAIN = ("position_embd.weight", "rope_freqs.weight")  # added to or multiplied with F32 in llama.cpp


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file, made when it is written.

    Attributes:
        name: GGUF's.
        shape: rows first.
        make: FP32 values.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], torch.Tensor]

    @property
    def matrix(self) -> bool:
        """Whether it takes the file's precision; the others are F32."""
        return len(self.shape) == 2 and self.name not in _PLAIN


def tensors_of(model: Any, family: Family, where: str) -> list[Tensor]:
    """All tensors of a model; a head that is the embedding table is left out, as llama.cpp then takes the table.

    Raises:
        ModelError: a parameter that the architecture has no name for, or layers of different sizes.
    """
    found = list(_tensors(model, family, where))
    sizes: dict[str, tuple[int, ...]] = {}
    for tensor in found:
        part = tensor.name.split(".", 2)[2] if tensor.name.startswith("blk.") else tensor.name
        if sizes.setdefault(part, tensor.shape) != tensor.shape:
            raise ModelError(
                f"{where}: llama.cpp has layers of one size; {tensor.name} is {tensor.shape}.",
                hint="Export a bundle, or cut whole layers alone (stage depth).",
            )
    return found


def _tensors(model: Any, family: Family, where: str) -> Iterator[Tensor]:
    table = model.get_input_embeddings().weight
    for path, weight in model.named_parameters(remove_duplicate=False):
        module, _, kind = path.rpartition(".")
        name = _name(module, family)
        if name is None or (kind == "bias" and name.rpartition(".")[2] not in family.biases):
            raise ModelError(f"{where}: a GGUF of the architecture {family.architecture!r} has no {path}.")
        if name == "output" and weight is table:
            continue
        yield _tensor(f"{name}.{kind}", weight, model.config, family)
    divisors = rope_divisors(getattr(model.config, "rope_parameters", None) or {}, _head_size(model.config))
    if divisors is not None:
        values = torch.from_numpy(divisors)
        yield Tensor("rope_freqs.weight", tuple(values.shape), lambda: values)


def _name(module: str, family: Family) -> str | None:
    if not module.startswith(family.layers):
        return family.outer.get(module)
    layer, _, rest = module.removeprefix(family.layers).partition(".")
    return f"blk.{layer}.{family.names[rest]}" if rest in family.names else None


def _tensor(name: str, weight: torch.Tensor, config: Any, family: Family) -> Tensor:
    part = name.split(".")[-2]
    turned = family.transposed and weight.dim() == 2 and part not in ("token_embd", "position_embd", "output")
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(part) if family.paired else None
    shift = family.norm_shift if part.endswith("norm") else 0.0

    def make() -> torch.Tensor:
        values = weight.detach().to("cpu", torch.float32)
        if turned:
            values = values.T
        if heads is not None:
            values = _pair(values, getattr(config, heads))
        return values + shift if shift else values.contiguous()

    shape = tuple(weight.shape)
    return Tensor(name, shape[::-1] if turned else shape, make)


def _pair(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head in the order 0, half, 1, half + 1, ...: llama.cpp turns neighbours."""
    size = rows.shape[0] // heads
    return rows.reshape(heads, 2, size // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
