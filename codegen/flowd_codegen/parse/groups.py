"""Field groups: `[group.N]`, and `include = ["N"]` where its fields are put."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted, visible
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.model.cycles import components
from flowd_codegen.model.kinds import Scalar, base
from flowd_codegen.model.naming import attribute
from flowd_codegen.model.schema import Field, Group
from flowd_codegen.parse.fields import (
    IN_JOB,
    Encodings,
    parse_fields,
)
from flowd_codegen.parse.scope import Scope, report_cycles
from flowd_codegen.parse.table import Table
from flowd_codegen.parse.wire_keys import WireKeys

__all__ = ["GROUP_OPTIONS", "all_fields", "read_groups"]

GROUP_OPTIONS: Final = ("include", "fields", "doc", "reserved")
"""The keys of a group's table."""


def read_groups(scope: Scope, report: Report) -> None:
    """Read all groups into the scope, each after those that it includes."""
    uses = {
        name: {other: location for location, other in _known(table, scope)}
        for name, table in scope.group_tables.items()
    }
    advice = "move what both need into a third group"
    report_cycles(uses, report, Code.GROUP, "includes", advice)
    shared = _with_shared_names(scope.group_tables)
    inner: dict[str, tuple[str, ...]] = {}

    def known(name: str) -> tuple[str, ...]:
        # What is in a circle with it was reported, and is not there yet.
        return inner.get(name, ())

    for circle in components(uses):
        for name in circle:
            for other in {*uses[name]} & {*circle}:
                del uses[name][other]
            inner[name] = _all_inner([inner[one] for one in uses[name]], name, shared)
            table = scope.group_tables[name]
            table.refuse_others(
                GROUP_OPTIONS,
                "group option",
                otherwise=f"fields go into `[group.{visible(name)}.fields]`",
            )
            keys = WireKeys(table)
            fields = _included_and_own(table, keys, scope, IN_JOB, known)
            scope.groups[name] = Group(
                name=name,
                fields=tuple(
                    replace(one, group=name) for one in fields if not one.group
                ),
                includes=tuple(uses[name]),
                doc=table.text("doc") or "",
            )


def _all_inner(
    included: list[tuple[str, ...]], name: str, shared: Collection[str]
) -> tuple[str, ...]:
    """The groups of `shared` that are in a group, itself the last."""
    found = included[0] if included else ()
    if len(included) > 1:
        found = tuple(dict.fromkeys(one for names in included for one in names))
    return (*found, name) if name in shared else found


def _with_shared_names(tables: Mapping[str, Table]) -> set[str]:
    """The groups with an attribute or wire key that another one has, or reserves.

    No others can meet in a bad way, and a chain of thousands is read in linear time.
    """
    owners: dict[str, list[str]] = {}
    for name, table in tables.items():
        for said in _names(table):
            owners.setdefault(said, []).append(name)
    return {one for names in owners.values() if len(names) > 1 for one in names}


def _names(table: Table) -> set[str]:
    """What may not be twice: attributes, with a point in front, and wire keys."""
    found = {key for _, key in table.strings("reserved")}
    fields = table.values.get("fields")
    for name, options in fields.items() if isinstance(fields, dict) else ():
        found |= {name, f".{attribute(name)}"}
        if isinstance(options, dict):
            aliases = options.get("aliases")
            given = (
                options.get("key"),
                *(aliases if isinstance(aliases, list) else ()),
            )
            found |= {key for key in given if isinstance(key, str)}
    return found


def _known(table: Table, scope: Scope) -> Iterator[tuple[SourceLocation, str]]:
    """The groups that a table includes, where nothing is wrong with the name."""
    for location, name in table.strings("include"):
        if name in scope.group_tables:
            yield location, name


def _includes(owner: Table, scope: Scope) -> Iterator[tuple[SourceLocation, str]]:
    """The groups that a table includes, those that there are."""
    seen: dict[str, SourceLocation] = {}
    for location, name in owner.texts("include"):
        if name in scope.group_tables:
            if name in seen:
                also = seen[name], "first here"
                message = f"the group {quoted(name)} is included twice"
                owner.report(Code.GROUP, location, message, also=also)
            else:
                seen[name] = location
                yield location, name
        elif declaration := scope.classes.get(name):
            owner.report(
                Code.GROUP,
                location,
                f"{quoted(name)} is no group",
                f"move what is shared into a `[group.{visible(name)}Fields]`",
                also=(declaration.location.key(), "declared here"),
            )
        elif scope.complete:
            others = scope.group_tables.keys() - {owner.location.path[-1]}
            label = did_you_mean(name, others, "nothing has this name")
            message = f"unknown group {quoted(name)}"
            owner.report(Code.UNKNOWN_NAME, location, message, label)


