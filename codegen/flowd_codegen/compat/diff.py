"""Compares two schemas, and finds every change that somebody may notice.

It walks from the jobs. A record or enum that several of them hold is compared once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from flowd_codegen.compat.classes import (
    class_findings,
    enum_findings,
    queue_findings,
    taken_texts,
)
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.fields import field_findings, paired
from flowd_codegen.compat.finding import Finding
from flowd_codegen.compat.jobs import gone, paired_jobs, taken_streams, tombstones
from flowd_codegen.compat.pair import Owners
from flowd_codegen.compat.versions import dropped_versions, limited, passages
from flowd_codegen.diagnostics.rules import Aspect
from flowd_codegen.model.schema import (
    DictOf,
    EnumRef,
    ListOf,
    Optional,
    RecordRef,
    Type,
    UnionOf,
)

__all__ = ["diff"]

_Pair: TypeAlias = tuple[EnumRef | RecordRef, EnumRef | RecordRef]
"""A record or enum, and what stands in its place now."""


def diff(before: Contract, after: Contract) -> list[Finding]:
    """Everything that was changed, in the order of the new schema's text.

    Args:
        before: what runs now.
        after: what is to be deployed.
    """
    found: list[Finding] = []
    met: dict[_Pair, dict[str, set[Aspect]]] = {}
    for old, new in paired_jobs(before, after):
        if new is None:
            found.append(gone(old, before, after))
            continue
        own = [*queue_findings(after, old, new), *dropped_versions(after, old, new)]
        for passage in passages(old, new):
            owners = Owners(before, after, passage.old, passage.new)
            own += passage.judged(_fields(owners))
            for pair in _held(owners, before, after):
                jobs = met.setdefault(pair, {})
                jobs.setdefault(new.name, set()).update(passage.aspects)
        found += (replace(finding, jobs=(new.name,)) for finding in own)
    found += taken_streams(before, after)
    found += tombstones(before, after)
    for (one, other), jobs in met.items():
        if isinstance(one, RecordRef):
            records = before.records[one.name], after.records[other.name]
            shared = _fields(Owners(before, after, *records))
        else:
            enums = before.enums[one.name], after.enums[other.name]
            # Of another enum, the field that holds it says which texts came and went.
            same = one.name == other.name
            found_in = enum_findings if same else taken_texts
            shared = found_in(before, after, *enums)
        aspects = frozenset[Aspect]().union(*jobs.values())
        found += (
            replace(limited(finding, aspects), jobs=tuple(jobs)) for finding in shared
        )
    return found


def _fields(owners: Owners) -> Iterator[Finding]:
    """Of a job or record: the class and its fields."""
    yield from class_findings(owners.before, owners.after, owners.old, owners.new)
    yield from field_findings(owners)


def _held(owners: Owners, before: Contract, after: Contract) -> list[_Pair]:
    """Every record and enum that a job holds, those inside of records too."""
    found: dict[_Pair, None] = {}
    waiting = [owners]
    for one in waiting:
        pairs = paired(one.old, one.new)
        for field in one.new.fields:
            old = pairs.get(field.name)
            both = field.mapper and field.mapper.serialize and field.mapper.deserialize
            for pair in () if old is None or both else _met(old.type, field.type):
                if pair in found:
                    continue
                found[pair] = None
                if isinstance(pair[0], RecordRef):
                    records = before.records[pair[0].name], after.records[pair[1].name]
                    waiting.append(Owners(before, after, *records))
    return list(found)


def _met(old: Type, new: Type) -> Iterator[_Pair]:
    """The records or enum at the same place of two types; several only in a union."""
    match old, new:
        case Optional(inner), _:
            yield from _met(inner, new)
        case _, Optional(inner):
            yield from _met(old, inner)
        case (ListOf(inner), ListOf(other)) | (DictOf(inner), DictOf(other)):
            yield from _met(inner, other)
        case RecordRef(), RecordRef():
            yield old, new
        case EnumRef(), EnumRef():
            yield old, new
        case UnionOf(members), UnionOf(others):
            was = dict(members)
            for said, name in others:
                if said in was:
                    yield RecordRef(was[said]), RecordRef(name)
        case _:
            pass
