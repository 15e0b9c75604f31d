"""Constraints: bounds, lengths, patterns and choices, checked against the type."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Fault
from flowd_codegen.model.bounds import (
    LAST,
    LENGTHS,
    RANGE,
    TIMES,
    ends,
    is_ranged,
    native,
)
from flowd_codegen.model.kinds import (
    Bound,
    Bounds,
    DictOf,
    ListOf,
    Scalar,
    Type,
    base,
)
from flowd_codegen.model.naming import CLASS_NAME
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Encoding, Field
from flowd_codegen.parse.backtracking import explodes, is_unbounded
from flowd_codegen.parse.scalars import InvalidValue, read_scalar
from flowd_codegen.parse.table import Table

__all__ = [
    "limit_that_fits",
    "parse_constraints",
    "slow_patterns",
]

_SIZED: Final = ("str", "bytes")
_ONLY_FOR: Final = {"places": "decimal", "pattern": "str"}
_AS_LENGTH: Final = {"min": "min_len", "max": "max_len"}
_EXCLUSIVE: Final = (("min", "above"), ("max", "below"))


def parse_constraints(
    options: Table, found: Type, encoding: Encoding | None = None
) -> Bounds:
    """Read the constraints of a field or item; those that do not fit are reported.

    Args:
        options: of the field, or of its `items` or `values`.
        found: its type.
        encoding: of the field.
    """
    inner = base(found)
    ranged = is_ranged(inner)
    text, decimal = inner == Scalar("str"), inner == Scalar("decimal")
    sized = isinstance(inner, ListOf | DictOf) or (
        isinstance(inner, Scalar) and inner.name in _SIZED
    )
    for key in RANGE:
        advice = f"it is for numbers, {', '.join(TIMES)}"
        if sized and key in _AS_LENGTH:
            advice = f"write `{_AS_LENGTH[key]}`, the length"
        _refuse(options, key, _for_items(inner, key) or advice, fits=ranged)
    for key, length in _AS_LENGTH.items():
        advice = f"write `{key}`" if ranged else "it is for str, bytes, list and dict"
        _refuse(options, length, advice, fits=sized)
    advice = _for_items(inner, "places") or "it is for decimal"
    _refuse(options, "places", advice, fits=decimal)
    advice = _for_items(inner, "pattern") or "it is for str"
    _refuse(options, "pattern", advice, fits=text)
    fewest, most = (_length(options, key) if sized else None for key in LENGTHS)
    if fewest is not None and most is not None and fewest > most:
        _refuse_crossed(options, LENGTHS)
    bounds = Bounds(
        places=_length(options, "places") if decimal else None,
        min_len=fewest,
        max_len=most,
        pattern=_pattern(options) if text else None,
    )
    return _ranged(options, inner, bounds, encoding) if ranged else bounds


def _refuse(options: Table, key: str, advice: str, *, fits: bool) -> None:
    if not fits and key in options.values:
        options.report(
            Code.CONSTRAINT_MISFIT,
            options.at(key).key(),
            f"`{key}` does not fit this type",
            advice,
        )


def _for_items(inner: Type, key: str) -> str:
    """What to write where the items take a limit; empty where they do not."""
    match inner:
        case ListOf(item):
            table = "items"
        case DictOf(item):
            table = "values"
        case _:
            return ""
    one = base(item)
    fits = is_ranged(one) if key in RANGE else one == Scalar(_ONLY_FOR[key])
    return f"write `{table} = {{ {key} = … }}`" if fits else ""


def limit_that_fits(near: str, kind: str) -> str:
    """Advice for a word that means a limit, where the type takes another; empty else.

    Args:
        near: the limit that is most like the word.
        kind: the type of the field, as written.
    """
    plain = kind.removesuffix("?")
    sized = plain in _SIZED or "[" in plain
    ranged = plain in ("int", "float", "decimal", *INTEGERS, *TIMES)
    if near in _AS_LENGTH.values() and ranged:
        near = next(key for key, length in _AS_LENGTH.items() if length == near)
        return f"write `{near}`"
    if near in _AS_LENGTH and sized:
        return f"write `{_AS_LENGTH[near]}`, the length"
    unlimited = plain in ("bool", "uuid", "json") or CLASS_NAME.fullmatch(plain)
    if near in (*RANGE, *LENGTHS) and unlimited:
        return f"leave it out: `{plain}` has no limits"
    return ""


def _ranged(
    options: Table, inner: Type, bounds: Bounds, encoding: Encoding | None
) -> Bounds:
    """The bounds with a smallest and a largest value."""
    for closed, open_ in _EXCLUSIVE:
        if closed in options.values and open_ in options.values:
            options.report(
                Code.CONSTRAINT_IMPOSSIBLE,
                options.at(open_).key(),
                f"`{closed}` and `{open_}` exclude each other",
                "keep one",
                also=(options.at(closed).key(), "the other one"),
            )
            return bounds
    before = len(options.report.faults)
    low, high, above, below = (_bound(options, key, inner, encoding) for key in RANGE)
    bounds = replace(bounds, min=low, max=high, above=above, below=below)
    if len(options.report.faults) > before:
        return bounds
    try:
        start, stop = ends(inner, bounds, encoding)
    except OverflowError:
        _impossible(options, "above", "no value is above `above`", "leave it out")
        return bounds
    name = inner.name if isinstance(inner, Scalar) else ""
    least, most = INTEGERS.get(name, (-math.inf, LAST.get(name, math.inf)))
    begin, end = max(start[0], least), min(stop[0], most)
    if begin > end or (begin == end and (start[1] or stop[1])):
        keys = [
            key for key in ("min", "above", "max", "below") if key in options.values
        ]
        _refuse_crossed(options, keys)
    return bounds


def _bound(
    options: Table, key: str, inner: Type, encoding: Encoding | None
) -> Bound | None:
    name = inner.name if isinstance(inner, Scalar) else ""
    value = options.values.get(key)
    if name in TIMES and value is not None:
        return _moment(options, key, name, encoding)
    if name == "decimal" and isinstance(value, str):
        return _scalar(options, key, name)
    if name in ("float", "decimal"):
        bound = options.number(key)
        # An integer may be beyond every float.
        if bound is not None and not abs(bound) <= sys.float_info.max:
            label = "leave it out for no bound"
            _impossible(options, key, f"`{key}` is no finite float", label)
            return None
        return bound
    number = options.integer(key)
    if number is not None and name in INTEGERS:
        low, high = INTEGERS[name]
        if not low <= number <= high:
            message = f"`{key}` is outside of `{name}`"
            _impossible(options, key, message, f"`{name}` is {low} to {high}")
            return None
    return number


def _moment(
    options: Table, key: str, name: str, encoding: Encoding | None
) -> Bound | None:
    """A bound of a date, datetime or duration."""
    bound = _scalar(options, key, name)
    if bound is not None and encoding == "unix_ms":
        at = native(Scalar(name), bound)
        if isinstance(at, datetime) and at.microsecond % 1000:
            message = f"`{key}` is finer than the milliseconds of `unix_ms`"
            _impossible(options, key, message, "leave out what is behind them")
            return None
    return bound


def _scalar(options: Table, key: str, name: str) -> str | None:
    location = options.at(key)
    before = len(options.report.faults)
    try:
        bound = read_scalar(options.values[key], name, location, options.report)
    except InvalidValue as invalid:
        message = f"`{key}` does not fit: {invalid}"
        options.report(Code.CONSTRAINT_MISFIT, invalid.location, message, invalid.label)
        return None
    return None if len(options.report.faults) > before else str(bound)


def _length(options: Table, key: str) -> int | None:
    length = options.integer(key)
    if length is not None and length < 0:
        label = "there may be 0 or more" if key == "places" else "a length is 0 or more"
        _impossible(options, key, f"`{key}` is below 0", label)
        return None
    return length


def _refuse_crossed(options: Table, keys: Sequence[str]) -> None:
    lower, *upper = keys
    other = f"`{upper[0]}`" if upper else "all values of the type"
    options.report(
        Code.CONSTRAINT_IMPOSSIBLE,
        options.at(lower),
        f"`{lower}` is above {other}, so no value fits",
        also=(options.at(upper[0]), f"`{upper[0]}` is here") if upper else None,
    )


def _impossible(options: Table, key: str, message: str, label: str) -> None:
    options.report(Code.CONSTRAINT_IMPOSSIBLE, options.at(key), message, label)


def _pattern(options: Table) -> str | None:
    pattern = options.text("pattern")
    if pattern is None:
        return None
    location = options.at("pattern")
    try:
        with warnings.catch_warnings():
            # A pattern whose meaning a later Python changes is refused now.
            warnings.simplefilter("error")
            re.compile(pattern)
    except re.error as error:
        if error.pos is not None and error.pos < len(pattern):
            location = location.within(error.pos, error.pos + 1)
        reason = error.msg
    except (OverflowError, RecursionError, Warning) as error:
        reason = str(error)
    else:
        return pattern
    options.report(Code.PATTERN, location, "not a Python regular expression", reason)
    return None


def slow_patterns(fields: Iterable[Field], table: Table, group: str) -> Iterator[Fault]:
    """Warnings of patterns that may take long, which a worker's event loop waits for.

    Args:
        fields: of a job, record or group.
        table: of the fields, for the places.
        group: of which the table is, empty for none.
    """
    for field in fields:
        if field.group == group:
            yield from _slow(field, table.at(field.name))
            yield from _slow_items(field.type, table.at(field.name))


def _slow_items(kind: Type, location: SourceLocation) -> Iterator[Fault]:
    match base(kind):
        case ListOf(item, each):
            inside = location.child("items")
        case DictOf(item, each):
            inside = location.child("values")
        case _:
            return
    yield from _slow(each, inside)
    yield from _slow_items(item, inside)


def _slow(bounds: Bounds, location: SourceLocation) -> Iterator[Fault]:
    if bounds.pattern is None:
        return
    note = ""
    if explodes(bounds.pattern):
        message = "this pattern may take twice as long with each further character"
        label = "it reads the same text in two ways, again and again"
        note = "all jobs of a worker wait for it; make each repeat end where the next begins"
        code = Code.SLOW_PATTERN
    elif bounds.max_len is None and is_unbounded(bounds.pattern):
        message = "a pattern for texts of any length, without `max_len`"
        label = "add `max_len`: all jobs of a worker wait while it is matched"
        code = Code.PATTERN_UNBOUNDED
    else:
        return
    notes = (note,) if note else ()
    yield Fault(
        code, location.child("pattern"), message, label, notes, severity="warning"
    )
