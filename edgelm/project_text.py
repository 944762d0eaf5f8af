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
budget:
  {speedup_hidden}speedup: {speedup}  # times as fast as the original in PyTorch here
  # max-latency: 2ms
  # max-size: 10MB
  # max-drop: 1.0  # points of the metric

{time_hidden}time-limit: {time}  # of compressing

output: build

# Further options of the commands, by their names.
options:
  # compress: {{recipe: compact}}
  profile: {{}}
"""


def project_text(answers: Mapping[str, str], *, task: str, columns: Mapping[str, str | None]) -> str:
    """The file, with comments; bounds that were not given stand there as comments.

    Args:
        answers: `model`, `data`, `eval`, `device`, and `speedup` and `time-limit`, which may be empty.
        columns: options that name columns; None: guessed.
    """
    named = "".join(f"  {name}: {_quoted(value)}\n" for name, value in columns.items() if value is not None)
    quoted = {name: _quoted(answers[name]) for name in ("model", "data", "eval", "device")}
    speedup, time = answers["speedup"], answers["time-limit"]
    text = _TEXT.format(
        **quoted,
        task=task,
        columns=named,
        speedup_hidden="" if speedup else "# ",
        speedup=_quoted(speedup or "5x"),
        time_hidden="" if time else "# ",
        time=_quoted(time or "45m"),
    )
    return text if speedup else text.replace("\nbudget:\n", "\nbudget: {}\n")


def _quoted(text: str) -> str:
    """A word as YAML reads it again, whatever is in it."""
    return json.dumps(text, ensure_ascii=False)
