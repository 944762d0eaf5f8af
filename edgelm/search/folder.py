"""The folder of a search: what was asked, one folder a trial, and who works in it.

search.json          what was asked; another question is refused journal.log          Optuna's storage, append only
rows/                training and evaluation rows, as the trials read them trials/N/            trial.json (settings,
result), recipe.yaml (as it ran), full-recipe.yaml (without a share of the training),
                     checkpoint/, compress.json, manifest.json, profile.json; error.txt of a trial that failed
original.json        the model that it began with, judged and measured
front.json .csv .html
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgelm.errors import InputError, UsageError
from edgelm.files.claims import claim
from edgelm.files.output import check_name
from edgelm.search.result import Original, Trial

SEARCH_FILE = "search.json"
TRIAL_FILE = "trial.json"
ORIGINAL_FILE = "original.json"
SCHEMA = 1


class Folder:
    """Where a search lies."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def journal(self) -> Path:
        """Optuna's file."""
        return self.path / "journal.log"

    @property
    def rows(self) -> Path:
        """The folder of the data sets."""
        return self.path / "rows"

    def trial(self, number: int) -> Path:
        """The folder of one trial."""
        return self.path / "trials" / str(number)

    def read(self) -> dict[str, Any]:
        """What was asked.

        Raises:
            InputError: no search lies here, or one of a newer edgelm.
        """
        file = self.path / SEARCH_FILE
        try:
            values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path}: no search lies there.", hint="Give the --output of an `edgelm search`."
            ) from error
        if values.get("schema") != SCHEMA:
            raise InputError(
                f"{file}: schema {values.get('schema')!r}; this edgelm reads {SCHEMA}.", hint="Install a newer edgelm."
            )
        return values

    def claim(self, question: dict[str, Any], sources: dict[str, str]) -> None:
        """Write down what is asked, or check that it is what was asked before.

        Args:
            question: what makes two trials comparable: fingerprints of model and data, device, precision, space, ...
            sources: what model and data were called; they may lie elsewhere the next time.

        Raises:
            UsageError: the folder holds another search, or files that are no search.
            InputError: its journal is lost.
        """
        question = json.loads(json.dumps({"schema": SCHEMA} | question))
        if not (self.path / SEARCH_FILE).is_file():
            if self.path.exists() and any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise UsageError(f"{self.path} exists and holds no search.", hint="Choose another --output.")
            write_json(self.path / SEARCH_FILE, question | {"sources": sources})
            return
        known = self.read()
        changed = [name.replace("_", " ") for name in question if question[name] != known.get(name)]
        if changed:
            raise UsageError(
                f"{self.path} holds a search that differs in: {', '.join(changed)}.",
                hint="Its trials could not be compared with new ones. Give the same options, or choose another "
                "--output.",
            )
        if not self.journal.is_file() and self.read_trials():  # a new journal would give their numbers away again
            raise InputError(
                f"{self.journal} is missing, though there are trials.", hint="Put it back, or choose another --output."
            )

    def write_trial(self, trial: Trial) -> None:
        """Keep what is known of a trial."""
        write_json(self.trial(trial.number) / TRIAL_FILE, trial.to_dict())

    def read_trial(self, number: int) -> Trial | None:
        """What is known of a trial; None if it never began."""
        file = self.trial(number) / TRIAL_FILE
        return Trial.from_dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    def read_trials(self) -> list[Trial]:
        """Every trial that began, by number."""
        numbers = sorted(int(entry.name) for entry in (self.path / "trials").glob("*") if entry.name.isdigit())
        return [trial for number in numbers if (trial := self.read_trial(number)) is not None]

    def write_original(self, original: Original) -> None:
        """Keep what is known of the model that the search began with."""
        write_json(self.path / ORIGINAL_FILE, asdict(original))

    def read_original(self) -> Original | None:
        """What is known of the model that the search began with; None: it was not looked at yet."""
        file = self.path / ORIGINAL_FILE
        return Original(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that leads this search.

        Raises:
            OutputInUseError: another process leads it.
            UsageError: no folder can be there.
        """
        check_name(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file.", hint="Choose another --output.")
        with claim(self.path):
            self.path.mkdir(exist_ok=True)
            yield


def write_text(path: Path, text: str) -> None:
    """Write a file that is whole or as it was, even if the process is cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


def write_json(path: Path, values: Any) -> None:
    """`write_text` of JSON."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
