"""Mistakes of a first program: each message says what is wrong and what to write."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from typing import cast

import pytest

from flowd import Item, OptionError, Producer, Queue, SyncProducer
from flowd.testing import MemoryQueue, RecordingProducer, RecordingSyncProducer
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.log import events
from tests.support.waiting import wait_until

NOWHERE = "redis://127.0.0.1:1"

INSTANCE = r"enqueue an instance of a class that flowd-gen wrote, as Email\(\.\.\.\)"
NO_JOBS = [
    ({"to": "a"}, rf"job is 'dict'; {INSTANCE}"),
    ("Email", rf"job is 'str'; {INSTANCE}"),
    (None, rf"job is 'NoneType'; {INSTANCE}"),
    (Email, r"is a class; enqueue an instance of it, as Email\(\.\.\.\)"),
]


async def handle(job: Email) -> None:
    """Accept every job."""


@pytest.mark.parametrize(("given", "message"), NO_JOBS)
async def test_an_object_that_is_no_job_is_refused(given: object, message: str) -> None:
    """A dict, a text or the class itself: the message says to enqueue an instance."""
    job = cast("Email", given)
    async with Producer(NOWHERE) as producer:
        with pytest.raises(OptionError, match=message):
            await producer.enqueue(job)
    queue = Queue(Email, handle, url=NOWHERE)
    with pytest.raises(OptionError, match=message):
        await queue.enqueue(job)
    await queue.aclose()
    blocking = SyncProducer(NOWHERE)
    with pytest.raises(OptionError, match=message):
        blocking.enqueue(job)
    blocking.close()


@pytest.mark.parametrize("given", [email(), Email, Item(email()), 3])
async def test_bulk_of_one_job_is_refused(given: object) -> None:
    """`enqueue_bulk(job)` says to use `enqueue`, and sends nothing."""
    jobs = cast("Iterable[Email]", given)
    message = "must be an iterable of jobs, as a list; for one job use enqueue"
    async with Producer(NOWHERE) as producer:
        with pytest.raises(OptionError, match=message):
            await producer.enqueue_bulk(jobs)
    queue = Queue(Email, handle, url=NOWHERE)
    with pytest.raises(OptionError, match=message):
        await queue.enqueue_bulk(jobs)
    await queue.aclose()
    blocking = SyncProducer(NOWHERE)
    with pytest.raises(OptionError, match=message):
        blocking.enqueue_bulk(jobs)
    blocking.close()
    for fake in (RecordingProducer(), MemoryQueue(Email, handle)):
        with pytest.raises(OptionError, match=message):
            await fake.enqueue_bulk(jobs)
    with pytest.raises(OptionError, match=message):
        RecordingSyncProducer().enqueue_bulk(jobs)


def test_a_handler_that_was_called_is_refused() -> None:
    """`Queue(Email, handle(job))`: the message names the function, and nothing leaks."""
    called = handle(email())
    with pytest.raises(
        OptionError, match="was called; pass the function handle itself"
    ):
        Queue(Email, called, url=NOWHERE)  # type: ignore[arg-type]
    assert inspect.getcoroutinestate(called) == "CORO_CLOSED"


async def test_a_forgotten_init_is_no_lost_group(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`run` without `init` sets the group up, names `init`, and reports no lost jobs."""
    handler = RecordingHandler()
    queue = Queue(Email, handler, url=redis_url, policy=policy(stream))
    await queue.enqueue(email())
    queue.run()
    await wait_until(lambda: handler.done)
    await queue.aclose()

    said = events(caplog.records)
    assert said.count("group_created") == 1
    assert not {"group_recreated", "outage"} & {*said}
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "call `await queue.init()` before `run()`" in line.getMessage()


def test_a_missing_field_names_the_fields_that_are_there() -> None:
    """The error of an incomplete entry lists the fields of the entry."""
    with pytest.raises(ValueError, match=r"Email\.subject.*fields present: 'to'"):
        Email.from_fields({b"to": b"a@b.c"})
