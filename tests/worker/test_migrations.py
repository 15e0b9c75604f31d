"""Jobs of older versions run as what migrations make of them, and stay as they were."""

from __future__ import annotations

import traceback
from datetime import date

import pytest

from flowd import (
    Context,
    DeadLetters,
    DecodeError,
    Letter,
    NewerVersion,
    Producer,
    Queue,
    Reject,
    Retry,
)
from flowd.model.keys import Keys
from flowd.testing import MemoryQueue, round_trip
from tests.support.jobs import report_migrations
from tests.support.jobs.report import (
    Forgetful,
    Format,
    Note,
    NoteV1,
    Page,
    Report,
    ReportV2,
)
from tests.support.raw import Raw
from tests.support.waiting import wait_until

_NEW_YEAR = "1767225600000"


async def test_every_version_runs_as_the_newest(redis_url: str, raw: Raw) -> None:
    """Migrations are applied one after the other, from whichever version it is."""
    raw("XADD", "report", "*", "customer", "7", "at", _NEW_YEAR)
    raw("XADD", "report", "*", "customer", "8", "when", _NEW_YEAR, "_v", "1")
    second = ("customer", "9", "day", "2026-01-02", "format", "csv", "password", "abc")
    raw("XADD", "report", "*", *second, "_v", "2")
    newest = Report(customer=10, days=[], formats=[])
    seen: list[tuple[Report, int]] = []

    async def note(job: Report, ctx: Context) -> None:
        seen.append((job, ctx.attempt))

    async with Queue(Report, note, url=redis_url) as queue:
        await queue.enqueue(newest)
        queue.run()
        await queue.drain()

    day, pages = date(2026, 1, 1), [Page(title="all", lines=0)]
    assert sorted(seen, key=lambda one: one[0].customer) == [
        (Report(customer=7, days=[day], formats=[Format.PDF], pages=pages), 1),
        (Report(customer=8, days=[day], formats=[Format.PDF], pages=pages), 1),
        (
            Report(
                customer=9,
                days=[date(2026, 1, 2)],
                formats=[Format.CSV],
                token="abc",
            ),
            1,
        ),
        (newest, 1),
    ]


async def test_an_older_class_can_still_be_enqueued(redis_url: str) -> None:
    """A test of a migration enqueues what an old producer did."""
    seen: list[Note] = []

    async def take(job: Note) -> None:
        seen.append(job)

    async with Producer(redis_url) as producer:
        await producer.enqueue(NoteV1(text="a\nb"))
    async with Queue(Note, take, url=redis_url) as queue:
        queue.run()
        await queue.drain()
    assert seen == [Note(lines=["a", "b"])]


async def test_a_failed_migration_is_a_dead_letter(redis_url: str, raw: Raw) -> None:
    """The entry is kept as it was, with what the migration said."""

    async def never(job: Note) -> None:
        raise AssertionError

    raw("XADD", "note", "*", "text", "", "of", "tomorrow")
    letters: list[Letter[Note]] = []
    async with Queue(
        Note, never, url=redis_url, on_dead_letter=letters.append
    ) as queue:
        queue.run()
        await wait_until(lambda: letters)
    (letter,) = letters
    assert (letter.reason, letter.job) == ("undecodable", None)
    assert letter.fields == {b"text": b"", b"of": b"tomorrow"}
    assert letter.error == (
        "Note: version 1 cannot become 3: ValueError: the note is empty"
    )


async def test_a_job_of_a_forgotten_version_is_a_dead_letter(
    redis_url: str, raw: Raw
) -> None:
    """An entry below `oldest` says which versions are read."""

    async def never(job: Forgetful) -> None:
        raise AssertionError

    raw("XADD", "forgetful", "*", "text", "a")
    letters: list[Letter[Forgetful]] = []
    async with Queue(
        Forgetful, never, url=redis_url, on_dead_letter=letters.append
    ) as queue:
        queue.run()
        await wait_until(lambda: letters)
    assert letters[0].error == (
        "Forgetful._v: the job is of version 1, and this class reads from 2 on"
    )


