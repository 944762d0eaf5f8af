"""One HTML page from a template of this room: escaped, and whole without a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import count
from typing import Any

from edgelm.errors import MissingExtraError, install_extra
from edgelm.lines import plain_text
from edgelm.report.language import spoken, tr
from edgelm.report.svg import check_charts

_FIGURE = re.compile(r"[-+~<]?\d")


def check_page() -> None:
    """Look whether pages can be made here, before there is anything to put on one.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    if find_spec("jinja2") is None:
        raise MissingExtraError("an HTML report needs jinja2.", hint=install_extra("report"))
    check_charts()


def render_page(template: str, **values: Any) -> str:
    """Fill in a template, in the language that is spoken; controls in texts of strangers stand there as their escapes.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    check_page()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgelm.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text_columns"] = text_columns
    environment.globals |= {"tr": tr, "language": spoken()}
    page: str = environment.get_template(template).render(**values)
    return plain_text(_number_drawings(page))


def _number_drawings(page: str) -> str:
    """The page with names inside of drawings that no other drawing has: the same chart may stand there twice."""
    numbers = count(1)

    def one(found: re.Match[str]) -> str:
        mark = f"drawing-{next(numbers)}-"
        return re.sub(r' (id="|href="#)', rf" \g<1>{mark}", found[0])

    return re.sub(r"<svg .*?</svg>", one, page, flags=re.DOTALL)


def text_columns(rows: Sequence[Sequence[str]]) -> set[int]:
    """Which columns of a table hold words: they are aligned to the left and may break, figures to the right."""
    figures = ("", tr("as is"), tr("never"))
    return {
        place
        for place, cells in enumerate(zip(*rows, strict=True))
        if any(cell not in figures and not _FIGURE.match(cell) for cell in cells)
    }
