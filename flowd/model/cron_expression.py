"""Cron expressions: five fields, what they match, and how they are parsed.

    minute hour day-of-month month day-of-week

A field is `*`, a number, a range `a-b`, each with a step `/n` but for a number, or several
of them with commas. Months and weekdays may be names of three letters; Sunday is 0 and 7.
As in cron, a day matches if day-of-month or day-of-week does, where neither begins with
`*`; else both have to.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Final, NamedTuple

from flowd.errors.portable import Portable

__all__ = ["CronError", "CronExpression", "parse_cron"]

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        [
            "jan",
            "feb",
            "mar",
            "apr",
            "may",
            "jun",
            "jul",
            "aug",
            "sep",
            "oct",
            "nov",
            "dec",
        ],
        1,
    )
}
_WEEKDAYS: Final = {
    name: number
    for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])
}
_NO_NAMES: Final[Mapping[str, int]] = MappingProxyType({})

_WORD: Final = re.compile(r"[^ \t]+")
_VALUE: Final = r"[0-9]{1,4}|[A-Za-z]{3}"
_RANGE: Final = re.compile(
    rf"(?:(?P<all>\*)|(?P<first>{_VALUE})(?:-(?P<last>{_VALUE}))?)(?:/(?P<step>[0-9]{{1,4}}))?"
)
_LEAP_CYCLE: Final = 28 + 12
"""Years within which every date and weekday comes, also past a year such as 2100."""


class CronError(Portable, ValueError):
    """An expression that is none, and the part of it that is wrong.

    Attributes:
        start: where that part begins in the text.
        end: where it ends.
        advice: what to write; may be empty.
    """

    def __init__(self, reason: str, start: int, end: int, advice: str = "") -> None:
        super().__init__(reason)
        self.start = start
        self.end = end
        self.advice = advice


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    names: Mapping[str, int] = _NO_NAMES


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class CronExpression:
    """What the five fields match; wall clock times, without any zone."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday, 6 is Saturday."""

    either_day: bool
    """Whether one of `days` and `weekdays` is enough."""

    def after(self, wall: datetime) -> Iterator[datetime]:
        """The minutes behind this one, in order; empty at the end of the calendar."""
        for day in _days(wall.date(), 1):
            if self._has_day(day):
                for hour, minute in product(self.hours, self.minutes):
                    found = datetime.combine(day, time(hour, minute))
                    if found > wall:
                        yield found

    def until(self, wall: datetime) -> Iterator[datetime]:
        """This minute, if it is one, and those before it, backwards."""
        for day in _days(wall.date(), -1):
            if self._has_day(day):
                for hour, minute in product(self.hours[::-1], self.minutes[::-1]):
                    found = datetime.combine(day, time(hour, minute))
                    if found <= wall:
                        yield found

    def _has_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either_day else in_month and in_week


def _days(start: date, step: int) -> Iterator[date]:
    """Days from `start` on, until every date and weekday had its turn."""
    for count in range(_LEAP_CYCLE * 366):
        try:
            yield start + timedelta(days=step * count)
        except OverflowError:
            return


@lru_cache(256)
def parse_cron(text: str) -> CronExpression:
    """Read an expression.

    Raises:
        CronError: it is none, or it matches no date.
    """
    words = [*_WORD.finditer(text)]
    if len(words) != len(_FIELDS):
        raise _wrong_count(text, words)
    minutes, hours, days, months, weekdays = (
        _read_field(field, word) for field, word in zip(_FIELDS, words, strict=True)
    )
    starred = any(words[at][0].startswith("*") for at in (2, 4))
    longest = max(calendar.monthrange(2000, month)[1] for month in months)
    if starred and words[4][0].startswith("*") and min(days) > longest:
        start, end = words[2].start(), words[3].end()
        raise CronError("no month of these has such a day", start, end)
    return CronExpression(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not starred,
    )


_SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""What other tools call these times."""


def _wrong_count(text: str, words: Sequence[re.Match[str]]) -> CronError:
    names = ", ".join(field.name for field in _FIELDS)
    if text.startswith("@"):
        reason = "it has no shorthands"
        meant = _SHORTHANDS.get(text.lower())
        advice = f'write `"{meant}"`' if meant else f"write five fields: {names}"
        return CronError(reason, 0, len(text), advice)
    reason = f"an expression has five fields, not {len(words)}"
    if len(words) == len(_FIELDS) + 1:
        advice = 'without seconds: for those write `every = "5s"`'
        return CronError(reason, words[0].start(), words[0].end(), advice)
    return CronError(reason, 0, len(text), f"write {names}")


def _read_field(field: _Field, word: re.Match[str]) -> set[int]:
    found: set[int] = set()
    at = word.start()
    for item in word[0].split(","):
        found |= _read_item(field, item, at)
        at += len(item) + 1
    return found


def _read_item(field: _Field, item: str, at: int) -> set[int]:
    end = at + max(len(item), 1)
    read = _RANGE.fullmatch(item)
    if read is None:
        reason = (
            f"{item!r} is no {field.name}" if item else f"a {field.name} is missing"
        )
        raise CronError(reason, at, end, _advice(field, item))
    step = int(read["step"] or 1)
    if read["step"] and not 1 <= step <= field.last:
        reason = f"a step of {step} is not from 1 to {field.last}"
        raise CronError(reason, at + read.start("step"), end)
    if read["all"]:
        # Of the weekdays 7 is 0 again, which no step may count twice.
        last = 6 if field.names is _WEEKDAYS else field.last
        return {*range(field.first, last + 1, step)}
    first = _value(field, read, "first", at)
    if read["last"] is None:
        if read["step"]:
            advice = f"write `{item.partition('/')[0]}-{field.last}/{step}`"
            raise CronError("a step needs a range", at, end, advice)
        return {first}
    last = _value(field, read, "last", at)
    if last == 0 and field.names is _WEEKDAYS and first > 0:
        last = 7  # a week that ends with its Sunday
    if last < first:
        advice = "write two: the first up to the end, the other from its beginning"
        raise CronError("the range runs backwards", at, end, advice)
    return {*range(first, last + 1, step)}


def _value(field: _Field, read: re.Match[str], group: str, at: int) -> int:
    text = read[group]
    start, end = at + read.start(group), at + read.end(group)
    if not text.isdigit():
        number = field.names.get(text.lower())
        if number is None:
            raise CronError(f"{text!r} is no {field.name}", start, end, _advice(field))
        return number
    if not field.first <= int(text) <= field.last:
        reason = (
            f"{text} is no {field.name}: it is not from {field.first} to {field.last}"
        )
        raise CronError(reason, start, end)
    return int(text)


def _advice(field: _Field, text: str = "") -> str:
    # The name in full, as `monday`.
    short = text[:3].lower() if text.isalpha() else ""
    if short in field.names:
        return f"write `{short}`"
    names = f", or {', '.join(field.names)}" if field.names else ""
    return f"write a number from {field.first} to {field.last}{names}, a range, or `*`"
