"""How many levels of JSON values have: at most and at least by their type, and by defaults."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flowd.wire.document import DEEPEST
from flowd_codegen.model.cycles import components, mentioned
from flowd_codegen.model.kinds import (
    Bounds,
    DictOf,
    ListOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
)
from flowd_codegen.model.schema import Field, Record, Value, is_list, is_table

__all__ = [
    "default_levels",
    "least_levels",
    "least_record_levels",
    "levels",
    "record_levels",
]


def record_levels(records: Mapping[str, Record]) -> dict[str, float]:
    """The levels of each record, infinite where it holds itself or a `json`."""
    uses = mentioned(records.values())
    found: dict[str, float] = {}
    for group in components(uses):
        for name in group:
            if len(group) > 1 or name in uses[name]:
                found[name] = math.inf
                continue
            found[name] = 1 + max(
                (levels(one.type, found) for one in _plain(records[name])), default=0
            )
    return found


def levels(kind: Type, records: Mapping[str, float]) -> float:
    """The most levels that a value of the type has; 0 for what is no list or object.

    Args:
        kind: any type.
        records: the levels of those that it mentions.
    """
    match kind:
        case Scalar("json"):
            return math.inf
        case ListOf(item) | DictOf(item):
            return 1 + levels(item, records)
        case Optional(item):
            return levels(item, records)
        case RecordRef(name):
            return records[name]
        case UnionOf(members):
            return max(records[name] for _, name in members)
        case _:
            return 0


def least_record_levels(records: Mapping[str, Record]) -> dict[str, int]:
    """The levels of the flattest value of each record; more than JSON may have are cut.

    Args:
        records: each has a value that ends, as `flowd_codegen.model.cycles.endless`.
    """
    found: dict[str, int] = {}
    for group in components(mentioned(records.values())):
        # Those that hold each other end where one of them may be left out.
        found |= dict.fromkeys(group, DEEPEST + 1)
        changed = True
        while changed:
            changed = False
            for name in group:
                least = 1 + max(
                    (least_levels(one, found) for one in records[name].fields),
                    default=0,
                )
                if least < found[name]:
                    found[name], changed = least, True
    return found


def least_levels(field: Field, records: Mapping[str, int]) -> int:
    """The levels of the flattest value of a field; 0 for what is no list or object.

    Args:
        field: of a job or a record.
        records: as of `least_record_levels`.
    """
    if field.mapper and field.mapper.is_complete:
        return 0
    return _least(field.type, field, records)


def _least(kind: Type, bounds: Bounds, records: Mapping[str, int]) -> int:
    match kind:
        case ListOf(item, each) | DictOf(item, each):
            return 1 + (_least(item, each, records) if bounds.min_len else 0)
        case RecordRef(name):
            return records[name]
        case UnionOf(members):
            return min(records[name] for _, name in members)
        case _:
            return 0


def default_levels(records: Mapping[str, Record]) -> int:
    """The levels of the deepest record of which no key was given: defaults fill it."""
    holds: dict[_Object, list[_Part]] = {}
    waiting = [_Object(name) for name in records]
    for made in waiting:
        if made not in holds:
            holds[made] = [*_filled(made, records)]
            waiting += [part.record for part in holds[made] if part.record]
    uses = {
        made: [part.record for part in parts if part.record]
        for made, parts in holds.items()
    }
    found: dict[_Object, int] = {}
    # No default needs itself to be built, so each comes after those that it places.
    for made in (one for group in components(uses) for one in group):
        inner = [
            part.level + (found[part.record] if part.record else 0)
            for part in holds[made]
        ]
        found[made] = 1 + max(inner, default=0)
    return max(found.values(), default=0)


class _Object(NamedTuple):
    """An object of a record that a default places, and the fields that it gives there."""

    name: str
    given: frozenset[str] = frozenset()


class _Part(NamedTuple):
    """So many levels of a default, and the record at the end of them."""

    level: int
    record: _Object | None = None


def _filled(made: _Object, records: Mapping[str, Record]) -> Iterator[_Part]:
    """What the defaults of an object's other fields put into it."""
    for field in _plain(records[made.name]):
        if isinstance(field.default, Value) and field.name not in made.given:
            yield from _parts(field.type, field.default.value, 0, records)


def _parts(
    kind: Type, value: object, level: int, records: Mapping[str, Record]
) -> Iterator[_Part]:
    inner: list[tuple[Type, object]] = []
    match kind:
        case Optional(item):
            yield from _parts(item, value, level, records)
            return
        case UnionOf(members, tag) if is_table(value):
            member = RecordRef(dict(members)[str(value[tag])])
            yield from _parts(member, value, level, records)
            return
        case RecordRef(name) if is_table(value):
            types = {field.name: field.type for field in _plain(records[name])}
            yield _Part(level, _Object(name, frozenset(value)))
            inner = [(types[key], one) for key, one in value.items() if key in types]
        case ListOf(item) if is_list(value):
            yield _Part(level + 1)
            inner = [(item, one) for one in value]
        case DictOf(item) if is_table(value):
            yield _Part(level + 1)
            inner = [(item, one) for one in value.values()]
        case Scalar("json") if is_list(value) or is_table(value):
            yield _Part(level + 1)
            held = value.values() if is_table(value) else value
            inner = [(kind, one) for one in held]
        case _:
            pass
    for type_, one in inner:
        yield from _parts(type_, one, level + 1, records)


def _plain(record: Record) -> list[Field]:
    """The fields whose JSON is that of their type: a mapper's is a string."""
    return [
        field
        for field in record.fields
        if not (field.mapper and field.mapper.is_complete)
    ]
