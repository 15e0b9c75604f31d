"""What uses itself through others: circles of any names, and records that hold each other."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

from flowd_codegen.model.kinds import (
    Bounds,
    DictOf,
    ListOf,
    RecordRef,
    Type,
    UnionOf,
)
from flowd_codegen.model.schema import Record
from flowd_codegen.model.walk import names_in

__all__ = ["circles", "components", "endless", "holders", "mentioned", "needs"]

_Node = TypeVar("_Node", bound=Hashable)


def circles(uses: Mapping[_Node, Collection[_Node]]) -> list[list[_Node]]:
    """The names in groups whose members all reach each other, without those in no circle.

    Args:
        uses: as of `components`.
    """
    return [
        group
        for group in components(uses)
        if len(group) > 1 or group[0] in uses[group[0]]
    ]


def components(uses: Mapping[_Node, Collection[_Node]]) -> list[list[_Node]]:
    """The strongly connected components of a graph; each after those it uses.

    A name that is in no circle is a component of its own. Linear, and without recursion: a
    schema may be a chain of thousands.

    Args:
        uses: what each name uses; names that are no key are left out.
    """
    number: dict[_Node, int] = {}
    lowest: dict[_Node, int] = {}
    open_: list[_Node] = []
    is_open: set[_Node] = set()
    groups: list[list[_Node]] = []
    for root in uses:
        waiting: list[tuple[_Node, Iterator[_Node]]] = []
        enter = [root] if root not in number else []
        while enter or waiting:
            if enter:
                name = enter.pop()
                number[name] = lowest[name] = len(number)
                open_.append(name)
                is_open.add(name)
                waiting.append((name, iter(uses[name])))
            name, left = waiting[-1]
            for used in left:
                if used in uses and used not in number:
                    enter.append(used)
                    break
                if used in is_open:
                    lowest[name] = min(lowest[name], number[used])
            if enter:
                continue
            waiting.pop()
            if waiting:
                user = waiting[-1][0]
                lowest[user] = min(lowest[user], lowest[name])
            if lowest[name] == number[name]:
                group = [open_.pop()]
                while group[-1] != name:
                    group.append(open_.pop())
                is_open.difference_update(group)
                groups.append(group)
    return groups


def holders(records: Iterable[Record], names: Iterable[str]) -> set[str]:
    """The named records, and all that hold one of them, through others as well."""
    users = _users(records)
    found = set(names)
    waiting = [*found]
    for name in waiting:
        new = {*users.get(name, ())} - found
        found |= new
        waiting += new
    return found


def endless(records: Mapping[str, Record]) -> set[str]:
    """The records of which no value is finite: each holds another, and so on.

    A value ends at None, at a list or dict that may be empty, and at a member of a union
    that ends. A default is no end: it has to be a value itself.
    """
    users = _users(records.values())
    left = {*records}
    waiting = [*records]
    for name in waiting:
        if name in left and not any(
            needs(field.type, field, left) for field in records[name].fields
        ):
            left.discard(name)
            waiting += users.get(name, ())
    return left


def mentioned(records: Iterable[Record]) -> dict[str, list[str]]:
    """The enums and records that the fields of each record mention, as often as they do."""
    return {
        record.name: [name for field in record.fields for name in names_in(field.type)]
        for record in records
    }


def _users(records: Iterable[Record]) -> dict[str, list[str]]:
    """The records that mention each name."""
    users: dict[str, list[str]] = {}
    for record, names in mentioned(records).items():
        for name in names:
            users.setdefault(name, []).append(record)
    return users


def needs(kind: Type, bounds: Bounds, left: Collection[str]) -> list[str]:
    """The records of `left` without one of which there is no value of a type."""
    match kind:
        case RecordRef(name):
            return [name] if name in left else []
        case UnionOf(members):
            names = [name for _, name in members]
            return names if all(name in left for name in names) else []
        case ListOf(item, each) | DictOf(item, each) if bounds.min_len:
            return needs(item, each, left)
        case _:
            return []
