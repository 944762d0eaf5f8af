"""Tables that fold on a narrow terminal: columns without room go below, with the first column beside them again."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

_WORDS = 32  # columns of a terminal up to which a column of words is not broken for the sake of others


class FoldingTable(Table):
    """A table of rich whose columns are never squeezed to letters.

    Where all columns do not fit, the first ones that do make a table, and the others one or more below it, each of
    which begins with the first column, so that every figure stands in a row that is named.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        blocks = fold([_width(column, console, options) for column in self.columns], options.max_width)
        if len(blocks) == 1:
            yield from super().__rich_console__(console, options)
            return
        for number, block in enumerate(blocks):
            yield self._part(block, title=number == 0)
            if number + 1 < len(blocks):
                yield ""

    def _part(self, block: Sequence[int], *, title: bool) -> Table:
        """Some of the columns as a table."""
        part = Table(
            title=self.title if title else None,
            title_justify=self.title_justify,
            header_style=self.header_style,
            box=self.box,
            pad_edge=self.pad_edge,
            padding=self.padding,
        )
        for index in block:
            column = self.columns[index]
            part.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap)
        for cells in zip(*(self.columns[index].cells for index in block), strict=True):
            part.add_row(*cells)
        return part


def fold(widths: Sequence[int], room: int) -> list[list[int]]:
    """Which columns stand together: their indices, the first one in every block; each block as wide as the room, or of
    two columns.

    Args:
        widths: of the columns, with what is between them.
        room: of the terminal.
    """
    if not widths or sum(widths) <= room:
        return [list(range(len(widths)))]
    blocks: list[list[int]] = []
    for index, width in enumerate(widths[1:], start=1):
        if blocks and sum(widths[each] for each in blocks[-1]) + width <= room:
            blocks[-1].append(index)
        else:
            blocks.append([0, index])
    return blocks or [[0]]


def _width(column: Column, console: Console, options: ConsoleOptions) -> int:
    """What a column takes with the blanks behind it; of words no more than they need."""
    found = [Measurement.get(console, options, cell).maximum for cell in (column.header, *column.cells)]
    widest = max(found, default=0)
    return 2 + (widest if column.no_wrap else min(widest, _WORDS))
