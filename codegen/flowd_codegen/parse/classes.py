"""Enums, records and jobs: `[enum.N]`, `[record.N]`, `[job.N]` with all that is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from flowd_codegen.diagnostics.foreign import JOB_WORDS
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, quoted, visible
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.diagnostics.suggest import did_you_mean, suggest
from flowd_codegen.model.describe import with_deprecation
from flowd_codegen.model.naming import (
    MEMBER_NAME,
    check_name,
    member_name,
    version_name,
)
from flowd_codegen.model.schema import Enum, Job, Record
from flowd_codegen.parse.cron import cron_table, parse_crons
from flowd_codegen.parse.fields import IN_JOB, IN_RECORD
from flowd_codegen.parse.gate import GATE_OPTIONS
from flowd_codegen.parse.groups import all_fields
from flowd_codegen.parse.queue import QUEUE_OPTIONS, parse_queue
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table
from flowd_codegen.parse.versions import older_versions, parse_version, version_keys
from flowd_codegen.parse.wire_keys import WireKeys

__all__ = [
    "ENUM_OPTIONS",
    "JOB_OPTIONS",
    "MEMBER_OPTIONS",
    "RECORD_OPTIONS",
    "parse_enum",
    "parse_job",
    "parse_record",
]

MEMBER_OPTIONS: Final = ("text", "doc", "deprecated")
"""The keys of a value's table, where it is not only a text."""

ENUM_OPTIONS: Final = ("values", "unknown", "doc", "reserved", "allow", "deprecated")
"""The keys of an enum's table."""

RECORD_OPTIONS: Final = (
    *("include", "fields", "tag"),
    *("doc", "reserved", "allow", "deprecated"),
)
"""The keys of a record's table."""

JOB_OPTIONS: Final = (
    *("include", "fields", "queue", "cron", "version", "oldest"),
    *("doc", "reserved", "allow", "deprecated"),
)
"""The keys of a job's table, but for `v1`, `v2` and so on."""


def parse_enum(name: str, table: Table) -> Enum:
    """Read an enum; faults are reported."""
    stray_members = [key for key in table.values if MEMBER_NAME.fullmatch(key)]
    if "values" in table.values or not stray_members:
        table.refuse_others(ENUM_OPTIONS, "enum option")
    reserved = {text: location for location, text in table.texts("reserved")}
    members: dict[str, SourceLocation] = {}
    texts: dict[str, SourceLocation] = {}
    found: list[tuple[str, str]] = []
    docs: dict[str, str] = {}
    for member, text, location in _values(name, table, docs):
        if first := texts.get(text):
            message = f"{quoted(text)} is a value already"
            also = (first, "first here")
            table.report(Code.ENUM_VALUES, location, message, "remove it", also=also)
        elif first := members.get(member):
            table.report(
                Code.ENUM_VALUES,
                location,
                f"two values would be the member `{member}`",
                'name the members: `values = { NAME = "text on the wire" }`',
                also=(first, "the other one"),
            )
        if first := reserved.get(text):
            table.report(
                Code.ENUM_VALUES,
                location,
                f"{quoted(text)} is reserved",
                "old entries may hold it with another meaning",
                also=(first, "reserved here"),
            )
        members.setdefault(member, location)
        texts.setdefault(text, location)
        found.append((member, text))
    return Enum(
        name=name,
        members=tuple(found),
        docs=docs,
        unknown=_unknown(table, members),
        reserved=tuple(reserved),
        allow=_allowed(table),
        doc=table.text("doc") or "",
        deprecated=table.text_or_flag("deprecated"),
    )


def _unknown(table: Table, members: Mapping[str, SourceLocation]) -> str:
    """The member that stands for texts that are not known; faults are reported."""
    unknown = table.text("unknown")
    if unknown is None:
        return ""
    if members and unknown not in members:
        table.report(
            Code.ENUM_VALUES,
            table.at("unknown"),
            f"{quoted(unknown)} is no member of this enum",
            did_you_mean(unknown, members, "name one of its members"),
        )
    elif len(members) == 1:
        table.report(
            Code.ENUM_VALUES,
            table.at("unknown"),
            "an enum needs a value that can be written",
            "the unknown one is only read",
        )
    return unknown


def _values(
    name: str, table: Table, docs: dict[str, str]
) -> Iterator[tuple[str, str, SourceLocation]]:
    """Give member, wire text and place of each value; `docs` takes what is said of it."""
    match table.values.get("values"):
        case None:
            table.report(
                Code.MISSING_KEY,
                table.location.key(),
                "an enum needs `values`",
                (
                    f'write `[enum.{visible(name)}.values]`, and `NAME = "text"` below it'
                    if any(MEMBER_NAME.fullmatch(key) for key in table.values)
                    else 'write it like `values = ["email", "sms"]`'
                ),
            )
        case list() | dict() as value if not value:
            message = "an enum needs at least one value"
            table.report(Code.ENUM_VALUES, table.at("values"), message)
        case list():
            yield from _listed(table)
        case dict():
            yield from _named(table.table("values"), docs)
        case value:
            wanted = "an array or a table of strings"
            table.wrong_kind("values", value, wanted, '["red", "green"]')