async def test_a_retried_and_a_redriven_job_stay_of_their_version(
    redis_url: str, raw: Raw
) -> None:
    """Only what is read is migrated: the bytes in Redis are those of the old producer."""
    keys = Keys("note", "workers")
    seen: list[int] = []

    async def fail(job: Note, ctx: Context) -> None:
        seen.append(ctx.attempt)
        if ctx.attempt == 1:
            raise Retry(after=0)
        if len(seen) == 2:
            raise Reject("not today")

    raw("XADD", "note", "*", "text", "a\nb", "_v", "1")
    async with (
        Queue(Note, fail, url=redis_url) as queue,
        DeadLetters(Note, redis_url) as dead,
    ):
        queue.run()
        await wait_until(lambda: raw("XLEN", keys.dead) == 1)
        (letter,) = [each async for each in dead.list()]
        assert letter.job == Note(lines=["a", "b"])
        assert (letter.fields[b"text"], letter.fields[b"_v"]) == (b"a\nb", b"1")
        await dead.redrive(letter.id)
        await wait_until(lambda: raw("XLEN", "note") == 0)
    assert seen == [1, 2, 1, 2]


async def test_a_corrected_job_is_of_the_newest_version(
    redis_url: str, raw: Raw
) -> None:
    """What takes the place of an older job on its way back leaves nothing of it."""
    raw("XADD", "note", "*", "text", "", "of", "tomorrow", "_v", "1", "_own", "1")

    async def never(job: Note) -> None:
        raise AssertionError

    letters: list[Letter[Note]] = []
    async with Queue(
        Note, never, url=redis_url, on_dead_letter=letters.append
    ) as queue:
        queue.run()
        await wait_until(lambda: letters)
    async with DeadLetters(Note, redis_url) as dead:
        await dead.redrive(letters[0], job=Note(lines=["corrected"]))
    ((_, fields),) = raw.entries("note")
    assert fields.keys() >= {b"_own", b"_v", b"lines"}
    assert not fields.keys() & {b"text", b"of"}
    assert Note.from_fields(fields) == Note(lines=["corrected"])


def test_a_migration_shows_no_secret() -> None:
    """Where one of the two classes has a secret, only the type of its error is shown."""
    fields = {b"customer": b"1", b"day": b"2026-01-01", b"password": b"refuse hunter2"}
    with pytest.raises(DecodeError) as caught:
        Report.from_fields({**fields, b"_v": b"2"})
    assert str(caught.value) == (
        "Report: version 2 cannot become 3: refused with ValueError"
    )
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    fields = {b"customer": b"hunter2", b"at": b"0"}
    with pytest.raises(DecodeError) as caught:
        Report.from_fields(fields)
    assert str(caught.value) == (
        "ReportV2: version 1 cannot become 2: refused with ValueError"
    )
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("made", "shown"),
    [(None, "NoneType"), (NoteV1(text="hunter2"), "NoteV1"), ("hunter2", "str")],
)
def test_a_migration_that_makes_no_job_of_its_version_fails(
    made: object, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten `return` or a class of another version is reported, also in a chain."""

    def migrate(_old: object) -> object:
        return made

    for step in ("report_v1_to_v2", "note_v1_to_v3"):
        monkeypatch.setattr(report_migrations, step, migrate)
    with pytest.raises(DecodeError) as caught:
        Note.from_fields({b"text": b"hunter2"})
    assert str(caught.value) == (
        f"Note: version 1 cannot become 3: the migration returned {shown}, not Note"
    )
    with pytest.raises(DecodeError) as caught:
        Report.from_fields({b"customer": b"1", b"at": b"0"})
    assert str(caught.value) == (
        "ReportV2: version 1 cannot become 2: the migration returned"
        f" {shown}, not ReportV2"
    )


def test_secrets_of_older_versions_are_secrets() -> None:
    """The runtime hides what entries of any version hold."""
    assert Report.SPEC.secrets == ("password", "token")


def test_encoded_job_has_its_version() -> None:
    """So each class reads what it writes, and older classes know that it is newer."""
    job = Report(customer=1, days=[], formats=[])
    assert round_trip(job) == job
    old = ReportV2(customer=1, day=date(2026, 1, 1), password="")
    assert round_trip(old) == old
    assert Report.from_fields(old.to_fields()).days == [date(2026, 1, 1)]
    assert NoteV1(text="a").to_fields() == {b"text": b"a"}
    with pytest.raises(NewerVersion):
        ReportV2.from_fields(job.to_fields())


def test_a_version_without_fields_of_its_own_is_read_as_the_next() -> None:
    """Version 2 of Note is read as it is, by the class of version 3."""
    fields = {b"_v": b"2", b"lines": b'["a"]'}
    assert Note.from_fields(fields) == Note(lines=["a"])


async def test_the_memory_queue_takes_versions() -> None:
    """Tests without a server see jobs as workers do."""
    job = Report(customer=1, days=[], formats=[])

    async def take(job: Report) -> None:
        pass

    queue = MemoryQueue(Report, take)
    await queue.enqueue(job)
    await queue.drain()
    assert queue.done == [job]
