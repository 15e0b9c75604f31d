"""How far a job is, and what its handler logs."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from flowd import Context, DeadLetters, Queue
from flowd.broker.session import connected
from flowd.embedded import Server
from flowd.ops import Queries, find_job, list_jobs, server_time
from flowd.ops.jobs import JobView
from jobs.email import Email
from tests.support.email_job import email, policy
from tests.support.leases import die_with, steal
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until, wait_until_blocking


def board(stream: str) -> str:
    """The key of what is said."""
    return f"{{{stream}}}:senders:progress"


async def views(queue: Queue[Email]) -> list[JobView]:
    """What an operator sees of the jobs that run."""
    async with connected(queue.address) as connection:
        queries = Queries(connection, queue.policy.stream, queue.policy.group)
        now = await server_time(connection)
        return [each async for each in list_jobs(queries, "running", now)]


class Speaker:
    """Says how far it is, then waits at the gate."""

    def __init__(self, *said: tuple[float, str]) -> None:
        self.said = said
        self.gate = asyncio.Event()

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job."""
        for fraction, text in self.said:
            await ctx.progress(fraction, text)
        await self.gate.wait()


async def test_progress_is_visible_until_the_job_ends(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """By every reader of the job; nothing of it is left behind."""
    speaker = Speaker((0.4, "parsing"))
    async with make_queue(speaker) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: raw("HLEN", board(stream)))
        (view,) = await views(queue)
        async with connected(queue.address) as connection:
            queries = Queries(connection, stream, "senders")
            found = await find_job(queries, job_id, 0.0, scan=10)
        speaker.gate.set()
        await queue.drain()
    assert (view.progress, view.doing) == (0.4, "parsing")
    assert found
    assert (found.progress, found.doing) == (0.4, "parsing")
    assert raw("EXISTS", board(stream)) == 0


