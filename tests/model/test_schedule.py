"""Cron expressions and their ticks, compared with a naive look at each minute."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowd import OptionError, Schedule
from flowd.model.cron_expression import CronError, parse_cron

MONTHS = [
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
]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")


def naive_field(text: str, field: int) -> set[int]:
    """The numbers of a field, by the rules as the page states them."""
    first, last = BOUNDS[field]
    names = {3: dict(zip(MONTHS, range(1, 13), strict=True))}
    names[4] = dict(zip(WEEKDAYS, range(7), strict=True))
    found: set[int] = set()
    for item in text.lower().split(","):
        span, _, step = item.partition("/")
        start, _, end = span.partition("-")
        if span == "*":
            numbers = range(first, (6 if field == 4 else last) + 1)
        else:
            low = names.get(field, {}).get(start)
            low = int(start) if low is None else low
            high = names.get(field, {}).get(end or start)
            high = int(end or start) if high is None else high
            numbers = range(low, high + 1)
        found |= {*numbers[:: int(step or 1)]}
    return {each % 7 for each in found} if field == 4 else found


def naive_match(text: str, wall: datetime) -> bool:
    """Whether a minute is matched."""
    words = text.split()
    fields = [naive_field(word, at) for at, word in enumerate(words)]
    if wall.minute not in fields[0] or wall.hour not in fields[1]:
        return False
    in_month, in_week = wall.day in fields[2], wall.isoweekday() % 7 in fields[4]
    starred = words[2].startswith("*") or words[4].startswith("*")
    day = in_month and in_week if starred else in_month or in_week
    return day and wall.month in fields[3]


def naive_ticks(text: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Each matched minute of the wall clock once: the first time, or behind its gap."""
    here = ZoneInfo(zone)
    shown: dict[datetime, datetime] = {}
    walls: list[datetime] = []
    at = start - timedelta(days=1)
    while at <= end + timedelta(days=1):
        wall = at.astimezone(here).replace(tzinfo=None)
        shown.setdefault(wall, at)
        if not walls or wall > walls[-1]:
            missing = walls[-1] + timedelta(minutes=1) if walls else wall
            while missing < wall:
                shown.setdefault(missing, at)
                walls.append(missing)
                missing += timedelta(minutes=1)
            walls.append(wall)
        at += timedelta(minutes=1)
    found = {shown[wall] for wall in walls if naive_match(text, wall)}
    return sorted(each for each in found if start < each <= end)


@st.composite
def field_texts(draw: st.DrawFn, field: int) -> str:
    """A field as people write it."""
    first, last = BOUNDS[field]
    numbers = st.integers(first, last)
    names = {3: MONTHS, 4: WEEKDAYS}.get(field)

    def one() -> str:
        kind = draw(st.sampled_from(["*", "*/", "n", "a-b", "a-b/", "name"]))
        step = draw(st.integers(1, last))
        low, high = sorted((draw(numbers), draw(numbers)))
        match kind:
            case "*":
                return "*"
            case "*/":
                return f"*/{step}"
            case "n":
                return f"{low}"
            case "a-b/":
                return f"{low}-{high}/{step}"
            case "name" if names:
                return draw(st.sampled_from([*names, *map(str.upper, names)]))
            case _:
                return f"{low}-{high}"

    return ",".join(one() for _ in range(draw(st.integers(1, 3))))


EXPRESSIONS = st.tuples(*(field_texts(at) for at in range(5))).map(" ".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EXPRESSIONS, st.integers(0, 40 * 365 * 1440))
def test_an_expression_matches_what_a_naive_look_does(text: str, minute: int) -> None:
    """Every field, with names, ranges, steps and lists, in every combination."""
    try:
        expression = parse_cron(text)
    except CronError as error:
        reason = str(error)
        assert "such a day" in reason
        return
    wall = datetime.fromisoformat("1999-01-01") + timedelta(minutes=minute)
    minutes = [wall + timedelta(minutes=each) for each in range(3000)]
    matched = set(
        takewhile(
            lambda at: at <= minutes[-1], expression.after(wall - timedelta(minutes=1))
        )
    )
    for at in minutes[::7]:
        assert (at in matched) == naive_match(text, at), (text, at)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EXPRESSIONS, st.sampled_from(ZONES), st.integers(0, 5_000))
def test_ticks_are_those_of_a_naive_look(text: str, zone: str, hour: int) -> None:
    """Forwards and backwards, over three days that may hold a transition."""
    try:
        schedule = Schedule(name="n", at=text, tz=zone)
    except OptionError:
        return
    # Every third start lies just before a transition of one of the zones.
    near = random.Random(hour).choice(TRANSITIONS)
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour * 2)
    start = near - timedelta(hours=30) if hour % 3 == 0 else start
    end = start + timedelta(days=3)
    wanted = naive_ticks(text, zone, start, end)
    found: list[datetime] = []
    at = schedule.next_after(start.timestamp())
    while at is not None and at <= end:
        found.append(at.astimezone(UTC))
        at = schedule.next_after(at.timestamp())
    assert found == wanted
    back = [*islice(schedule.latest(end.timestamp()), len(wanted))]
    assert [each.astimezone(UTC) for each in back[::-1]] == wanted


