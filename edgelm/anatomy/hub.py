"""Models by name: a folder is used where it is, anything else is asked of the model hub."""

from __future__ import annotations

from pathlib import Path

from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.errors import ModelError

# No *.bin: pickled weights are fetched only when the user allows them.
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")


def find_checkpoint(name_or_path: str | Path, *, allow_pickle: bool = False, any_head: bool = False) -> Checkpoint:
    """Open a model by folder or by hub id, such as `org/name`.

    Args:
        any_head: the encoder alone is wanted, so whatever head is on it does not matter.

    Raises:
        ModelError: no such folder, and the hub has no such model or cannot be reached.
    """
    path = Path(name_or_path)
    text = str(name_or_path)
    if path.exists() or text.count("/") > 1 or text.startswith((".", "/", "~")):
        return open_checkpoint(path, allow_pickle=allow_pickle, any_head=any_head)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = (*_PATTERNS, "*pytorch_model.bin") if allow_pickle else _PATTERNS
    try:
        folder = snapshot_download(text, allow_patterns=list(patterns))
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        raise ModelError(
            f"{text}: no such folder, and the model hub did not give it ({type(error).__name__}).",
            hint="Give the path of a model folder, or check the name and the network.",
        ) from error
    return open_checkpoint(folder, allow_pickle=allow_pickle, any_head=any_head)
