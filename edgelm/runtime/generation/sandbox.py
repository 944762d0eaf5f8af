"""Jinja's sandbox as chat templates need it, with bounds on what a template makes: a thread can be told to stop between
two steps of Python, but not inside of one that fills the memory.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

_LONGEST = 1_000_000  # characters of a text, elements of a list
_WIDEST = 1000  # what a field is filled up to, and how far a text is moved in
_LARGEST_BITS = 1 << 14  # of a whole number
_WIDE = re.compile(r"\d{4,}|%[^a-zA-Z%]*\*|\{[^{}]*\{")  # in a format: a wide field, or one whose width is a value
_FILLING = ("center", "ljust", "rjust", "zfill", "expandtabs")  # methods of texts
_GROWING = ("replace", "join", "format", "format_map", "translate", *_FILLING)


def compile_template(source: str, *, refuse: Callable[[str], None]) -> Any:
    """The template in a sandbox that has what transformers' has: loop controls, `generation` blocks (which mark what to
    train on, and change nothing here), and some functions.

    Args:
        refuse: what `raise_exception` of a template calls.

    Raises:
        TemplateSyntaxError: it is no template. When it is rendered, MemoryError where it makes what is too long.
    """
    import jinja2.compiler
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    class Code(jinja2.compiler.CodeGenerator):
        def visit_Concat(self, node: Any, frame: Any) -> None:  # noqa: N802 - as jinja2 calls it
            self.write("environment.concat(map(str, (")
            for part in node.nodes:
                self.visit(part, frame)
                self.write(", ")
            self.write(")))")

    class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**", "+", "%"))
        code_generator_class = Code
        concat = staticmethod(_join)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_product(operator, left, right)
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            text = getattr(function, "__self__", None)
            if isinstance(text, str):
                _check_method(getattr(function, "__name__", ""), text, args, kwargs)
            elif isinstance(getattr(getattr(function, "__wrapped__", None), "__self__", None), str):  # str.format
                _check_method("format", function.__wrapped__.__self__, args, kwargs)
            return super().call(context, function, *args, **kwargs)

    sandbox = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    sandbox.filters["tojson"] = _to_json
    sandbox.filters = {name: _bounded(name, function) for name, function in sandbox.filters.items()}
    sandbox.globals["raise_exception"] = refuse
    sandbox.globals["strftime_now"] = _strftime_now
    sandbox.globals.pop("lipsum", None)
    return sandbox.from_string(source)


def _check(size: int, most: int = _LONGEST) -> None:
    if size > most:
        raise MemoryError("a template makes what is too long")


def _join(parts: Iterable[str]) -> str:
    found, length = [], 0
    for part in parts:
        length += len(part)
        _check(length)
        found.append(part)
    return "".join(found)


def _check_product(operator: str, left: Any, right: Any) -> None:
    """Of two values by an operator, before it is computed."""
    whole = isinstance(left, int) and isinstance(right, int)
    if operator == "**":
        _check(left.bit_length() * max(right, 1) if whole else 0, _LARGEST_BITS)
    elif operator == "*":
        if whole:
            _check(left.bit_length() + right.bit_length(), _LARGEST_BITS)
        elif not isinstance(left, float) and not isinstance(right, float):
            _check(_size(left) * _size(right))
    elif operator == "+" and not whole:
        _check((len(left) if hasattr(left, "__len__") else 0) + (len(right) if hasattr(right, "__len__") else 0))
    elif operator == "%" and isinstance(left, str):
        _check_format(left, right if isinstance(right, tuple) else (right,))


def _size(value: Any) -> int:
    return abs(value) if isinstance(value, int) else len(value) if hasattr(value, "__len__") else 1


def _check_format(form: str, args: Sequence[Any]) -> None:
    if _WIDE.search(form):
        raise MemoryError("a template fills up a wide field")
    _check(len(form) + form.count("{") * 40 + sum(len(str(each)) for each in args if isinstance(each, (str, int))))


def _check_method(name: str, text: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Of a text that a method makes longer, before it is called."""
    values = [*args, *kwargs.values()]
    if name not in _GROWING:
        return
    if name in _FILLING:
        width = max([1, *(each for each in values if isinstance(each, int))])
        _check(width, _WIDEST)
        _check(width * (1 + text.count("\t")) + len(text))
    elif name == "replace" and len(args) > 1:
        _check(len(text) + (text.count(str(args[0])) if args[0] else len(text) + 1) * len(str(args[1])))
    elif name == "join" and args:
        parts = [str(each) for each in args[0]]
        _check(sum(map(len, parts)) + len(text) * len(parts))
    elif name == "translate":
        raise MemoryError("a template translates characters")
    else:
        _check_format(text, values)


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that makes nothing too long: its numbers are small, and so is what it gives of a text."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        texts = [each for each in values if isinstance(each, str)]
        if name in ("batch", "slice", "center", "indent", "wordwrap", "truncate", "format", "tojson", "round"):
            _check(max([0, *(abs(each) for each in values if isinstance(each, int))]), _WIDEST)
        if name == "format" and texts:
            _check_format(texts[0], [each for each in values if not isinstance(each, str)])
        elif name == "replace" and len(texts) > 2:
            _check_method("replace", texts[0], texts[1:], {})
        elif name == "join" and len(args) > 1:  # after what jinja2 itself passes
            parts = [str(each) for each in itertools.islice(args[1], _LONGEST + 1)]
            _check(sum(map(len, parts)) + len(parts) * sum(map(len, texts)))
            args = (args[0], parts, *args[2:])
        elif name == "indent" and texts:
            width = max([4, *(each for each in values if isinstance(each, int)), *map(len, texts[1:])])
            _check(len(texts[0]) + (texts[0].count("\n") + 1) * width)
        elif name == "wordwrap" and texts:
            _check(len(texts[0]) * max([1, *map(len, texts[1:])]))
        elif name in ("urlize", "xmlattr", "escape", "forceescape") and texts:
            _check(10 * len(texts[0]))
        found = function(*args, **kwargs)
        if isinstance(found, (str, list, tuple)):
            _check(len(found))
        return found

    return call


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _strftime_now(form: str) -> str:
    _check(len(form), _WIDEST)
    return datetime.datetime.now().strftime(form)
