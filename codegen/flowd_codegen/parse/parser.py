"""Schema texts to the model: reads all files, then reports all faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from flowd_codegen.diagnostics.foreign import TOP_WORDS
from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.diagnostics.report import (
    Code,
    Fault,
    Report,
    SchemaErrors,
    quoted,
    visible,
)
from flowd_codegen.model.migrations import module_of, steps
from flowd_codegen.model.naming import check_name, module_names
from flowd_codegen.model.schema import Enum, Group, Job, Module, Record, Removed, Schema
from flowd_codegen.parse.classes import parse_enum, parse_job, parse_record
from flowd_codegen.parse.constraints import slow_patterns
from flowd_codegen.parse.cron import check_arguments, cron_table
from flowd_codegen.parse.deep import check_depth
from flowd_codegen.parse.defaults import check_defaults
from flowd_codegen.parse.endless import check_endless_defaults
from flowd_codegen.parse.gate import read_gate
from flowd_codegen.parse.groups import read_groups
from flowd_codegen.parse.labels import check_labels
from flowd_codegen.parse.mappers import parse_mapper
from flowd_codegen.parse.removed import check_removed, parse_removed
from flowd_codegen.parse.scope import (
    Declaration,
    Kind,
    Scope,
    check_streams,
    check_uses,
    in_order,
    unused_mappers,
)
from flowd_codegen.parse.source import Sources, load
from flowd_codegen.parse.table import Table
from flowd_codegen.parse.unions import check_unions, read_tag
from flowd_codegen.parse.versions import class_names

__all__ = ["LANGUAGE", "TOP_KEYS", "parse"]

TOP_KEYS: Final = (
    *("flowd", "doc", "enum", "record", "group", "mapper"),
    *("job", "removed"),
)
"""The keys at the top of a schema file."""

_TOP: Final = {word: (Code.UNKNOWN_KEY, advice) for word, advice in TOP_WORDS.items()}
_HEADER: Final = "a job is declared as `[job.Email.fields]`"

LANGUAGE: Final = 1
"""The version of the schema language."""

_CLASSES: Final[tuple[Kind, ...]] = ("enum", "record", "group", "job")

_Owner = TypeVar("_Owner", Record, Job)


def parse(
    sources: Sources,
    warn: Callable[[Fault], object] = lambda _: None,
    load: Callable[[Source, Report], Table | None] = load,
) -> Schema:
    """Build the model of all sources.

    Args:
        sources: what `source.read` gave.
        warn: called with each warning, if there is no fault.
        load: reads a source; TOML unless given.

    Raises:
        SchemaErrors: with all faults of all files, those of `read` among them.
    """
    report = Report([*sources.faults])
    scope = Scope(complete=not sources.faults)
    modules = module_names(sources.files, report)
    files: list[_File] = []
    for source in sources.files:
        root = load(source, report)
        if root is None:
            scope.complete = False
        else:
            files.append(_File(root, modules[source.path]))
    for file in files:
        _declare(file, scope)
    read_groups(scope, report)
    for file in files:
        _read_classes(file, scope)
    for name, group in scope.groups.items():
        fields = scope.group_tables[name].table("fields")
        checked = check_defaults(group.fields, fields, scope, name)
        scope.groups[name] = replace(group, fields=checked)
    for file in files:
        _settle_defaults(file, scope)
    owners = [owner for file in files for owner in file.owners()]
    check_unions(owners, scope, report)
    jobs = [job for file in files for job in file.jobs]
    check_streams(jobs, report)
    removed = [one for file in files for one in file.removed]
    check_removed(removed, scope.classes, jobs, report)
    _check_migrations(files, report)
    check_uses(owners, scope, report)
    check_endless_defaults(owners, report)
    if not report.faults:
        # A record that has no end was reported, and is as deep as one that is too deep.
        check_depth(owners, report)
    if report.faults:
        raise SchemaErrors(report.faults)
    for warning in _warnings(files, scope):
        warn(warning)
    return Schema(modules=tuple(file.module(scope.groups) for file in files))


@dataclass(slots=True)
class _File:
    """One file while it is parsed; each table is kept with its result."""

    root: Table
    name: tuple[str, ...]
    enums: list[Enum] = field(default_factory=list[Enum])
    records: list[tuple[Table, Record]] = field(
        default_factory=list[tuple[Table, Record]]
    )
    jobs: list[tuple[Table, Job]] = field(default_factory=list[tuple[Table, Job]])
    declared: list[tuple[Kind, str, Table]] = field(
        default_factory=list[tuple[Kind, str, Table]]
    )
    removed: list[tuple[SourceLocation, Removed]] = field(
        default_factory=list[tuple[SourceLocation, Removed]]
    )

    def owners(self) -> Iterator[tuple[Table, Record | Job]]:
        yield from self.records
        for table, job in self.jobs:
            yield table, job
            for old in job.older:
                yield table.table(f"v{old.version}"), old

    def module(self, groups: Mapping[str, Group]) -> Module:
        return Module(
            path=self.root.location.source.path,
            name=self.name,
            doc=self.root.text("doc") or "",
            enums=tuple(self.enums),
            records=in_order([record for _, record in self.records]),
            jobs=tuple(job for _, job in self.jobs),
            removed=tuple(one for _, one in self.removed),
            groups=tuple(
                groups[name] for kind, name, _ in self.declared if kind == "group"
            ),
        )


def _declare(file: _File, scope: Scope) -> None:
    """Take up the names of a file, and read what fields will ask for."""
    root = file.root
    root.refuse_others(TOP_KEYS, "top-level key", _TOP, _HEADER)
    root.text("doc")
    if root.integer("flowd") not in (None, LANGUAGE):
        root.report(
            Code.LANGUAGE_VERSION,
            root.at("flowd"),
            "this flowd-gen does not know that version of the schema language",
            f"it knows `flowd = {LANGUAGE}`; upgrade flowd for a later one",
        )
    file.removed = parse_removed(root)
    for kind in _CLASSES:
        for name, table in root.tables(kind, scope.broken):
            file.declared.append((kind, name, table))
            check_name(name, kind, table.location.key(), root.report)
            _take(kind, name, table, scope)
            if kind == "group":
                scope.group_tables.setdefault(name, table)
            if kind == "record":
                scope.tags.setdefault(name, read_tag(name, table))
            if kind == "job":
                for other, declared in class_names(name, table):
                    _take(kind, other, declared, scope)
    for name, table in root.tables("mapper"):
        check_name(name, "mapper", table.location.key(), root.report)
        mapper = parse_mapper(table)
        _, location = scope.mappers.setdefault(name, (mapper, table.location))
        if location is not table.location:
            _report_twice(
                root.report, f"mapper {quoted(name)}", table.location, location
            )
    for kind, name, table in file.declared:
        if kind == "enum":
            before = len(root.report.faults)
            enum = parse_enum(name, table)
            file.enums.append(enum)
            # Defaults are not checked against an enum or record that has faults itself.
            if len(root.report.faults) == before:
                scope.enums.setdefault(name, enum)


def _take(kind: Kind, name: str, table: Table, scope: Scope) -> None:
    here = Declaration(kind, table.location)
    first = scope.classes.setdefault(name, here)
    if first is here:
        return
    # Of one file the records are read before the jobs, wherever they stand.
    if first.location.source is here.location.source and _start(here) < _start(first):
        first, here = here, first
    what = f"{here.kind} {quoted(name)}"
    _report_twice(table.report, what, here.location, first.location)


def _start(declared: Declaration) -> int:
    return declared.location.key().span().start


def _report_twice(
    report: Report, what: str, second: SourceLocation, first: SourceLocation
) -> None:
    report(
        Code.DECLARED_TWICE,
        second.key(),
        f"{what} is declared twice",
        "all files share one name space; rename one",
        also=(first.key(), "first declared here"),
    )


def _read_classes(file: _File, scope: Scope) -> None:
    """Read records and jobs, their defaults as written."""
    for kind, name, table in file.declared:
        before = len(table.report.faults)
        match kind:
            case "job":
                file.jobs.append((table, parse_job(name, table, scope)))
            case "record":
                record = parse_record(name, table, scope)
                file.records.append((table, record))
                if len(table.report.faults) == before:
                    scope.records.setdefault(name, record)
            case "enum" | "group":
                pass


def _settle_defaults(file: _File, scope: Scope) -> None:
    """Check the defaults, which may name enums and records of any file."""
    file.records = [(table, _settled(table, one, scope)) for table, one in file.records]
    file.jobs = [(table, _settled_job(table, one, scope)) for table, one in file.jobs]


def _settled(table: Table, owner: _Owner, scope: Scope) -> _Owner:
    fields = check_defaults(owner.fields, table.table("fields"), scope)
    return replace(owner, fields=fields)


def _settled_job(table: Table, job: Job, scope: Scope) -> Job:
    older = tuple(
        _settled(table.table(f"v{old.version}"), old, scope) for old in job.older
    )
    settled = replace(_settled(table, job, scope), older=older)
    check_labels(settled, table, scope)
    return replace(
        settled,
        crons=check_arguments(settled, cron_table(table), scope),
        gate=read_gate(settled, table, scope),
    )


def _check_migrations(files: list[_File], report: Report) -> None:
    """Report what would be in the way of a file of migrations, or of one in it."""
    for file in files:
        owners: dict[str, str] = {}
        needed = [
            (table, job.name, step) for table, job in file.jobs for step in steps(job)
        ]
        for table, name, step in needed:
            owner = owners.setdefault(step.function, name)
            if owner != name:
                report(
                    Code.NAME_TAKEN,
                    table.location.key(),
                    f"its migrations would be named as those of {quoted(owner)}",
                    "rename one, or move it into another file",
                )
                break
        path = module_of(file.name)
        for other in files if needed else ():
            if _folded(other.name[: len(path)]) == _folded(path):
                report(
                    Code.MODULE_TWICE,
                    other.root.location,
                    "its module would be in the way of the migrations of"
                    f" {visible(file.root.location.source.shown)}",
                    "rename one",
                )


def _folded(name: tuple[str, ...]) -> list[str]:
    # File systems may ignore the case of letters.
    return [part.lower() for part in name]


def _warnings(files: list[_File], scope: Scope) -> Iterator[Fault]:
    for file in files:
        if not (file.declared or file.removed or file.root.values.get("mapper")):
            message = "this file declares nothing"
            location = file.root.location
            yield Fault(Code.NOTHING_DECLARED, location, message, severity="warning")
        for table, owner in file.owners():
            yield from slow_patterns(owner.fields, table.table("fields"), "")
    for name, group in scope.groups.items():
        fields = scope.group_tables[name].table("fields")
        yield from slow_patterns(group.fields, fields, name)
    yield from unused_mappers(scope)
