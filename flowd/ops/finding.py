"""What a look at a server found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "Level"]

Level: TypeAlias = Literal["ok", "note", "warn", "wrong"]
"""`wrong` loses or holds up jobs, `warn` may, `note` is worth knowing, `ok` is well."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and how it is."""

    level: Level
    check: str
    """What was looked at, in a word."""

    text: str
    """What was found. It may hold names that somebody else chose."""

    advice: str = ""
    """What to do about it; empty if nothing has to be done."""
