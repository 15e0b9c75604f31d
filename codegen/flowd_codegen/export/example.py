"""Values on the wire, for people: the text of a default, and an example of a type."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final, TypeVar

from flowd import wire
from flowd.model.job import SECRET
from flowd.wire import Json
from flowd_codegen.model.bounds import End, counted, ends, in_model, is_ranged, native
from flowd_codegen.model.cycles import holders
from flowd_codegen.model.declared import Declared
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
    base,
)
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import (
    Encoding,
    Factory,
    Field,
    Job,
    Value,
)
from flowd_codegen.model.walk import names_in
from flowd_codegen.python.wire_text import WireTexts

__all__ = ["Examples"]

_MAX_LENGTH: Final = 100
_MAX_RECORDS: Final = 50
_BYTES: Final = b"bytes"
_SAMPLES: Final[dict[str, object]] = {
    "str": "text",
    "bytes": wire.encode_base64(_BYTES).decode(),
    "bool": True,
    "float": 0.5,
    "decimal": "9.90",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "datetime": "2026-01-31T12:00:00+00:00",
    "date": "2026-01-31",
    "duration": "1500",
    "json": {"any": "value"},
    "int": 1,
    **dict.fromkeys(INTEGERS, 1),
}
"""One value of each type, in the form of `schema.Value`."""

_T = TypeVar("_T")


class Examples(WireTexts):
    """Spells values of one schema's types; secret ones are never shown."""

    def __init__(self, declared: Declared) -> None:
        super().__init__(declared)
        self._records = 0
        self._open: list[str] = []

    def default(self, field: Field, *, in_record: bool) -> str:
        """What a field is when nothing is given; empty when it must be given.

        Args:
            field: of a job or record.
            in_record: the text is that inside JSON.
        """
        match field.default:
            case Value() if field.secret or self._declared.holds_secret(field.type):
                return SECRET
            case Value(value) if in_record:
                return self.dumped(field.type, value, field.encoding)
            case Value(value):
                return self.text(field, value)
            case Factory(function):
                return f"{function.module}:{function.name}()"
            case None:
                return ""

    def fields(self, job: Job) -> dict[str, str]:
        """An entry that such a job may be, by wire key."""
        version = {"_v": f"{job.version}"} if (job.version or 1) > 1 else {}
        return version | {field.key: self.entry(field) for field in job.fields}

    def entry(self, field: Field) -> str:
        """A text that a field of a job may have on the wire, or `<what it would be>`."""
        return _stand_in(field) or self.text(field, self._sample(field))

    def dumped(self, kind: Type, value: object, encoding: Encoding | None) -> str:
        """A value as the text of JSON."""
        self._records = 0
        return super().dumped(kind, value, encoding)

    def _json(self, kind: Type, value: object, encoding: Encoding | None) -> Json:
        if isinstance(kind, RecordRef) and self._records == _MAX_RECORDS:
            return f"<{kind.name}>"
        return super()._json(kind, value, encoding)

    def _record(self, name: str, value: dict[str, object]) -> dict[str, Json]:
        # Records that hold others twice, and those again, are too many to show.
        if self._records == _MAX_RECORDS:
            return {}
        self._records += 1
        self._open.append(name)
        found = super()._record(name, value)
        self._open.pop()
        return found

    def _member(self, field: Field, record: dict[str, object]) -> Json:
        hidden = field.secret or field.mapper or field.name not in record
        if hidden and (stand_in := _stand_in(field)):
            return stand_in
        if field.name not in record and not isinstance(field.type, Optional):
            record = {**record, field.name: self._sample(field)}
        return super()._member(field, record)

    def _sample(self, field: Field) -> object:
        """The default, or a value within the limits."""
        if isinstance(field.default, Value):
            return field.default.value
        return self._within(base(field.type), field, field.encoding)

    def _within(
        self, kind: Type, bounds: Bounds, encoding: Encoding | None = None
    ) -> object:
        """A value of a type within bounds; of a pattern nothing is known."""
        match kind:
            case Scalar("bytes"):
                return wire.encode_base64(bytes(_sized([*_BYTES], bounds))).decode()
            case Scalar("str"):
                return "".join(_sized([*str(self._any(kind))], bounds))
            case Scalar() if is_ranged(kind):
                return _between(self._any(kind), kind, bounds, encoding)
            case ListOf() if self._is_again(kind, bounds):
                return []
            case DictOf() if self._is_again(kind, bounds):
                return {}
            case ListOf(item, each):
                return _sized([self._within(base(item), each)], bounds)
            case DictOf(item, each):
                values = _sized([self._within(base(item), each)], bounds)
                return {f"key{number}": one for number, one in enumerate(values, 1)}
            case _:
                return self._any(kind)

    def _any(self, kind: Type) -> object:
        match kind:
            case Scalar(name):
                return _SAMPLES[name]
            case Optional(item):
                return self._any(item)
            case ListOf() | DictOf():
                return self._within(kind, ANY)
            case EnumRef(name):
                enum = self._declared.enums[name]
                return next(text for one, text in enum.members if one != enum.unknown)
            case OneOf(values):
                return values[0]
            case UnionOf(members, tag):
                new = (said for said, name in members if name not in self._open)
                return {tag: next(new, members[0][0])}
            case RecordRef() | External():
                return {}

    def _is_again(self, kind: Type, bounds: Bounds) -> bool:
        """Whether a list or dict may be empty, and holds what an example is of already."""
        held = holders(self._declared.records.values(), self._open)
        return not (bounds.min_len or held.isdisjoint(names_in(kind)))


def _stand_in(field: Field) -> str:
    """What stands for a value that is not to be seen, or not to be known here."""
    if field.secret:
        return SECRET
    if field.mapper and field.mapper.serialize:
        function = field.mapper.serialize
        return f"<what {function.module}:{function.name} writes>"
    if field.default is None and field.pattern is not None:
        return f"<text that matches {field.pattern}>"
    if field.default is None and (field.min_len or 0) > _MAX_LENGTH:
        return f"<at least {field.min_len} of them>"
    return ""


def _between(
    value: object, kind: Type, bounds: Bounds, encoding: Encoding | None
) -> object:
    """The value, or one next to the bound that it violates, in the model's form."""
    (low, low_open), (high, high_open) = ends(kind, bounds, encoding)
    given = value if isinstance(value, int | float) else str(value)
    at = counted(native(kind, given))
    if bounds.places is not None:
        at = round(Decimal(str(at)), bounds.places)
    if at < low or (low_open and at == low):
        at = low if not low_open else _next_to(low, high, 1)
    elif at > high or (high_open and at == high):
        at = high if not high_open else _next_to(high, low, -1)
    return in_model(kind, at)


def _next_to(end: End, other: End, step: int) -> End:
    """A number next to an end that is outside, on the side where the other is."""
    if not math.isfinite(other):
        return end + step
    return (Decimal(str(end)) + Decimal(str(other))) / 2


def _sized(items: list[_T], bounds: Bounds) -> list[_T]:
    """The items, repeated or cut to the length that is allowed."""
    fewest, most = bounds.min_len or 0, bounds.max_len
    repeated = items * max(1, -(-fewest // len(items)))
    return repeated[: max(fewest, len(items))][:most]
