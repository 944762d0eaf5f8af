"""The former name of `edgelm.tasks`, for programs that import a task from here."""

from __future__ import annotations

from typing import Any

from edgelm.model_folder.config import read_task
from edgelm.tasks.table import make_task
from edgelm.tasks.task import Task as _Task


class Task(_Task):
    """A task by its kind and fields: an object of the kind's own class."""

    def __new__(cls, kind: str, **values: Any) -> _Task:  # type: ignore[misc]
        return make_task(kind, **values)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _Task:
        """The task that a Hugging Face config.json stands for."""
        return read_task(config)


__all__ = ["Task"]
