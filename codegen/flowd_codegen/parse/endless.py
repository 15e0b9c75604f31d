"""Defaults that would be built without end: of a record that gets the same default again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flowd_codegen.diagnostics.report import Code, Report
from flowd_codegen.model.cycles import circles
from flowd_codegen.model.kinds import (
    DictOf,
    ListOf,
    Optional,
    RecordRef,
    Type,
    UnionOf,
)
from flowd_codegen.model.schema import Job, Record, Value, is_list, is_table
from flowd_codegen.parse.table import Table

__all__ = ["check_endless_defaults"]


def check_endless_defaults(
    owners: Sequence[tuple[Table, Record | Job]], report: Report
) -> None:
    """Report each default of a record that needs itself to be built."""
    records = {one.name: one for _, one in owners if isinstance(one, Record)}
    uses = {
        f"{name}.{field.name}": [
            *_built(field.type, field.default.value, records),
        ]
        for name, record in records.items()
        for field in record.fields
        if isinstance(field.default, Value)
    }
    for group in circles(uses):
        for table, owner in owners:
            for field in owner.fields:
                if f"{owner.name}.{field.name}" in group:
                    report(
                        Code.DEFAULT_MISFIT,
                        table.at("fields").child(field.name).child("default"),
                        "the default has no end: a record in it gets the same default",
                        "give the record in it this field, or leave one default out",
                    )


def _built(kind: Type, value: object, records: Mapping[str, Record]) -> Iterator[str]:
    """The defaults that are taken when a default is built: each `Record.field`."""
    match kind:
        case Optional(item):
            yield from _built(item, value, records)
        case ListOf(item) if is_list(value):
            for one in value:
                yield from _built(item, one, records)
        case DictOf(item) if is_table(value):
            for one in value.values():
                yield from _built(item, one, records)
        case UnionOf(members, tag) if is_table(value):
            name = dict(members).get(str(value.get(tag)), "")
            yield from _built(RecordRef(name), value, records)
        case RecordRef(name) if is_table(value) and name in records:
            for field in records[name].fields:
                if field.name in value:
                    yield from _built(field.type, value[field.name], records)
                else:
                    yield f"{name}.{field.name}"
        case _:
            pass
