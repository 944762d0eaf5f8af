"""Reads YAML of strangers: nothing of it runs, no few lines become a million values, and each mistake is a YAMLError or
ValueError."""

from __future__ import annotations

from typing import Any

import yaml

_LONGEST = 1 << 20  # characters
_DEEPEST = 100
_MOST_ALIASES = 16  # each may double what is there


_Events = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # events alone are wanted, and in C they come at once


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML text, which say where each value stands, and its values.

    Raises:
        YAMLError, ValueError: no YAML, too long, too deep, with too many aliases, or with a value that is none, such as
            the 99th day of a month.
    """
    check_yaml(text)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except (OverflowError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ValueError(f"a value that cannot be read: {error}") from error
    finally:
        loader.dispose()


def check_yaml(text: str) -> None:
    """Refuse what would take long to read; whether it is YAML at all is not looked at.

    Raises:
        ValueError: too long, too deep or with too many aliases.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"{len(text):,} characters; up to {_LONGEST:,} are read")
    depth = aliases = 0
    try:
        for event in yaml.parse(text, Loader=_Events):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            aliases += isinstance(event, yaml.AliasEvent)
            if depth > _DEEPEST or aliases > _MOST_ALIASES:
                raise ValueError("nested too deeply" if depth > _DEEPEST else f"more than {_MOST_ALIASES} aliases")
    except yaml.YAMLError:  # who reads the values says it, with the line
        return
    except (IndexError, RecursionError, OverflowError) as error:
        raise ValueError(f"cannot be read: {error}") from error
