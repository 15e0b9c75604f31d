"""A finding of `flowd doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "Level"]

Level: TypeAlias = Literal["ok", "note", "warn", "wrong"]
"""`wrong` loses or delays jobs, `warn` may, `note` is information, `ok` is no problem."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    level: Level
    check: str
    """What was looked at, in a word."""

    text: str
    """What was found. It may contain names that users chose, not escaped."""

    advice: str = ""
    """What to do about it; empty if nothing has to be done."""
