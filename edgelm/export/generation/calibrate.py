"""The integers of a generator's matrices, chosen on real texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from edgelm.compress.write import write
from edgelm.data.dataset import Dataset
from edgelm.data.written import DECODED, encode_written
from edgelm.errors import CalibrationError, UsageError
from edgelm.export.draft import Draft
from edgelm.export.generation.cache_scales import CacheScale, cache_scales
from edgelm.export.generation.dialect import PLAIN, dialect_of
from edgelm.export.generation.few_bits import quantize_generator
from edgelm.export.generation.plain.products import PLAIN_BLOCK
from edgelm.export.generation.products import Quantize, to_nearest
from edgelm.export.generation.writing import generation_of
from edgelm.files.places import told_place
from edgelm.precision import precision_of
from edgelm.quantize.few_bits import DEFAULTS, METHODS, FewBits, by_name

_TOKENS = 16_384  # that moments are collected over: enough for the hundreds of millions of weights of small models
_SEQUENCE = 512  # tokens of one of their sequences


@dataclass(frozen=True)
class Calibrated:
    """How matrices become integers.

    Attributes:
        quantize: makes the integers of a matrix, by the name of its module.
        cache: what a unit of keys and values stands for in each layer, where they are kept in bytes.
        said: what the manifest says of it.
    """

    quantize: Quantize = to_nearest
    cache: tuple[CacheScale, ...] = ()
    said: dict[str, Any] = field(default_factory=dict)


def calibrate(draft: Draft) -> Calibrated:
    """Choose the integers of a draft's matrices, where its precision has weights in blocks, and of its cache, where
    that is asked for.

    Raises:
        UsageError: a way of rounding that is not for weights in blocks, or a cache in bytes for an encoder-decoder.
        CalibrationError: texts that become no tokens.
    """
    made, asked = _calibrate_matrices(draft), draft.settings.quantization
    if asked.cache_bits is None:
        return made
    if draft.source.model.config.is_encoder_decoder:
        raise UsageError("--cache-bits is for decoders alone.", hint="Leave it out.")
    scales = cache_scales(draft.source.model, _batches(draft, _rows(draft)))
    return replace(made, cache=scales, said=made.said | {"cache bits": asked.cache_bits})


def _calibrate_matrices(draft: Draft) -> Calibrated:
    precision = precision_of(draft.settings.precision)
    if precision.conversion != "blocks":
        return Calibrated()
    settings = _settings(draft, precision.name)
    if settings.method == "nearest":
        return Calibrated(said={"rounding": settings.method})
    rows = _rows(draft)
    batches = _batches(draft, rows)
    made = quantize_generator(draft.source.model, batches, settings)
    kept = sorted(name for name, weight in made.items() if weight.bits > settings.bits)
    said = {
        "rounding": settings.method,
        "source": told_place(rows.source),
        "texts": len(rows),
        "tokens": sum(_size(batch) for batch in batches),
        "bits": {str(bits): sum(weight.bits == bits for weight in made.values()) for bits in (4, 8)},
        "kept in 8 bits": kept,
    }
    return Calibrated(by_name(made), said=said)


def _settings(draft: Draft, precision: str) -> FewBits:
    """What the options make of the defaults."""
    asked = draft.settings.quantization
    rounding = asked.rounding or DEFAULTS[precision].method
    if rounding not in METHODS:
        raise UsageError(
            f"--rounding {rounding} is not for the weights of models that write.",
            hint=f"There are: {', '.join(METHODS)}.",
        )
    settings = replace(DEFAULTS[precision], method=rounding, head_bits=asked.embedding_bits or 8)
    if dialect_of(draft.settings.device) is PLAIN:
        return replace(settings, block=PLAIN_BLOCK, positive=True)
    return settings


def _rows(draft: Draft) -> Dataset:
    """The texts to calibrate on."""
    return draft.rows.sample(draft.settings.quantization.samples, seed=draft.settings.seed)


def _batches(draft: Draft, rows: Dataset) -> list[Mapping[str, Tensor]]:
    """Sequences as the model reads them, one at a time: of an encoder-decoder whose texts have no targets, with those
    that it writes itself.

    Raises:
        CalibrationError: there are none.
    """
    source, task = draft.source, generation_of(draft)
    if source.model.config.is_encoder_decoder and rows.labels is None:
        texts = write(source.model, source.tokenizer, task, rows.texts, max_length=source.max_length)
        rows = replace(rows, labels=tuple((text,) for text in texts), schema=task.schema)
    longest = min(_SEQUENCE, source.max_length)
    encoded = encode_written(rows, source.tokenizer, task, max_length=longest)
    names = [name for name in ("input_ids", DECODED) if name in encoded.columns]
    batches: list[Mapping[str, Tensor]] = []
    left = _TOKENS
    for number in range(len(encoded)):
        batch = {name: torch.tensor([encoded.columns[name][number]]) for name in names}
        if left > 0 and all(ids.numel() for ids in batch.values()):
            batches.append(batch)
            left -= _size(batch)
    if not batches:
        raise CalibrationError("the texts become no tokens.", hint="Give longer ones with --calibration.")
    return batches


def _size(batch: Mapping[str, Tensor]) -> int:
    """Tokens of a batch."""
    return sum(ids.numel() for ids in batch.values())
