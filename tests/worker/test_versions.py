"""A worker leaves jobs of a newer version than its class knows to a newer worker."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Self

import pytest

from flowd import Context, DeadLetters, JobSpec, NewerVersion, Queue
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


class Newer:
    """An Email of the schema's third version."""

    SPEC: ClassVar[JobSpec] = dataclasses.replace(Email.SPEC, version=3)

    def __init__(self, to: str) -> None:
        self.to = to

    def to_fields(self) -> dict[bytes, bytes]:
        """As an Email."""
        return email(self.to).to_fields()

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> Self:
        """As an Email."""
        return cls(Email.from_fields(fields).to)


async def test_a_newer_job_waits_for_a_newer_worker(
    redis_url: str,
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    make_queue: MakeQueue,
) -> None:
    """It is released with a delay, uncounted, and runs where its version is known."""
    caplog.set_level("INFO", "flowd")
    delayed = Keys(stream, GROUP).delayed
    old, seen = RecordingHandler(), list[Context]()

    async def note(job: Newer, ctx: Context) -> None:
        seen.append(ctx)

    rules = policy(stream)
    async with (
        Queue(Newer, note, url=redis_url, policy=rules) as newer,
        make_queue(old, rules=rules) as older,
    ):
        older.run()
        ids = await newer.enqueue_bulk([Newer("a"), Newer("b")])
        await older.enqueue(email("old"))
        await wait_until(lambda: raw("ZCARD", delayed) == 2)
        await wait_until(lambda: old.done == ["old"])
        # A second meeting counts no more than the first.
        for job in ids:
            raw("ZADD", delayed, 0, job)
        await wait_until(lambda: events(caplog.records).count("release") >= 4)
        newer.run()
        while len(seen) < 2:
            for job in ids:
                raw("ZADD", delayed, "XX", 0, job)
            await asyncio.sleep(0.02)
        await wait_until(lambda: raw("XLEN", stream) == 0)

    assert sorted(ctx.id for ctx in seen) == sorted(ids)
    assert {(ctx.attempt, ctx.deliveries) for ctx in seen} == {(1, 1)}
    assert events(caplog.records).count("newer_version") == 1
    assert "up to 1" in caplog.text


async def test_a_version_that_is_no_number_is_undecodable(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """No version could read it, so it is dead-lettered like any other fault."""
    async with make_queue() as queue:
        queue.run()
        raw("XADD", stream, "*", "to", "a", "subject", "hi", "_v", "soon")
        await wait_until(lambda: raw("XLEN", Keys(stream, GROUP).dead) == 1)

    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        letters = [letter async for letter in dead.list()]
    assert [letter.error for letter in letters] == [
        "Email._v: expected a number, got b'soon'"
    ]


def test_an_older_version_is_read_and_a_newer_one_is_not() -> None:
    """What a class reads ends with its own version, and begins with none at all."""
    assert Newer.SPEC.version_of({}) == 1
    assert Newer.SPEC.version_of({b"_v": b"3"}) == 3
    with pytest.raises(NewerVersion) as refused:
        Newer.SPEC.version_of({b"_v": b"4"})
    assert (refused.value.version, refused.value.known) == (4, 3)
    with pytest.raises(NewerVersion):
        Email.SPEC.version_of({b"_v": b"2"})
