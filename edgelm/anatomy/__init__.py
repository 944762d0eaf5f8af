"""Where heads, FFN channels and layers live in each model family, and how a Checkpoint becomes a model."""

from edgelm.anatomy.embeddings import cut_tokens, fixed_tokens, word_embeddings
from edgelm.anatomy.families.table import FAMILIES, Family, family_of, supported_model_types
from edgelm.anatomy.hub import find_checkpoint
from edgelm.anatomy.layers import Block, blocks, keep_layers, layer_shapes, parameter_count
from edgelm.anatomy.loading import head_config, load_backbone, load_checkpoint, load_masked_lm, save_checkpoint
from edgelm.anatomy.reference import load_reference
from edgelm.anatomy.task_model import Rows, counted_rows, counted_targets, model_outputs, pool
from edgelm.anatomy.tokenizer import check_token_types, load_tokenizer

__all__ = [
    "FAMILIES",
    "Block",
    "Family",
    "Rows",
    "blocks",
    "check_token_types",
    "counted_rows",
    "counted_targets",
    "cut_tokens",
    "family_of",
    "find_checkpoint",
    "fixed_tokens",
    "head_config",
    "keep_layers",
    "layer_shapes",
    "load_backbone",
    "load_checkpoint",
    "load_masked_lm",
    "load_reference",
    "load_tokenizer",
    "model_outputs",
    "parameter_count",
    "pool",
    "save_checkpoint",
    "supported_model_types",
    "word_embeddings",
]
