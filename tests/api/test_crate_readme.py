"""What the README of the Rust crate says of its queue holds here, claim by claim."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from flowd import Claimer, Context, Letter, Queue
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import consumers, die_with, pending
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def accept(job: Crawl | Email) -> None:
    """Take every job."""


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_quick_start_runs_on_either_loop(
    redis_url: str, stream: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Build, init, run, enqueue, shut down: on asyncio's loop as on uvloop."""
    sent: list[str] = []

    async def send(job: Email) -> None:
        sent.append(job.to)

    async def main() -> None:
        queue = Queue(
            Email,
            send,
            url=redis_url,
            stream=stream,
            group=GROUP,
            consumer="sender-1",
            block=5.0,
            concurrency=10,
        )
        await queue.init()
        handle = queue.run()
        await queue.enqueue(email("a@b.c"))
        await queue.drain()
        await handle.shutdown()
        await queue.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert sent == ["a@b.c"]


async def test_a_group_shares_its_stream(redis_url: str, raw: Raw, stream: str) -> None:
    """Consumers of one group, with the names they were given, get each job once."""
    recorders = [RecordingHandler(closed=True), RecordingHandler(closed=True)]
    queues = [
        Queue(Email, each, url=redis_url, stream=stream, consumer=name, concurrency=2)
        for each, name in zip(recorders, ("sender-1", "sender-2"), strict=True)
    ]
    await queues[0].init()
    await queues[0].enqueue_bulk(email(str(number)) for number in range(4))
    for queue in queues:
        queue.run()
    await wait_until(lambda: sum(len(recorder.started) for recorder in recorders) == 4)

    names = consumers(raw, stream, GROUP)
    assert [name.rpartition("-")[0] for name in names] == ["sender-1", "sender-2"]
    for recorder in recorders:
        recorder.gate.set()
    for queue in queues:
        await queue.aclose()
    done = [job for recorder in recorders for job in recorder.done]
    assert sorted(done) == ["0", "1", "2", "3"]


async def test_init_may_be_called_again(redis_url: str, raw: Raw, stream: str) -> None:
    """A stream and a group that are there are fine, and keep their place."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email())
        await queue.init()
        handle = queue.run()
        await queue.drain()
        await queue.init()
        await handle.shutdown()

    assert recorder.done == ["a"]
    assert raw("XLEN", stream) == 0


@pytest.mark.parametrize(
    ("starting_id", "expected"), [("0", ["before", "after"]), ("$", ["after"])]
)
async def test_group_begins_at_the_given_id(
    redis_url: str, stream: str, starting_id: str, expected: list[str]
) -> None:
    """A new group sees what is in the stream already, or only what comes."""
    recorder = RecordingHandler()
    queue = Queue(
        Email, recorder, url=redis_url, stream=stream, starting_id=starting_id
    )
    await queue.enqueue(email("before"))
    await queue.init()
    await queue.enqueue(email("after"))
    queue.run()
    await wait_until(lambda: "after" in recorder.done)
    await queue.aclose()

    assert recorder.done == expected


async def test_no_more_run_at_once_than_is_allowed(redis_url: str, stream: str) -> None:
    """`concurrency` is the crate's `max_concurrent_tasks`."""
    recorder = RecordingHandler(closed=True)
    async with Queue(
        Email, recorder, url=redis_url, stream=stream, concurrency=3
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(8))
        queue.run()
        await wait_until(lambda: len(recorder.started) == 3)
        recorder.gate.set()
        await queue.drain()

    assert len(recorder.done) == 8


async def test_a_shutdown_is_graceful(redis_url: str, raw: Raw, stream: str) -> None:
    """What runs may end, what waits stays for the next worker."""
    recorder = RecordingHandler(closed=True)
    async with Queue(
        Email, recorder, url=redis_url, stream=stream, concurrency=1
    ) as queue:
        await queue.enqueue_bulk([email("running"), email("waiting")])
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        handle.stop()
        recorder.gate.set()
        await handle.wait()

    assert recorder.done == ["running"]
    ((_, fields),) = raw.entries(stream)
    assert fields[b"to"] == b"waiting"


