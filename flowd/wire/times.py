"""Points in time, dates and durations.

A subclass is written as its base class would be, whatever it prints or computes itself.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from flowd.wire.numbers import decode_int, encode_int
from flowd.wire.refusal import CodecError, instance, misfit

__all__ = [
    "decode_date",
    "decode_datetime",
    "decode_duration",
    "decode_unix_ms",
    "encode_date",
    "encode_datetime",
    "encode_duration",
    "encode_unix_ms",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_MS: Final = timedelta(milliseconds=1)
_NO_TIME: Final = "expected a date, a time and an offset (RFC 3339)"
_LEAP: Final = "a leap second, which a datetime cannot hold"
_YEARS: Final = "not in the years 1 to 9999"
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MS
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MS

# What `fromisoformat` takes beyond this is another thing in every Python.
_RFC_3339: Final = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    rb"(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

# The usual spellings, with 0 for each digit.
_USUAL: Final = frozenset(
    f"0000-00-00T00:00:00{fraction}{offset}".encode()
    for fraction in ("", ".000", ".000000", ".000000000")
    for offset in ("Z", "+00:00", "-00:00")
)
_AS_ZEROS: Final = bytes.maketrans(b"0123456789", b"0000000000")
_parse: Final = datetime.fromisoformat


def encode_datetime(value: datetime) -> bytes:
    """Write RFC 3339 with the value's own offset, UTC as `+00:00`."""
    offset = _offset(value)
    if offset % _MINUTE:
        # RFC 3339 has no offset with seconds (local mean times before 1900 have).
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            raise CodecError(_YEARS) from None
    return datetime.isoformat(value).encode()


def decode_datetime(raw: bytes) -> datetime:
    """Read RFC 3339 and nothing else of ISO 8601; what is below the microsecond is cut."""
    # Among the usual spellings `fromisoformat` refuses what RFC 3339 does, but for
    # minutes of an offset and, in time to come, hour 24. An index gives a byte: 50 is
    # `2`, 52 is `4`, 54 is `6`, 90 is `Z`.
    if not (
        raw.translate(_AS_ZEROS) in _USUAL
        and (raw[11] < 50 or raw[12] < 52)
        and (raw[-1] == 90 or raw[-2] < 54)
    ):
        if not _RFC_3339.fullmatch(raw):
            raise _no_time(raw)
        raw = raw.upper()
    try:
        return _parse(raw.decode())
    except ValueError:
        pass
    raise _no_time(raw)


def encode_unix_ms(value: datetime) -> bytes:
    """Write whole milliseconds since 1970; what is finer is cut."""
    _offset(value)
    milliseconds = datetime.__sub__(value, _EPOCH) // _MS
    if not _FIRST <= milliseconds <= _LAST:
        # With its offset it is in a year that no UTC has.
        raise CodecError(_YEARS)
    return encode_int(milliseconds)


def decode_unix_ms(raw: bytes) -> datetime:
    """Read whole milliseconds since 1970, as UTC."""
    milliseconds = decode_int(raw)
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        pass
    raise CodecError(_YEARS)


def encode_date(value: date) -> bytes:
    """Write `YYYY-MM-DD`."""
    if isinstance(value, datetime):
        raise misfit("a date", value)
    return date.isoformat(instance(value, date)).encode()


def decode_date(raw: bytes) -> date:
    """Read `YYYY-MM-DD`; Python's other spellings are refused."""
    if len(raw) == 10 and raw[4:8:3] == b"--" and raw.replace(b"-", b"").isdigit():
        try:
            return date.fromisoformat(raw.decode())
        except ValueError:
            pass
    raise CodecError("expected a date as 2026-01-31")


def encode_duration(value: timedelta) -> bytes:
    """Write whole milliseconds; what is finer is cut."""
    return encode_int(timedelta.__floordiv__(instance(value, timedelta), _MS))


def decode_duration(raw: bytes) -> timedelta:
    """Read whole milliseconds."""
    milliseconds = decode_int(raw)
    try:
        return timedelta(milliseconds=milliseconds)
    except OverflowError:
        pass
    raise CodecError("more than 999,999,999 days")


def _no_time(raw: bytes) -> CodecError:
    """The refusal; a leap second is a time, but not one that Python knows."""
    leap = raw[16:19] == b":60" and _RFC_3339.fullmatch(raw[:17] + b"59" + raw[19:])
    return CodecError(_LEAP if leap else _NO_TIME)


def _offset(value: datetime) -> timedelta:
    offset = instance(value, datetime).utcoffset()
    if offset is None:
        raise CodecError("expected a datetime with a time zone")
    return offset
