"""Where heads, FFN channels and layers live in each model family, and how a Checkpoint becomes a model."""

from edgelm.anatomy.depth import keep_layers
from edgelm.anatomy.embeddings import cut_tokens, fixed_tokens, token_weights, word_embeddings
from edgelm.anatomy.families.family import Family
from edgelm.anatomy.families.table import FAMILIES, family_of, stacks_of, supported_model_types
from edgelm.anatomy.hub import find_checkpoint
from edgelm.anatomy.layer import Layer, Sublayer
from edgelm.anatomy.layers import layer_shapes, model_layers, parameter_count, sublayers
from edgelm.anatomy.loading import head_config, load_backbone, load_checkpoint, load_masked_lm, save_checkpoint
from edgelm.anatomy.projection import Projection
from edgelm.anatomy.reference import load_reference
from edgelm.anatomy.task_model import Rows, TaskModel, counted_rows, counted_targets, model_outputs, pool
from edgelm.anatomy.tokenizer import check_token_types, load_tokenizer, token_types

__all__ = [
    "FAMILIES",
    "Family",
    "Layer",
    "Projection",
    "Rows",
    "Sublayer",
    "TaskModel",
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
    "model_layers",
    "model_outputs",
    "parameter_count",
    "pool",
    "save_checkpoint",
    "stacks_of",
    "sublayers",
    "supported_model_types",
    "token_types",
    "token_weights",
    "word_embeddings",
]
