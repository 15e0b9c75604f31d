"""What type checkers accept in place of a class is written as that class would be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Final, NoReturn, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd import wire

T = TypeVar("T")


class _Odd:
    """Prints and computes something else than the class that it is mixed into."""

    def __repr__(self) -> str:
        return "odd"

    __str__ = __repr__

    def __format__(self, *args: object) -> str:
        return "odd"

    def isoformat(self, *args: object, **kwargs: object) -> str:
        return "odd"

    def __sub__(self, other: object) -> NoReturn:
        raise NotImplementedError

    __floordiv__ = __sub__


class _Int(_Odd, int):
    pass


class _Float(_Odd, float):
    pass


class _Str(_Odd, str):
    __slots__ = ()


class _Bytes(_Odd, bytes):
    pass


class _Decimal(_Odd, Decimal):
    pass


class _UUID(_Odd, UUID):
    pass


class _Date(_Odd, date):
    pass


class _Datetime(_Odd, datetime):
    pass


class _Timedelta(_Odd, timedelta):
    pass


class _Level(IntEnum):
    HIGH = 7


class _Colour(StrEnum):
    RED = "red"


def _drawn(values: st.SearchStrategy[T], odd: Callable[[T], T]) -> tuple[object, ...]:
    """Values of a class, and what makes one of a subclass of each."""
    return values, odd


_DATETIMES: Final = _drawn(
    st.datetimes(timezones=st.just(UTC)),
    lambda one: _Datetime.combine(one.date(), one.timetz()),
)
_BYTES: Final = _drawn(st.binary(), _Bytes)
_KINDS: Final[dict[str, tuple[object, ...]]] = {
    "int": _drawn(st.integers(), _Int),
    "u8": _drawn(st.integers(0, 255), _Int),
    "i64": _drawn(st.integers(-(2**63), 2**63 - 1), _Int),
    "float": _drawn(st.floats(allow_nan=False, allow_infinity=False), _Float),
    "decimal": _drawn(st.decimals(allow_nan=False, allow_infinity=False), _Decimal),
    "base64": _BYTES,
    "hex": _BYTES,
    "uuid": _drawn(st.uuids(), lambda one: _UUID(int=one.int)),
    "date": _drawn(st.dates(), lambda one: _Date(one.year, one.month, one.day)),
    "datetime": _DATETIMES,
    "unix_ms": _DATETIMES,
    "duration": _drawn(
        st.timedeltas(),
        lambda one: _Timedelta(one.days, one.seconds, one.microseconds),
    ),
}


@pytest.mark.parametrize(
    ("kind", "values", "odd"), [(kind, *each) for kind, each in _KINDS.items()]
)
@given(data=st.data())
def test_a_subclass_is_written_as_its_base_class(
    kind: str,
    values: st.SearchStrategy[object],
    odd: Callable[[object], object],
    data: st.DataObject,
) -> None:
    """What it prints itself is not asked for, and the base class is what is read."""
    value = data.draw(values)
    encode, decode = (getattr(wire, f"{verb}_{kind}") for verb in ("encode", "decode"))
    written = encode(value)
    assert encode(odd(value)) == written
    assert type(decode(written)) is type(value)
    shape: wire.Shape[object] = getattr(wire, kind.upper())
    listed = wire.list_of(shape)
    assert wire.encode_json([odd(value)], listed) == wire.encode_json([value], listed)


def test_a_raw_subclass_is_written_as_bytes() -> None:
    """The bytes go to Redis as they are, and not as what holds them."""
    assert type(wire.encode_raw(_Bytes(b"\xff"))) is bytes


@given(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_subclass_inside_json_is_written_as_its_base_class(
    text: str, number: int, fraction: float
) -> None:
    """Keys as well as values, in `json`, in lists and in dicts."""
    odd = _Str(text)
    plain: wire.Json = {text: [number, fraction, text]}
    mixed: wire.Json = {odd: [_Int(number), _Float(fraction), odd]}
    assert wire.encode_json(mixed, wire.JSON) == wire.encode_json(plain, wire.JSON)
    texts: dict[str, str] = {odd: odd}
    strings = wire.dict_of(wire.STR)
    assert wire.encode_json(texts, strings) == wire.encode_json({text: text}, strings)


def test_a_member_of_an_enum_is_written_as_its_value() -> None:
    """An IntEnum is a number and a StrEnum a text, wherever one may stand."""
    assert wire.encode_u8(_Level.HIGH) == wire.encode_float(_Level.HIGH) == b"7"
    levels: list[int] = [_Level.HIGH]
    assert wire.encode_json(levels, wire.list_of(wire.U8)) == b"[7]"
    found: wire.Json = {_Colour.RED: [_Colour.RED, _Level.HIGH]}
    assert wire.encode_json(found, wire.JSON) == b'{"red":["red",7]}'


def test_a_datetime_is_no_date() -> None:
    """It is a subclass of one, and its time would be lost."""
    for value in (datetime(2026, 1, 31, tzinfo=UTC), _Datetime(2026, 1, 31)):
        with pytest.raises(wire.CodecError, match="expected a date, not"):
            wire.encode_date(value)
