"""Write a GGUF file with the package `gguf`: keys, then tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from edgelm.anatomy.remote_code import differing_shapes
from edgelm.errors import ModelError
from edgelm.export.formats.gguf.families import family_of
from edgelm.export.formats.gguf.settings import settings_entries
from edgelm.export.formats.gguf.tensors import HEAD_TENSORS, Tensor, tensors_of
from edgelm.export.formats.gguf.vocabulary import vocabulary_entries
from edgelm.files.output import staged_output


def write(model: Any, tokenizer: Any, path: Path, *, body: str, head: str, name: str, overwrite: bool) -> None:
    """Write the file; everything that can be refused is, before its first byte.

    Args:
        body, head: precisions of `choose_precision`.
        name: of the model.

    Raises:
        UnsupportedFamily, ModelError, UsageError: as `write_gguf`.
    """
    where = f"{name} ({model.config.model_type})"
    family = family_of(model.config.model_type, where)
    rows = model.get_input_embeddings().weight.shape[0]
    entries: dict[str, Any] = {"general.name": name, "general.type": "model"}
    entries |= settings_entries(model.config, family, rows=rows, where=where)
    entries |= vocabulary_entries(tokenizer, model, rows=rows, where=where)
    tensors = [
        (each, _kind(each, head if each.name in HEAD_TENSORS else body)) for each in tensors_of(model, family, where)
    ]
    if differing_shapes(model) is not None:
        raise ModelError(
            f"{where}: llama.cpp has layers of one size, and sublayers of this model were cut to others or removed.",
            hint="Export a bundle, or cut whole layers alone (stage depth).",
        )
    with staged_output(path, overwrite=overwrite) as made:
        writer = gguf.GGUFWriter(made, family.architecture)
        try:
            _write_keys(writer, entries, body)
            for tensor, kind in tensors:
                size = int(np.prod(gguf.quant_shape_to_byte_shape(tensor.shape, kind)))
                writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor, kind in tensors:
                writer.write_tensor_data(_quantize(tensor, kind, where))
        finally:
            writer.close()


def _kind(tensor: Tensor, precision: str) -> gguf.GGMLQuantizationType:
    """How a tensor is kept; F16 where its rows are no whole blocks."""
    if not tensor.matrix:
        return gguf.GGMLQuantizationType.F32
    kind = gguf.GGMLQuantizationType[precision.upper()]
    return gguf.GGMLQuantizationType.F16 if tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind


def _quantize(tensor: Tensor, kind: gguf.GGMLQuantizationType, where: str) -> np.ndarray:
    values = tensor.make().numpy()
    with np.errstate(over="ignore"):
        written = gguf.quants.quantize(values, kind)
    if kind == gguf.GGMLQuantizationType.F16 and not np.isfinite(written).all():
        raise ModelError(f"{where}: F16 cannot hold {tensor.name}.", hint="Choose bf16 or f32.")
    return np.ascontiguousarray(written)


def _write_keys(writer: gguf.GGUFWriter, entries: dict[str, Any], precision: str) -> None:
    """Keys as their Python types say; token kinds are integers, and lists of one kind arrays of it."""
    prefix = "ALL" if precision == "f32" else "MOSTLY"
    writer.add_file_type(gguf.LlamaFileType[f"{prefix}_{precision.upper()}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in entries.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
