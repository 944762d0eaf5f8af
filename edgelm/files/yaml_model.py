"""Reads a YAML file into a validated model, and says of every mistake on which line it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edgelm.errors import InputError
from edgelm.field_types import short
from edgelm.files.safe_yaml import parse_yaml
from edgelm.limits import reading

M = TypeVar("M", bound=BaseModel)
_SHIPPED = "The shipped files have every key with a possible value and a comment."


def load_yaml_model(path: Path, model: type[M], error: type[InputError], *, example: str = _SHIPPED) -> M:
    """Read and validate a YAML file.

    Args:
        example: a sentence that says where a file with every key is to be had, for the hint of a message.

    Raises:
        InputError: of the class `error`: not YAML, an unknown key or an impossible value, with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root, values = parse_yaml(text)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise error(
            f"{path}:{line}: not YAML: {problem.problem}.", hint="Check indentation, colons and quotes on that line."
        ) from problem
    except (OSError, ValueError, yaml.YAMLError) as problem:
        raise error(f"{path}: cannot be read: {problem}.", hint="The file must be UTF-8 text in YAML.") from problem
    if not isinstance(root, yaml.MappingNode):
        raise error(
            f"{path}: expected keys and values, such as `name: mine`.",
            hint=example,
        )
    with reading(path, error, example):
        try:
            return model.model_validate(values)
        except ValidationError as problem:
            first = problem.errors()[0]
            location = [part for part in first["loc"] if not _is_tag(part, values, first["loc"])]
            line = _line_of(root, location)
            raise error(f"{path}:{line}: {_say(first, location)}", hint=_hint(first, example)) from problem


def line_of(path: Path, location: Sequence[int | str]) -> int:
    """The line of a YAML file on which the value at `location` stands, counted from 1."""
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    return 1 if root is None else _line_of(root, location)


def _say(problem: Any, location: Sequence[int | str]) -> str:
    where = _dotted(location)
    if problem["type"] == "extra_forbidden":
        return (
            f"unknown key {str(location[-1])!r}" + (f" in {_dotted(location[:-1])}" if len(location) > 1 else "") + "."
        )
    if problem["type"] == "missing":
        return f"{where} is missing."
    return (
        f"{where} is {say_value(problem)}."
        if not isinstance(problem["input"], dict)
        else f"{where}: {say_value(problem)}."
    )


def say_value(problem: Any) -> str:
    """What pydantic has against a value, after the value itself (whole groups of settings are not repeated)."""
    message = problem["msg"].removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    return message if isinstance(problem["input"], dict) else f"{short(problem['input'])}; {message}"


def _hint(problem: Any, example: str) -> str:
    return f"Check the spelling. {example}" if problem["type"] == "extra_forbidden" else example


def _dotted(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def _is_tag(part: int | str, values: Any, location: Sequence[int | str]) -> bool:
    """Whether this part of a location names a member of a union, not a key of the file."""
    node = values
    for step in location:
        if step is part:
            break
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            continue
    return isinstance(node, dict) and isinstance(part, str) and part not in node and part in node.values()


def _line_of(root: yaml.Node, location: Sequence[int | str]) -> int:
    """The line of the deepest node on the way to `location`, counted from 1."""
    node, line = root, root.start_mark.line
    for part in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    child, line = value, key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line
        if child is None:
            break
        node = child
    return line + 1
