"""What a row is, for each kind of task: which columns it has, and by which names they are found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edgelm.data.table import Table
from edgelm.errors import DataError, UsageError

Role = Literal["text", "pair", "label"]

_TEXT_NAMES = (
    "text",
    "sentence",
    "content",
    "review",
    "utterance",
    "query",
    "question",
    "source",
    "body",
    "message",
    "comment",
    "title",
)
_PAIR_NAMES = (
    ("text", "text_pair"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("sentence_a", "sentence_b"),
    ("sentence_1", "sentence_2"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("query", "passage"),
    ("question", "passage"),
)
_LABEL_NAMES = ("label", "labels", "intent", "category", "class", "target", "sentiment", "score", "stars", "rating")
_PROMPT_NAMES = ("messages", "conversations", "conversation", "prompt", "instruction", "question", "text", "content")
_SOURCE_NAMES = ("source", "src", "document", "article", "dialogue", "text", "input", "body")
_TARGET_NAMES = ("target", "tgt", "summary", "summaries", "highlights", "abstract", "title", "output")
_OPTIONS: dict[Role, str] = {"text": "--text-column", "pair": "--pair-column", "label": "--label-column"}


@dataclass(frozen=True)
class Column:
    """One column of a kind of rows.

    Attributes:
        role: what a model does with it: first input, second input, or the target.
        what: the name for people, such as `context`.
        names: the usual names in data, the best first; letters count alike whether small or capital.
        numbered: names that several columns share with a number behind, such as `ending` in `ending0`, `ending1`.
        required: whether rows without it are refused; a target that is not required may be asked for all the same.
    """

    role: Role
    what: str
    names: tuple[str, ...]
    numbered: tuple[str, ...] = ()
    required: bool = False

    @property
    def option(self) -> str:
        """The option of the command line that names it."""
        return _OPTIONS[self.role]


@dataclass(frozen=True)
class Schema:
    """The columns of a kind of rows.

    Attributes:
        name: as in `Task.schema`.
        columns: the first input, the second input if rows may have one, and the target.
        paired: names of first and second inputs that go together, the best first.
        what: what the rows are, for a message.
    """

    name: str
    columns: tuple[Column, ...]
    paired: tuple[tuple[str, str], ...] = ()
    what: str = "texts"

    def column(self, role: Role) -> Column | None:
        """The column of a role; None where rows have none."""
        return next((column for column in self.columns if column.role == role), None)


SCHEMAS: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        Schema(
            "text",
            (
                Column("text", "text", _TEXT_NAMES, required=True),
                Column("pair", "second text", ()),
                Column("label", "label", _LABEL_NAMES),
            ),
            _PAIR_NAMES,
        ),
        Schema(
            "words",
            (
                Column("text", "words", ("tokens", "words", *_TEXT_NAMES), required=True),
                Column("label", "tags", ("tags", "ner_tags", "labels", "pos_tags", "chunk_tags")),
            ),
            what="words",
        ),
        Schema(
            "answers",
            (
                Column("text", "question", ("question", "query"), required=True),
                Column("pair", "context", ("context", "passage", "document"), required=True),
                Column("label", "answers", ("answers", "answer")),
            ),
            what="questions with contexts",
        ),
        Schema(
            "choices",
            (
                Column("text", "text", ("question", "text", "sent1", "startphrase", "ctx", "sentence"), required=True),
                Column(
                    "pair",
                    "endings",
                    ("endings", "choices", "options"),
                    numbered=("ending", "choice", "option"),
                    required=True,
                ),
                Column("label", "label", ("label", "answer", "answerkey")),
            ),
            what="texts with endings",
        ),
        Schema(
            "prompts",
            (
                Column("text", "text", _PROMPT_NAMES, required=True),
                Column("label", "completion", ("completion", "response", "output", "answer", "chosen")),
            ),
            what="texts to go on with",
        ),
        Schema(
            "targets",
            (
                Column("text", "source", _SOURCE_NAMES, required=True),
                Column("label", "target", _TARGET_NAMES),
            ),
            what="sources with targets",
        ),
    )
}


@dataclass(frozen=True)
class Found:
    """Where a table has the columns of a schema.

    Attributes:
        text: the column of the first input.
        pair: the columns of the second input: none, one, or as many as there are numbered ones.
        label: the column of the target; None without.
    """

    text: str
    pair: tuple[str, ...] = ()
    label: str | None = None


def schema_of(name: str) -> Schema:
    """The schema of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in SCHEMAS:
        raise UsageError(f"schema is {name!r}.", hint=f"Use one of {', '.join(SCHEMAS)}.")
    return SCHEMAS[name]


