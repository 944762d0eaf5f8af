"""The tables of a model that writes: one row a token where texts are read, and one where the next token is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.errors import ModelError

_TABLES = ("shared", "embed_tokens", "wte", "lm_head")  # names of such modules, in all families that edgelm takes
_BIAS = "final_logits_bias"  # (1, tokens), beside the head of BART and Marian


def cut_writer_tables(model: PreTrainedModel, tokens: Sequence[int], padding: int | None) -> None:
    """Keep only the rows of these tokens, in place: of the table or tables that are read, of the head, and of its bias.
    Those that were one matrix stay one. Rows beyond the tokenizer's last token, which T5 is padded with, go as well.

    Args:
        tokens: ids, in their new order.
        padding: the new id of the padding token; None: none is named.

    Raises:
        ModelError: encoder and decoder have vocabularies of their own, or a token has no row.
    """
    modules = [module for name, module in model.named_modules() if name.rpartition(".")[2] in _TABLES]
    tables = [module for module in modules if isinstance(module, (nn.Embedding, nn.Linear))]
    counts = {len(table.weight) for table in tables}
    if len(counts) > 1:
        raise ModelError(
            f"encoder and decoder have vocabularies of their own ({' and '.join(map(str, sorted(counts)))} tokens).",
            hint="Leave the stage vocabulary out of the recipe.",
        )
    index = torch.tensor(tokens, device=tables[0].weight.device)
    rows = {id(table.weight): _rows(table.weight, index) for table in tables}
    for table in tables:
        table.weight = rows[id(table.weight)]
        if isinstance(table, nn.Embedding):
            table.num_embeddings, table.padding_idx = len(tokens), padding
        else:
            table.out_features = len(tokens)
            if table.bias is not None:
                table.bias = _rows(table.bias, index)
    if hasattr(model, _BIAS):
        setattr(model, _BIAS, model.get_buffer(_BIAS)[:, index].clone())


def _rows(weight: torch.Tensor, index: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach()[index].clone(), requires_grad=weight.requires_grad)
