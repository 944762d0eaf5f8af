"""A classifier without layers: a vector for each token of the vocabulary, their mean over a text, and a head.

This file lies beside a checkpoint whose config.json says `"model_type": "edgelm-static"`. It needs torch and
transformers alone: `AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)` builds the
model by it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput


class EdgelmStaticConfig(PreTrainedConfig):
    """The sizes of such a model.

    Args:
        vocab_size: rows of the table.
        hidden_size: width of a token's vector.
        intermediate_size: width of the head's hidden layer.
        max_position_embeddings: the longest text in tokens; nothing in the model limits it.
    """

    model_type = "edgelm-static"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 256,
        intermediate_size: int = 256,
        max_position_embeddings: int = 512,
        pad_token_id: int | None = 0,
        layer_norm_eps: float = 1e-5,
        initializer_range: float = 0.02,
        **others: Any,
    ) -> None:
        others.pop("num_hidden_layers", None)
        others.pop("num_attention_heads", None)
        super().__init__(pad_token_id=pad_token_id, **others)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        self.num_hidden_layers = self.num_attention_heads = 0  # which tools ask every encoder for


class EdgelmStaticPreTrainedModel(PreTrainedModel):
    """What both models share."""

    config_class = EdgelmStaticConfig
    base_model_prefix = "static"


class EdgelmStaticModel(EdgelmStaticPreTrainedModel):
    """The table: token ids (batch, tokens) to vectors (batch, tokens, hidden), each the same wherever it stands."""

    def __init__(self, config: EdgelmStaticConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.layers = nn.ModuleList()
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table."""
        return self.word_embeddings

    def set_input_embeddings(self, value: Any) -> None:
        """Put in another table."""
        self.word_embeddings = value

    def forward(
        self, input_ids: torch.Tensor, output_hidden_states: bool | None = None, **others: Any
    ) -> BaseModelOutput:
        """The vectors; they stand in for the hidden states too. Masks and token types change nothing here."""
        vectors = self.word_embeddings(input_ids)
        return BaseModelOutput(vectors, hidden_states=(vectors,) if output_hidden_states else None)


class EdgelmStaticForSequenceClassification(EdgelmStaticPreTrainedModel):
    """The mean of a text's vectors, normed, through one hidden layer to the logits.

    How much a token counts in the mean is the length of its vector. The norm makes of a mean that stop words have
    diluted the same as of one that they have not.
    """

    def __init__(self, config: EdgelmStaticConfig) -> None:
        super().__init__(config)
        self.static = EdgelmStaticModel(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(config.intermediate_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **others: Any,
    ) -> SequenceClassifierOutput:
        """Logits (batch, labels); the loss on labels where there are some."""
        found = self.static(input_ids, output_hidden_states=output_hidden_states)
        vectors = found.last_hidden_state
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weights = mask.to(vectors.dtype).unsqueeze(-1)
        mean = (vectors * weights).sum(dim=1) / weights.sum(dim=1)
        logits = self.classifier(self.dropout(nn.functional.gelu(self.dense(self.norm(mean)))))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=found.hidden_states)