def find_columns(table: Table, schema: Schema, *, text: str | None, pair: str | None, label: str | None) -> Found:
    """The columns of a table by what they hold; those that are not given are guessed by their usual names.

    Args:
        table: the rows.
        schema: which columns they should have.
        text: the column of the first input; None: guessed, as the next two are.
        pair: the column of the second input.
        label: the column of the target.

    Raises:
        DataError: a given column is not there or has no place in the schema, or a required one cannot be guessed.
    """
    given: dict[Role, str | None] = {"text": text, "pair": pair, "label": label}
    for role, name in given.items():
        if name is not None and name not in table.names:
            raise DataError(
                f"{table.source}: no column {name!r}; there are: {', '.join(table.names)}.",
                hint=f"Choose one of them with {_OPTIONS[role]}.",
            )
        if name is not None and schema.column(role) is None:
            what = " and ".join(column.what for column in schema.columns)
            raise DataError(
                f"{table.source}: the rows of this task are {what}; {name!r} is named as a second input.",
                hint=f"Leave {_OPTIONS[role]} out.",
            )
    by_lower = {name.strip().lower(): name for name in table.names}
    if text is None and pair is None:
        usual = next((names for names in schema.paired if all(name in by_lower for name in names)), None)
        text, pair = (by_lower[usual[0]], by_lower[usual[1]]) if usual else (None, None)
    columns = {column.role: column for column in schema.columns}
    first = text or _guess(by_lower, columns["text"].names)
    if first is None:
        raise _missing(table, columns["text"])
    second: tuple[str, ...] = () if pair is None else (pair,)
    if pair is None and "pair" in columns:
        second = _guess_second(table, by_lower, columns["pair"], but=first)
    return Found(first, second, label or _guess(by_lower, columns["label"].names, but=(first, *second)))


def _guess(by_lower: dict[str, str], names: Iterable[str], *, but: tuple[str, ...] = ()) -> str | None:
    return next((by_lower[name] for name in names if name in by_lower and by_lower[name] not in but), None)


def _guess_second(table: Table, by_lower: dict[str, str], column: Column, *, but: str) -> tuple[str, ...]:
    """The columns of the second input: one by its name, or all that are numbered."""
    one = _guess(by_lower, column.names, but=(but,))
    if one is not None:
        return (one,)
    for stem in column.numbered:
        numbers = {
            int(found[1]): name for low, name in by_lower.items() if (found := re.fullmatch(rf"{stem}_?([0-9]+)", low))
        }
        if len(numbers) > 1:
            return tuple(numbers[number] for number in sorted(numbers))
    if column.required:
        raise _missing(table, column)
    return ()


def _missing(table: Table, column: Column) -> DataError:
    numbered = "".join(f", or {stem}0, {stem}1 and so on" for stem in column.numbered[:1])
    usual = f" Usual names: {', '.join(column.names[:4])}{numbered}." if column.what != "text" else ""
    return DataError(
        f"{table.source}: no column looks like {column.what}; there are: {', '.join(table.names):.300}.",
        hint=f"Name it with {column.option}.{usual} The first line of a .csv or .tsv file must be the names of its "
        "columns.",
    )
