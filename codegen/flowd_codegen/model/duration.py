"""A duration as schemas write it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["DURATION", "UNITS", "duration_text", "seconds_text"]

UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

DURATION: Final = re.compile(
    r"(?=.)(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?"
    r"(?:([0-9]{1,9})s)?(?:([0-9]{1,12})ms)?"
)
"""A duration as schemas write it, in syntax that JavaScript reads too."""


def duration_text(milliseconds: int) -> str:
    """Spell whole milliseconds as a schema does: `1h30m`."""
    text = ""
    left = milliseconds
    for unit, size in UNITS.items():
        number, left = divmod(left, size)
        text += f"{number}{unit}" if number else ""
    return text or "0ms"


def seconds_text(seconds: float) -> str:
    """The same of seconds, as the rules of a queue have them; to the millisecond."""
    return duration_text(round(seconds * 1000))
