"""One HTML page from a template of this room: escaped, and whole without a network."""

from __future__ import annotations

from typing import Any

from edgelm.errors import MissingExtraError


def render_page(template: str, **values: Any) -> str:
    """Fill in a template.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("an HTML report needs jinja2.", hint="pip install 'edgelm[report]'") from error
    environment = Environment(
        loader=PackageLoader("edgelm.report", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page: str = environment.get_template(template).render(**values)
    return page
