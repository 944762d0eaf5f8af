"""Models by name: a folder is used where it is, anything else is asked of the model hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.model_folder.card import CARD_FILE, LICENCES
from edgelm.model_folder.hub import download, is_local
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
    text, local = str(name_or_path), is_local(name_or_path)

    def fetch(name: str) -> Path:
        return download(name, (*_PATTERNS, f"*{PICKLE_FILE}") if allow_pickle else _PATTERNS)

    folder = Path(name_or_path) if local else fetch(text)
    found = open_checkpoint(folder, allow_pickle=allow_pickle, any_head=any_head, fetch=fetch)
    if not local and found.record.source == str(folder):
        found = replace(found, record=replace(found.record, source=text))  # no place on this disk
    return found.for_task(task)
