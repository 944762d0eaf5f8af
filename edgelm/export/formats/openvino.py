"""OpenVINO: the graph of a model that answers in OpenVINO's own files, with what reads texts for it.

OpenVINO takes the ONNX graph in standard operators, integers as Q/DQ nodes. What it makes of it is held against
transformers as it runs there, before the folder takes its place.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx

from edgelm.cards.engine import Engine
from edgelm.errors import ModelError, UsageError
from edgelm.export.draft import Draft
from edgelm.export.formats.engine_folder import check_engine, finish_folder
from edgelm.export.precision import to_precision
from edgelm.export.settings import ExportSettings
from edgelm.export.text_steps import material_of
from edgelm.export.trace import export_graph
from edgelm.files.output import staged_output
from edgelm.files.output_kinds import OPENVINO
from edgelm.graph.external_data import save_graph
from edgelm.precision import precision_of, precisions_for
from edgelm.quantize.target import OPENVINO as TARGET
from edgelm.runtime.graph_spec import Parity

# Named as transformers' own exporter names it; the weights lie beside it, in openvino_model.bin.
MODEL_FILE = "openvino_model.xml"
_CODE = """
import numpy as np
import openvino
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(LENGTH)
model = openvino.Core().compile_model("openvino_model.xml", "CPU")
read = tokenizer.encode(TEXTS)
values = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
answer = model({given.any_name: np.array([values[given.any_name]]) for given in model.inputs})
for output in model.outputs:
    print(output.any_name, answer[output])
"""
_ENGINE = Engine(
    "OpenVINO",
    "openvino",
    "openvino tokenizers",
    _CODE,
    "On a CPU with AMX OpenVINO computes floats in BF16 unless `compile_model` is given "
    '`{"INFERENCE_PRECISION_HINT": "f32"}`, as it was for the figures here. OpenVINO reports its use to its maker; '
    "`opt_in_out --opt_out` ends that.",
)


def check_openvino(settings: ExportSettings) -> None:
    """Look whether such a folder can be made here, before anything takes long.

    Raises:
        UsageError: a precision, a device or an option that is not for it.
        MissingExtraError: OpenVINO is not installed.
    """
    known = precisions_for(TARGET.name)
    if precision_of(settings.precision).name not in known:
        raise UsageError(
            f"--format openvino is written in {', '.join(known)}, not {settings.precision}.",
            hint="Give --precision int8 or fp16.",
        )
    given = {"--single": settings.single, "--embedding-bits": settings.quantization.embedding_bits is not None}
    check_engine("openvino", settings, given)


def write_openvino(draft: Draft) -> tuple[Parity, dict[str, Any]]:
    """Write the folder: model, configuration, tokenizer and card.

    Returns:
        as `finish_folder`.

    Raises:
        ModelError: OpenVINO cannot read the graph.
        ParityError: it does not compute what transformers does.
        CalibrationError: texts that give no ranges.
        UsageError: nothing can be written there.
    """
    settings, source = draft.settings, draft.source
    graph = export_graph(source.with_length(source.max_length), fused=False, opset=settings.opset)
    settings.progress("export", 1, 3)
    if precision_of(settings.precision).integers:
        made = to_precision(
            graph,
            settings.precision,
            material_of(draft),
            settings.device,
            settings.quantization,
            settings.progress,
            target=TARGET,
        )
        graph = made.graph
    with staged_output(settings.output, overwrite=settings.overwrite, kind=OPENVINO) as folder:
        folder.mkdir()
        _convert(graph, folder / MODEL_FILE, half=settings.precision != "fp32")
        settings.progress("export", 2, 3)
        parity, quality = finish_folder(draft, folder, CompiledModel(folder / MODEL_FILE), _ENGINE)
    settings.progress("export", 3, 3)
    return parity, quality


class CompiledModel:
    """A model of OpenVINO on this CPU that is asked as a session of onnxruntime is; floats are computed in FP32, where
    a CPU with AMX would else take BF16."""

    def __init__(self, file: Path) -> None:
        core = _openvino().Core()
        self._model = core.compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def get_inputs(self) -> list[SimpleNamespace]:
        """The inputs, by their names."""
        return [SimpleNamespace(name=given.get_any_name()) for given in self._model.inputs]

    def run(self, _: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output."""
        found = self._model(dict(feeds))
        return [np.asarray(found[output]) for output in self._model.outputs]


def _openvino() -> ModuleType:
    """OpenVINO, without the package that reports its use to its maker: nobody who exports a model asked for that."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    module: ModuleType = openvino
    return module


def _convert(graph: onnx.ModelProto, file: Path, *, half: bool) -> None:
    """Write a graph as OpenVINO's files; `half`: floats of weights in 16 bits."""
    openvino = _openvino()
    with TemporaryDirectory() as scratch:
        source = Path(scratch) / "model.onnx"
        save_graph(graph, source, "model.bin")
        try:
            model = openvino.Core().read_model(str(source))
            openvino.save_model(model, str(file), compress_to_fp16=half)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise ModelError(f"OpenVINO cannot read the model's graph: {reason}", hint="Leave --format out.") from error
