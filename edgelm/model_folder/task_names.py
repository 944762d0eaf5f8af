"""Tasks as Optimum names them: what other tools of Hugging Face call a task, and what a class of transformers is for.

Optimum brings PyTorch and transformers, so it is imported where one of edgelm's own names does not answer alone; and
no task is imported before a name is asked for, since a command that lists its options asks for none.
"""

from __future__ import annotations

# What Optimum calls vectors of texts.
_VECTORS = ("feature-extraction", "sentence-similarity")


def kind_of_name(name: str | None) -> str | None:
    """The kind of task that a name means: edgelm's own, or a name that Optimum knows for it (`causal-lm` for
    text-generation, `masked-lm`, `sequence-classification`, ...).

    Names that mean several kinds (`seq2seq-lm`: translation or summarization), and unknown ones, stay as they are.
    """
    if name is None:
        return None
    from edgelm.tasks.table import TASKS

    if name in TASKS:
        return name
    if name in _VECTORS:
        return "sentence-embedding"
    try:
        from optimum.exporters.tasks import TasksManager
    except ImportError:  # the light installation, in which no model is made
        return name
    found = TasksManager.map_from_synonym(name)
    return found if found in TASKS else name


def task_of_class(name: str) -> str | None:
    """What a class of transformers is for in Optimum's words, such as image-classification; None: it does not say."""
    try:
        import transformers
        from optimum.exporters.tasks import TasksManager
    except ImportError:
        return None
    try:
        found = getattr(transformers, name)
        task: str = TasksManager.infer_task_from_model(found, library_name="transformers")
    except (AttributeError, ImportError, RuntimeError, KeyError, TypeError, ValueError):
        return None  # no class, one that needs what is not installed, or one without a task
    return task
