"""What a server wrote into its log about why it ended."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["last_words"]

_LINE: Final = re.compile(r"\d+:\w \d+ \w+ \d+ [\d:.]+ ([.*#-]) (.*)")
_FOREIGN: Final = re.compile(
    r"bad file format|rdb format version|wrong signature|unexpected end of file"
    r"|internal error in rdb|unknown rdb",
    re.IGNORECASE,
)
_HARMLESS: Final = (
    *("WARNING", "oO0", "Redis version=", "Valkey version="),
    *("Configuration loaded", "Server initialized"),
)
"""How lines begin that each start may write, as loud as complaints."""

_MOST: Final = 3
_CHARACTERS: Final = 300
_ADVICE: Final = (
    "; this folder was written by another server or version, or is damaged: name the"
    " program that wrote it in FLOWD_SERVER_BINARY, or another folder"
)


def last_words(log: Path) -> str:
    """Why the server of a log ended, in one line, and what to do about it.

    Complaints, and lines that have no level, as those about an option. A warning about the
    machine (`WARNING …`) does not end a server.
    """
    lines = log.read_text(errors="replace").split("\n")
    shown = [text for line in lines if (text := _complaint(line))]
    if not shown:
        shown = [line.strip() for line in lines if line.strip()][-1:]
    if not shown:
        return "its log is empty"
    text = " / ".join(each[:_CHARACTERS] for each in shown[-_MOST:])
    return f"{text}{_ADVICE if _FOREIGN.search(text) else ''}"


def _complaint(line: str) -> str:
    """The text of a line that may be why; empty for any other."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return line.strip()
    level, text = found.groups()
    return "" if level != "#" or text.startswith(_HARMLESS) else text
