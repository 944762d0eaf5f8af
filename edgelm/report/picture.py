"""The headline of a report as a picture for slides: speed, size and quality, before and after."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgelm.lines import plain_text
from edgelm.report.facts import facts
from edgelm.report.svg import check_charts, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _ROW, _LINE = 10.0, 2.5, 0.17  # inches: of the picture, of a bundle's panels, of a line of its sentences
_LETTERS = 150  # that a line below the panels has room for
_NOTE = 44  # letters that a line below one panel has room for
_DOTS = 200  # an inch: a picture of 2,000 dots across
_INK, _SOFT, _BEFORE, _AFTER = "#1b1b1b", "#555555", "#a3a9b0", "#1f5fbf"


def draw_picture(headlines: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG with a row of panels for each bundle and the sentences of its headline below: what against what, on which
    machine.

    Args:
        headlines: as `edgelm.report.headline.headlines` gives them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_charts()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    below = [_sentences(headline, named=len(headlines) > 1) for headline in headlines]
    heights = [part for lines in below for part in (_ROW, _LINE * len(lines) + 0.1)]
    stream = io.BytesIO()
    with matplotlib.rc_context(_style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in letters that no font here has
        figure = Figure(figsize=(_WIDTH, sum(heights) + 0.3), dpi=_DOTS, layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.subfigures(2 * len(headlines), height_ratios=heights, squeeze=False)[:, 0]
        for number, (headline, lines) in enumerate(zip(headlines, below, strict=True)):
            panels, words = rows[2 * number], rows[2 * number + 1]
            panels.suptitle(short(str(headline["name"]), 80), fontsize=13, fontweight="bold")
            _draw_panels(panels.subplots(1, 3), headline)
            words.text(0.015, 1.0, "\n".join(lines), va="top", fontsize=8.5, color=_SOFT, linespacing=1.25)
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _style() -> dict[str, Any]:
    """Settings of matplotlib; a name with dollar signs is no formula."""
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return dict.fromkeys(ink, _INK) | {"font.size": 9, "text.parse_math": False, "axes.unicode_minus": False}


def _sentences(headline: Mapping[str, Any], *, named: bool) -> list[str]:
    """What the report says of a bundle, in lines."""
    name = f"{headline['name']}: " if named else ""
    texts = [plain_text(f"{name}{sentence}") for sentence in headline["words"]]
    return [line for text in texts for line in textwrap.wrap(text, _LETTERS, break_on_hyphens=False) or [""]]


def _draw_panels(axes: Sequence[Axes], headline: Mapping[str, Any]) -> None:
    """Speed, size and quality, each with its figure above two bars."""
    speed, size, quality = headline["speed"] or {}, headline["size"], headline["quality"] or {}
    pairs = (
        (speed.get("against_p50_ms"), speed.get("p50_ms"), "{:.3g} ms"),
        (size.get("against_mb"), size["mb"], "{:.1f} MB"),
        (quality.get("before"), quality.get("after"), "{:.3f}"),
    )
    for panel, fact, (before, after, form) in zip(axes, facts(headline), pairs, strict=True):
        panel.set_title(fact["name"], fontsize=9, color=_SOFT, pad=24)
        panel.annotate(
            fact["figure"], (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
            ha="center", va="bottom", fontsize=14, fontweight="bold",
        )  # fmt: skip
        panel.set_xlabel(textwrap.fill(fact["note"], _NOTE), fontsize=8.5)
        interval = speed.get("interval_ms") if panel is axes[0] and before is not None else None
        _draw_bars(panel, before, after, form, interval)


def _draw_bars(
    panel: Axes, before: float | None, after: float | None, form: str, interval: Sequence[float] | None
) -> None:
    """Two bars from zero, or one where nothing stood before; the second with its interval, if that is known."""
    bars = [bar for bar in (("before", before, _BEFORE), ("after", after, _AFTER)) if bar[1] is not None]
    values = [value for _, value, _ in bars if value is not None]
    spread = None
    if interval is not None:
        low, high = interval
        spread = [[0.0, max(0.0, values[1] - low)], [0.0, max(0.0, high - values[1])]]
    drawn = panel.barh(
        range(len(bars)), values, xerr=spread, height=0.6, color=[color for *_, color in bars],
        error_kw={"ecolor": _INK, "elinewidth": 1.5},
    )  # fmt: skip
    panel.bar_label(drawn, labels=[form.format(value) for value in values], padding=4)
    panel.set_yticks(range(len(bars)), [name for name, *_ in bars])
    panel.set_ylim(1.6, -0.6)
    panel.set_xlim(min([0.0, *values]) * 1.4, max([1e-9, *values]) * 1.4)
    panel.set_xticks([])
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right", "bottom", *([] if bars else ["left"])]].set_visible(False)
