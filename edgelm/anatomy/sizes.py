"""How large a model is and how long a text it takes, by its configuration: the one rule for every family."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from edgelm.anatomy.families.family import Family
from edgelm.anatomy.families.table import family_of
from edgelm.errors import ModelError, UsageError
from edgelm.model_folder.generators import generator_family, longest_text
from edgelm.shapes import ModelSizes
from edgelm.tasks.task import Task

_POSITIONS = 512  # where config.json does not say: the default of every family's configuration class


def sizes_of(config: Mapping[str, Any] | Any, *, task: Task | None = None) -> ModelSizes:
    """The sizes of a model, uncut.

    Args:
        config: config.json's content, or a configuration of transformers.
        task: what the model's head is for; None: sizes without a head.

    Raises:
        UnsupportedFamily: the architecture has no anatomy.
        ModelError: the configuration leaves no room for a text.
    """
    values = config if isinstance(config, Mapping) else config.to_dict()
    family = family_of(str(values.get("model_type", "")))
    return ModelSizes(
        **family.sizes(values),
        vocabulary=int(values["vocab_size"]),
        positions=usable_positions(family, values),
        types=int(values.get("type_vocab_size", 2)) if family.token_types and (task is None or task.pair) else 0,
        outputs=_outputs(task, int(values["vocab_size"])),
        every_token=task is not None and task.per != "sample",
        gated=family.ffn_gate is not None,
        position_table=family.has_position_table(values),
    )


def _outputs(task: Task | None, vocabulary: int) -> int:
    """Width of a task's head: of labels one each, of a number or a choice one, of an answer its start and end, of masks
    one for each token."""
    if task is None or task.architecture == "Model":
        return 0
    if task.own_targets:
        return vocabulary
    return len(task.output_names) if task.per == "position" else max(len(task.labels), 1)


def usable_positions(family: Family, config: Mapping[str, Any] | Any) -> int:
    """The longest text in tokens that the position embeddings hold.

    RoBERTa counts positions from the padding token's id on, so the rows up to that one are never a text's.

    Args:
        config: config.json's content, or a configuration of transformers.

    Raises:
        ModelError: the configuration leaves no room for a text.
    """
    values = config if isinstance(config, Mapping) else vars(config)
    rows = values.get("max_position_embeddings", _POSITIONS)
    padding = -1
    if family.positions_from_padding:
        padding = values.get("pad_token_id", 1) if family.padding is None else family.padding
    numbers = all(isinstance(value, int) and not isinstance(value, bool) for value in (rows, padding))
    if not numbers or rows - (padding + 1) < 2:
        raise ModelError(
            f"config.json: max_position_embeddings is {rows!r} and pad_token_id {values.get('pad_token_id')!r}, which "
            "leaves no room for a text.",
            hint="Copy or download the model again.",
        )
    return int(rows) - (int(padding) + 1)


def text_limit(config: Mapping[str, Any]) -> int:
    """The longest text in tokens that a model takes, encoder or generator; without end where nothing limits it.

    Args:
        config: config.json's content.

    Raises:
        UnsupportedFamily: it is neither.
        ModelError: the configuration leaves no room for a text.
    """
    if generator_family(config) is not None:
        return longest_text(config) or sys.maxsize
    return usable_positions(family_of(str(config.get("model_type", ""))), config)


def check_length(length: int | None, limit: int, *, option: str = "--max-length") -> None:
    """Refuse a length that was asked for and that a model does not take.

    Args:
        length: in tokens; None: none was asked for.
        limit: the longest text that the model takes, in tokens.
        option: what asked for it.

    Raises:
        UsageError: it is longer.
    """
    if length is not None and length > limit:
        raise UsageError(
            f"{option} is {length}, but the model takes at most {limit} tokens.", hint=f"Give {option} {limit} or less."
        )
