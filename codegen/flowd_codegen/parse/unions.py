"""Unions: the tag of each record, the key that it is under, and whether they are distinct."""

from __future__ import annotations

from collections.abc import Iterable

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.model.kinds import DictOf, ListOf, Optional, Type, UnionOf
from flowd_codegen.model.schema import Field, Group, Job, Record
from flowd_codegen.model.walk import unions_in
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table

__all__ = ["check_unions", "read_tag", "retagged"]


def read_tag(name: str, record: Table) -> str:
    """What stands for a record in a union: its own `tag`, else its name."""
    tag = record.text("tag")
    if tag is None:
        return name
    _check_text(tag, record)
    return tag


def retagged(found: Type, options: Table) -> Type:
    """The type with the key that the field gives its unions; faults are reported."""
    tag = options.text("tag")
    if tag is None:
        return found
    _check_text(tag, options)
    if not any(unions_in(found)):
        options.report(
            Code.CONSTRAINT_MISFIT,
            options.at("tag").key(),
            "`tag` does not fit this type",
            "it is for unions: `Card | Sepa`",
        )
    return _with_tag(found, tag)


def _check_text(tag: str, table: Table) -> None:
    if not tag or not tag.isprintable():
        message = f"tag {quoted(tag)} must be printable text, not empty"
        table.report(Code.UNION, table.at("tag"), message)


def _with_tag(found: Type, tag: str) -> Type:
    match found:
        case UnionOf(members):
            return UnionOf(members, tag)
        case ListOf(item):
            return ListOf(_with_tag(item, tag))
        case DictOf(value):
            return DictOf(_with_tag(value, tag))
        case Optional(item):
            return Optional(_with_tag(item, tag))
        case _:
            return found


def check_unions(
    owners: Iterable[tuple[Table, Record | Job]], scope: Scope, report: Report
) -> None:
    """Report unions whose records cannot be distinguished on the wire."""
    groups = ((scope.group_tables[one.name], one) for one in scope.groups.values())
    for table, owner in (*owners, *groups):
        for field in owner.fields:
            if field.group and not isinstance(owner, Group):
                continue
            location = table.at("fields").child(field.name)
            for union in unions_in(field.type):
                _check_tags(union, location, scope, report)
                _check_key(union, location, scope, report)


def _check_tags(
    union: UnionOf, location: SourceLocation, scope: Scope, report: Report
) -> None:
    first: dict[str, str] = {}
    for tag, name in union.members:
        other = first.setdefault(tag, name)
        if other != name:
            report(
                Code.UNION,
                location,
                f"`{other}` and `{name}` are both {quoted(tag)} in a union",
                "give one of them another `tag`",
                also=(scope.classes[name].location.child("tag"), "the second of them"),
            )


def _check_key(
    union: UnionOf, location: SourceLocation, scope: Scope, report: Report
) -> None:
    for _, name in union.members:
        record = scope.records.get(name)
        for field in record.fields if record else ():
            if union.tag in _names(field):
                report(
                    Code.UNION,
                    location,
                    f"`{name}` has a field {quoted(union.tag)}, where the tag goes",
                    'give the union another key: `tag = "kind"`',
                    also=(
                        scope.classes[name].location.child("fields").child(field.name),
                        "the field",
                    ),
                )


def _names(field: Field) -> tuple[str, ...]:
    # A default gives the fields by name, and the tag among them.
    return (field.name, field.key, *field.aliases)
