"""The commented text of a project file, as `edgelm init` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping

_TEXT = """# What `edgelm make` makes of a model. Paths are meant from the folder of this file.
model: {model}  # a folder or hub id, fine-tuned or not
task: {task}
# auto: fine-tuned first where the model has no head for the task; always; never
finetune: auto

data:
  train: {data}
  eval: {eval}  # judged by, never trained on
{columns}  # test: test.csv  # rows of the report; without them those of eval
  # calibration: texts.csv  # without it the rows of train

device: {device}  # `edgelm devices list` has them

# Without a budget the recipe balanced is taken.
{budget}
{time_hidden}time-limit: {time}  # of compressing

output: build

# Further options of the commands, by their names.
options:
  # compress: {{recipe: compact}}
  profile: {{}}
"""

# An example of each bound, and what is said of it.
_BOUNDS = {
    "speedup": ("5x", "  # times as fast as the original in PyTorch here"),
    "max-latency": ("2ms", ""),
    "max-size": ("10MB", ""),
    "max-drop": ("1.0", "  # points of the metric"),
}


def project_text(
    answers: Mapping[str, str], bounds: Mapping[str, str], *, task: str, columns: Mapping[str, str | None]
) -> str:
    """The file, with comments; bounds that were not given stand there as comments.

    Args:
        answers: `model`, `data`, `eval`, `device`, and `time-limit`, which may be empty.
        bounds: of the budget, by their names in the file.
        columns: options that name columns; None: guessed.
    """
    named = "".join(f"  {name}: {_quoted(value)}\n" for name, value in columns.items() if value is not None)
    quoted = {name: _quoted(answers[name]) for name in ("model", "data", "eval", "device")}
    time = answers["time-limit"]
    return _TEXT.format(
        **quoted,
        task=task,
        columns=named,
        budget=_budget(bounds),
        time_hidden="" if time else "# ",
        time=_quoted(time or "45m"),
    )


def _budget(bounds: Mapping[str, str]) -> str:
    lines = ["budget:" if bounds else "budget: {}"]
    for name, (example, comment) in _BOUNDS.items():
        value = bounds.get(name)
        if value is None:
            lines.append(f"  # {name}: {example}{comment}")
        else:
            lines.append(f"  {name}: {value if name == 'max-drop' else _quoted(value)}{comment}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """A word as YAML reads it again, whatever is in it."""
    return json.dumps(text, ensure_ascii=False)
