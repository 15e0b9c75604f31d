"""One side of a comparison: a schema, and the places of what it declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.model.declared import Declared
from flowd_codegen.model.kinds import Type
from flowd_codegen.model.schema import Enum, Job, Module, Record, Schema

__all__ = ["Contract"]


@dataclass(frozen=True)
class Contract:
    """A schema as `diff` sees it.

    Attributes:
        name: how a person calls it: `schemas`, `flowd.lock`, `main@1a2b3c4`.
        schema: the model.
        sources: the files that it was read from; none for a lock.
    """

    name: str
    schema: Schema
    sources: Iterable[Source] = field(default=())

    @cached_property
    def jobs(self) -> Mapping[str, Job]:
        """By name, in the order of their files."""
        return {job.name: job for module in self._modules for job in module.jobs}

    @cached_property
    def removed(self) -> Mapping[str, str]:
        """The stream of each job that was removed, by its name."""
        return {
            one.name: one.stream for module in self._modules for one in module.removed
        }

    def knows(self, *names: str) -> bool:
        """Whether it declares all of these jobs, records and enums."""
        return self._homes.keys() >= {*names}

    def removed_location(self, name: str) -> SourceLocation:
        """Where a schema that has sources says that a job was removed."""
        (path,) = (
            module.path
            for module in self._modules
            if name in [one.name for one in module.removed]
        )
        return self.file(path).child("removed")

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """By name."""
        return {one.name: one for module in self._modules for one in module.records}

    @cached_property
    def enums(self) -> Mapping[str, Enum]:
        """By name."""
        return {one.name: one for module in self._modules for one in module.enums}

    def holds_secret(self, kind: Type) -> bool:
        """Whether a record somewhere in the type has a secret field."""
        return self._declared.holds_secret(kind)

    def secrets(self, job: Job) -> set[str]:
        """The wire names whose values its class never shows, with those of older versions."""
        versions = (*job.older, job)
        return {key for each in versions for key in self._declared.secret_keys(each)}

    @cached_property
    def _declared(self) -> Declared:
        return Declared(self.schema)

    def module(self, name: str) -> str:
        """The path of the file that declares a job, record or enum."""
        return self._homes[name]

    def location(
        self, owner: Job | Record | Enum, *path: str | int
    ) -> SourceLocation | None:
        """Where something stands below a declaration; None for a lock."""
        source = self._files.get(self.module(owner.name))
        kind = type(owner).__name__.lower()
        way = self._older.get(owner.name) or (kind, owner.name)
        if path[:1] == ("fields",) and len(path) > 1 and not isinstance(owner, Enum):
            for field in owner.fields:
                if field.name == path[1] and field.group:
                    way = "group", field.group
                    source = self._files.get(self._groups[field.group])
        return SourceLocation(source, (*way, *path)) if source else None

    def at(self, owner: Job | Record | Enum, *path: str | int) -> SourceLocation:
        """The same of a schema that has sources: an option, or the name of a class."""
        location = self.location(owner, *path) or self.file("")
        return location if path else location.key()

    def option(self, owner: Job | Record, field: str, *options: str) -> SourceLocation:
        """Where an option of a field stands: of `options` the first that it has.

        Without any it is the field's key, or its type where nothing else is written.
        """
        location = self.at(owner, "fields", field)
        spans = location.source.spans
        for option in options:
            if (*location.path, option) in spans:
                return location.child(option)
        short = not any(path[:-1] == location.path for path in spans)
        return location if short and "type" in options else location.key()

    def header(self, owner: Job | Record) -> str:
        """The table of a class, as `[job.Email]`; empty for an older version of a job."""
        kind = type(owner).__name__.lower()
        return "" if owner.name in self._older else f"`[{kind}.{owner.name}]`"

    def file(self, path: str) -> SourceLocation:
        """A schema file as a whole, or the folder when it has no such file."""
        return SourceLocation(self._files.get(path) or Source("", self.name))

    @cached_property
    def _older(self) -> Mapping[str, tuple[str, ...]]:
        """Where the older versions of jobs are declared."""
        return {
            old.name: ("job", job.name, f"v{old.version}")
            for job in self.jobs.values()
            for old in job.older
        }

    @property
    def _modules(self) -> tuple[Module, ...]:
        return self.schema.modules

    @cached_property
    def _homes(self) -> Mapping[str, str]:
        return {name: module.path for module in self._modules for name in module.names}

    @cached_property
    def _groups(self) -> Mapping[str, str]:
        """The path of the file that declares a group."""
        return {
            group.name: module.path
            for module in self._modules
            for group in module.groups
        }

    @cached_property
    def _files(self) -> Mapping[str, Source]:
        return {source.path: source for source in self.sources}