_NUMBERS: Final = 'name them: `values = { NAME = "1" }`; numbers have `one_of = [1, 2]`'


def _listed(table: Table) -> Iterator[tuple[str, str, SourceLocation]]:
    for location, text in table.texts("values", _NUMBERS):
        if member := member_name(text):
            yield member, text, location
        else:
            table.report(
                Code.ENUM_VALUES,
                location,
                f"{quoted(text)} makes no member name",
                'name it: `values = { NAME = "text on the wire" }`',
            )


def _named(
    values: Table, docs: dict[str, str]
) -> Iterator[tuple[str, str, SourceLocation]]:
    wrong = False
    for member, text in values.values.items():
        location = values.at(member)
        named = check_name(member, "member", location.key(), values.report)
        if isinstance(text, dict):
            about = values.table(member)
            about.refuse_others(MEMBER_OPTIONS, "option of a value")
            said = about.text("text")
            docs[member] = with_deprecation(
                about.text("doc") or "", about.text_or_flag("deprecated")
            )
            if "text" not in about.values:
                message = f"`{member}` has no text"
                label = 'add `text = "on the wire"`'
                values.report(Code.MISSING_KEY, location.key(), message, label)
            elif named and said is not None:
                yield member, said, location
        elif not isinstance(text, str):
            if not wrong:
                values.wrong_kind(member, text, "a string", f'"{text}"')
            wrong = True
        elif named:
            yield member, text, location


_ELSEWHERE: Final = (Code.UNKNOWN_KEY, "it goes into the job's `queue` table")
_REFUSED: Final = {
    **{word: (Code.UNKNOWN_KEY, advice) for word, advice in JOB_WORDS.items()},
    **dict.fromkeys((*QUEUE_OPTIONS, *GATE_OPTIONS), _ELSEWHERE),
}


def parse_record(name: str, table: Table, scope: Scope) -> Record:
    """Read a record, its defaults as written; faults are reported."""
    advice = f"fields go into `[record.{visible(name)}.fields]`"
    table.refuse_others(RECORD_OPTIONS, "record option", otherwise=advice)
    keys = WireKeys(table)
    return Record(
        name=name,
        fields=all_fields(table, keys, scope, IN_RECORD),
        tag=scope.tags[name],
        reserved=keys.reserved,
        allow=_allowed(table),
        doc=table.text("doc") or "",
        deprecated=table.text_or_flag("deprecated"),
    )


def parse_job(name: str, table: Table, scope: Scope) -> Job:
    """Read a job, its defaults as written; faults are reported."""
    advice = f"fields go into `[job.{visible(name)}.fields]`"
    known = (*JOB_OPTIONS, *version_keys(table).values())
    table.refuse_others(known, "job option", _REFUSED, advice)
    keys = WireKeys(table)
    policy = parse_queue(name, table.table("queue", '{ stream = "emails" }'))
    version, oldest = parse_version(name, table)
    older = tuple(
        Job(
            name=version_name(name, number),
            fields=all_fields(declared, WireKeys(declared), scope, IN_JOB),
            policy=policy,
            version=number,
            oldest=oldest,
        )
        for number, declared in older_versions(table)
    )
    return Job(
        name=name,
        fields=all_fields(table, keys, scope, IN_JOB),
        policy=policy,
        crons=parse_crons(cron_table(table)),
        version=version,
        oldest=oldest,
        older=older,
        versioned_alias=version_name(name, version) if older else "",
        extra=table.extra(),
        reserved=keys.reserved,
        allow=_allowed(table),
        doc=table.text("doc") or "",
        deprecated=table.text_or_flag("deprecated"),
    )


def _longer(text: str, known: Sequence[str]) -> str | None:
    """The rule that a text is the beginning of; None for several."""
    found = [rule for rule in known if text and rule.startswith(f"{text.upper()}_")]
    return found[0] if len(found) == 1 else None


def _allowed(table: Table) -> tuple[str, ...]:
    """Read the rules whose findings are accepted."""
    known = [*Rule]
    rules: list[str] = []
    for location, text in table.texts("allow"):
        if text in known:
            rules.append(text)
        else:
            near = _longer(text, known) or suggest(text, known)
            table.report(
                Code.WAIVER,
                location,
                f"unknown rule {quoted(text)}",
                f"did you mean `{near}`?" if near else "docs/evolution.md has them all",
            )
    return tuple(rules)
