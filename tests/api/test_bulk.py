"""Enqueue many jobs: few round trips, and a clear account when it breaks off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowd import (
    BulkError,
    EncodeError,
    IdNotIncreasing,
    Item,
    Job,
    OptionError,
    PayloadTooLarge,
    Producer,
    Queue,
    WrongKeyType,
)
from flowd.embedded import Server
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.jobs.odd import Blob
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until


def sender(url: str, stream: str) -> Queue[Email]:
    """A queue that only enqueues."""
    return Queue(Email, RecordingHandler(), url=url, stream=stream)


def emails(count: int) -> Iterator[Email]:
    """So many jobs, made one by one."""
    return (email(str(number)) for number in range(count))


async def test_any_iterable_will_do(redis_url: str, raw: Raw, stream: str) -> None:
    """A generator is read once; the ids come back in the order of the jobs."""
    queue = sender(redis_url, stream)
    ids = await queue.enqueue_bulk(emails(1203))
    assert await queue.enqueue_bulk([]) == []
    assert await queue.enqueue_bulk(iter(())) == []
    await queue.aclose()

    entries = raw.entries(stream)
    assert [entry_id for entry_id, _ in entries] == ids
    assert [int(fields[b"to"]) for _, fields in entries] == list(range(1203))


@pytest.mark.parametrize(("jobs", "trips"), [(1, 1), (500, 1), (501, 2), (1500, 3)])
async def test_a_batch_is_one_round_trip(
    redis_url: str, raw: Raw, stream: str, jobs: int, trips: int
) -> None:
    """Each 500 jobs are one transaction."""
    queue = sender(redis_url, stream)
    before = raw.calls("exec")
    await queue.enqueue_bulk(emails(jobs))
    await queue.aclose()

    assert raw.calls("exec") - before == trips


async def test_a_batch_has_at_most_a_megabyte(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Large jobs travel in more batches, so that none of them stops the server."""

    async def ignore(job: Blob) -> None:
        """Take every job."""

    queue = Queue(Blob, ignore, url=redis_url, stream=stream)
    before = raw.calls("exec")
    await queue.enqueue_bulk(Blob(data=bytes(200_000)) for _ in range(11))
    await queue.aclose()

    assert raw.calls("exec") - before == 3
    assert raw("XLEN", stream) == 11


async def test_an_item_has_its_own_id_delay_and_key(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What differs from job to job goes into an `Item`, among plain jobs."""
    queue = sender(redis_url, stream)
    ids = await queue.enqueue_bulk(
        [
            Item(email("id"), id="7-7"),
            email("plain"),
            Item(email("key"), key="k"),
            Item(email("delayed"), delay=60.0),
            Item(email("again"), key="k"),
        ]
    )
    await queue.aclose()

    entries = raw.entries(stream)
    assert [entry_id for entry_id, _ in entries] == ids[:3]
    assert [fields[b"to"] for _, fields in entries] == [b"id", b"plain", b"key"]
    assert ids[0] == "7-7"
    assert raw("ZRANGE", f"{{{stream}}}:delayed", 0, -1) == [ids[3].encode()]
    assert ids[4] == ids[2]


def test_an_item_that_cannot_be_is_refused() -> None:
    """It says so where it is made, not when the batch is under way."""
    with pytest.raises(OptionError, match="delay is -1"):
        Item(email(), delay=-1)
    with pytest.raises(OptionError, match="id is '7-7'"):
        Item(email(), id="7-7", delay=1.0)
    with pytest.raises(OptionError, match="key_ttl is 0"):
        Item(email(), key="k", key_ttl=0)


async def test_bulk_enqueue_serves_many_classes(redis_url: str, raw: Raw) -> None:
    """A producer's batch goes to each job's own stream; ids are in the jobs' order."""
    jobs: list[Job] = [
        email("a"),
        email("b"),
        Blob(data=b"1"),
        email("c"),
        Blob(data=b"2"),
    ]
    async with Producer(redis_url) as producer:
        ids = await producer.enqueue_bulk(jobs)

    mails, blobs = raw.entries("emails"), raw.entries("blob")
    assert [entry_id for entry_id, _ in mails] == [ids[0], ids[1], ids[3]]
    assert [entry_id for entry_id, _ in blobs] == [ids[2], ids[4]]


async def test_a_refused_job_ends_the_batch(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What was before it is stored, it and what is behind it is not."""
    queue = sender(redis_url, stream)
    items: list[Email | Item[Email]] = [
        Item(email("first"), id="5-0"),
        Item(email("refused"), id="3-0", key="refused"),
        email("behind"),
        Item(email("delayed"), delay=60.0),
    ]
    with pytest.raises(BulkError) as caught:
        await queue.enqueue_bulk(items)
    await queue.aclose()

    assert caught.value.ids == ("5-0",)
    assert caught.value.unknown == 0
    assert isinstance(caught.value.__cause__, IdNotIncreasing)
    assert [entry_id for entry_id, _ in raw.entries(stream)] == ["5-0"]
    assert raw("KEYS", f"{{{stream}}}*") == []


@pytest.mark.parametrize("kept_in", ["delayed", "bodies"])
async def test_delayed_jobs_that_are_refused_end_the_batch(
    redis_url: str, raw: Raw, stream: str, kept_in: str
) -> None:
    """None of those that are written together is stored, nor what is behind them."""
    keys = Keys(stream, "senders")
    raw("SET", getattr(keys, kept_in), "neither a sorted set nor a hash")
    before: list[Email | Item[Email]]
    before = [Item(email("first"), id="5-0"), email("second")]
    waiting = [Item(email(str(number)), delay=60.0) for number in range(3)]
    endings: list[list[Email | Item[Email]]] = [
        [],
        [email("behind"), Item(email("delayed"), delay=60.0)],
        [Item(email("keyed"), delay=60.0, key="k")],
        [Item(email("keyed"), key="k")],
    ]
    for behind in endings:
        raw("DEL", stream)
        queue = sender(redis_url, stream)
        with pytest.raises(BulkError) as caught:
            await queue.enqueue_bulk([*before, *waiting, *behind])
        await queue.aclose()

        assert isinstance(caught.value.__cause__, WrongKeyType)
        assert caught.value.unknown == 0
        assert [entry_id for entry_id, _ in raw.entries(stream)] == [*caught.value.ids]
        assert len(caught.value.ids) == 2
        for key in {keys.delayed, keys.bodies} - {getattr(keys, kept_in)}:
            assert raw("EXISTS", key) == 0
        assert raw("EXISTS", keys.idempotency("k")) == 0


async def test_delayed_jobs_before_one_that_is_refused_are_stored(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What waits to be written with others is written, whatever ends the batch."""
    keys = Keys(stream, "senders")
    raw("SADD", keys.idempotency("k"), "no string")
    for refused in (
        Item(email("keyed"), key="k"),
        Item(email("keyed"), delay=60.0, key="k"),
    ):
        raw("DEL", keys.delayed, keys.bodies)
        queue = sender(redis_url, stream)
        with pytest.raises(BulkError) as caught:
            await queue.enqueue_bulk(
                [*(Item(email(str(n)), delay=60.0) for n in range(3)), refused]
            )
        await queue.aclose()

        assert isinstance(caught.value.__cause__, WrongKeyType)
        assert (len(caught.value.ids), caught.value.unknown) == (3, 0)
        stored = raw("ZRANGE", keys.delayed, 0, -1)
        assert isinstance(stored, list)
        assert sorted(map(str, stored)) == sorted(
            str(each.encode()) for each in caught.value.ids
        )
        assert raw("HLEN", keys.bodies) == 3


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (Email(to="\ud800", subject="hi"), EncodeError),
        (Email(to="a", subject="x" * 300_000), PayloadTooLarge),
    ],
)
async def test_a_job_that_cannot_be_sent_ends_the_batch(
    redis_url: str, raw: Raw, stream: str, bad: Email, cause: type[Exception]
) -> None:
    """The error has the ids of the batches that were sent before it."""
    queue = sender(redis_url, stream)
    with pytest.raises(BulkError, match="500 jobs are stored; then: Email") as caught:
        await queue.enqueue_bulk([*emails(600), bad, *emails(600)])
    await queue.aclose()

    assert isinstance(caught.value.__cause__, cause)
    assert [entry_id for entry_id, _ in raw.entries(stream)] == [*caught.value.ids]


