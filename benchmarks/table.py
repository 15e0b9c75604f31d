"""Figures as Markdown, for a terminal and for a page."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

__all__ = ["FLOOR", "Column", "Round", "compare", "markdown", "median", "replace"]

Round: TypeAlias = Mapping[str, Mapping[str, float]]
"""Peer -> figure -> value."""

FLOOR: Final = "raw"
"""The peer that the others are compared with."""


class Column(NamedTuple):
    """One figure of a table."""

    figure: str
    title: str
    digits: int = 0
    ratio: bool = False
    """Whether the ratio to the floor is shown next to it."""


def compare(
    rounds: Sequence[Round],
    peers: Iterable[str],
    columns: Sequence[Column],
    floor: str = FLOOR,
) -> str:
    """A row for each peer: medians, and medians of the ratios to the floor's of each round."""
    rows = [["", *(column.title for column in columns)]]
    rows += [
        [peer, *(_cell(rounds, peer, each, floor) for each in columns)]
        for peer in peers
    ]
    return markdown(rows)


def _cell(rounds: Sequence[Round], peer: str, column: Column, floor: str) -> str:
    value = median(rounds, lambda each: each[peer][column.figure])
    if value is None:
        return "-"
    text = f"{value:,.{column.digits}f}"
    ratio = median(
        rounds, lambda each: each[peer][column.figure] / each[floor][column.figure]
    )
    if not column.ratio or ratio is None:
        return text
    return f"{text} ({ratio:.2g})" if ratio < 10 else f"{text} ({ratio:.0f})"


def median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float | None:
    """The median over the rounds that have the value; None without any."""
    found: list[float] = []
    for each in rounds:
        try:
            found.append(value(each))
        except (KeyError, ZeroDivisionError):
            continue
    return statistics.median(found) if found else None


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head; numbers to the right, names to the left."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    head, *body = (
        [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
        for cells in rows
    )
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def replace(page: Path, name: str, text: str) -> None:
    """Put a text between the comments `<!-- NAME -->` and `<!-- /NAME -->` of a page."""
    before, _, rest = page.read_text("utf-8").partition(f"<!-- {name} -->\n")
    _, _, after = rest.partition(f"<!-- /{name} -->")
    page.write_text(
        f"{before}<!-- {name} -->\n\n{text}\n\n<!-- /{name} -->{after}", "utf-8"
    )
