"""Producers that record, and what can be asked about what they were given."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import ANY

import pytest

from flowd import (
    BulkError,
    EncodeError,
    Item,
    OptionError,
    Producer,
    SyncProducer,
    Unreachable,
)
from flowd.testing import (
    FakeClock,
    Memory,
    MemoryQueue,
    RecordingProducer,
    RecordingSyncProducer,
)
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.jobs.odd import Login

HELLO = Email(to="a@b.c", subject="hi")
PAGE = Crawl(url="u", priority=1, tags=["a"])


async def test_recording_producer_replaces_a_producer() -> None:
    """What the program enqueues is recorded with all that it said about each job."""

    async def program(producer: Producer) -> None:
        async with producer:
            await producer.enqueue(HELLO, delay=60, durable=True)
            await producer.enqueue_bulk([PAGE, Item(HELLO, key="k", key_ttl=9)])

    producer = RecordingProducer()
    await program(producer)
    assert producer.items == [
        Item(HELLO, delay=60),
        Item(PAGE),
        Item(HELLO, key="k", key_ttl=9),
    ]
    assert producer.jobs(Email) == [HELLO, HELLO]
    assert producer.jobs(Crawl) == [PAGE]


def test_recording_sync_producer_records() -> None:
    """`RecordingSyncProducer` records as well, and ends without a thread."""

    def program(producer: SyncProducer) -> None:
        with producer:
            producer.enqueue(HELLO, delay=60)
            producer.enqueue_bulk([PAGE])

    producer = RecordingSyncProducer()
    program(producer)
    assert producer.items == [Item(HELLO, delay=60), Item(PAGE)]
    producer.assert_enqueued(HELLO)


async def test_ids_and_keys_are_those_of_a_stream() -> None:
    """A known key gives the first id and records nothing; ids are distinct."""
    producer = RecordingProducer()
    first = await producer.enqueue(HELLO, key="k")
    assert await producer.enqueue(HELLO, key="k") == first
    assert await producer.enqueue(HELLO) != first
    assert await producer.enqueue(PAGE, key="k") != ""
    assert len(producer.items) == 3


async def test_an_error_is_raised_while_it_is_set() -> None:
    """`memory.error` is what every producer of that memory raises, and stores nothing."""
    memory = Memory()
    memory.error = Unreachable("down")
    with pytest.raises(Unreachable, match="down"):
        await RecordingProducer(memory).enqueue(HELLO)
    with pytest.raises(BulkError, match="0 jobs are stored; then: down"):
        RecordingSyncProducer(memory).enqueue_bulk([HELLO])
    memory.error = None
    await RecordingProducer(memory).enqueue(HELLO)
    assert memory.items == [Item(HELLO)]


async def test_invalid_input_fails_as_in_production() -> None:
    """A value without a form, and an iterable that fails, raise what `Producer` does."""
    producer = RecordingProducer()
    bad = Crawl(url="u", priority=-1, tags=[])
    with pytest.raises(EncodeError, match=r"Crawl\.priority"):
        await producer.enqueue(bad)

    def jobs() -> Iterator[Email]:
        yield HELLO
        raise OSError("the file ends here")

    with pytest.raises(BulkError, match="0 jobs are stored; then: the file ends here"):
        await producer.enqueue_bulk(jobs())
    with pytest.raises(OptionError, match="delay is -1"):
        await producer.enqueue(HELLO, delay=-1)
    assert producer.items == []


async def test_a_queue_runs_what_a_producer_recorded() -> None:
    """Queues of the same memory run the jobs of their stream, and no others."""
    producer = RecordingProducer()
    mails = MemoryQueue(Email, lambda _: None, memory=producer.memory)
    pages = MemoryQueue(Crawl, lambda _: None, memory=producer.memory)
    await producer.enqueue_bulk([HELLO, PAGE])
    await mails.drain()
    assert (mails.done, pages.done, len(pages)) == ([HELLO], [], 1)
    assert (mails.enqueued, pages.enqueued) == ([HELLO], [PAGE])


def test_a_clock_belongs_to_a_memory() -> None:
    """A queue with a memory takes its clock from there."""
    memory = Memory(FakeClock(7.0))
    assert MemoryQueue(Email, print, memory=memory).clock.now == 7.0
    with pytest.raises(OptionError, match="a memory has its own"):
        MemoryQueue(Email, print, memory=memory, clock=FakeClock())


def test_assert_enqueued_finds_by_job_and_by_fields() -> None:
    """The first job that fits is returned, with its delay, key and id."""
    producer = RecordingSyncProducer()
    producer.enqueue(Email(to="x@b.c", subject="hi"))
    producer.enqueue(HELLO, delay=5)
    producer.enqueue(HELLO, delay=6)
    assert producer.assert_enqueued(HELLO) == Item(HELLO, delay=5)
    assert producer.assert_enqueued(Email).job.to == "x@b.c"
    assert producer.assert_enqueued(Email, to="a@b.c", subject=ANY).delay == 5
    producer.refute_enqueued(Email, to="y@b.c")
    producer.refute_enqueued(Crawl)


def test_missing_job_is_explained() -> None:
    """The message has the differences of each job of the class, the nearest first."""
    producer = RecordingSyncProducer()
    with pytest.raises(AssertionError, match=r"^no Email was enqueued, but nothing at"):
        producer.assert_enqueued(HELLO)
    producer.enqueue(PAGE)
    with pytest.raises(AssertionError, match=r"^no Email was enqueued, but 1 Crawl$"):
        producer.assert_enqueued(Email)
    producer.enqueue(Email(to="x", subject="y\x1b[2J"))
    with pytest.raises(AssertionError, match="1 was, the nearest first"):
        producer.assert_enqueued(Email, to="z")
    producer.enqueue(Email(to="x", subject="hi"))
    with pytest.raises(AssertionError) as failed:
        producer.assert_enqueued(Email, to="a@b.c", subject="hi")
    assert str(failed.value).splitlines() == [
        "no Email was enqueued with to='a@b.c', subject='hi'; 2 were, the nearest first:",
        "  - to is 'x', not 'a@b.c'",
        r"  - to is 'x', not 'a@b.c'; subject is 'y\x1b[2J', not 'hi'",
    ]
    producer.enqueue_bulk([HELLO] * 20)
    with pytest.raises(AssertionError, match=r"\n  and 12 more$"):
        producer.assert_enqueued(Email, to="no-at")


def test_unexpected_jobs_are_shown() -> None:
    """`refute_enqueued` says how many there are, and shows the first."""
    producer = RecordingSyncProducer()
    producer.enqueue_bulk([HELLO, HELLO])
    with pytest.raises(AssertionError, match=r"2 Email were enqueued with to='a@b\.c'"):
        producer.refute_enqueued(Email, to="a@b.c")


def test_a_field_that_is_none_is_a_mistake() -> None:
    """A misspelt field is refused with the names there are; a job has all of its own."""
    producer = RecordingSyncProducer()
    with pytest.raises(OptionError, match="it has 'to', 'subject', 'body'"):
        producer.refute_enqueued(Email, too="a@b.c")
    with pytest.raises(OptionError, match="give its class instead"):
        producer.assert_enqueued(HELLO, to="a@b.c")


def test_secrets_are_not_shown() -> None:
    """A message has `<secret>` for what is wanted and for what there is."""
    producer = RecordingSyncProducer()
    producer.enqueue(Login(user="me", password="correct-horse"))
    with pytest.raises(AssertionError, match="password is <secret>, not") as failed:
        producer.assert_enqueued(Login, password="battery-staple")
    assert "horse" not in str(failed.value)
    assert "staple" not in str(failed.value)
