"""Names that an option or a setting chooses among, or has by itself: the command line lists them in its help and
refuses others.

Nothing heavy is imported here, since every call of the command line reads this file.
"""

from __future__ import annotations

from typing import Literal

PROJECT_FILE = "edgelm.yaml"  # what `edgelm init` writes and `edgelm make` reads, unless told otherwise

LabelFormat = Literal["names", "indices", "vectors"]
Optimizer = Literal["adamw", "adam", "sgd", "adagrad", "rmsprop"]
Schedule = Literal["linear", "cosine", "constant"]
TrainPrecision = Literal["auto", "fp32", "bf16", "fp16"]
PrecisionName = Literal["fp32", "fp16", "bf16", "int8", "int8-dynamic", "int8-weights", "int4"]
GgufPrecision = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
ExportPrecision = Literal[PrecisionName, GgufPrecision]
ProviderName = Literal[
    "tensorrt", "tensorrt-rtx", "cuda", "openvino", "coreml", "qnn", "xnnpack", "native", "cpu"
]  # fmt: skip
RangeMethod = Literal["auto", "minmax", "moving-average", "percentile", "mse", "entropy"]
Rounding = Literal["nearest", "adaptive", "gptq"]
CalibrationChoice = Literal["random", "length", "label", "diverse"]
ExportFormat = Literal["bundle", "gguf", "genai", "openvino", "executorch"]
EnginePackage = Literal["tensorrt", "tensorrt-rtx"]
Sampler = Literal["tpe", "nsga2"]
Language = Literal["en", "zh"]
