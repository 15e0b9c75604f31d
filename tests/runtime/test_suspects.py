"""A job that workers seem to die of runs alone in its process."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from flowd import Claimer, Policy, Queue
from jobs.email import Email
from tests.raw import Raw
from tests.runtime.faults import until

LEASE = 2.0


class Stage:
    """A queue whose handlers begin when they may and end when they are told."""

    def __init__(self, url: str, policy: Policy) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.changed = asyncio.Event()
        self.queue = Queue(Email, self._play, url=url, policy=policy)

    async def _play(self, email: Email) -> None:
        self.begun.append(email.to)
        self.changed.set()
        await self.gates.setdefault(email.to, asyncio.Event()).wait()

    def end(self, *names: str) -> None:
        """Let handlers end."""
        for name in names:
            self.gates.setdefault(name, asyncio.Event()).set()

    async def until(self, *names: str) -> None:
        """Wait until exactly these have begun."""
        async with asyncio.timeout(10):
            while sorted(self.begun) != sorted(names):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def staged(url: str, stream: str, lease: float = LEASE) -> AsyncGenerator[Stage]:
    """A stage on a stream of the test's own."""
    policy = replace(Email.SPEC.policy, stream=stream, claim_after=lease)
    stage = Stage(url, policy)
    async with stage.queue:
        yield stage


async def enqueue(stage: Stage, *names: str) -> None:
    """Enqueue one e-mail for each name."""
    await stage.queue.enqueue_bulk(Email(to=name, subject="") for name in names)


def abandon(raw: Raw, stream: str, deliveries: int) -> None:
    """Hand what waits to a consumer that has died so many times."""
    raw("XREADGROUP", "GROUP", "senders", "ghost", "STREAMS", stream, ">")
    for entry_id, _ in raw.entries(stream):
        lost = ("IDLE", int(LEASE * 1000) + 1, "RETRYCOUNT", deliveries)
        raw("XCLAIM", stream, "senders", "ghost", 0, entry_id, *lost)