async def test_success_is_acknowledged(redis_url: str, raw: Raw, stream: str) -> None:
    """A job that is done is not pending any more, and leaves the stream."""
    async with Queue(Email, accept, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

        assert not pending(raw, stream, GROUP)
        assert raw("XLEN", stream) == 0


async def test_stuck_messages_are_reclaimed(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """The claimer takes over what a dead consumer held, and knows the count."""
    recorder = RecordingHandler()
    async with make_queue(recorder, claimer=Claimer(interval=0.05)) as queue:
        job_id = await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1, count=2)
        queue.run()
        await queue.drain()

    (ctx,) = recorder.contexts
    assert (ctx.id, ctx.deliveries) == (job_id, 3)


async def test_exhausted_messages_go_to_the_callback(make_queue: MakeQueue) -> None:
    """`on_dead_letter`, the crate's `dlq_worker`, gets the job and its attempts."""
    letters: list[Letter[Email]] = []

    async def fail(job: Email) -> None:
        raise OSError("no route")

    async def dead_letter(letter: Letter[Email]) -> None:
        letters.append(letter)

    async with make_queue(fail, max_retries=3, on_dead_letter=dead_letter) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
        await wait_until(lambda: letters)

    (letter,) = letters
    assert (letter.job, letter.attempts) == (email(), 4)
    assert letter.error == "OSError: no route"


async def test_a_task_is_an_id_and_a_payload(redis_url: str, stream: str) -> None:
    """`*` lets the server choose the id, any other is taken; the handler gets both."""
    seen: list[tuple[str, Email]] = []

    async def note(job: Email, ctx: Context) -> None:
        seen.append((ctx.id, job))

    async with Queue(Email, note, url=redis_url, stream=stream) as queue:
        first = await queue.enqueue(email("first"), id="7-1")
        second = await queue.enqueue(email("second"), id="*")
        queue.run()
        await queue.drain()

    assert first == "7-1"
    assert sorted(seen) == sorted([("7-1", email("first")), (second, email("second"))])


async def test_a_batch_is_enqueued(redis_url: str, raw: Raw, stream: str) -> None:
    """A thousand jobs go in with one call, in order, and their ids come back."""
    queue = Queue(Email, accept, url=redis_url, stream=stream)
    ids = await queue.enqueue_bulk(
        Email(to=f"user{number}@b.c", subject="hi") for number in range(1000)
    )
    await queue.aclose()

    entries = raw.entries(stream)
    assert [entry_id for entry_id, _ in entries] == ids
    assert entries[999][1] == {b"to": b"user999@b.c", b"subject": b"hi"}


async def test_the_crawl_of_the_readme_goes_through(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A mapper makes the text of its field, numbers are digits, None is left out."""
    seen: list[Crawl] = []

    async def note(job: Crawl) -> None:
        seen.append(job)

    crawls = [
        Crawl(url="https://b.c", priority=7, tags=["a", "b"]),
        Crawl(url="https://d.e", priority=0, tags=["c"], assigned_to="me"),
    ]
    async with Queue(Crawl, note, url=redis_url, stream=stream) as queue:
        await queue.enqueue_bulk(crawls)
        without, given = (fields for _, fields in raw.entries(stream))
        queue.run()
        await queue.drain()

    assert without == {b"url": b"https://b.c", b"priority": b"7", b"tags": b"a,b"}
    assert given[b"assigned_to"] == b"me"
    assert sorted(seen, key=lambda job: job.url) == crawls


async def test_a_missing_optional_field_reads_as_none(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What a Rust producer writes is a job here, unknown fields and all."""
    seen: list[Crawl] = []
    async with Queue(Crawl, seen.append, url=redis_url, stream=stream) as queue:
        job = ("url", "u", "priority", 1, "tags", "a", "unknown", "x", "_trace", "y")
        raw("XADD", stream, "*", *job)
        queue.run()
        await queue.drain()

    assert seen == [Crawl(url="u", priority=1, tags=["a"], assigned_to=None)]


async def test_a_blocking_read_holds_up_nothing(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Idle queues wait on a connection of their own; all share one for the rest."""
    recorder = RecordingHandler()
    queues = [
        Queue(Email, recorder, url=redis_url, stream=f"{stream}-{name}", block=60.0)
        for name in "ab"
    ]
    for queue in queues:
        await queue.init()
        queue.run()
    await wait_until(lambda: raw.info("blocked_clients") == "1")
    counts = [len(raw.clients(name)) for name in ("flowd-reader", "flowd")]
    # Behind the read this would wait for a minute.
    for queue in queues:
        await queue.enqueue(email())
        await queue.drain()
        await queue.aclose()

    assert counts == [1, 1]
    assert recorder.done == ["a", "a"]
