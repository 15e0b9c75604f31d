"""Field groups: `[group.N]`, and `include = ["N"]` where its fields are put."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, quoted, visible
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.model.kinds import Scalar, base
from flowd_codegen.model.schema import Field, Group
from flowd_codegen.parse.fields import (
    IN_JOB,
    Encodings,
    WireKeys,
    parse_fields,
)
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table

__all__ = ["GROUP_OPTIONS", "all_fields", "read_groups"]

GROUP_OPTIONS: Final = ("include", "fields", "doc", "reserved")
"""The keys of a group's table."""


def read_groups(scope: Scope) -> None:
    """Read all groups into the scope, each after those that it includes."""
    uses = {
        name: {other: location for location, other in _known(table, scope)}
        for name, table in scope.group_tables.items()
    }
    for name in _in_order(uses, scope):
        table = scope.group_tables[name]
        table.refuse_others(
            GROUP_OPTIONS,
            "group option",
            otherwise=f"fields go into `[group.{visible(name)}.fields]`",
        )
        fields = all_fields(table, WireKeys(table), scope, IN_JOB)
        scope.groups[name] = Group(
            name=name,
            fields=tuple(replace(one, group=name) for one in fields if not one.group),
            includes=tuple(uses[name]),
            doc=table.text("doc") or "",
        )


def _in_order(uses: dict[str, dict[str, SourceLocation]], scope: Scope) -> list[str]:
    """The groups, each behind those it includes; a circle is reported and broken."""
    while True:
        try:
            return [*TopologicalSorter(uses).static_order()]
        except CycleError as error:
            # The sorter lists each before its user, and the first again as the last.
            cycle: list[str] = error.args[1][::-1]
            start = cycle.index(min(cycle))
            way = [*cycle[start:-1], *cycle[: start + 1]]
            steps = [(uses[user][used], used) for user, used in pairwise(way)]
            also = None
            if len(steps) > 1:
                also = steps[1][0], f"includes {quoted(steps[1][1])}"
            scope.group_tables[way[0]].report(
                Code.GROUP,
                steps[0][0],
                f"circular: {' includes '.join(map(visible, way))}",
                "move what both need into a third group",
                also=also,
            )
            del uses[way[0]][way[1]]


def _known(table: Table, scope: Scope) -> Iterator[tuple[SourceLocation, str]]:
    """The groups that a table includes, where nothing is wrong with the name."""
    names = table.values.get("include")
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and name in scope.group_tables:
            yield table.at("include").child(index), name


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
            label = did_you_mean(name, scope.group_tables, "nothing has this name")
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
    names = [*_includes(owner, scope)]
    included = _IncludedFields(owner, keys, scope, encodings)
    for _, name in names:
        for each in included_names(name, scope):
            keys.reserve_all(scope.group_tables[each])
    for location, name in names:
        included.take(location, name)
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

    def take(self, entry: SourceLocation, name: str) -> None:
        """Put in the fields of a group, and of those that it includes.

        Args:
            entry: of the group in the owner's `include`.
            name: of the group.
        """
        for each in included_names(name, self._scope):
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
        attribute = f".{field.attribute}"
        for key in (attribute, field.key, *field.aliases):
            other = self._entries.setdefault(key, entry)
            # Faults within one group were reported when that group was read.
            if other is not entry:
                called = f"field {quoted(field.name)}"
                if key != attribute:
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
