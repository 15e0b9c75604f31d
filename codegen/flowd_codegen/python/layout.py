"""Breaks the lines of what was rendered; black does, and no configuration of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    code = source.removeprefix(above)
    return above + black.format_str(code, mode=black.Mode(line_length=WIDTH))
