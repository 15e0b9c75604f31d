"""Random changes of random schemas: what `diff` calls compatible is read, and as what it was."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from math import ceil
from random import Random
from typing import Final
from uuid import UUID

import pytest

from flowd import EncodeError, Job, wire
from flowd.model.job import JobSpec
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.diff import diff
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.schema import Field, Record, is_list, is_table
from flowd_codegen.model.schema import Job as JobModel
from flowd_codegen.model.walk import unions_in
from tests.codegen.compat.classes import classes
from tests.codegen.compat.forms import changed, form, model
from tests.codegen.compat.gate_oracle import Tickets, check_queue, check_schedules
from tests.codegen.compat.values import Maker

_PAIRS: Final = int(os.environ.get("FLOWD_FUZZ_PAIRS", "2000"))
_PARTS: Final = 20
"""So many tests share them, which may run at once."""

_CHANGES: Final = 10
"""Pairs with one old schema, whose classes are made once."""

_VALUES: Final = 6


@pytest.mark.parametrize("part", range(_PARTS))
def test_compatible_change_is_readable(part: int) -> None:
    """No value fails or changes in the other schema where `diff` says it is read."""
    counts: Counter[str] = Counter()
    number = 0
    share = ceil(_PAIRS / _PARTS)
    enough = ceil(share / 4)
    # A part goes on until it has read enough: of few pairs a chance share may break.
    while (
        counts["pairs"] < share or min(counts["messages"], counts["workers"]) < enough
    ):
        number += 1
        # Where nearly every change is called breaking, the test would show nothing.
        assert counts["pairs"] <= 4 * share + 10 * _CHANGES, counts
        seed = f"{part}.{number}"
        rng = Random(seed)
        first = form(rng)
        if (old := model(first)) is None:
            continue
        with classes(old) as names:
            for change in range(_CHANGES):
                rng = Random(f"{seed}.{change}")
                second = changed(first, rng)
                new = model(second)
                if new is None or new == old:
                    continue
                try:
                    _compare(
                        rng, Contract("old", old), Contract("new", new), names, counts
                    )
                except Exception as error:
                    error.add_note(f"seed {seed}.{change}\nold: {first}\nnew: {second}")
                    raise


def _compare(
    rng: Random,
    before: Contract,
    after: Contract,
    names: dict[str, object],
    counts: Counter[str],
) -> None:
    counts["pairs"] += 1
    changes = diff(before, after)
    broken = {aspect for one in changes for aspect in one.breaks}
    is_unread = {"messages", "workers"} <= broken
    if is_unread and before.jobs["Job"].gate == after.jobs["Job"].gate:
        return
    with classes(after.schema) as others:
        check_queue(changes, *_specs("Job", names, others))
        check_schedules(changes, *_specs("Clock", names, others))
        if "messages" not in broken:
            counts["messages"] += 1
            _read(rng, (before, after), names, others, changes, forward=True)
        if "workers" not in broken:
            counts["workers"] += 1
            _read(rng, (after, before), others, names, changes, forward=False)


def _specs(job: str, *sides: dict[str, object]) -> list[JobSpec]:
    return [eval(f"{job}.SPEC", names) for names in sides]


_OF_NONE: Final = {
    *(Rule.FIELD_NOW_REQUIRED, Rule.FIELD_NOW_OPTIONAL),
    *(Rule.FIELD_REMOVED, Rule.FIELD_KEY_CHANGED),
}
"""One of them says that a None is read as something else."""

_OF_UNKNOWN: Final = {
    *(Rule.ENUM_VALUE_ADDED, Rule.ENUM_VALUE_REMOVED, Rule.ENUM_UNKNOWN_CHANGED),
}
"""One of them says that what is read cannot be written again."""


def _read(
    rng: Random,
    sides: tuple[Contract, Contract],
    written: dict[str, object],
    read: dict[str, object],
    changes: list[SchemaChange],
    *,
    forward: bool,
) -> None:
    """Let the first side write some values, and the second read and write them again."""
    writer, _ = sides
    rules = {one.rule for one in changes}
    maker = Maker(rng, written, writer.records)
    reader: type[Job] = eval("Job", read)
    tickets = Tickets(eval("Job.SPEC", written), reader.SPEC)
    for _ in range(_VALUES):
        job: Job = eval("job", {"job": maker.instance(writer.jobs["Job"])})
        try:
            fields = job.to_fields()
        except EncodeError:
            continue
        found = reader.from_fields(fields)
        assert _same(job, found, sides, none_kept=not rules & _OF_NONE)
        if not rules & _OF_UNKNOWN:
            found.to_fields()
            tickets.compare(job, found)
    if forward:
        tickets.check(changes)


def _same(
    old: object,
    new: object,
    sides: tuple[Contract, Contract],
    union: frozenset[str] = frozenset(),
    *,
    none_kept: bool,
) -> bool:
    """Whether a value is still what it was.

    Args:
        old: what was written.
        new: what was read.
        sides: the schemas of both.
        union: the records of the union that was read.
        none_kept: what was None may not be a default now.
    """
    if old is None:
        return new is None or not none_kept
    if is_list(old) and is_list(new):
        pairs = zip(old, new, strict=True)
        return all(
            _same(one, other, sides, union, none_kept=none_kept) for one, other in pairs
        )
    if is_table(old) and is_table(new):
        return all(
            _same(old[key], new[key], sides, union, none_kept=none_kept)
            for key in old | new
        )
    if dataclasses.is_dataclass(old) and is_table(new):
        # What was a record is the object that it was written as, and a union's tag.
        written: dict[str, object] = eval("old.to_json()", {"old": old})
        return all(new[key] == value for key, value in written.items())
    if dataclasses.is_dataclass(old):
        # A field may be of another record now, which reads the same.
        names = (type(old).__name__, type(new).__name__)
        if names[0] != names[1] and names[0] in union:
            # It has the tag of another member now.
            return False
        was, now = (
            side.records.get(name) or side.jobs[name]
            for side, name in zip(sides, names, strict=True)
        )
        both = sides[0].records.keys() & sides[1].records.keys()
        if names[0] != names[1] and both >= {*names} and _is_crossed(was, now):
            return False
        return all(
            _same(
                getattr(old, before.attribute),
                getattr(new, after.attribute),
                sides,
                _members(after),
                none_kept=none_kept,
            )
            for before, after in _meant(was, now)
        )
    if isinstance(old, Enum) and isinstance(new, Enum):
        enum = sides[1].enums[type(new).__name__]
        texts = [text for _, text in enum.members]
        if new.name == enum.unknown and str(old) not in texts:
            # An open enum reads what it does not know as that.
            return True
        # A member may have another name, but not one that is another's.
        known = old.name in type(new).__members__ or new.name in type(old).__members__
        return old.name == new.name if known else str(old) == str(new)
    if isinstance(new, str) and not isinstance(old, str):
        return new in _spelt(old)
    if isinstance(old, timedelta) and isinstance(new, int):
        return old / timedelta(milliseconds=1) == new
    # NaN does not equal itself.
    return old == new or repr(old) == repr(new)


def _spelt(value: object) -> set[str]:
    """The texts of a value that was of another type than str."""
    match value:
        case UUID():
            return {str(value)}
        case date():
            return {value.isoformat()}
        case Decimal():
            return {f"{value:f}"}
        case bool():
            return {str(value).lower()}
        case float():
            return {wire.encode_float(value).decode()}
        case bytes():
            return {wire.encode_base64(value).decode(), value.hex()}
        case _:
            return {str(value)}


def _members(field: Field) -> frozenset[str]:
    return frozenset(name for one in unions_in(field.type) for _, name in one.members)


def _is_crossed(was: Record | JobModel, now: Record | JobModel) -> bool:
    """Whether a field of one record is read as one of another name of another record."""
    before = {field.key: field.name for field in was.fields}
    return any(
        before.get(key, field.name) != field.name
        for field in now.fields
        for key in (field.key, *field.aliases)
    )


def _meant(
    was: Record | JobModel, now: Record | JobModel
) -> Iterator[tuple[Field, Field]]:
    """Fields that the user's code takes for the same: by name, else renamed."""
    before = {field.name: field for field in was.fields}
    after = {field.name: field for field in now.fields}
    for name in before.keys() & after.keys():
        yield before[name], after[name]
    for name in before.keys() - after.keys():
        for other in after.keys() - before.keys():
            if before[name].key == after[other].key:
                yield before[name], after[other]
