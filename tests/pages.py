"""What every page of edgelm is held to: whole without a network, well formed, and open to whoever cannot see it.

The rules are those of axe-core by the same names, looked for in the page's own elements with lxml; what a browser
computes (contrast as it is drawn) is looked at where there is one, by the tests marked `browser`.
"""

from __future__ import annotations

import re
from itertools import pairwise

from lxml import etree, html

LARGEST = 3_000_000  # bytes
_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, of text


def check_page(text: str) -> html.HtmlElement:
    """Hold a page to all of it, and return its elements."""
    assert len(text.encode()) < LARGEST
    page = html.document_fromstring(text)
    _check_whole(text, page)
    assert page.get("lang")  # html-has-lang
    assert page.findtext(".//title").strip()  # document-title
    assert len(page.findall(".//main")) == 1  # landmark-one-main
    for child in page.find("body"):  # region: all content is in a landmark
        assert child.tag in ("header", "nav", "main", "footer"), child.tag
    levels = [int(found.tag[1]) for found in page.iter("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels.count(1) == 1  # page-has-heading-one
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))  # heading-order
    for cell in page.iter("th"):
        assert cell.text_content().strip()  # empty-table-header
        assert cell.get("scope") in ("col", "row")  # scope-attr-valid
    for region in page.xpath("//*[contains(concat(' ', @class, ' '), ' scroll ')]"):
        assert region.get("tabindex") == "0"  # scrollable-region-focusable
        assert region.get("role") == "region"
        assert region.get("aria-label")
    names = [region.get("aria-label") for region in page.xpath("//*[@role='region']")]
    assert len(names) == len(set(names))  # landmark-unique
    for drawing in page.iter("svg"):
        assert drawing.get("role") == "img"
        assert drawing.get("aria-label")  # svg-img-alt
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))  # duplicate-id
    assert set(page.xpath("//*[starts-with(@href, '#')]/@href")) <= {f"#{name}" for name in ids}  # skip-link
    _check_contrast(text)
    return page


def _check_whole(text: str, page: html.HtmlElement) -> None:
    assert not list(page.iter("script", "link", "img", "iframe", "object"))
    assert not any(word in text for word in ("http://", "https://", "src=", "url(", "@import"))
    assert all(target.startswith("#") for target in page.xpath("//@href"))
    assert not page.xpath("//@*[starts-with(name(), 'on')]")
    for drawing in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        etree.fromstring(drawing)  # nothing of a name became an element


def _check_contrast(text: str) -> None:
    """color-contrast: every colour of text on every ground that the style has, by the formula of WCAG 2.2."""
    themes = re.findall(r":root \{(.*?)\}", text)
    assert len(themes) == 3  # light, dark, print
    for theme in themes:
        colors = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{3,6});", theme))
        for ground in ("paper", "soft"):
            for ink in ("ink", "muted", "accent"):
                assert _contrast(colors[ink], colors[ground]) >= _CONTRAST, (ink, ground)
        assert _contrast(colors["ink"], colors["mark"]) >= _CONTRAST
        series = [name for name in colors if name.startswith("series-")]
        assert len(series) == 6
        assert all(_contrast(colors[name], colors["paper"]) >= 3 for name in series)  # 1.4.11, of drawings


def _contrast(first: str, second: str) -> float:
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def table_of(page: html.HtmlElement, title: str) -> list[dict[str, str]]:
    """The rows of the table under a heading, or with a caption, of these words."""
    found = page.xpath(f"(//h2|//h3|//caption)[normalize-space()='{title}']/following::table[1]") or page.xpath(
        f"//caption[normalize-space()='{title}']/ancestor::table"
    )
    head = [cell.text_content().strip() for cell in found[0].find("thead/tr")]
    return [
        dict(zip(head, (cell.text_content().strip() for cell in row), strict=True)) for row in found[0].find("tbody")
    ]
