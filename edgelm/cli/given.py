"""What a command is given is looked up first: a name that was mistyped is said at once, before imports that take
seconds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def check_given(*models: str | Path | None, data: Iterable[str | Path | None] = ()) -> None:
    """Refuse models and rows that are not there; nothing of them is read, and nothing heavy imported.

    Args:
        models: folders or hub ids; None: not given.
        data: sources of rows, as `edgelm.data.sources.parse_source` takes them; None: not given.

    Raises:
        ModelError: no such folder, and the hub does not give it.
        DataError: no such file.
    """
    for model in models:
        if model is not None:
            _check_model(str(model))
    sources = [str(source) for source in data if source is not None]
    if sources:
        from edgelm.data.sources import check_source

        for source in sources:
            check_source(source)


def _check_model(name: str) -> None:
    if Path(name).exists():
        return
    from edgelm.model_folder.hub import download, is_local

    if is_local(name):
        from edgelm.checkpoint import open_checkpoint

        open_checkpoint(Path(name))  # which says that there is none
    elif not _is_cached(name):
        download(name, ["config.json"])


def _is_cached(name: str) -> bool:
    """Whether anything of a model lies in the cache of the hub's library: whatever is missing of it is its affair."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    return Path(HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model")).is_dir()
