"""Schedules: `[job.X.cron.NAME]` as a `flowd.Schedule`, and the arguments of `with`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, Literal
from zoneinfo import available_timezones

from flowd.errors import OptionError
from flowd.model.cron_expression import CronError, parse_cron
from flowd.model.schedule import Schedule, load_zone
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, quoted, visible
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.model.cycles import holders
from flowd_codegen.model.kinds import Optional, Type
from flowd_codegen.model.schema import Cron, Factory, Field, Job
from flowd_codegen.model.walk import names_in
from flowd_codegen.parse.defaults import check_value
from flowd_codegen.parse.durations import near_duration, read_duration
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table, header_of, written

__all__ = [
    "CRON_OPTIONS",
    "MISSED",
    "OVERLAP",
    "SCHEDULE_NAME",
    "check_arguments",
    "cron_table",
    "parse_crons",
]

CRON_OPTIONS: Final = ("at", "every", "tz", "missed", "overlap", "with")
"""The keys of a schedule's table."""

SCHEDULE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""What a schedule may be called; its name is a part of its jobs' ids."""

_REFUSED: Final = {
    "timezone": (Code.UNKNOWN_KEY, "write `tz`"),
    "cron": (Code.UNKNOWN_KEY, "write `at`"),
    "args": (Code.UNKNOWN_KEY, "write `with`"),
    "kwargs": (Code.UNKNOWN_KEY, "write `with`"),
    "arguments": (Code.UNKNOWN_KEY, "write `with`"),
}
_OTHER_WITH: Final = {"args", "kwargs", "arguments"}
MISSED: Final[tuple[Literal["skip", "once", "all"], ...]] = ("skip", "once", "all")
"""The rules for ticks that no worker was there for."""

OVERLAP: Final[tuple[Literal["allow", "skip"], ...]] = ("allow", "skip")
"""The rules for a tick while the run before it has not ended."""

_LEAST_MS: Final = 1_000


def cron_table(job: Table) -> Table:
    """`[job.X.cron]`; what is no table of schedules is reported with the way to write it."""
    value = job.values.get("cron")
    if isinstance(value, list):
        header = header_of(job.at("cron"))
        label = f"write `[{header}.nightly]`, with single brackets"
        job.report(Code.SCHEDULE, job.at("cron"), "a schedule has a name", label)
        return Table({}, job.at("cron"), job.report)
    at = value if isinstance(value, str) else "0 3 * * *"
    return job.table("cron", f"{{ nightly = {{ at = {written(at)} }} }}")


def parse_crons(table: Table) -> tuple[Cron, ...]:
    """Read the schedules of a job, without their arguments; faults are reported."""
    return tuple(_parse_all(table))


def _parse_all(table: Table) -> Iterator[Cron]:
    for name, value in table.values.items():
        location = table.at(name)
        if not isinstance(value, dict):
            example = '{ at = "0 3 * * *" }'
            if name in CRON_OPTIONS:
                message = "a schedule has a name"
                header = header_of(table.location)
                label = f"write `[{header}.nightly]`, and this below it"
                table.report(Code.SCHEDULE, location.key(), message, label)
            else:
                table.wrong_kind(name, value, "a table", example)
        elif not SCHEDULE_NAME.fullmatch(name):
            message = f"{quoted(name)} is no name of a schedule"
            label = "write small letters, digits, `-` and `_`, a letter first"
            table.report(Code.SCHEDULE, location.key(), message, label)
        else:
            yield Cron(schedule=_parse(name, table.table(name)))


def _parse(name: str, table: Table) -> Schedule:
    """One schedule; of one with a fault the times are no matter."""
    table.refuse_others(CRON_OPTIONS, "option of a schedule", _REFUSED)
    given = [key for key in ("at", "every") if key in table.values]
    if len(given) != 1:
        both = len(given) == 2
        message = "a schedule has `at` or `every`" + (", not both" if both else "")
        location = table.at("every") if both else table.location
        label = "" if both else 'add `at = "0 3 * * *"` or `every = "15m"`'
        table.report(Code.SCHEDULE, location.key(), message, label)
    at, every = _read_at(table), _read_every(table)
    zone = _read_zone(table)
    missed: Literal["skip", "once", "all"] = table.choice(
        "missed", MISSED, "once", Code.SCHEDULE
    )
    overlap: Literal["allow", "skip"] = table.choice(
        "overlap", OVERLAP, "allow", Code.SCHEDULE
    )
    if len(given) != 1 or not (at or every):
        at, every = "", 60.0
    return Schedule(
        name=name, at=at, every=every, tz=zone, missed=missed, overlap=overlap
    )


def _read_at(table: Table) -> str:
    text = table.text("at")
    if text is None:
        return ""
    try:
        parse_cron(text)
    except CronError as error:
        location = table.at("at")
        if error.end > error.start:
            location = location.within(error.start, min(error.end, max(len(text), 1)))
        advice = _meant(text) or error.advice
        table.report(Code.SCHEDULE, location, str(error), advice)
        return ""
    return text