TRANSITIONS = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
]

# Zone, expression, day before, and the ids of the ticks that come then.
TABLE = [
    *(
        ("Europe/Berlin", "30 2 * * *", "2026-03-28", ticks)
        for ticks in [("2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00")]
    ),
    ("Europe/Berlin", "*/20 2 * * *", "2026-03-29", ("2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00")),
    ("Europe/Berlin", "0 2,3 * * *", "2026-03-29", ("2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00")),
    ("Europe/Berlin", "30 2 * * *", "2026-10-25", ("2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00")),
    ("Europe/Berlin", "0 3 * * *", "2026-10-25", ("2026-10-25T03:00+01:00", "2026-10-26T03:00+01:00")),
    ("America/New_York", "30 2 * * *", "2026-03-08", ("2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00")),
    ("America/New_York", "30 1 * * *", "2026-11-01", ("2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00")),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-05", ("2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30")),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04", ("2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00")),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "at", "day", "ticks"), TABLE)
def test_transitions_of_a_year_in_three_zones(
    zone: str, at: str, day: str, ticks: tuple[str, ...]
) -> None:
    """A wall time in the gap runs once behind it, one that comes twice the first time."""
    schedule = Schedule(name="nightly", at=at, tz=zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    now = midnight.timestamp() - 1
    found: list[str] = []
    for _ in ticks:
        tick = schedule.next_after(now)
        assert tick is not None
        found.append(schedule.job_id(tick).removeprefix("cron:nightly:"))
        now = tick.timestamp()
    assert tuple(found) == ticks


@pytest.mark.parametrize(
    ("text", "start", "end", "said"),
    [
        ("* * * *", 0, 7, "five fields, not 4"),
        ("0 0 3 * * *", 0, 1, "five fields, not 6"),
        ("@daily", 0, 6, "no shorthands"),
        ("", 0, 0, "five fields, not 0"),
        ("60 * * * *", 0, 2, "not from 0 to 59"),
        ("* 24 * * *", 2, 4, "not from 0 to 23"),
        ("* * 0 * *", 4, 5, "not from 1 to 31"),
        ("* * * 13 *", 6, 8, "not from 1 to 12"),
        ("* * * * 8", 8, 9, "not from 0 to 7"),
        ("* * * foo *", 6, 9, "no month"),
        ("* * * * jan", 8, 11, "no day of week"),
        ("mon * * * *", 0, 3, "no minute"),
        ("5-1 * * * *", 0, 3, "backwards"),
        ("*/0 * * * *", 2, 3, "step of 0"),
        ("*/60 * * * *", 2, 4, "step of 60"),
        ("5/10 * * * *", 0, 4, "needs a range"),
        ("1,,2 * * * *", 2, 3, "is missing"),
        ("1, * * * *", 2, 3, "is missing"),
        ("* * L * *", 4, 5, "no day of month"),
        ("* * ? * *", 4, 5, "no day of month"),
        ("* * * * 1#2", 8, 11, "no day of week"),
        ("0 0 30 2 *", 4, 8, "such a day"),
        ("0 0 31 4,6 *", 4, 10, "such a day"),
        ("-1 * * * *", 0, 2, "no minute"),
        ("1-2-3 * * * *", 0, 5, "no minute"),
        ("٣ * * * *", 0, 1, "no minute"),
    ],
)
def test_faults_say_where_they_are(text: str, start: int, end: int, said: str) -> None:
    """Each rule of the grammar refuses what breaks it, at the part that does."""
    with pytest.raises(CronError, match=said) as caught:
        parse_cron(text)
    assert (caught.value.start, caught.value.end) == (start, end)


def test_a_leap_day_is_found_across_a_century() -> None:
    """What comes once in eight years has a next tick."""
    schedule = Schedule(name="n", at="0 0 29 2 *")
    tick = schedule.next_after(datetime(2096, 3, 1, tzinfo=UTC).timestamp())
    assert tick is not None
    assert tick.isoformat() == "2104-02-29T00:00:00+00:00"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 100_000), st.floats(0, 4e9), st.sampled_from(ZONES))
def test_steps_follow_the_clock(step: int, now: float, zone: str) -> None:
    """The ticks of `every` are the multiples of it since 1970, in every zone."""
    schedule = Schedule(name="n", every=float(step), tz=zone)
    ahead = schedule.next_after(now)
    assert ahead is not None
    assert ahead.timestamp() % step == 0
    assert 0 < ahead.timestamp() - int(now * 1000) / 1000 <= step
    behind = next(schedule.latest(now), None)
    assert behind is None or ahead.timestamp() - behind.timestamp() == step
