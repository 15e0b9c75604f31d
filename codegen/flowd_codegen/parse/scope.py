"""The one name space of a schema folder, and what only all files together show.

These checks are: cycles, streams with two jobs, unused mappers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Fault, Report, quoted, visible
from flowd_codegen.model.cycles import circles, components, endless, mentioned, needs
from flowd_codegen.model.naming import CLASS_NAME
from flowd_codegen.model.schema import Enum, Group, Job, Mapper, Record
from flowd_codegen.model.walk import names_in
from flowd_codegen.parse.table import Table

__all__ = [
    "Declaration",
    "Kind",
    "Scope",
    "check_streams",
    "check_uses",
    "in_order",
    "report_cycles",
    "unused_mappers",
]

Kind: TypeAlias = Literal["job", "record", "enum", "group"]


_Uses: TypeAlias = dict[str, dict[str, SourceLocation]]

_MAX_CYCLE_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class Declaration:
    """A job, record, enum or group, and the place of its name."""

    kind: Kind
    location: SourceLocation


@dataclass(slots=True)
class Scope:
    """All names of all files.

    Attributes:
        classes: jobs, records, enums and groups; they share one name space.
        enums: read first, as defaults name their values.
        records: their defaults are not checked yet.
        tags: what stands for each record in a union.
        group_tables: the tables of groups, which are read when all names are known.
        groups: what became of them; their defaults are not checked at first.
        mappers: a name space of their own, with the place of each.
        used_mappers: names that some field asked for.
        broken: names whose declarations are no tables, which is reported there.
        complete: False when a file could not be parsed, so that a name that is not
            here is no fault.
    """

    classes: dict[str, Declaration] = field(default_factory=dict[str, Declaration])
    enums: dict[str, Enum] = field(default_factory=dict[str, Enum])
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    group_tables: dict[str, Table] = field(default_factory=dict[str, Table])
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    mappers: dict[str, tuple[Mapper, SourceLocation]] = field(
        default_factory=dict[str, tuple[Mapper, SourceLocation]]
    )
    used_mappers: set[str] = field(default_factory=set[str])
    broken: set[str] = field(default_factory=set[str])
    complete: bool = True

    def types(self) -> list[str]:
        """The names that a field's type may be, sorted."""
        return sorted(
            name
            for name, declaration in self.classes.items()
            if declaration.kind in ("record", "enum") and CLASS_NAME.fullmatch(name)
        )


def _cycles(uses: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Give each cycle as the way round, `[A, B]` where A uses B and B uses A."""
    places = {name: place for place, name in enumerate(uses)}
    for group in circles(uses):
        left = {
            name: list(uses[name]) for name in sorted(group, key=places.__getitem__)
        }
        while True:
            try:
                TopologicalSorter(left).prepare()
            except CycleError as error:
                # The sorter lists each before its user, and the first again as the last.
                cycle: list[str] = error.args[1][:0:-1]
                start = cycle.index(min(cycle))
                yield cycle[start:] + cycle[:start]
                left[cycle[0]].clear()
            else:
                break


def in_order(records: Sequence[Record]) -> tuple[Record, ...]:
    """Move records behind those they use, and otherwise leave them as declared.

    Those that hold each other are next to each other.
    """
    places = {record.name: place for place, record in enumerate(records)}
    uses = {
        record: places.keys() & names for record, names in mentioned(records).items()
    }
    groups = [sorted(places[name] for name in one) for one in components(uses)]
    own = {
        records[place].name: one for one, group in enumerate(groups) for place in group
    }
    users: dict[int, set[int]] = {}
    missing = [0] * len(groups)
    for one, group in enumerate(groups):
        used = {own[name] for place in group for name in uses[records[place].name]}
        for other in used - {one}:
            users.setdefault(other, set()).add(one)
            missing[one] += 1
    ready = [(group[0], one) for one, group in enumerate(groups) if not missing[one]]
    heapify(ready)
    ordered: list[Record] = []
    while ready:
        _, done = heappop(ready)
        ordered += (records[place] for place in groups[done])
        for one in users.get(done, ()):
            missing[one] -= 1
            if not missing[one]:
                heappush(ready, (groups[one][0], one))
    return tuple(ordered)


def check_streams(jobs: Iterable[tuple[Table, Job]], report: Report) -> None:
    """Report each job whose stream is another's: a group would get both."""
    first: dict[str, SourceLocation] = {}
    for table, job in jobs:
        location = table.at("queue").child("stream")
        other = first.setdefault(job.policy.stream, location)
        if other is not location:
            report(
                Code.STREAM_TWICE,
                location,
                f"two jobs are on the stream {quoted(job.policy.stream)}",
                "each needs its own: a worker reads one kind of job",
                also=(other, "the other one"),
            )


def check_uses(
    owners: Sequence[tuple[Table, Record | Job]], scope: Scope, report: Report
) -> None:
    """Report records of which no value ends, and files that import each other."""
    records: _Uses = {}
    files: _Uses = {}
    left = endless({one.name: one for _, one in owners if isinstance(one, Record)})
    for table, owner in owners:
        own_file = table.location.source.path
        for one in owner.fields:
            location = table.at("fields").child(one.name)
            if owner.name in left:
                for name in needs(one.type, one, left):
                    records.setdefault(owner.name, {}).setdefault(name, location)
            for name in names_in(one.type):
                file = scope.classes[name].location.source.path
                if file != own_file:
                    files.setdefault(own_file, {}).setdefault(file, location)
    before = len(report.faults)
    advice = "let one be `?`, or in a list or dict that may be empty"
    report_cycles(records, report, Code.CIRCULAR_RECORDS, "holds", advice)
    if len(report.faults) == before:
        advice = "move what both use into a third file"
        report_cycles(files, report, Code.IMPORT_CYCLE, "uses", advice)


def unused_mappers(scope: Scope) -> Iterator[Fault]:
    """Warn of each mapper that no field asks for."""
    for name, (_, location) in scope.mappers.items():
        if name not in scope.used_mappers:
            message = f"no field uses the mapper `{name}`"
            yield Fault(Code.MAPPER_UNUSED, location.key(), message, severity="warning")


def report_cycles(
    uses: _Uses, report: Report, code: Code, verb: str, advice: str
) -> None:
    """Report names that use themselves through others.

    Args:
        uses: what each name uses, and where it says so.
        report: takes the faults.
        code: of the faults.
        verb: what one does with the next, as `holds`.
        advice: what to do.
    """
    for cycle in _cycles({name: list(used) for name, used in uses.items()}):
        way = [*cycle, cycle[0]]
        steps = [(uses[user][used], used) for user, used in pairwise(way)]
        also = None
        if len(steps) > 1:
            location, used = steps[1]
            also = location, f"{verb} {quoted(used)}"
        names = [*map(visible, way)]
        if len(names) > _MAX_CYCLE_LENGTH:
            names[4:-2] = [f"… {len(names) - 6} more …"]
        endless_ = ", so no value of it ends" if code is Code.CIRCULAR_RECORDS else ""
        message = f"circular: {f' {verb} '.join(names)}{endless_}"
        is_own = len(cycle) == 1 and code is Code.GROUP
        label = "remove it: a group has its own fields" if is_own else advice
        report(code, steps[0][0], message, label, also=also)
