"""Drawings as inline SVG: made by matplotlib, coloured by the page's own style, so that light, dark and print fit."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgelm.errors import MissingExtraError, install_extra
from edgelm.lines import plain_text
from edgelm.report.language import tr

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stand for variables of the page's style, which has one for light and one for dark. No other colour is
# drawn, so the hexadecimal numbers are free to be any.
INK, SOFT, PAPER = "#000001", "#000002", "#000003"
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015", "#000016")
_VARIABLES = {INK: "ink", SOFT: "line", PAPER: "paper"} | {
    color: f"series-{number}" for number, color in enumerate(SERIES, start=1)
}
DASHES = ("-", "--", "-.", ":")  # beside colours, for whoever does not tell these apart
MARKERS = "osD^vP"
_WIDTH = 5.0  # inches of 72 units: letters of 9 units are 9 pixels on a telephone of 390, 14 on a desk
_FONT = 9
_TOOLTIP = "tooltip-"


@dataclass(frozen=True)
class Chart:
    """A drawing with its words.

    Attributes:
        title: the caption, in plain text.
        svg: an `<svg>` element, whole and without a size of its own; safe to stand in a page as it is.
        summary: what the drawing shows in a sentence, for whoever does not see it.
    """

    title: str
    svg: str
    summary: str


def check_charts() -> None:
    """Look whether charts can be drawn here.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("the charts of a report need matplotlib.", hint=install_extra("report"))


class Canvas:
    """What one chart is drawn on; `chart` is there once the `with` block of `drawing` has ended."""

    def __init__(self, axes: Axes, title: str, summary: str) -> None:
        self.axes = axes
        self.title = title
        self.summary = summary
        self.svg = ""
        self.tooltips: list[str] = []

    def tooltip(self, words: str) -> str:
        """The name (`gid`) for an element that shows these words to whoever points at it."""
        self.tooltips.append(words)
        return f"{_TOOLTIP}{len(self.tooltips) - 1}"

    @property
    def chart(self) -> Chart:
        """The finished chart."""
        return Chart(self.title, self.svg, self.summary)


@contextmanager
def drawing(title: str, summary: str, *, height: float = 2.8, across: str = "", up: str = "") -> Iterator[Canvas]:
    """Axes with grid and names, to draw one chart on.

    Args:
        title: the caption, which is not drawn but stands in the page.
        summary: as in `Chart`.
        height: in inches, where the width is 5.
        across, up: names of the axes, with their units.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_charts()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's fonts draw what is text
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(axis="y", color=SOFT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        canvas = Canvas(axes, title, summary)
        yield canvas
        canvas.svg = _inline(figure, title, summary, canvas.tooltips)


def short(name: str, most: int = 26) -> str:
    """A name for an axis or a legend, shortened in the middle."""
    name = plain_text(" ".join(name.split()))
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2 - 1) :]}"


def places_of(names: Sequence[str]) -> list[str]:
    """Names of a model's parts for one axis, without what all parts of its stack of layers have in common:
    `0.output.dense` of `bert.encoder.layer.0.output.dense`."""
    numbered = [re.split(r"(?<=\.)(?=\d+\.)", name, maxsplit=1) for name in names]
    stacks = {parts[0] for parts in numbered if len(parts) == 2}
    return [parts[-1] for parts in numbered] if len(stacks) == 1 else list(names)


def _style() -> dict[str, Any]:
    """Settings of matplotlib; texts stay texts, and a name with dollar signs is no formula."""
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "patch.edgecolor")
    return dict.fromkeys(ink, INK) | {
        "svg.fonttype": "none",
        "svg.hashsalt": "edgelm",
        "text.parse_math": False,
        "font.size": _FONT,
        "legend.frameon": False,
        "legend.fontsize": _FONT - 0.5,
        "axes.linewidth": 0.7,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.unicode_minus": False,
    }


def _inline(figure: Any, title: str, summary: str, tooltips: Sequence[str]) -> str:
    """The `<svg>` element of a figure: without a size, with variables for colours, and with tooltips."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' clip-path="[^"]*"', "", text)  # nothing is drawn outside of the axes
    text = re.sub(r"<clipPath.*?</clipPath>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"#0000[01][0-9a-f]", lambda found: f"var(--{_VARIABLES[found[0]]})", text)
    fonts = tr("system-ui, sans-serif")
    text = re.sub(r"font: (\d+(?:\.\d+)?)px [^;\"]*", rf"font: \1px {fonts}", text)
    text = re.sub(r"font-family: [^;\"]*", f"font-family: {fonts}", text)  # as newer releases of matplotlib write it
    text = text.replace(" xlink:href=", " href=")
    text = re.sub(rf'<g id="{_TOOLTIP}(\d+)">', lambda found: _titled(tooltips[int(found[1])]), text)
    text = _used_names(text)
    box = re.search(r'viewBox="[^"]*"', text)
    label = escape(plain_text(f"{title}. {summary}"), quote=True)
    opened = f'<svg {box[0] if box else ""} role="img" aria-label="{label}">'
    return opened + text[text.index(">") + 1 :].strip()


def _titled(words: str) -> str:
    return f"<g><title>{escape(plain_text(words))}</title>"


def _used_names(text: str) -> str:
    """Names of elements that others refer to; all other names go. The page makes them its own."""
    used = set(re.findall(r'href="#([^"]+)"', text))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