def included_names(name: str, scope: Scope) -> Iterator[str]:
    """A group and those that it includes, each once, the inner ones first."""
    met: set[str] = set()
    waiting = [(name, False)]
    while waiting:
        name, opened = waiting.pop()
        if opened:
            yield name
        elif name in scope.groups and name not in met:
            met.add(name)
            waiting.append((name, True))
            inner = reversed(scope.groups[name].includes)
            waiting += ((one, False) for one in inner)


def all_fields(
    owner: Table, keys: WireKeys, scope: Scope, encodings: Encodings
) -> tuple[Field, ...]:
    """Read the fields of a job or record, those of its groups in front.

    Args:
        owner: `[job.X]`, `[job.X.v1]` or `[record.X]`.
        keys: takes the wire keys.
        scope: the names that types, mappers and groups may have.
        encodings: those that a type may have there.
    """

    def inner(name: str) -> Iterator[str]:
        return included_names(name, scope)

    return _included_and_own(owner, keys, scope, encodings, inner)


def _included_and_own(
    owner: Table,
    keys: WireKeys,
    scope: Scope,
    encodings: Encodings,
    inner: Callable[[str], Iterable[str]],
) -> tuple[Field, ...]:
    """The fields of the groups that a table includes, then its own.

    Args:
        owner: its table.
        keys: takes the wire keys.
        scope: the names that types, mappers and groups may have.
        encodings: those that a type may have there.
        inner: the groups that are in one, itself the last.
    """
    included = _IncludedFields(owner, keys, scope, encodings)
    names = [(location, [*inner(name)]) for location, name in _includes(owner, scope)]
    for _, groups in names:
        for each in groups:
            keys.reserve_all(scope.group_tables[each])
    for location, groups in names:
        included.take(location, groups)
    own = parse_fields(owner, keys, scope, encodings, included.attributes)
    return (*included.fields, *own)


class _IncludedFields:
    """The fields of the groups that one table includes."""

    def __init__(
        self, owner: Table, keys: WireKeys, scope: Scope, encodings: Encodings
    ) -> None:
        self.fields: list[Field] = []
        self.attributes: dict[str, SourceLocation] = {}
        self._owner = owner
        self._keys = keys
        self._scope = scope
        self._encodings = encodings
        self._met: set[str] = set()
        self._entries: dict[str, SourceLocation] = {}

    def take(self, entry: SourceLocation, groups: Iterable[str]) -> None:
        """Put in the fields of a group, and of those that it includes.

        Args:
            entry: of the group in the owner's `include`.
            groups: the group and all that are in it.
        """
        for each in groups:
            if each in self._met:
                continue
            self._met.add(each)
            table, group = self._scope.group_tables[each], self._scope.groups[each]
            for field in group.fields:
                home = table.at("fields").child(field.name)
                self._take(field, each, home.key(), entry)

    def _take(
        self, field: Field, group: str, home: SourceLocation, entry: SourceLocation
    ) -> None:
        attribute_ = f".{field.attribute}"
        for key in (attribute_, field.key, *field.aliases):
            other = self._entries.setdefault(key, entry)
            # Faults within one group were reported when that group was read.
            if other is not entry:
                called = f"field {quoted(field.name)}"
                if key != attribute_:
                    called = f"wire key {quoted(key)}"
                first = self.attributes.get(field.attribute) or self._keys.location(key)
                self._owner.report(
                    Code.GROUP,
                    entry,
                    f"the group {quoted(group)} brings a second {called}",
                    "include one of the two groups, or move what they share into a third",
                    also=(first, "the other one") if first else None,
                )
                return
        self.attributes[field.attribute] = home
        for key in (field.key, *field.aliases):
            self._keys.bring(key, home, entry)
        kind = base(field.type)
        name = kind.name if isinstance(kind, Scalar) else ""
        if field.encoding and field.encoding not in self._encodings.get(name, ()):
            self._owner.report(
                Code.ENCODING,
                entry,
                f"the group {quoted(group)} has a field with {quoted(field.encoding)}",
                "a record has no such encoding",
                also=(home, "this field"),
            )
        # Only a job has labels.
        label = field.label and self._encodings is IN_JOB
        self.fields.append(replace(field, label=label))