async def test_an_iterable_that_fails_ends_the_batch(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What the caller's own generator raises is the cause; the ids are not lost."""

    def broken() -> Iterator[Email]:
        yield from emails(700)
        raise LookupError("the file ends here")

    queue = sender(redis_url, stream)
    with pytest.raises(BulkError, match="the file ends here") as caught:
        await queue.enqueue_bulk(broken())
    await queue.aclose()

    assert isinstance(caught.value.__cause__, LookupError)
    assert len(caught.value.ids) == 500
    assert [entry_id for entry_id, _ in raw.entries(stream)] == [*caught.value.ids]


async def test_a_server_that_is_not_there_is_said(stream: str) -> None:
    """Nothing is stored and nothing is unknown where no server listens."""
    queue = Queue(
        Email,
        RecordingHandler(),
        url="redis://127.0.0.1:1",
        stream=stream,
        connect_timeout=0.01,
    )
    with pytest.raises(BulkError, match="0 jobs are stored; then: cannot reach"):
        await queue.enqueue_bulk(emails(3))
    await queue.aclose()


@pytest.mark.one_server
async def test_a_batch_that_is_soon_due_is_not_overslept(
    raw: Raw, make_queue: MakeQueue
) -> None:
    """A delayed job of a batch runs when it is due, not at the worker's next look."""
    recorder = RecordingHandler()
    async with make_queue(recorder, lease=60.0) as queue:
        queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        unblocked = raw.calls("client|unblock")
        await queue.enqueue_bulk([Item(email("soon"), delay=0.05)])
        await wait_until(lambda: recorder.done)
        # The read did not wait for its next round of maintenance.
        assert raw.calls("client|unblock") > unblocked


async def test_a_key_that_cannot_be_read_ends_the_batch(
    redis_url: str, raw: Raw
) -> None:
    """The job is refused, and what is before it is stored, as it is counted."""
    raw("SADD", "{emails}:key:second", "no string")
    items = [Item(email(each), key=each) for each in ("first", "second")]
    async with Producer(redis_url) as producer:
        with pytest.raises(BulkError) as caught:
            await producer.enqueue_bulk(items)
    assert caught.value.unknown == 0
    assert [entry_id for entry_id, _ in raw.entries("emails")] == [*caught.value.ids]
    assert len(caught.value.ids) == 1


async def test_a_batch_without_the_right_to_multi(own_server: Server, raw: Raw) -> None:
    """The server then carries out what it should have held back: nothing is certain."""
    with Raw(own_server.url) as own:
        own("ACL", "SETUSER", "p", "on", ">pw", "~*", "+@all", "-multi")
        url = f"unix://p:pw@{own_server.socket}"
        async with Producer(url) as producer:
            with pytest.raises(BulkError, match="NOPERM") as caught:
                await producer.enqueue_bulk(emails(3))
    assert (caught.value.ids, caught.value.unknown) == ((), 3)
