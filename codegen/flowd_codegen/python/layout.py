"""Breaks the lines of what was rendered; black does, and no configuration of the user's."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from flowd_codegen.extra import need, year_of
from flowd_codegen.python.source import WIDTH

__all__ = ["KEPT", "Formatter", "format_with_black", "formatter"]

KEPT: Final = "# ruff: noqa\n# fmt: off\n"
"""Below the first line: no rule or line length of a project's own makes a tool complain of
the file, or lay it out in a way that the next run undoes."""


@dataclass(frozen=True, slots=True)
class Formatter:
    """What breaks the lines of a source.

    Attributes:
        name: of it and of its style, as each file that it made says; empty where it is not
            installed.
        format: gives the source with its lines broken.
    """

    name: str
    format: Callable[[str], str]


def formatter() -> Formatter:
    """Black, named with the year of its style, which it keeps until the next January."""
    year = year_of("black")
    return Formatter(year and f"black {year}", format_with_black)


def format_with_black(source: str) -> str:
    """The source as black leaves it; raises ExtraMissing where it is not installed."""
    need("black")
    # Most runs change no file, and black takes longer to import than they last.
    import black  # noqa: PLC0415

    first, _, rest = source.partition("\n")
    above = f"{first}\n{KEPT}" if rest.startswith(KEPT) else ""
    mode = black.Mode(line_length=WIDTH)

    def broken(piece: str) -> str:
        first, *methods = _members(piece)
        parts = [black.format_str(first, mode=mode)]
        for method in methods:
            inside = black.format_str(f"{_CLASS}{method}", mode=mode)
            parts.append(inside.removeprefix(_CLASS))
        return "\n".join(parts)

    return above + "\n\n".join(map(broken, _pieces(source, above)))


_CLASS: Final = "class _:\n"
"""Around a method that is laid out alone, for its indentation."""


def _pieces(source: str, above: str) -> Iterator[str]:
    """The code below `above`, cut where two empty lines are between two statements.

    For each line black looks through all statements of its file, so its time grows with the
    square of their number. A piece is about one class, and black leaves two empty lines as
    they are.
    """
    code = source.removeprefix(above)
    return _cut(code, ast.parse(code).body, empty=2)


def _members(piece: str) -> Iterator[str]:
    """A class up to its first method, and each method; or the piece as it is.

    What black changes it lays out once more, to see whether that is stable. Most methods do
    not change: only the rest of the class is worth the second time.
    """
    body = ast.parse(piece).body
    members = (
        body[0].body if len(body) == 1 and isinstance(body[0], ast.ClassDef) else body
    )
    return _cut(piece, members, empty=1, only=ast.FunctionDef)


def _cut(
    code: str, body: list[ast.stmt], *, empty: int, only: type[ast.stmt] = ast.stmt
) -> Iterator[str]:
    """Cut where so many empty lines are between two statements, and nothing else."""
    lines = code.split("\n")
    start = 0
    for one, other in pairwise(body):
        last, first = one.end_lineno or one.lineno, _first_line(other)
        between = lines[last : first - 1]
        if between == [""] * empty and isinstance(other, only):
            yield "\n".join([*lines[start:last], ""])
            start = first - 1
    yield "\n".join(lines[start:])


def _first_line(statement: ast.stmt) -> int:
    """Counted from 1; that of a class is the one of its first decorator."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])
