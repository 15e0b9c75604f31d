"""Records that hold each other: which are in one circle, and which values never end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from flowd_codegen.model.kinds import (
    Bounds,
    DictOf,
    ListOf,
    Optional,
    RecordRef,
    Type,
    UnionOf,
)
from flowd_codegen.model.schema import Record
from flowd_codegen.model.walk import names_in

__all__ = ["circles", "endless", "holders", "needs"]


def circles(uses: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The names in groups whose members reach each other; a group after those it uses.

    A name that is in no circle is a group of its own. Linear, and without recursion: a
    schema may be a chain of thousands.

    Args:
        uses: what each name uses; names that are no key are left out.
    """
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: list[str] = []
    is_open: set[str] = set()
    groups: list[list[str]] = []
    for root in uses:
        waiting: list[tuple[str, Iterator[str]]] = []
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
    above: dict[str, list[str]] = {}
    for record in records:
        for field in record.fields:
            for name in names_in(field.type):
                above.setdefault(name, []).append(record.name)
    found = set(names)
    waiting = [*found]
    for name in waiting:
        new = {*above.get(name, ())} - found
        found |= new
        waiting += new
    return found


def endless(records: Mapping[str, Record]) -> set[str]:
    """The records of which no value is finite: each holds another, and so on.

    A value ends at None, at a list or dict that may be empty, and at a member of a union
    that ends. A default is no end: it has to be a value itself.
    """
    users: dict[str, list[str]] = {}
    for record in records.values():
        for field in record.fields:
            for name in names_in(field.type):
                users.setdefault(name, []).append(record.name)
    left = {*records}
    waiting = [*records]
    for name in waiting:
        if name in left and not any(
            needs(field.type, field, left) for field in records[name].fields
        ):
            left.discard(name)
            waiting += users.get(name, ())
    return left


def needs(kind: Type, bounds: Bounds, left: Collection[str]) -> list[str]:
    """The records of `left` without one of which there is no value of a type."""
    match kind:
        case RecordRef(name):
            return [name] if name in left else []
        case UnionOf(members):
            names = [name for _, name in members]
            return names if all(name in left for name in names) else []
        case ListOf(item, each) | DictOf(item, each) if bounds.min_len:
            return [] if isinstance(item, Optional) else needs(item, each, left)
        case _:
            return []
