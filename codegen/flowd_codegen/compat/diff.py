"""Compares two schemas, and finds every change that affects jobs, workers or user code.

It walks from the jobs. A record or enum that several of them hold is compared once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from flowd_codegen.compat.classes import (
    class_changes,
    enum_changes,
    queue_changes,
    reused_texts,
)
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.fields import field_changes, pair_fields
from flowd_codegen.compat.gates import gate_changes
from flowd_codegen.compat.jobs import (
    pair_jobs,
    removed_job,
    reservation_changes,
    reused_streams,
)
from flowd_codegen.compat.labels import label_changes
from flowd_codegen.compat.pair import DeclarationPair
from flowd_codegen.compat.schedules import schedule_changes
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.compat.versions import dropped_versions, limited_to, version_pairs
from flowd_codegen.diagnostics.rules import Aspect
from flowd_codegen.model.kinds import EnumRef, RecordRef, Type, UnionOf
from flowd_codegen.model.walk import innermost

__all__ = ["diff"]

_Pair: TypeAlias = tuple[EnumRef | RecordRef, EnumRef | RecordRef]
"""A record or enum, and what stands in its place now."""


def diff(before: Contract, after: Contract) -> list[SchemaChange]:
    """Everything that was changed, in the order of the new schema's text.

    Args:
        before: what runs now.
        after: what is to be deployed.
    """
    found: list[SchemaChange] = []
    met: dict[_Pair, dict[str, set[Aspect]]] = {}
    for old, new in pair_jobs(before, after):
        if new is None:
            found.append(removed_job(old, before, after))
            continue
        own = [
            *queue_changes(after, old, new),
            *gate_changes(before, after, old, new),
            *schedule_changes(after, old, new),
            *label_changes(after, old, new),
            *dropped_versions(after, old, new),
        ]
        for versions in version_pairs(old, new):
            declarations = DeclarationPair(before, after, versions.old, versions.new)
            own += versions.relevant(_declaration_changes(declarations))
            for pair in _nested_pairs(declarations, before, after):
                jobs = met.setdefault(pair, {})
                jobs.setdefault(new.name, set()).update(versions.aspects)
        found += (replace(change, jobs=(new.name,)) for change in own)
    found += reused_streams(before, after)
    found += reservation_changes(before, after)
    for (one, other), jobs in met.items():
        if isinstance(one, RecordRef):
            records = before.records[one.name], after.records[other.name]
            shared = _declaration_changes(DeclarationPair(before, after, *records))
        else:
            enums = before.enums[one.name], after.enums[other.name]
            # Of another enum, the field that holds it says which texts came and went.
            same = one.name == other.name
            found_in = enum_changes if same else reused_texts
            shared = found_in(before, after, *enums)
        aspects = frozenset[Aspect]().union(*jobs.values())
        found += (
            replace(limited_to(change, aspects), jobs=tuple(jobs)) for change in shared
        )
    return found


def _declaration_changes(declarations: DeclarationPair) -> Iterator[SchemaChange]:
    """Of a job or record: the class and its fields."""
    yield from class_changes(
        declarations.before, declarations.after, declarations.old, declarations.new
    )
    yield from field_changes(declarations)


def _nested_pairs(
    declarations: DeclarationPair, before: Contract, after: Contract
) -> list[_Pair]:
    """Every record and enum that a job holds, those inside of records too."""
    found: dict[_Pair, None] = {}
    waiting = [declarations]
    for one in waiting:
        pairs = pair_fields(one)
        for field in one.new.fields:
            old = pairs.get(field.name)
            if old is None or (field.mapper and field.mapper.is_complete):
                continue
            for pair in _pairs_at(old.type, field.type):
                if pair in found:
                    continue
                found[pair] = None
                if isinstance(pair[0], RecordRef):
                    records = before.records[pair[0].name], after.records[pair[1].name]
                    waiting.append(DeclarationPair(before, after, *records))
    return list(found)


def _pairs_at(old: Type, new: Type) -> Iterator[_Pair]:
    """The records or enum at the same place of two types; several only in a union."""
    match innermost(old, new):
        case (RecordRef() as one, RecordRef() as other):
            yield one, other
        case (EnumRef() as one, EnumRef() as other):
            yield one, other
        case UnionOf(members), UnionOf(others):
            was = dict(members)
            for tag, name in others:
                if tag in was:
                    yield RecordRef(was[tag]), RecordRef(name)
        case _:
            pass
