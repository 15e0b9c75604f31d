"""An answer that never came: said where it matters, made good where it can be."""

from __future__ import annotations

import asyncio

import pytest

from flowd import (
    BulkError,
    Item,
    Letter,
    OutcomeUnknown,
    Queue,
    Reject,
    Unreachable,
)
from flowd.broker.scripts import ENQUEUE, SETTLE, Script
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import pending
from tests.support.proxy import proxy_to
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.scripts import KEYED_ENQUEUE
from tests.support.waiting import wait_until

GROUP = "senders"


def _known(raw: Raw, script: Script) -> bytes:
    """Let the server know a script, so that its hash is asked for at once."""
    raw("SCRIPT", "LOAD", script.source)
    return script.sha.encode()


async def test_an_enqueue_without_an_answer_says_so(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It is not repeated: the job is there once, and the caller knows it may be."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, RecordingHandler(), url=proxy.url, policy=policy(stream)) as queue,
    ):
        proxy.lose(b"XADD")
        with pytest.raises(OutcomeUnknown, match="was lost"):
            await queue.enqueue(email())
        assert raw("XLEN", stream) == 1

        await queue.enqueue(email())
        assert raw("XLEN", stream) == 2


async def test_keyed_enqueue_is_repeated(redis_url: str, raw: Raw, stream: str) -> None:
    """The server remembers the key, so the caller gets the id and there is one job."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, RecordingHandler(), url=proxy.url, policy=policy(stream)) as queue,
    ):
        proxy.lose(_known(raw, KEYED_ENQUEUE))
        job_id = await queue.enqueue(email(), key="order-7")
        assert proxy.lost == 1

    assert [entry for entry, _ in raw.entries(stream)] == [job_id]


async def test_a_delayed_job_is_not_repeated(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A delay alone makes nothing repeatable."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, RecordingHandler(), url=proxy.url, policy=policy(stream)) as queue,
    ):
        proxy.lose(_known(raw, ENQUEUE))
        with pytest.raises(OutcomeUnknown):
            await queue.enqueue(email(), delay=60.0)

    assert raw("ZCARD", f"{{{stream}}}:delayed") == 1


async def test_a_batch_says_what_is_certain(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """`ids` are those of the batches before, `unknown` counts the one that was lost."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, RecordingHandler(), url=proxy.url, policy=policy(stream)) as queue,
    ):
        sha = _known(raw, KEYED_ENQUEUE)

        def jobs() -> list[Email | Item[Email]]:
            return [email(str(number)) for number in range(501)]

        stored = await queue.enqueue_bulk(jobs()[:500])
        proxy.lose(b"EXEC", answer=b"*500\r\n")
        with pytest.raises(BulkError) as failed:
            await queue.enqueue_bulk(jobs())
        assert failed.value.ids == ()
        assert failed.value.unknown == 500
        assert raw("XLEN", stream) == len(stored) + 500

        # With keys the same thing is no event at all.
        proxy.lose(sha)
        keyed = [Item(email(), key=str(number)) for number in range(10)]
        ids = await queue.enqueue_bulk(keyed)
        assert raw("XLEN", stream) == len(stored) + 500 + len(set(ids))
        assert proxy.lost == 2


async def test_unsent_enqueue_is_unreachable(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Without a connection nothing was stored, and that is what is said."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            RecordingHandler(),
            url=proxy.url,
            policy=policy(stream),
            connect_timeout=0.1,
        ) as queue,
    ):
        proxy.cut()
        await asyncio.sleep(0.01)
        with pytest.raises(Unreachable, match="cannot reach"):
            await queue.enqueue(email())

    assert raw("XLEN", stream) == 0


async def test_an_idle_connection_that_was_closed_is_not_an_outage(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A server that drops idle clients does not cost a producer an error."""
    async with make_queue() as queue:
        for number in range(3):
            raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await wait_until(lambda: raw.info("connected_clients") == "1")
            await asyncio.sleep(0.01)
            await queue.enqueue(email(str(number)))

    assert raw("XLEN", stream) == 3


async def test_a_lost_acknowledgement_is_repeated(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The job ran once, is done, and does not come back."""
    recorder = RecordingHandler()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):
        proxy.lose(_known(raw, SETTLE))
        queue.run()
        await queue.enqueue(email())
        await queue.drain()
        assert proxy.lost == 1

    assert recorder.started == ["a"]
    assert not pending(raw, stream, GROUP)


async def test_a_lost_dead_letter_is_one_dead_letter(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Repeating the move finds that it was made."""
    letters: list[Letter[Email]] = []

    async def refuse(job: Email) -> None:
        raise Reject("no")

    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            refuse,
            url=proxy.url,
            policy=policy(stream),
            on_dead_letter=letters.append,
        ) as queue,
    ):
        proxy.lose(_known(raw, SETTLE))
        queue.run()
        await queue.enqueue(email())
        await queue.drain()
        assert proxy.lost == 1

    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 1


async def test_a_lost_retry_is_one_retry(redis_url: str, raw: Raw, stream: str) -> None:
    """A job whose retry was answered into the void runs again once, as attempt 2."""
    recorder = RecordingHandler()

    async def fail_once(job: Email) -> None:
        recorder.started.append(job.to)
        if len(recorder.started) == 1:
            raise ValueError

    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, fail_once, url=proxy.url, policy=policy(stream)) as queue,
    ):
        proxy.lose(_known(raw, SETTLE))
        queue.run()
        await queue.enqueue(email())
        await queue.drain()
        assert proxy.lost == 1

    assert recorder.started == ["a", "a"]
