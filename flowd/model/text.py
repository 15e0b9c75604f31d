"""Show text that somebody else wrote: one line, and nothing a terminal obeys."""

from __future__ import annotations

import unicodedata

__all__ = ["printable"]

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
