"""The models without layers among the auto classes of transformers, and how one is made of token vectors."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from edgelm.anatomy.modeling_edgelm_static import (
    EdgelmStaticConfig,
    EdgelmStaticForSequenceClassification,
    EdgelmStaticModel,
)

# Here, where every loader passes by: transformers builds what config.json names by its own classes, or by these.
AutoConfig.register(EdgelmStaticConfig.model_type, EdgelmStaticConfig, exist_ok=True)
AutoModel.register(EdgelmStaticConfig, EdgelmStaticModel, exist_ok=True)
AutoModelForSequenceClassification.register(EdgelmStaticConfig, EdgelmStaticForSequenceClassification, exist_ok=True)


def make_static(vectors: torch.Tensor, teacher: PreTrainedModel, *, positions: int, head: int) -> PreTrainedModel:
    """A model of these token vectors with the teacher's labels; its head begins with random numbers.

    Args:
        vectors: (tokens, width), by id.
        positions: the longest text in tokens.
        head: width of the head's hidden layer.
    """
    theirs = teacher.config
    config = EdgelmStaticConfig(
        vocab_size=len(vectors),
        hidden_size=vectors.shape[1],
        intermediate_size=head,
        max_position_embeddings=positions,
        pad_token_id=theirs.pad_token_id,
        id2label=dict(theirs.id2label),
        label2id=dict(theirs.label2id),
        problem_type=theirs.problem_type,
    )
    model = EdgelmStaticForSequenceClassification(config)
    table = model.static.word_embeddings
    table.weight = nn.Parameter(vectors.detach().float().clone())
    return model.eval()
