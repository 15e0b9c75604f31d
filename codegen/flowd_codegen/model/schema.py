"""The model: what a folder of schema files declares, checked and resolved.

The types of fields are in `kinds`. Everything here is frozen, and knows no file, no TOML and
no Python source. `parse` builds it; `python`, `compat` and `export` read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeGuard

from flowd.model.gate import Gate
from flowd.model.policy import Policy
from flowd.model.schedule import Schedule
from flowd_codegen.model.kinds import Bounds, Type

__all__ = [
    "Cron",
    "Encoding",
    "Enum",
    "Factory",
    "Field",
    "Function",
    "Group",
    "Job",
    "Mapper",
    "Module",
    "Record",
    "Removed",
    "Schema",
    "Value",
    "is_list",
    "is_table",
]


@dataclass(frozen=True, slots=True)
class Function:
    """A reference `module:name` to the user's own code; never imported here.

    Both may be dotted: `shop.geo:Point.parse` is `parse` of the class `Point`. No part
    is a keyword or begins with two underscores.
    """

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Mapper:
    """The user's pair of functions for one field; None means the built-in text."""

    serialize: Function | None
    deserialize: Function | None

    @property
    def is_complete(self) -> bool:
        """Whether it both writes and reads, so that the type's own text is never used."""
        return self.serialize is not None and self.deserialize is not None


Encoding: TypeAlias = Literal[
    "text", "01", "base64", "hex", "raw", "rfc3339", "unix_ms"
]
"""How a value is written where its type has more than one text."""


@dataclass(frozen=True, slots=True)
class Value:
    """A default written in TOML, already checked against the type.

    `value` is what the TOML said: str, int, float, bool, list or dict. For a float it
    is a finite float; for an enum the wire text; for a record a dict by field names as
    declared, where fields with a default of their own may be missing, and in a union with
    the tag as one more key; for decimal, uuid,
    datetime, date, duration and bytes the text in the type's own wire form (bytes in
    base64, whatever the field's encoding).
    """

    value: object


@dataclass(frozen=True, slots=True)
class Factory:
    """`factory = "module:function"`, called with no arguments."""

    function: Function


@dataclass(frozen=True, slots=True, kw_only=True)
class Field(Bounds):
    """One field of a job or a record, and the bounds of its values."""

    name: str
    """As declared."""

    attribute: str
    """The Python attribute: `name`, with `_` behind it where that is taken."""

    key: str
    """The wire name: `key`, else `name`."""

    type: Type
    aliases: tuple[str, ...] = ()
    default: Value | Factory | None = None
    mapper: Mapper | None = None
    encoding: Encoding | None
    """Another encoding than the type's own, which is None also where a schema spells it
    out. In a record never `01` or `raw`; never together with a mapper with both sides."""

    secret: bool = False
    """Kept out of `repr`, logs and errors. An entry's field that holds a record with a
    secret field is as secret on the wire."""

    label: bool = False
    """Whether its value, of an enum, is a label of metrics."""

    doc: str = ""
    deprecated: str | bool = False

    group: str = ""
    """The `[group.N]` that it is declared in, empty for a field of one's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`[group.N]`: fields that jobs and records include."""

    name: str
    fields: tuple[Field, ...]
    """Its own, without those of the groups that it includes."""

    includes: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enum:
    """`[enum.N]`."""

    name: str
    members: tuple[tuple[str, str], ...]
    """(MEMBER, wire text) in declared order."""

    docs: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """The docs of single members, by name."""

    unknown: str = ""
    """The member that any other text is read as, and that is never written."""

    reserved: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    """Rules of `flowd-gen diff` whose findings here do not count."""

    doc: str = ""
    deprecated: str | bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """`[record.N]`."""

    name: str
    fields: tuple[Field, ...]
    reserved: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    """Rules of `flowd-gen diff` whose findings here do not count."""

    doc: str = ""
    deprecated: str | bool = False

    tag: str
    """The text that identifies it in a union."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """`[job.N.cron.M]`: when the job is enqueued by itself, and with what."""

    schedule: Schedule
    """Its times and rules, without the job's fields."""

    arguments: Mapping[str, object] = field(
        default_factory=dict[str, object], hash=False
    )
    """What `with` gives, by the names of fields, in the form of `Value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`[job.N]` with its `[job.N.queue]`."""

    name: str
    fields: tuple[Field, ...]
    policy: Policy
    gate: Gate | None = None
    """The policies of its queue, with wire names in their keys."""

    crons: tuple[Cron, ...] = ()
    version: int | None = None
    """Counts the incompatible changes of the job; 1 or more."""

    oldest: int = 1
    """The oldest version that is read; what is below it is refused."""

    older: tuple[Job, ...] = ()
    """The earlier versions that have fields of their own, oldest first: `CrawlV1`. Of
    the others, the next version reads the messages as they are."""

    versioned_alias: str = ""
    """`CrawlV2`: the name the class keeps when a later version comes."""

    reserved: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    """Rules of `flowd-gen diff` whose findings here do not count."""

    extra: Mapping[str, object] = field(default_factory=dict[str, object], hash=False)
    """Its `x-…` keys, which are JSON values."""

    doc: str = ""
    deprecated: str | bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Its classes; the current one under both of its names."""
        names = (self.name, *(old.name for old in self.older), self.versioned_alias)
        return tuple(filter(None, names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A removed job: neither its name nor its stream may be used again."""

    name: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One schema file, which becomes one Python module."""

    path: str
    """The schema's path relative to the schema folder, with `/`: `shop/crawl.toml`."""

    name: tuple[str, ...]
    """The module below the output folder: `("shop", "crawl")`."""

    doc: str = ""
    enums: tuple[Enum, ...] = ()
    records: tuple[Record, ...] = ()
    """Ordered so that a record comes after those it uses."""

    jobs: tuple[Job, ...] = ()
    removed: tuple[Removed, ...] = ()
    groups: tuple[Group, ...] = ()
    """They are no classes: their fields are in the records and jobs."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every class it declares: enums, records, jobs with their older versions."""
        return (
            *(enum.name for enum in self.enums),
            *(record.name for record in self.records),
            *(name for job in self.jobs for name in job.names),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A whole schema folder; modules sorted by path."""

    modules: tuple[Module, ...]


def is_list(value: object) -> TypeGuard[list[object]]:
    """Whether a default, or a part of one, is an array."""
    return isinstance(value, list)


def is_table(value: object) -> TypeGuard[dict[str, object]]:
    """Whether a default, or a part of one, is a table."""
    return isinstance(value, dict)
