"""Models by name: a folder is used where it is, anything else is asked of the model hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.errors import ModelError
from edgelm.model_folder.card import CARD_FILE, LICENCES
from edgelm.model_folder.weight_files import PICKLE_FILE

# No *.bin: pickled weights are fetched only when the user allows them.
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.spm", CARD_FILE, *(f"{name}*" for name in LICENCES))


def find_checkpoint(
    name_or_path: str | Path, *, allow_pickle: bool = False, any_head: bool = False, task: str | None = None
) -> Checkpoint:
    """Open a model, or an adapter with its base model, by folder or by hub id, such as `org/name`.

    Args:
        any_head: the encoder alone is wanted, so whatever head is on it does not matter.
        task: kind of task that its head is read for, see `Checkpoint.for_task`; None: as the folder says.

    Raises:
        ModelError: no such folder, and the hub has no such model or cannot be reached.
    """
    path = Path(name_or_path)
    text = str(name_or_path)
    local = path.exists() or text.count("/") > 1 or text.startswith((".", "/", "~"))

    def fetch(name: str) -> Path:
        return _download(name, allow_pickle=allow_pickle)

    folder = path if local else fetch(text)
    found = open_checkpoint(folder, allow_pickle=allow_pickle, any_head=any_head, fetch=fetch)
    if not local and found.record.source == str(folder):
        found = replace(found, record=replace(found.record, source=text))  # no place on this disk
    return found.for_task(task)


def _download(name: str, *, allow_pickle: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = (*_PATTERNS, f"*{PICKLE_FILE}") if allow_pickle else _PATTERNS
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        raise ModelError(
            f"{name}: no such folder, and the model hub did not give it ({type(error).__name__}).",
            hint="Give the path of a model folder, or check the name and the network.",
        ) from error