@pytest.mark.one_server
async def test_the_last_word_counts_and_few_are_written(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """However often it is said, it is written once a second at most, and the last always is."""
    speaker = Speaker(*[(n / 1000, f"step {n}") for n in range(1000)])
    async with make_queue(speaker, lease=60.0) as queue:
        await queue.enqueue(email())
        raw("CONFIG", "RESETSTAT")
        began = time.monotonic()
        queue.run()
        await wait_until(
            lambda: b"step 999" in str(raw("HVALS", board(stream))).encode()
        )
        # Nothing else has EXPIRE while no lease is renewed; HSET writes heartbeats too.
        writes = raw.calls("expire")
        took = time.monotonic() - began
        speaker.gate.set()
        await queue.drain()
    # A slow machine takes more than a second over a thousand turns of the loop.
    assert 1 <= writes <= 1 + took


async def test_handler_without_progress_costs_no_command(
    raw: Raw, make_queue: MakeQueue
) -> None:
    """Neither a write nor the end of one."""
    async with make_queue() as queue:
        raw("CONFIG", "RESETSTAT")
        await queue.enqueue_bulk([email()] * 5)
        queue.run()
        await queue.drain()
    # Each settle of so few has one XDEL. It writes its receipt with HSET as well, of which the
    # first sets the time to live of all; each heartbeat is written with both.
    assert raw.calls("hset") == raw.calls("xdel") + raw.calls("pexpire") - 1
    assert raw.calls("expire") == 0
    # A worker that leaves forgets its receipt and its heartbeat.
    assert raw.calls("hdel") <= 2


async def test_a_plain_function_says_it_without_await(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """From its thread."""

    def handle(job: Email, ctx: Context) -> None:
        ctx.progress(0.5, "in a thread")
        wait_until_blocking(lambda: raw("HLEN", board(stream)))

    async with make_queue(handle) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    assert raw("EXISTS", board(stream)) == 0


async def test_any_thread_may_say_it(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Also one of a handler's own, which asyncio would not let touch its loop."""

    def work(ctx: Context) -> None:
        ctx.progress(0.5, "in a thread")
        wait_until_blocking(lambda: raw("HLEN", board(stream)))

    async def handle(job: Email, ctx: Context) -> None:
        await asyncio.to_thread(work, ctx)

    asyncio.get_running_loop().set_debug(True)
    async with (
        make_queue(handle, max_retries=0) as queue,
        DeadLetters(Email, redis_url, stream=stream) as letters,
    ):
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
        assert [each.error async for each in letters.list()] == []


async def test_invalid_progress_silences_no_other(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """One wrong call is taken as well as it can be, and others are heard after it."""
    speaker = Speaker((None, 7), (10**400, ""), (0.5, "fine"))  # type: ignore[arg-type]
    async with make_queue(speaker) as queue:
        await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: raw("HVALS", board(stream)) == [b"0.5 fine"])
        speaker.gate.set()
        await queue.drain()


@pytest.mark.one_server
async def test_worker_without_the_lease_writes_no_progress(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It cannot write over what its next worker says, nor leave anything behind."""
    spoke = asyncio.Event()
    speak = asyncio.Event()

    async def handle(job: Email, ctx: Context) -> None:
        await speak.wait()
        await ctx.progress(0.9, "zombie")
        spoke.set()
        await asyncio.Event().wait()

    async with make_queue(handle, lease=30.0) as queue:
        await queue.enqueue(email())
        handle_ = queue.run()
        await wait_until(
            lambda: raw("XPENDING", stream, "senders") != [0, None, None, None]
        )
        steal(raw, stream, "senders")
        raw("CONFIG", "RESETSTAT")
        speak.set()
        await spoke.wait()
        await wait_until(lambda: "cmdstat_expire:" in str(raw("INFO", "commandstats")))
        assert raw("EXISTS", board(stream)) == 0
        await handle_.shutdown(grace=0.0)


async def test_progress_of_a_dead_worker_ends_with_the_job(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Also if the next worker says nothing."""
    async with make_queue() as queue:
        await queue.enqueue(email())
        (entry,) = die_with(raw, stream, "senders", jobs=1)
        raw("HSET", board(stream), entry, "0.7 dying")
        queue.run()
        await queue.drain()
    assert raw("EXISTS", board(stream)) == 0


@pytest.mark.parametrize(
    ("fraction", "shown"), [(40, 1.0), (7.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0)]
)
async def test_no_number_fails_a_job(
    raw: Raw, stream: str, fraction: float, shown: float, make_queue: MakeQueue
) -> None:
    """What is no fraction is cut, and text of any kind is carried, shortened."""
    speaker = Speaker((fraction, "\ud800" + "x" * 1000))
    async with make_queue(speaker) as queue:
        await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: raw("HLEN", board(stream)))
        (view,) = await views(queue)
        speaker.gate.set()
        await queue.drain()
    assert view.progress == shown
    assert view.doing == "\\ud800" + "x" * 199


async def test_a_missing_right_is_said_once(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs go on without; the log has what Redis said, which from 7.0 on names it."""
    url = own_server.url
    with Raw(url) as raw:
        raw("ACL", "SETUSER", "default", "-expire")
    speaker = Speaker((0.1, "a"))
    speaker.gate.set()
    async with Queue(Email, speaker, url=url, policy=policy(stream)) as queue:
        await queue.enqueue(email())
        queue.run()
        await wait_until(
            lambda: "progress_refused" in str([vars(r) for r in caplog.records])
        )
        await queue.enqueue(email())
        await queue.drain()
    said = [r for r in caplog.records if vars(r)["event"] == "progress_refused"]
    assert len(said) == 1
    assert "cannot say how far its jobs are" in said[0].getMessage()


async def test_a_handler_logs_with_its_job(
    stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Its fields are bound; those of the call come on top."""
    caplog.set_level(logging.INFO, "flowd.job")

    async def handle(job: Email, ctx: Context) -> None:
        ctx.log.info("%d pages", 7, extra={"pages": 7})

    async with make_queue(handle) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await queue.drain()
    (line,) = (each for each in caplog.records if each.name == "flowd.job")
    fields = vars(line)
    assert line.getMessage() == "7 pages"
    assert [fields[n] for n in ("stream", "job_id", "attempt", "pages")] == [
        *(stream, job_id, 1, 7)
    ]