async def test_a_suspect_waits_for_the_others(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It begins when nothing else is held, and nothing else begins until it ends."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "suspect")
        abandon(raw, stream, 2)
        await enqueue(stage, "first")
        stage.queue.run()
        await stage.until("first")
        await _taken_over(raw, stream)
        await enqueue(stage, "second")
        stage.end("first")
        await stage.until("first", "suspect")
        stage.end("second", "suspect")
        await stage.until("first", "suspect", "second")
        await stage.queue.drain()


async def test_two_suspects_do_not_run_together(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The second is handed back uncounted while the first runs."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "one", "two")
        abandon(raw, stream, 2)
        stage.queue.run()
        await stage.until("one")
        (fields,) = await _put_back(raw, stream)
        assert fields[b"_deliveries"] == b"2"
        assert fields[b"_attempt"] == b"1"
        stage.end("one", "two")
        await stage.until("one", "two")
        await stage.queue.drain()


async def test_all_queues_of_a_process_make_room(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Another queue of the process starts nothing while a suspect runs."""
    async with (
        staged(redis_url, stream) as stage,
        staged(redis_url, f"{stream}-b") as other,
    ):
        await enqueue(stage, "suspect")
        abandon(raw, stream, 2)
        other.queue.run()
        await enqueue(other, "a")
        await other.until("a")
        stage.queue.run()
        await _taken_over(raw, stream)
        await enqueue(other, "b")
        assert stage.begun == []
        other.end("a", "b")
        await stage.until("suspect")
        assert other.begun == ["a"]
        stage.end("suspect")
        await other.until("a", "b")
        await other.queue.drain()


async def test_who_does_not_get_its_turn_is_handed_back(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """If the others run on for a lease, the suspect comes back later, uncounted."""
    async with staged(redis_url, stream, lease=0.2) as stage:
        await enqueue(stage, "suspect")
        abandon(raw, stream, 2)
        await enqueue(stage, "long")
        stage.queue.run()
        await stage.until("long")
        await until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 1)
        assert stage.begun == ["long"]
        stage.end("long", "suspect")
        await stage.until("long", "suspect")
        await stage.queue.drain()


@pytest.mark.parametrize("ends", ["by its lease", "by a shutdown"])
async def test_a_suspect_that_is_no_job_is_buried_where_it_waits(
    redis_url: str, raw: Raw, stream: str, ends: str
) -> None:
    """It is not handed back, which its size may make impossible for the whole queue."""
    lease = 0.2 if ends == "by its lease" else LEASE
    async with staged(redis_url, stream, lease) as stage:
        fields = [word for number in range(5_000) for word in (f"f{number}", "v")]
        raw("XADD", stream, "*", *fields)
        abandon(raw, stream, 2)
        await enqueue(stage, "long")
        handle = stage.queue.run()
        await stage.until("long")
        if ends == "by a shutdown":
            await _taken_over(raw, stream)
            await handle.shutdown(grace=0)
        await until(lambda: raw("XLEN", f"{{{stream}}}:senders:dlq") == 1)
        assert raw("ZCARD", f"{{{stream}}}:delayed") == 0
        stage.end("long")


async def test_a_shutdown_hands_a_waiting_suspect_back(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A suspect that has not begun is in the stream again after the shutdown."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "suspect")
        abandon(raw, stream, 2)
        await enqueue(stage, "long")
        handle = stage.queue.run()
        await stage.until("long")
        await _taken_over(raw, stream)
        await handle.shutdown(grace=0.0)
        assert stage.begun == ["long"]
        left = {fields[b"to"]: fields for _, fields in raw.entries(stream)}
        assert set(left) == {b"suspect", b"long"}
        assert left[b"suspect"][b"_deliveries"] == b"2"


async def test_a_suspect_inherits_nothing_from_who_made_room(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The end of another job starts it, and that job's context variables stay there."""
    var = contextvars.ContextVar("var", default="unset")
    seen: dict[str, str] = {}
    go = asyncio.Event()

    async def note(job: Email) -> None:
        seen[job.to] = var.get()
        var.set(job.to)
        if job.to == "first":
            await go.wait()

    policy = replace(Email.SPEC.policy, stream=stream, claim_after=LEASE)
    async with Queue(Email, note, url=redis_url, policy=policy) as queue:
        await queue.enqueue(Email(to="suspect", subject=""))
        abandon(raw, stream, 2)
        await queue.enqueue(Email(to="first", subject=""))
        queue.run()
        await until(lambda: seen)
        await _taken_over(raw, stream)
        go.set()
        await queue.drain()

    assert seen == {"first": "unset", "suspect": "unset"}


async def test_one_death_is_no_suspicion(redis_url: str, raw: Raw, stream: str) -> None:
    """The job of a worker that died once runs beside the others."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "a", "b", "c")
        abandon(raw, stream, 1)
        stage.queue.run()
        await stage.until("a", "b", "c")
        stage.end("a", "b", "c")
        await stage.queue.drain()


async def test_a_convict_needs_no_room(redis_url: str, raw: Raw, stream: str) -> None:
    """A job that has spent its crashes is dead-lettered while others run."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "convict")
        abandon(raw, stream, Claimer().max_crashes + 1)
        await enqueue(stage, "long")
        stage.queue.run()
        await stage.until("long")
        await until(lambda: raw("XLEN", f"{{{stream}}}:senders:dlq") == 1)
        stage.end("long")
        await stage.queue.drain()
        assert stage.begun == ["long"]


async def _taken_over(raw: Raw, stream: str) -> None:
    await until(lambda: not raw("XPENDING", stream, "senders", "-", "+", 9, "ghost"))


async def _put_back(raw: Raw, stream: str) -> list[dict[bytes, bytes]]:
    """The entries that were handed back, once there is one."""

    def waiting() -> list[dict[bytes, bytes]]:
        return [each for _, each in raw.entries(stream) if b"_deliveries" in each]

    await until(waiting)
    return waiting()
