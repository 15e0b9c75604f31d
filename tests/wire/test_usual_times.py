"""The short way through the usual spellings of a datetime lets nothing else through."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import Final

import pytest

from flowd import wire

_USUAL: Final = (
    b"2026-01-31T12:00:00Z",
    b"2026-01-31T12:00:00+00:00",
    b"2026-01-31T12:00:00.123456Z",
    b"2026-01-31T12:00:00.123456+00:00",
    b"2026-01-31T12:00:00.123-05:30",
    b"2026-01-31T12:00:00.123456789+02:00",
)
_RFC_3339: Final = re.compile(
    rb"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    rb"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)
_BYTES: Final = b"0249TtZz:+-., W\0\xc3"


@pytest.mark.parametrize("usual", _USUAL)
def test_a_changed_usual_spelling_is_read_only_as_rfc_3339(usual: bytes) -> None:
    """Every two bytes of it that are next to each other are replaced by all pairs."""
    taken = 0
    for at in range(len(usual) - 1):
        for first in _BYTES:
            for second in _BYTES:
                raw = usual[:at] + bytes([first, second]) + usual[at + 2 :]
                with suppress(wire.CodecError):
                    wire.decode_datetime(raw)
                    assert _RFC_3339.fullmatch(raw), raw
                    taken += 1
    assert taken > len(usual)


@pytest.mark.parametrize("usual", _USUAL)
def test_a_usual_spelling_is_read_as_python_reads_it(usual: bytes) -> None:
    """The value is that of `fromisoformat`."""
    assert wire.decode_datetime(usual) == datetime.fromisoformat(usual.decode())
