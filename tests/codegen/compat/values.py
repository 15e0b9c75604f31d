"""Values by chance for the fields of a schema, above all those at its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Any, Final
from uuid import UUID

from flowd_codegen.model.bounds import End, broken, ends, in_model, is_ranged, native
from flowd_codegen.model.kinds import (
    ANY,
    Bounds,
    DictOf,
    EnumRef,
    External,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
)
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Field, Record
from flowd_codegen.model.schema import Job as JobModel

__all__ = ["Maker"]

_DEEPEST: Final = 4
"""How many records are in each other before a value of records without end is ended."""

_FLOATS: Final = (0.0, -0.0, 0.5, 2.0, 2.5, 1e300, -1e300, math.nan, math.inf)
_INTEGERS: Final = (0, 1, 2, 3, 255, 256, -1, 2**53 + 1, 10**30, 10**400)
_USUAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "float": _FLOATS,
    "decimal": tuple(map(Decimal, ("1.50", "0", "-7", "1E+3", "0.001"))),
    "datetime": (
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(1, 1, 2, tzinfo=timezone(timedelta(minutes=-90))),
    ),
    "date": (date(2026, 1, 31), date.min),
    "duration": (
        *(timedelta(seconds=1.5), timedelta(), timedelta(days=-3)),
        timedelta(milliseconds=1001),
    ),
}
_OTHERS: Final[Mapping[str, tuple[object, ...]]] = {
    "bool": (True, False),
    "uuid": (UUID(int=7),),
    "json": (None, 1, "x", [None], {"a": 0.5}),
}


class Maker:
    """Makes objects of one generated module.

    Args:
        rng: of the test.
        names: of the module.
        records: of the schema, by name.
    """

    def __init__(
        self, rng: Random, names: Mapping[str, object], records: Mapping[str, Record]
    ) -> None:
        self._rng = rng
        self._names = names
        self._records = records
        self._depth = 0

    def instance(self, owner: JobModel | Record) -> object:
        """An object of a job or record; it may be outside of its field's limits."""
        kind = self._names[owner.name]
        assert isinstance(kind, type)
        in_json = isinstance(owner, Record)
        self._depth += 1
        values = {
            field.attribute: self._value(field.type, field, in_json=in_json)
            for field in owner.fields
        }
        self._depth -= 1
        made: object = kind(**values)
        return made

    def _value(
        self, kind: Type, bounds: Bounds = ANY, *, in_json: bool = True
    ) -> object:
        rng = self._rng
        match kind:
            case Optional(item):
                if rng.random() < 0.4 or self._depth > _DEEPEST:
                    return None
                return self._value(item, bounds, in_json=in_json)
            case ListOf(item, each):
                return [self._value(item, each) for _ in range(self._length(bounds))]
            case DictOf(item, each):
                count = self._length(bounds)
                return {str(n): self._value(item, each) for n in range(count)}
            case EnumRef(name):
                members = self._names[name]
                assert isinstance(members, type)
                assert issubclass(members, StrEnum)
                return rng.choice([*members])
            case RecordRef(name):
                return self.instance(self._records[name])
            case UnionOf(members):
                _, name = rng.choice(members)
                return self.instance(self._records[name])
            case OneOf(values):
                return rng.choice(values)
            case Scalar("str"):
                length = self._length(bounds)
                plain = bounds.pattern is None
                return rng.choice(("a", "é", "\n", "1") if plain else ("a",)) * length
            case Scalar("bytes"):
                length = self._length(bounds)
                return b"\xff~"[:length] + b"x" * (length - 2)
            case Scalar() if is_ranged(kind):
                return self._ranged(kind, bounds, in_json=in_json)
            case Scalar(name):
                return rng.choice(_OTHERS[name])
            case External():
                raise AssertionError(kind)

    def _ranged(self, kind: Scalar, bounds: Bounds, *, in_json: bool) -> object:
        """A value at an end, or a usual one; within the bounds where one is."""
        least, most = INTEGERS.get(kind.name, (-math.inf, math.inf))
        encoding = bounds.encoding if isinstance(bounds, Field) else None
        begin, end = ends(kind, bounds, encoding)
        given = [
            _native(kind, at)
            for at in (least, most, begin[0], end[0])
            if math.isfinite(at)
        ]
        found: list[Any] = [*given, *_USUAL.get(kind.name, _INTEGERS)]
        if in_json and kind.name == "float":
            found = [one for one in found if math.isfinite(one)]
        if kind.name in INTEGERS:
            found = [one for one in found if least <= one <= most]
        inside = [one for one in found if not broken(one, kind, bounds, encoding)]
        return self._rng.choice(inside or found)

    def _length(self, bounds: Bounds) -> int:
        least = bounds.min_len or 0
        if self._depth > _DEEPEST:
            return least
        most = least + 2 if bounds.max_len is None else bounds.max_len
        return self._rng.choice((least, most, self._rng.randint(least, most)))


def _native(kind: Scalar, at: End) -> Any:
    model = in_model(kind, at)
    return native(kind, model if isinstance(model, int | float) else str(model))
