"""Bounds as Python compares them: of numbers, decimals, dates, times and durations.

What is cut when it is written (a duration to milliseconds) is cut before it is compared
with a bound, so that what one side may write the other may read: `above` is the next value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sized
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final, TypeAlias

from flowd import wire
from flowd.wire import CodecError
from flowd_codegen.model.kinds import Bound, Bounds, Scalar, Type, base
from flowd_codegen.model.scalars import SCALARS
from flowd_codegen.model.schema import Encoding

__all__ = [
    "LAST",
    "LENGTHS",
    "NUMBERS",
    "RANGE",
    "RANGED",
    "TIMES",
    "End",
    "Native",
    "broken",
    "counted",
    "ends",
    "in_model",
    "is_ranged",
    "native",
    "ranges",
]

NUMBERS: Final = ("int", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "float")
"""The types that Python compares with a plain number."""

TIMES: Final = ("datetime", "date", "duration")
"""The other types that have a smallest and a largest value, besides `decimal`."""

RANGED: Final = (*NUMBERS, *TIMES, "decimal")
"""All types whose values can be compared with a bound."""

RANGE: Final = ("min", "max", "above", "below")
"""The bounds of what can be compared."""

LENGTHS: Final = ("min_len", "max_len")
"""The bounds of a size."""

Native: TypeAlias = int | float | Decimal | date | timedelta
"""A bound in Python; a datetime is a date there."""

End: TypeAlias = float | Decimal
"""A bound as a number."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


def counted(bound: Native) -> End:
    """A value as `ends` counts it."""
    match bound:
        case datetime():
            return (bound - _EPOCH) // _MICROSECOND
        case date():
            return bound.toordinal()
        case timedelta():
            return bound // _MS
        case _:
            return bound


LAST: Final = {
    "date": counted(date.max),
    "datetime": counted(datetime.max.replace(tzinfo=UTC)),
    "duration": counted(timedelta.max),
}
"""The largest value of each type in `TIMES`, counted as by `ends`."""


def is_ranged(kind: Type) -> bool:
    """Whether values of a type can be compared with a bound."""
    return isinstance(kind, Scalar) and kind.name in RANGED


def native(kind: Type, bound: Bound) -> Native:
    """A bound of a type, as Python compares it."""
    name = kind.name if isinstance(kind, Scalar) else ""
    if name == "decimal":
        # The double that holds a number is only next to what the schema spells.
        return Decimal(str(bound))
    if isinstance(bound, str):
        found = SCALARS[name].read(bound.encode())
        assert isinstance(found, date | timedelta)
        return found
    return bound


def ranges(
    kind: Type, bounds: Bounds, encoding: Encoding | None = None
) -> Iterator[tuple[str, Native]]:
    """The options that generated code compares with, each with its bound.

    Args:
        kind: what is compared.
        bounds: of a field or item.
        encoding: of the field.
    """
    for option in RANGE:
        given: Bound | None = getattr(bounds, option)
        if given is None:
            continue
        bound = native(kind, given)
        following = _following(bound, encoding) if option == "above" else None
        if following is None:
            yield option, bound
        else:
            yield "min", following


def broken(
    value: object, kind: Type, bounds: Bounds, encoding: Encoding | None = None
) -> tuple[str, CodecError] | None:
    """The option that a value violates, and the error that a generated class raises.

    `pattern` is not checked.
    """
    for option, check in _checks(value, kind, bounds, encoding):
        try:
            check()
        except CodecError as error:
            return option, error
    return None


def _checks(
    value: object, kind: Type, bounds: Bounds, encoding: Encoding | None
) -> Iterator[tuple[str, Callable[[], object]]]:
    plain = isinstance(value, int | float)
    judge: Callable[..., object] = wire.bounded if plain else wire.within
    if isinstance(value, int | float | Decimal | date | timedelta):
        for name, bound in ranges(base(kind), bounds, encoding):
            option = name if getattr(bounds, name) is not None else "above"
            yield option, partial(judge, value, **{name: bound})
    if isinstance(value, Decimal) and bounds.places is not None:
        yield "places", partial(wire.placed, value, bounds.places)
    if isinstance(value, Sized):
        if bounds.min_len is not None:
            yield "min_len", partial(wire.sized, value, min_len=bounds.min_len)
        if bounds.max_len is not None:
            yield "max_len", partial(wire.sized, value, max_len=bounds.max_len)


def ends(
    kind: Type, bounds: Bounds, encoding: Encoding | None = None
) -> tuple[tuple[End, bool], tuple[End, bool]]:
    """The smallest and the largest value, each with whether it is outside itself.

    They are counted: dates in days, durations in milliseconds, datetimes in microseconds.
    Only where there is no next value, of floats and decimals, an end is outside.
    """
    low: tuple[End, bool] = (-math.inf, False)
    high: tuple[End, bool] = (math.inf, False)
    for option, bound in ranges(kind, bounds, encoding):
        at = counted(bound)
        step = 0 if kind in (Scalar("float"), Scalar("decimal")) else 1
        if isinstance(bound, datetime) and encoding == "unix_ms":
            step = 1000
        match option:
            case "min":
                low = (at, False)
            case "above":
                low = (at + step, not step)
            case "max":
                high = (at, False)
            case _:
                high = (at - step, not step)
    return low, high


def in_model(kind: Type, count: End) -> object:
    """The value that is counted so, in the form of `schema.Value`."""
    match kind:
        case Scalar("decimal"):
            return f"{Decimal(str(count)):f}"
        case Scalar("float"):
            return float(count)
        case Scalar("duration"):
            return str(int(count))
        case Scalar("date"):
            return date.fromordinal(int(count)).isoformat()
        case Scalar("datetime"):
            return (_EPOCH + int(count) * _MICROSECOND).isoformat()
        case _:
            return int(count)


def _following(bound: Native, encoding: Encoding | None) -> Native | None:
    """The next value, where such values are cut to milliseconds when they are written."""
    match bound:
        case datetime() if encoding == "unix_ms":
            return bound + _MS
        case timedelta():
            return bound + _MS
        case _:
            return None
