"""Durations in tables: `"30s"`."""

from __future__ import annotations

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.model.duration import DURATION, UNITS
from flowd_codegen.parse.table import Toml, kind_of

__all__ = ["read_duration"]


def read_duration(value: Toml, location: SourceLocation, report: Report) -> int | None:
    """Give whole milliseconds; None when it is no duration, which is reported."""
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match:
        counts = zip(match.groups("0"), UNITS.values(), strict=True)
        return sum(int(count) * unit for count, unit in counts)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        label = f'write `"{value}s"`: a duration has a unit'
    else:
        label = 'write it like `"250ms"`, `"30s"`, `"1h30m"` or `"7d"`'
    shown = quoted(value) if isinstance(value, str) else kind_of(value)
    report(Code.DURATION, location, f"{shown} is not a duration", label)
    return None