def _meant(text: str) -> str:
    """Advice for a time of day or an interval in place of an expression; empty for others."""
    if found := re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text.strip()):
        return f'write `"{int(found[2])} {int(found[1])} * * *"`'
    interval = re.fullmatch(r"every\s+(.+)", text.strip(), re.IGNORECASE)
    if interval and (near := near_duration(interval[1])):
        return f'write `every = "{near}"` in place of `at`'
    return ""


def _read_every(table: Table) -> float:
    if "every" not in table.values:
        return 0.0
    location = table.at("every")
    milliseconds = read_duration(table.values["every"], location, table.report)
    if milliseconds is None:
        return 0.0
    if milliseconds < _LEAST_MS:
        table.report(Code.SCHEDULE, location, "a schedule ticks once a second at most")
        return 0.0
    try:
        Schedule(name="every", every=milliseconds / 1000)
    except OptionError:
        table.report(Code.SCHEDULE, location, "this is too long for a schedule")
        return 0.0
    return milliseconds / 1000


def _read_zone(table: Table) -> str:
    text = table.text("tz")
    if text is None:
        return "UTC"
    zones = available_timezones()
    known = text in zones
    if known or not zones:
        try:
            load_zone(text)
        except OptionError:
            known = False
        else:
            return text
    table.report(
        Code.SCHEDULE,
        table.at("tz"),
        f"there is no time zone {quoted(text)}",
        did_you_mean(text, zones, "write an IANA name: `Europe/Berlin`"),
    )
    return "UTC"


def check_arguments(job: Job, table: Table, scope: Scope) -> tuple[Cron, ...]:
    """Judge what `with` of each schedule gives, and put it into the model's form.

    Args:
        job: with its fields, whose defaults are settled.
        table: `[job.X.cron]`.
        scope: with all enums and records.
    """
    checked: list[Cron] = []
    for cron in job.crons:
        own = table.table(cron.schedule.name)
        given = own.table("with", '{ region = "eu" }')
        checked.append(replace(cron, arguments=_arguments(job, own, given, scope)))
    return tuple(checked)


def _arguments(job: Job, own: Table, given: Table, scope: Scope) -> dict[str, object]:
    fields = {field.name: field for field in job.fields}
    found: dict[str, object] = {}
    for name, value in given.values.items():
        location = given.at(name)
        field = fields.get(name)
        if field is None:
            label = did_you_mean(name, fields)
            message = f"{visible(job.name)} has no field {quoted(name)}"
            own.report(Code.UNKNOWN_NAME, location.key(), message, label)
        elif refusal := _unwritable(field, scope):
            own.report(Code.SCHEDULE, location.key(), *refusal)
        else:
            found[name] = check_value(value, field, location, scope, own.report)
    if (
        not isinstance(own.values.get("with", {}), dict)
        or _OTHER_WITH & own.values.keys()
    ):
        # What it gives is not known; that is reported where it stands.
        return found
    where: SourceLocation = given.location if given.values else own.location.key()
    for field in fields.values():
        optional = isinstance(field.type, Optional)
        if field.name not in given.values and not optional and field.default is None:
            message = (
                f"{visible(job.name)} needs `{field.name}`, and `with` does not give it"
            )
            own.report(Code.SCHEDULE, where, message, f"add `{field.name}` to `with`")
    return found


def _unwritable(field: Field, scope: Scope) -> tuple[str, str] | None:
    """Why a value of this field cannot be written when generating, and what to do."""
    if field.mapper and field.mapper.serialize:
        return (
            f"`{field.name}` is written by a mapper, which runs in your program",
            "give it a default or `factory`, or make it optional, and leave it out",
        )
    if field.secret or _any_record(field.type, scope, _holds_secret):
        return (
            f"`{field.name}` is secret, and a schedule would print it into the code",
            "let the handler look it up",
        )
    if _any_record(field.type, scope, _is_made_elsewhere):
        return (
            f"`{field.name}` holds what a mapper or factory makes, which runs in your program",
            "leave it out, or let the handler make it",
        )
    return None


def _holds_secret(field: Field) -> bool:
    return field.secret


def _is_made_elsewhere(field: Field) -> bool:
    mapped = field.mapper is not None and field.mapper.serialize is not None
    return mapped or isinstance(field.default, Factory)


def _any_record(kind: Type, scope: Scope, holds: Callable[[Field], bool]) -> bool:
    """Whether a record somewhere in the type has such a field."""
    names = {*names_in(kind)}
    if not names:
        return False
    records = scope.records.values()
    own = (record.name for record in records if any(map(holds, record.fields)))
    return not names.isdisjoint(holders(records, own))
