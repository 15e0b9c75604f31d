"""Text for people: counts, and what others wrote, which moves no cursor."""

from __future__ import annotations

import unicodedata

__all__ = ["count_of", "printable"]

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
