"""Values by chance for the fields of a schema, above all those at its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Final
from uuid import UUID

from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import (
    DictOf,
    EnumRef,
    External,
    Field,
    ListOf,
    OneOf,
    Optional,
    Record,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
)
from flowd_codegen.model.schema import Job as JobModel

__all__ = ["Maker"]

_FLOATS: Final = (0.0, -0.0, 0.5, 2.0, 2.5, 1e300, -1e300, math.nan, math.inf)
_INTEGERS: Final = (0, 1, 2, 3, 255, 256, -1, 2**53 + 1, 10**30, 10**400)
_OTHERS: Final[Mapping[str, tuple[object, ...]]] = {
    "bool": (True, False),
    "uuid": (UUID(int=7),),
    "datetime": (
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(1, 1, 2, tzinfo=timezone(timedelta(minutes=-90))),
    ),
    "date": (date(2026, 1, 31), date.min),
    "duration": (timedelta(seconds=1.5), timedelta(), timedelta(days=-3)),
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

    def instance(self, owner: JobModel | Record) -> object:
        """An object of a job or record; it may be outside of its field's limits."""
        kind = self._names[owner.name]
        assert isinstance(kind, type)
        in_json = isinstance(owner, Record)
        values = {
            field.attribute: self._value(field.type, field, in_json=in_json)
            for field in owner.fields
        }
        made: object = kind(**values)
        return made

    def _value(
        self, kind: Type, field: Field | None = None, *, in_json: bool = True
    ) -> object:
        rng = self._rng
        match kind:
            case Optional(item):
                if rng.random() < 0.4:
                    return None
                return self._value(item, field, in_json=in_json)
            case ListOf(item):
                return [self._value(item) for _ in range(self._length(field))]
            case DictOf(item):
                return {str(n): self._value(item) for n in range(self._length(field))}
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
            case Scalar(name):
                return self._scalar(name, field, in_json=in_json)
            case External():
                raise AssertionError(kind)

    def _scalar(self, name: str, field: Field | None, *, in_json: bool) -> object:
        rng = self._rng
        low, high = INTEGERS.get(name, (-math.inf, math.inf))
        if field:
            low = low if field.min is None else max(low, field.min)
            high = high if field.max is None else min(high, field.max)
        bounds = [bound for bound in (low, high) if math.isfinite(bound)]
        match name:
            case "str":
                length = self._length(field)
                plain = field is None or field.pattern is None
                return rng.choice(("a", "é", "\n", "1") if plain else ("a",)) * length
            case "bytes":
                return b"\xff~"[: self._length(field)] + b"x" * (
                    self._length(field) - 2
                )
            case "float":
                floats = [*map(float, bounds), *_FLOATS]
                if in_json:
                    floats = [one for one in floats if math.isfinite(one)]
                # Within no bounds, NaN is a number too.
                fits = [one for one in floats if low <= one <= high or not bounds]
                return rng.choice(fits)
            case "decimal":
                decimals = [*map(str, bounds), "1.50", "0", "-7", "1E+3", "0.001"]
                found = [Decimal(one) for one in decimals]
                return rng.choice([one for one in found if low <= one <= high])
            case _ if name in _OTHERS:
                return rng.choice(_OTHERS[name])
            case _:
                integers = [*map(int, bounds), *_INTEGERS]
                return rng.choice([one for one in integers if low <= one <= high])

    def _length(self, field: Field | None) -> int:
        least = (field.min_len or 0) if field else 0
        most = least + 2 if field is None or field.max_len is None else field.max_len
        return self._rng.choice((least, most, self._rng.randint(least, most)))
