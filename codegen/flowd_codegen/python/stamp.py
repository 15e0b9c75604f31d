"""The last line of a module: a digest of its source and text, and the formatter's name."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from flowd_codegen.python.layout import Formatter

__all__ = ["maker", "stamped", "without_stamp"]

_STAMP: Final = re.compile(rb"# flowd-gen: (.*) ([0-9a-f]{16})\r?\n\Z")
_NO_DIGITS: Final = "0" * 16


def stamped(source: str, formatter: Formatter) -> bytes:
    """The source, formatted, and in its last line of what it was made."""
    plain = formatter.format(f"{source}# flowd-gen: {formatter.name} {_NO_DIGITS}\n")
    text = plain.encode()
    return _with_digits(text, _digest(text, source))


def maker(old: bytes | None, above: bytes, source: str) -> str | None:
    """The formatter that made the file of this source; None where it was made of another.

    The last line names it, for the file as it is: formatting the source anew, which is nearly
    all that a run takes, would give the same, and what was changed by hand is seen.
    """
    if old is None:
        return None
    text = old.replace(b"\r\n", b"\n").removeprefix(above.replace(b"\r\n", b"\n"))
    stamp = _STAMP.search(text)
    if stamp is None:
        return None
    digest = _digest(_with_digits(text, _NO_DIGITS), source)
    return stamp[1].decode() if stamp[2] == digest.encode() else None


def without_stamp(text: bytes) -> bytes:
    """A module without its last line."""
    return _STAMP.sub(b"", text)


def _with_digits(text: bytes, digits: str) -> bytes:
    return text[: -len(digits) - 1] + digits.encode() + b"\n"


def _digest(text: bytes, source: str) -> str:
    parts = (hashlib.sha256(part).digest() for part in (text, source.encode()))
    return hashlib.sha256(b"".join(parts)).hexdigest()[: len(_NO_DIGITS)]
