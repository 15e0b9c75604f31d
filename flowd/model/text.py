"""Text for people: counts, and what others wrote, which moves no cursor."""

from __future__ import annotations

import unicodedata

__all__ = ["count_of", "printable", "span"]

_OBEYED = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def printable(text: str, most: int = 500) -> str:
    """The text with control, format and direction characters written out, cut."""
    shown = text if len(text) <= most else f"{text[:most]}…"
    if shown.isprintable():
        return shown
    return "".join(
        (
            ch.encode("unicode_escape").decode()
            if unicodedata.category(ch) in _OBEYED
            else ch
        )
        for ch in shown
    )


def count_of(count: int, noun: str) -> str:
    """So many things: `1 job`, `2,000 jobs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def span(seconds: float | None) -> str:
    """A time as people say it: `0.4 s`, `4m12s`, `2h05m`, `3d04h`; `-` for none."""
    if seconds is None:
        return "-"
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days:,}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
