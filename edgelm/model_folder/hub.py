"""The model hub: which names are asked of it, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgelm.errors import ModelError


def is_local(name: str | Path) -> bool:
    """Whether a model's name is a path, and no id of the hub such as `org/name`."""
    text = str(name)
    return Path(name).exists() or text.count("/") > 1 or text.startswith((".", "/", "~"))


def download(name: str, patterns: Sequence[str]) -> Path:
    """Fetch the files of a model whose names fit, and return their folder.

    Raises:
        ModelError: the hub has no such model or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        raise ModelError(
            f"{name}: no such folder, and the model hub did not give it ({type(error).__name__}).",
            hint="Give the path of a model folder, or check the name and the network.",
        ) from error
