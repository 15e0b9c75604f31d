"""Durations in tables: `"30s"`."""

from __future__ import annotations

import re
from typing import Final

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.model.duration import DURATION, UNITS
from flowd_codegen.parse.table import Toml, kind_of

__all__ = ["near_duration", "read_duration"]

_WORDS: Final = re.compile(
    r"([1-9][0-9]{0,8})\s*(ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?"
    r"|h|hrs?|hours?|d|days?|w|weeks?)?"
)


def _unit(word: str | None) -> str:
    """The unit that a word means; seconds without one."""
    plain = word or "s"
    return "ms" if plain.startswith(("ms", "mil")) else plain[0]


def near_duration(text: str) -> str:
    """The duration that a text is, or means in other words; empty for others."""
    if DURATION.fullmatch(text):
        return text
    words = _WORDS.fullmatch(text.strip().lower())
    if words is None:
        return ""
    count, unit = int(words[1]), _unit(words[2])
    # Schemas have no weeks.
    near = f"{7 * count}d" if unit == "w" else f"{count}{unit}"
    return near if DURATION.fullmatch(near) else ""


def read_duration(value: Toml, location: SourceLocation, report: Report) -> int | None:
    """Give whole milliseconds; None when it is no duration, which is reported."""
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match:
        counts = zip(match.groups("0"), UNITS.values(), strict=True)
        return sum(int(count) * unit for count, unit in counts)
    if isinstance(value, str) and (near := near_duration(value)):
        label = f'write `"{near}"`'
    elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
        label = f'write `"{value}s"`: a duration has a unit'
    else:
        label = 'write it like `"250ms"`, `"30s"`, `"1h30m"` or `"7d"`'
    shown = quoted(value) if isinstance(value, str) else kind_of(value)
    report(Code.DURATION, location, f"{shown} is not a duration", label)
    return None
