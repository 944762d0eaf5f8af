"""edgelm: make a fine-tuned transformer small and fast, prove it, and run it on the device.

The names below are imported when they are first used, so that `import edgelm.runtime` stays light.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgelm.version import __version__

# onnxruntime asks for its maker's host and keeps a device id in the user's cache as soon as it is imported; the
# libraries of the Hugging Face hub report what is loaded. Nobody who runs a model asked for that, so it is off before
# any of them can be imported here, and in every process that is started from here. Who set one of these variables has
# decided already.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[_name] = os.environ.get(_name) or "1"

if TYPE_CHECKING:
    from edgelm.anatomy import load_checkpoint
    from edgelm.bars import progress_bars
    from edgelm.budget import Budget
    from edgelm.budgeting.compress import compress_to_budget
    from edgelm.checkpoint import open_checkpoint
    from edgelm.compress.finetune import finetune
    from edgelm.compress.pipeline import compress
    from edgelm.data.dataset import load_dataset
    from edgelm.device import load_device
    from edgelm.engines import build
    from edgelm.export.pipeline import export
    from edgelm.hardware.detect import detect_device
    from edgelm.profile.pipeline import profile
    from edgelm.profile.remote.pipeline import profile_hosts
    from edgelm.profile.tune import tune
    from edgelm.recipe import load_recipe
    from edgelm.runtime import load, open_bundle
    from edgelm.search.pipeline import search
    from edgelm.search.space import load_space
    from edgelm.tracking import report_to

_HOMES = {
    "finetune": "edgelm.compress.finetune",
    "compress": "edgelm.compress.pipeline",
    "compress_to_budget": "edgelm.budgeting.compress",
    "Budget": "edgelm.budget",
    "load_checkpoint": "edgelm.anatomy",
    "export": "edgelm.export.pipeline",
    "build": "edgelm.engines",
    "profile": "edgelm.profile.pipeline",
    "profile_hosts": "edgelm.profile.remote.pipeline",
    "tune": "edgelm.profile.tune",
    "detect_device": "edgelm.hardware.detect",
    "search": "edgelm.search.pipeline",
    "load": "edgelm.runtime",
    "open_bundle": "edgelm.runtime",
    "open_checkpoint": "edgelm.checkpoint",
    "load_recipe": "edgelm.recipe",
    "load_device": "edgelm.device",
    "load_dataset": "edgelm.data.dataset",
    "load_space": "edgelm.search.space",
    "progress_bars": "edgelm.bars",
    "report_to": "edgelm.tracking",
}

__all__ = [
    "Budget",
    "__version__",
    "build",
    "compress",
    "compress_to_budget",
    "detect_device",
    "export",
    "finetune",
    "load",
    "load_checkpoint",
    "load_dataset",
    "load_device",
    "load_recipe",
    "load_space",
    "open_bundle",
    "open_checkpoint",
    "profile",
    "profile_hosts",
    "progress_bars",
    "report_to",
    "search",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            from edgelm.hardware.doctor import explain_missing

            if missing := explain_missing(error, call=f"edgelm.{name}"):
                raise missing from error
            raise
    raise AttributeError(f"module 'edgelm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
