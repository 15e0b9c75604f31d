"""When a job is enqueued by itself: `[job.X.cron.NAME]`, and its ticks.

A tick is an instant. Wall clock times of `at` become instants in a zone: one that the
clocks skip runs at the first instant behind the gap, once for all that were skipped, and
one that comes twice runs the first time. Steps of `every` count from 1970-01-01 UTC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import (
    Final,
    Literal,
    NamedTuple,
    Self,
    TypeAlias,
    TypedDict,
    cast,
    get_args,
)
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flowd.errors import OptionError
from flowd.errors.option import LONGEST, instance, text, wait
from flowd.model.cron_expression import CronError, parse_cron

__all__ = ["LATE", "MOST_MISSED", "Schedule", "Tick", "digest_of", "load_zone"]

LATE: Final = 60.0
"""Seconds after which a tick counts as missed."""

MOST_MISSED: Final = 100
"""How many missed ticks run with `missed = "all"`: the last ones."""

_SECOND: Final = timedelta(seconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


_Missed: TypeAlias = Literal["skip", "once", "all"]
_Overlap: TypeAlias = Literal["allow", "skip"]


class _Text(TypedDict, total=False):
    at: str
    every: float
    tz: str
    missed: _Missed
    overlap: _Overlap


class Tick(NamedTuple):
    """One time at which a schedule is due."""

    at: datetime
    """In the schedule's zone."""

    job_id: str
    """Of the job that it enqueues; the same in every worker."""

    runs: bool = True
    """False: it was missed, and is recorded without a job."""

    @property
    def ms(self) -> int:
        """Milliseconds since 1970."""
        return (self.at - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule of a job; `flowd-gen` writes it into the class."""

    name: str
    """Unique among the schedules of its job."""

    at: str = ""
    """A cron expression of five fields; empty with `every`."""

    every: float = 0.0
    """Seconds from tick to tick, counted from 1970-01-01 UTC; 0 with `at`."""

    tz: str = "UTC"
    """An IANA name."""

    missed: _Missed = "once"
    """What becomes of ticks that are later than `LATE`: none of them runs, the last one,
    or the last `MOST_MISSED`."""

    overlap: _Overlap = "allow"
    """Whether a tick runs while the run before it has not ended."""

    fields: tuple[tuple[bytes, bytes], ...] = ()
    """The job, as `to_fields` would write it."""

    def __post_init__(self) -> None:
        text("cron.name", self.name)
        for name, given in (("at", self.at), ("tz", self.tz)):
            instance(f"cron.{self.name}.{name}", given, str, "must be a str")
        wait(f"cron.{self.name}.every", self.every)
        if self.missed not in get_args(_Missed):
            rule = 'must be "skip", "once" or "all"'
            raise OptionError(f"cron.{self.name}.missed", self.missed, rule)
        if self.overlap not in get_args(_Overlap):
            rule = 'must be "allow" or "skip"'
            raise OptionError(f"cron.{self.name}.overlap", self.overlap, rule)
        rule = "must be a tuple of pairs of bytes"
        instance(f"cron.{self.name}.fields", self.fields, tuple, rule)
        if bool(self.at) == bool(self.every):
            raise OptionError(f"cron.{self.name}", self.at, "needs one of at and every")
        if self.at:
            try:
                parse_cron(self.at)
            except CronError as error:
                raise OptionError(
                    f"cron.{self.name}.at", self.at, str(error)
                ) from error
        elif not 1 <= self.every <= LONGEST:
            rule = "must be from one second on"
            raise OptionError(f"cron.{self.name}.every", self.every, rule)

    @property
    def text(self) -> str:
        """What it says of time and rules, as JSON; what operators read back."""
        said = {"at": self.at, "every": self.every, "tz": self.tz}
        rules = {"missed": self.missed, "overlap": self.overlap}
        return json.dumps({**said, **rules}, separators=(",", ":"))

    @classmethod
    def from_text(cls, name: str, text: str) -> Self:
        """The schedule of this `text`, without the fields of its job.

        Raises:
            OptionError: it has no valid time.
        """
        said = cast("_Text", json.loads(text))
        return cls(
            name=name,
            at=said.get("at", ""),
            every=said.get("every", 0.0),
            tz=said.get("tz", "UTC"),
            missed=said.get("missed", "once"),
            overlap=said.get("overlap", "allow"),
        )

    @property
    def timing(self) -> str:
        """What its ticks depend on."""
        return f"{self.at or self.every} {self.tz}"

    def next_after(self, now: float) -> datetime | None:
        """The first tick behind this time (seconds since 1970); None if there is none."""
        here = _instant(now)
        zone = load_zone(self.tz)
        if self.every:
            steps = int(now * 1000) // self._step + 1
            return _at_ms(steps * self._step, zone)
        walls = parse_cron(self.at).after(_wall(here, zone))
        ticks = (_resolved(wall, zone) for wall in walls)
        return next((tick for tick in ticks if tick > here), None)

    def latest(self, now: float) -> Iterator[datetime]:
        """The ticks until this time (seconds since 1970), the last first."""
        zone = load_zone(self.tz)
        if self.every:
            steps = int(now * 1000) // self._step
            yield from (_at_ms(step * self._step, zone) for step in range(steps, 0, -1))
            return
        here = _instant(now)
        wall = _wall(here, zone)
        local = here.astimezone(zone)
        if local.fold:
            # All of the repeated hour had its turn the first time.
            first, second = local.replace(fold=0).utcoffset(), local.utcoffset()
            assert first is not None
            assert second is not None
            wall += first - second
        before: datetime | None = None
        for each in parse_cron(self.at).until(wall):
            tick = _resolved(each, zone)
            if tick <= here and tick != before:
                yield tick
                before = tick

    def ticks(self, recorded: float, now: float) -> list[Tick]:
        """What is to be done at this time, by `missed`; the oldest first.

        Args:
            recorded: the last tick that had its turn; seconds since 1970.
            now: seconds since 1970, by the server's clock.
        """
        behind = takewhile(lambda tick: tick.timestamp() > recorded, self.latest(now))
        most = MOST_MISSED if self.missed == "all" else 1
        found = [*islice(behind, most)]
        return [
            Tick(
                tick,
                self.job_id(tick),
                self.missed != "skip" or now - tick.timestamp() <= LATE,
            )
            for tick in reversed(found)
        ]

    def job_id(self, tick: datetime) -> str:
        """The id of the job of a tick: `cron:nightly:2026-11-29T03:00+01:00`."""
        precise = tick.second or tick.microsecond
        spec = "auto" if tick.microsecond else "seconds" if precise else "minutes"
        return f"cron:{self.name}:{tick.isoformat(timespec=spec)}"

    @property
    def _step(self) -> int:
        return round(self.every * 1000)


def digest_of(schedules: Iterable[Schedule]) -> str:
    """Identifies a set of schedules; empty for none."""
    parts = [
        (
            each.name,
            each.text,
            [[name.hex(), value.hex()] for name, value in each.fields],
        )
        for each in sorted(schedules, key=lambda each: each.name)
    ]
    if not parts:
        return ""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@lru_cache(64)
def load_zone(name: str) -> ZoneInfo:
    """The zone of this name.

    Raises:
        OptionError: this machine does not know it.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        rule = "is no time zone that this machine knows; or install `tzdata`"
        raise OptionError("tz", name, rule) from error


def _instant(now: float) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(now * 1000))


def _at_ms(ms: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(zone)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the clock on the wall shows, to the minute."""
    return instant.astimezone(zone).replace(
        second=0, microsecond=0, tzinfo=None, fold=0
    )


def _resolved(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a wall clock time; behind the gap that it may lie in."""
    local = wall.replace(tzinfo=zone)
    before, after = local.utcoffset(), local.replace(fold=1).utcoffset()
    assert before is not None
    assert after is not None
    if after <= before:
        return local
    # In a gap: the clock goes from the one offset to the other between these two.
    low, high = (wall - after).replace(tzinfo=UTC), (wall - before).replace(tzinfo=UTC)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high.astimezone(zone)
