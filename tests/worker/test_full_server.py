"""A server without memory takes no job and loses none; workers make room in it."""

from __future__ import annotations

import asyncio

import pytest

from flowd import (
    BulkError,
    Concurrency,
    Context,
    Fair,
    Gate,
    Item,
    Queue,
    QueueFull,
    Rate,
    Reject,
    Retry,
    Unique,
)
from flowd.embedded import Server
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.events import Seen
from tests.support.gated import gated, leftovers
from tests.support.leases import die_with, pending
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


class Rejecting(RecordingHandler):
    """A recorder that rejects the jobs whose `to` begins so, and notes which."""

    def __init__(self, bad: str) -> None:
        super().__init__()
        self.bad = bad
        self.rejected: list[str] = []

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job."""
        if job.to.startswith(self.bad):
            self.rejected.append(job.to)
            raise Reject("no")
        await super().__call__(job, ctx)


def _fill(raw: Raw) -> None:
    """Let the server have less memory than it uses."""
    raw("CONFIG", "SET", "maxmemory-policy", "noeviction")
    raw("CONFIG", "SET", "maxmemory", 1)


def _free(raw: Raw) -> None:
    raw("CONFIG", "SET", "maxmemory", 0)


async def test_producers_get_queue_full(own_server: Server, stream: str) -> None:
    """`enqueue` says QueueFull at once, in every form, and stores nothing."""
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(
            Email, RecordingHandler(), url=own_server.url, policy=rules
        ) as queue:
            _fill(raw)
            with pytest.raises(QueueFull, match="out of memory"):
                await queue.enqueue(email())
            with pytest.raises(QueueFull):
                await queue.enqueue(email(), key="k")
            with pytest.raises(QueueFull):
                await queue.enqueue(email(), delay=1.0)
            with pytest.raises(BulkError) as failed:
                await queue.enqueue_bulk([email(), Item(email(), key="k")])
            assert failed.value.ids == ()
            assert failed.value.unknown == 0
            assert isinstance(failed.value.__cause__, QueueFull)
            keys = raw("KEYS", f"*{stream}*")
            assert keys == [stream.encode()]

            _free(raw)
            await queue.enqueue(email(), key="k")
            assert raw("XLEN", stream) == 1


async def test_refused_job_takes_no_place(own_server: Server, stream: str) -> None:
    """The one that runs afterwards stays as it was, with its time, if the next is refused."""
    job = gated(Gate(unique=Unique(fields=("to",), again="last")))
    recorder, rules = RecordingHandler(), policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(job, recorder, url=own_server.url, policy=rules) as queue:
            for to, delay in (("a", 0.0), ("b", 600.0)):
                await queue.enqueue(job(to=to, subject="1"))
                second = await queue.enqueue(job(to=to, subject="2"), delay=delay)
                _fill(raw)
                for later in (0.0, 60.0):
                    with pytest.raises(QueueFull):
                        await queue.enqueue(job(to=to, subject="3"), delay=later)
                _free(raw)
            assert await queue.run_now(second)
            queue.run()
            await queue.drain()
            assert leftovers(raw, stream) == []
    assert sorted(recorder.done) == ["a", "a", "b", "b"]


async def test_workers_drain_on(own_server: Server, stream: str) -> None:
    """Jobs are read, run and acknowledged while nothing can be stored."""
    recorder = RecordingHandler()
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk(email(str(number)) for number in range(50))
            _fill(raw)
            queue.run()
            await queue.drain()

    assert len(recorder.done) == 50


async def test_refused_dead_letter_stays_in_the_stream(
    own_server: Server, stream: str
) -> None:
    """A refused dead letter hurts no other job, and is made once there is room."""
    recorder = Rejecting("bad")
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk([email("bad"), *map(email, "0123456789")])
            _fill(raw)
            queue.run()
            await wait_until(
                lambda: len(recorder.done) == 10 and raw("XLEN", stream) == 1
            )
            await wait_until(lambda: queue.failing is not None)
            (held,) = pending(raw, stream, GROUP)
            assert held.deliveries == 1

            _free(raw)
            await queue.drain()
            assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 1
            assert queue.failing is None

    assert recorder.rejected == ["bad"]


@pytest.mark.parametrize("backoff", [0.0, 0.001], ids=["at once", "delayed"])
async def test_a_retry_needs_no_room(
    own_server: Server, stream: str, backoff: float
) -> None:
    """A failed job is tried again, and promoted, by a server that is full all the time."""
    runs: list[str] = []

    async def fail_twice(job: Email) -> None:
        runs.append(job.to)
        if runs.count(job.to) < 3:
            raise Retry(after=backoff)

    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, fail_twice, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk([email("a"), email("b")])
            _fill(raw)
            queue.run()
            await queue.drain()

    assert sorted(runs) == ["a", "a", "a", "b", "b", "b"]


async def test_refused_dead_letters_take_no_slot(
    own_server: Server, stream: str
) -> None:
    """Many times more of them than slots stop no job, and all are stored in the end."""
    recorder = Rejecting("bad")
    rules = policy(stream, lease=1.0)
    with Raw(own_server.url) as raw:
        async with Queue(
            Email, recorder, url=own_server.url, policy=rules, concurrency=2
        ) as queue:
            await queue.enqueue_bulk(email(f"bad{number}") for number in range(40))
            await queue.enqueue_bulk(email(str(number)) for number in range(200))
            _fill(raw)
            queue.run()
            await wait_until(lambda: len(recorder.done) == 200)
            await wait_until(lambda: raw("XLEN", stream) == 40)
            held = pending(raw, stream, GROUP)
            assert [each.deliveries for each in held] == [1] * 40

            _free(raw)
            await queue.drain()
            assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 40

    assert len(recorder.rejected) == 40


async def test_refused_dead_letters_are_held_up_to_a_bound(
    own_server: Server, stream: str
) -> None:
    """A thousand are held; what is more is put back for later, and jobs still run."""
    recorder = Rejecting("bad")
    rules = policy(stream, lease=60.0)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk(email(f"bad{number}") for number in range(1_010))
            await queue.enqueue(email("good"))
            _fill(raw)
            handle = queue.run()
            await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 10)
            await wait_until(
                lambda: recorder.done == ["good"] and raw("XLEN", stream) == 1_000
            )
            assert len(pending(raw, stream, GROUP)) == 1_000
            _free(raw)
            await wait_until(lambda: raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 1_000)
            await handle.shutdown()

    assert len(recorder.rejected) == 1_010


async def test_a_suspect_does_not_wait_for_what_is_refused(
    own_server: Server, stream: str
) -> None:
    """A dead letter without room keeps no suspect from running alone."""
    recorder = Rejecting("bad")
    rules = policy(stream, lease=2.0)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            await queue.enqueue(email("suspect"))
            die_with(raw, stream, GROUP, jobs=1, count=2)
            await queue.enqueue(email("bad"))
            _fill(raw)
            queue.run()
            await wait_until(lambda: queue.failing is not None)
            await wait_until(lambda: recorder.done == ["suspect"])
            _free(raw)
            await queue.drain()


async def test_a_shutdown_tries_what_was_refused_once_more(
    own_server: Server, stream: str
) -> None:
    """What a server refuses is left to its lease; what it takes by then is stored."""
    recorder = Rejecting("bad")
    rules = policy(stream, lease=60.0)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk([email("bad1"), email("bad2")])
            _fill(raw)
            handle = queue.run()
            await wait_until(lambda: queue.failing is not None)
            await wait_until(lambda: len(recorder.rejected) == 2)
            _free(raw)
            await handle.shutdown()
            assert raw("XLEN", stream) == 0
            assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 2


async def test_due_jobs_need_no_room(own_server: Server, stream: str) -> None:
    """A queue that has nothing but delayed jobs goes on in a full server."""
    recorder = RecordingHandler()
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            await queue.enqueue(email("delayed"), delay=0.001)
            _fill(raw)
            queue.run()
            await queue.drain()

    assert recorder.done == ["delayed"]


async def test_a_shutdown_needs_no_room(own_server: Server, stream: str) -> None:
    """It acknowledges what ended, and releases the rest, uncounted."""
    started: list[str] = []

    async def run(job: Email) -> None:
        started.append(job.to)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if job.to == "stays":
                raise

    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, run, url=own_server.url, policy=rules) as queue:
            handle = queue.run()
            await queue.enqueue_bulk([email("stays"), email("ends")])
            await wait_until(lambda: len(started) == 2)
            _fill(raw)
            await handle.shutdown(grace=0.0)
            left = [fields for _, fields in raw.entries(stream)]
            assert not pending(raw, stream, GROUP)

    assert [fields[b"to"] for fields in left] == [b"stays"]
    assert left[0][b"_deliveries"] == b"0"


async def test_externally_settled_job_ends_the_outage(
    own_server: Server, stream: str
) -> None:
    """A job that could not be moved, and is gone, keeps the queue failing no longer."""
    with Raw(own_server.url) as raw:
        rules = policy(stream, lease=60.0)
        async with Queue(
            Email, Rejecting("a"), url=own_server.url, policy=rules
        ) as queue:
            queue.run()
            entry_id = await queue.enqueue(email())
            raw("CONFIG", "SET", "maxmemory", 1)
            await wait_until(lambda: queue.failing is not None)
            raw("XACK", stream, "senders", entry_id)
            raw("XDEL", stream, entry_id)
            raw("CONFIG", "SET", "maxmemory", 0)
            await wait_until(lambda: queue.failing is None)


async def test_a_worker_says_what_it_wants_to_a_full_server(
    own_server: Server, stream: str
) -> None:
    """A worker of a queue with turns waits for jobs there as anywhere, and fails in nothing."""
    job, recorder, seen = (
        gated(Gate(fair=Fair(per=("to",)))),
        RecordingHandler(),
        Seen(),
    )
    with Raw(own_server.url) as raw:
        async with Queue(
            *(job, recorder),
            url=own_server.url,
            policy=policy(stream),
            middleware=[seen],
        ) as queue:
            await queue.init()
            _fill(raw)
            queue.run()
            want = Keys(stream, GROUP).gate[10]
            await wait_until(lambda: raw("HLEN", want) == 1)
            assert queue.failing is None
            _free(raw)
            await queue.enqueue(job(to="a", subject="b"))
            await wait_until(lambda: recorder.done == ["a"])
    assert not seen.named("outage")


@pytest.mark.parametrize(
    "gate",
    [
        Gate(concurrency=Concurrency(per=("to",), limit=1)),
        Gate(rate=Rate(per=("to",), limit=1_000, every=1)),
        Gate(fair=Fair(per=("to",))),
    ],
    ids=["limit", "rate", "fair"],
)
async def test_parked_jobs_need_no_room(
    own_server: Server, stream: str, gate: Gate
) -> None:
    """What waits at the gate, or for its time, is admitted and run in a full server."""
    job, recorder = gated(gate), RecordingHandler()
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(job, recorder, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(40))
            await queue.enqueue(job(to="a", subject="late"), delay=0.001)
            _fill(raw)
            queue.run()
            await queue.drain()
            assert leftovers(raw, stream) == []

    assert recorder.done == ["a"] * 41
