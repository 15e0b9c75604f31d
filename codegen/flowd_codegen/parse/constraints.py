"""Constraints: `min max min_len max_len pattern one_of`, checked against the type."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from flowd_codegen.diagnostics.report import Code, Fault
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import (
    DictOf,
    Field,
    ListOf,
    OneOf,
    Optional,
    Scalar,
    Type,
    base,
)
from flowd_codegen.parse.backtracking import explodes, is_unbounded
from flowd_codegen.parse.table import Table

__all__ = [
    "LENGTHS",
    "RANGE",
    "Constraints",
    "parse_constraints",
    "parse_one_of",
    "slow_patterns",
]

RANGE: Final = ("min", "max")
"""The bounds of a number."""

LENGTHS: Final = ("min_len", "max_len")
"""The bounds of a size."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a value of a field must keep to; None means no bound."""

    min: int | float | None = None
    max: int | float | None = None
    min_len: int | None = None
    max_len: int | None = None
    pattern: str | None = None


def parse_constraints(options: Table, found: Type) -> Constraints:
    """Read a field's constraints; those that do not fit its type are reported."""
    inner = base(found)
    numeric = isinstance(inner, Scalar) and (
        inner.name in INTEGERS or inner.name in ("int", "float", "decimal")
    )
    text = isinstance(inner, Scalar) and inner.name == "str"
    sized = isinstance(inner, ListOf | DictOf) or (
        isinstance(inner, Scalar) and inner.name in ("str", "bytes")
    )
    for key, other in zip(RANGE, LENGTHS, strict=True):
        advice = f"write `{other}`, the length" if sized else "it is for numbers"
        _refuse(options, key, advice, fits=numeric)
        length_advice = (
            f"write `{key}`" if numeric else "it is for str, bytes, list and dict"
        )
        _refuse(options, other, length_advice, fits=sized)
    _refuse(options, "pattern", "it is for str", fits=text)
    low, high = (_bound(options, key, inner) if numeric else None for key in RANGE)
    fewest, most = (_length(options, key) if sized else None for key in LENGTHS)
    _refuse_crossed(options, RANGE, low, high)
    _refuse_crossed(options, LENGTHS, fewest, most)
    return Constraints(low, high, fewest, most, _pattern(options) if text else None)


def _refuse(options: Table, key: str, advice: str, *, fits: bool) -> None:
    if not fits and key in options.values:
        options.report(
            Code.CONSTRAINT_MISFIT,
            options.at(key).key(),
            f"`{key}` does not fit this type",
            advice,
        )


def _bound(options: Table, key: str, inner: Type) -> int | float | None:
    name = inner.name if isinstance(inner, Scalar) else ""
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


def _length(options: Table, key: str) -> int | None:
    length = options.integer(key)
    if length is not None and length < 0:
        _impossible(options, key, f"`{key}` is below 0", "a length is 0 or more")
        return None
    return length


def _refuse_crossed(
    options: Table,
    keys: tuple[str, str],
    low: float | None,
    high: float | None,
) -> None:
    if low is not None and high is not None and low > high:
        lower, upper = keys
        options.report(
            Code.CONSTRAINT_IMPOSSIBLE,
            options.at(lower),
            f"`{lower}` is above `{upper}`, so no value fits",
            also=(options.at(upper), f"`{upper}` is here"),
        )


def _impossible(options: Table, key: str, message: str, label: str) -> None:
    options.report(Code.CONSTRAINT_IMPOSSIBLE, options.at(key), message, label)


def _pattern(options: Table) -> str | None:
    pattern = options.text("pattern")
    if pattern is None:
        return None
    place = options.at("pattern")
    try:
        with warnings.catch_warnings():
            # A pattern whose meaning a later Python changes is refused now.
            warnings.simplefilter("error")
            re.compile(pattern)
    except re.error as error:
        if error.pos is not None and error.pos < len(pattern):
            place = place.within(error.pos, error.pos + 1)
        reason = error.msg
    except (OverflowError, RecursionError, Warning) as error:
        reason = str(error)
    else:
        return pattern
    options.report(Code.PATTERN, place, "not a Python regular expression", reason)
    return None


def parse_one_of(options: Table, found: Type | None) -> Type | None:
    """Read `one_of`, whose values must be of the type when one is given."""
    place = options.at("one_of")
    values = options.values["one_of"]
    if not isinstance(values, list):
        options.wrong_kind("one_of", values, "an array")
        return None
    texts = [value for value in values if isinstance(value, str)]
    numbers = [
        value
        for value in values
        if isinstance(value, int) and not isinstance(value, bool)
    ]
    if not values or len(values) not in (len(texts), len(numbers)):
        options.report(
            Code.ONE_OF,
            place,
            "`one_of` holds strings or integers, one kind and at least one",
            'write it like `one_of = ["en", "de"]`',
        )
        return None
    choices = OneOf(tuple(texts)) if texts else OneOf(tuple(numbers))
    distinct: tuple[str | int, ...] = choices.values
    seen: set[str | int] = set()
    for index, choice in enumerate(distinct):
        if choice in seen:
            message = "this value is there already"
            options.report(Code.ONE_OF, place.child(index), message)
        seen.add(choice)
    if found is None:
        return choices
    _check_choices(options, base(found), choices)
    return Optional(choices) if isinstance(found, Optional) else choices


def _check_choices(options: Table, inner: Type, choices: OneOf) -> None:
    name = inner.name if isinstance(inner, Scalar) else ""
    low, high = INTEGERS.get(name, (-math.inf, math.inf))
    whole = name == "int" or name in INTEGERS
    for index, choice in enumerate(choices.values):
        if isinstance(choice, int):
            fits = whole and low <= choice <= high
        else:
            fits = name == "str"
        if not fits:
            options.report(
                Code.ONE_OF,
                options.at("one_of").child(index),
                "this value does not fit the type",
                "`type` may be left out: `one_of` says it",
            )


def slow_patterns(fields: Iterable[Field], table: Table, group: str) -> Iterator[Fault]:
    """Warnings of patterns that may take long, which a worker's event loop waits for.

    Args:
        fields: of a job, record or group.
        table: of the fields, for the places.
        group: of which the table is, empty for none.
    """
    for field in fields:
        if field.pattern is None or field.group != group:
            continue
        place = table.at(field.name).child("pattern")
        if explodes(field.pattern):
            message = "this pattern may take twice as long with each further character"
            label = "it reads the same text in two ways, again and again"
            note = "all jobs of a worker wait for it; make each repeat end where the next begins"
            code = Code.SLOW_PATTERN
        elif field.max_len is None and is_unbounded(field.pattern):
            message = "a pattern for texts of any length, without `max_len`"
            label = "add `max_len`: all jobs of a worker wait while it is matched"
            note = ""
            code = Code.PATTERN_UNBOUNDED
        else:
            continue
        notes = (note,) if note else ()
        yield Fault(code, place, message, label, notes, severity="warning")
