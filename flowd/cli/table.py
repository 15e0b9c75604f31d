"""Tables on a terminal or in a pipe: one line a row, and no id is folded or cut.

On a terminal that is too narrow, columns go, the least important first; then long texts are cut.
In a pipe everything is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

from flowd.model.text import printable

__all__ = ["Cell", "Table", "lay_out"]

_GAP: Final = 2
_LEAST: Final = 12


class Cell(str):
    """The text of a cell with a style, as `red`."""

    __slots__ = ("style",)

    style: str

    def __new__(cls, text: str, style: str = "") -> Self:
        """A cell of this style; an empty one is plain."""
        cell = super().__new__(cls, text)
        cell.style = style
        return cell


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; control characters in cells are escaped when printed."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[str] = ()
    """The heads of the columns whose cells end at the same place, as numbers do."""

    drop: Sequence[str] = ()
    """The heads of columns that may be left out, the first one first."""

    cut: Collection[str] = ()
    """The heads of columns whose texts may be cut."""


def lay_out(
    table: Table, width: int | None, size: Callable[[str], int] = len
) -> list[list[Cell]]:
    """The lines of a table, the head first; each is its cells, filled up with spaces.

    Args:
        table: what to show.
        width: of the terminal; None: as wide as it is.
        size: how many columns a text takes there.
    """
    rows = [[_printable(cell) for cell in row] for row in (table.head, *table.rows)]
    columns = list(range(len(table.head)))
    widths = [max(size(row[at]) for row in rows) for at in columns]
    if width is not None:
        columns = [
            at for at in columns if at == 0 or any(row[at] for row in rows[1:])
        ] or columns
        for name in table.drop:
            if _total(widths, columns, table) <= width:
                break
            if name in table.head and (at := table.head.index(name)) in columns:
                columns.remove(at)
        over = sum(widths[at] + _GAP for at in columns) - _GAP - width
        for at in reversed(columns):
            if over > 0 and table.head[at] in table.cut:
                less = min(over, max(0, widths[at] - _LEAST))
                widths[at] -= less
                over -= less
    last = columns[-1]
    return [
        [
            _filled(
                row[at],
                widths[at],
                size,
                right=table.head[at] in table.right,
                last=at == last,
            )
            for at in columns
        ]
        for row in rows
    ]


def _total(widths: Sequence[int], columns: Sequence[int], table: Table) -> int:
    """The least that these columns take."""
    least = (
        min(widths[at], _LEAST) if table.head[at] in table.cut else widths[at]
        for at in columns
    )
    return sum(least) + _GAP * (len(columns) - 1)


def _printable(cell: str) -> Cell:
    return Cell(printable(cell), cell.style if isinstance(cell, Cell) else "")


def _filled(
    cell: Cell, width: int, size: Callable[[str], int], *, right: bool, last: bool
) -> Cell:
    text = str(cell)
    if size(text) > width:
        while text and size(text) >= width:
            text = text[:-1]
        text += "…"
    space = " " * (width - size(text))
    if right:
        text = space + text
    elif not last:
        text += space
    return Cell(text if last else text + " " * _GAP, cell.style)
