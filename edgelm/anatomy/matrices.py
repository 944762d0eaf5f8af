"""The matrices of a model that writes, by the names of their modules: those of its layers, and its tables of tokens."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def linear_modules(model: nn.Module) -> dict[str, nn.Linear | Conv1D]:
    """The linear modules of a model by name: PyTorch's, which keep (out, in), and transformers' Conv1D, (in, out); but
    for those that a cut left without a weight."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module.weight.numel()
    }


def layer_matrices(model: PreTrainedModel) -> dict[str, nn.Linear | Conv1D]:
    """The linear modules of a generator by name, but for what is or reads the table of tokens."""
    tied = {id(module.weight) for module in token_tables(model).values()}
    return {name: module for name, module in linear_modules(model).items() if id(module.weight) not in tied}


def token_tables(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The table of tokens and, where it is not tied to it, the head, by the first names that they have."""
    found: dict[str, nn.Module] = {}
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        if module is not None and all(other.weight is not module.weight for other in found.values()):
            same = (
                (name, other)
                for name, other in model.named_modules()
                if getattr(other, "weight", None) is module.weight
            )
            name, other = next(same)
            found[name] = other
    return found


def own_head(model: PreTrainedModel) -> nn.Module | None:
    """The head, where it is a matrix of its own; None: there is none, or it is the table of tokens."""
    head: nn.Module | None = model.get_output_embeddings()
    if head is None or head.weight is model.get_input_embeddings().weight:
        return None
    return head
