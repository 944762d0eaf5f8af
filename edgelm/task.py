"""The former name of `edgelm.tasks.task`, for programs that import it from here."""

from edgelm.tasks.task import Task

__all__ = ["Task"]
