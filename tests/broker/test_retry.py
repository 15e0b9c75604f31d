"""A call of several tries: what it raises is the worst that may be true of all of them."""

from __future__ import annotations

import asyncio

import pytest

from flowd import (
    BulkError,
    Durable,
    Item,
    NotDurable,
    OutcomeUnknown,
    Producer,
    QueueFull,
    SyncProducer,
    Unreachable,
)
from flowd.broker.retry import call_with_retry
from flowd.errors import AccessDenied, NotReady, ServerError
from jobs.email import Email
from tests.support.email_job import email
from tests.support.proxy import Proxy, proxy_to
from tests.support.raw import Raw
from tests.support.scripts import KEYED_ENQUEUE
from tests.support.waiting import wait_until


async def lose_then_cut(proxy: Proxy, raw: Raw) -> None:
    """Lose the answer to the next enqueue with a script, and then the server."""
    raw("SCRIPT", "LOAD", KEYED_ENQUEUE.source)
    proxy.lost = 0
    proxy.lose(KEYED_ENQUEUE.sha.encode(), hang=True)  # until the server is gone
    await wait_until(lambda: proxy.lost)
    proxy.cut()


@pytest.mark.parametrize("delay", [0.0, 60.0])
async def test_a_keyed_enqueue_reports_outcome_unknown(
    redis_url: str, raw: Raw, delay: float
) -> None:
    """Its first answer was lost and its repeats find no server: it may be stored."""
    async with (
        proxy_to(redis_url) as proxy,
        Producer(proxy.url, connect_timeout=2.0) as producer,
    ):
        await producer.enqueue(email("before"))
        cut = asyncio.create_task(lose_then_cut(proxy, raw))
        await asyncio.sleep(0)
        words = r"was lost.*asked again.*cannot reach"
        with pytest.raises(OutcomeUnknown, match=words):
            await producer.enqueue(email(), key="k", delay=delay)
        await cut
    assert raw("EXISTS", "{emails}:key:k") == 1


async def test_a_keyed_batch_counts_what_may_be_stored(
    redis_url: str, raw: Raw
) -> None:
    """A batch with keys whose answer was lost counts as unknown, whatever comes then."""
    async with (
        proxy_to(redis_url) as proxy,
        Producer(proxy.url, connect_timeout=1.0) as producer,
    ):
        cut = asyncio.create_task(lose_then_cut(proxy, raw))
        await asyncio.sleep(0)
        with pytest.raises(BulkError) as caught:
            await producer.enqueue_bulk(Item(email(), key=f"{n}") for n in range(10))
        await cut
    assert (caught.value.ids, caught.value.unknown) == ((), 10)
    assert isinstance(caught.value.cause, OutcomeUnknown)
    assert raw("XLEN", "emails") == 10


async def test_a_sync_producer_reports_outcome_unknown(
    redis_url: str, raw: Raw
) -> None:
    """`SyncProducer` raises the same."""
    async with proxy_to(redis_url) as proxy:
        with SyncProducer(proxy.url, connect_timeout=1.0) as producer:
            cut = asyncio.create_task(lose_then_cut(proxy, raw))
            with pytest.raises(OutcomeUnknown):
                await asyncio.to_thread(producer.enqueue, email(), key="k")
            await cut
    assert raw("XLEN", "emails") == 1


LOST = OutcomeUnknown("the answer was lost")


@pytest.mark.parametrize(
    ("tries", "raised"),
    [
        ([LOST, Unreachable("away")], OutcomeUnknown),
        ([LOST, Unreachable("away"), Unreachable("away")], OutcomeUnknown),
        ([LOST, NotReady("loading"), NotReady("loading")], OutcomeUnknown),
        ([LOST, QueueFull("full")], OutcomeUnknown),
        ([LOST, AccessDenied("password")], OutcomeUnknown),
        ([LOST, NotDurable("nothing was stored", ())], OutcomeUnknown),
        ([LOST, NotDurable("stored", ("1-0",))], NotDurable),
        ([Unreachable("away"), LOST], OutcomeUnknown),
        ([Unreachable("away"), AccessDenied("password")], AccessDenied),
        ([Unreachable("away"), QueueFull("full")], QueueFull),
    ],
)
async def test_tries_end_with_the_worst_that_may_be_true(
    tries: list[ServerError], raised: type[ServerError]
) -> None:
    """After a lost answer no later refusal means that nothing was stored."""
    left = iter(tries)

    async def send() -> str:
        raise next(left, Unreachable("away"))

    with pytest.raises(ServerError) as caught:
        await call_with_retry(send, 0.3, repeatable=True)
    assert type(caught.value) is raised


async def test_a_short_key_survives_its_own_repeat(redis_url: str, raw: Raw) -> None:
    """A repeat finds its job, though the key has run out; another call does not."""
    raw("SCRIPT", "LOAD", KEYED_ENQUEUE.source)
    async with (
        proxy_to(redis_url) as proxy,
        Producer(proxy.url, connect_timeout=60.0) as producer,
    ):
        proxy.lose(KEYED_ENQUEUE.sha.encode())
        job_id = await producer.enqueue(email("once"), key="k", key_ttl=0.001)
        assert [entry for entry, _ in raw.entries("emails")] == [job_id]

        proxy.lose(KEYED_ENQUEUE.sha.encode())
        later = await producer.enqueue(email(), key="d", key_ttl=0.001, delay=60.0)
        assert raw("ZRANGE", "{emails}:delayed", 0, -1) == [later.encode()]

        proxy.lose(KEYED_ENQUEUE.sha.encode())
        items = [Item(email(f"{n}"), key=f"{n}", key_ttl=0.001) for n in range(5)]
        ids = await producer.enqueue_bulk(items)
        assert [entry for entry, _ in raw.entries("emails")] == [job_id, *ids]

        again = await producer.enqueue(email("again"), key="k", key_ttl=0.001)
    assert again != job_id
    assert raw("XLEN", "emails") == 7


async def test_a_receipt_ends_with_its_call(redis_url: str, raw: Raw) -> None:
    """Only a call whose keys are short leaves a receipt, and that not for long."""
    async with Producer(redis_url) as producer:
        await producer.enqueue(email(), key="long")
        assert raw("KEYS", "*:call:*") == []
        await producer.enqueue(email(), key="short", key_ttl=1.0)
    receipts = raw("KEYS", "*:call:*")
    assert isinstance(receipts, list)
    (receipt,) = receipts
    assert isinstance(receipt, bytes)
    left = raw("PTTL", receipt)
    assert isinstance(left, int)
    assert 0 < left <= 65_000


async def test_a_key_without_an_end_keeps_it(redis_url: str, raw: Raw) -> None:
    """Repeats neither delete a key that has no time to live nor give it one."""
    async with Producer(redis_url) as producer:
        first = await producer.enqueue(email(), key="k")
        raw("PERSIST", "{emails}:key:k")
        for _ in range(3):
            assert await producer.enqueue(email(), key="k") == first
            await asyncio.sleep(0.005)
    assert raw("PTTL", "{emails}:key:k") == -1
    assert raw("XLEN", "emails") == 1


async def test_a_key_that_cannot_be_set_is_reported(redis_url: str, raw: Raw) -> None:
    """A job that is stored without its key is not reported as refused."""
    rights = ("~*", "+@all", "-set", "nopass", "on")
    raw("ACL", "SETUSER", "limited", *rights)
    url = redis_url.replace("://", "://limited:x@")
    async with Producer(url) as producer:
        with pytest.raises(OutcomeUnknown, match="stored, and its key is not"):
            await producer.enqueue(email(), key="k")
        with pytest.raises(BulkError) as caught:
            await producer.enqueue_bulk(
                [Item(email(), key="a"), Item(email(), key="b")]
            )
    raw("ACL", "DELUSER", "limited")
    assert (caught.value.ids, caught.value.unknown) == ((), 1)
    assert raw("XLEN", "emails") == 2


async def test_a_batch_that_cannot_be_confirmed_is_not_unknown(redis_url: str) -> None:
    """Where the server can confirm nothing, nothing is stored and nothing is unknown."""
    async with Producer(redis_url) as producer:
        with pytest.raises(BulkError) as caught:
            await producer.enqueue_bulk([email()], durable=Durable())
    assert (caught.value.ids, caught.value.unknown) == ((), 0)
    assert isinstance(caught.value.cause, NotDurable)


async def test_a_batch_that_is_no_transaction_is_unknown(
    redis_url: str, raw: Raw
) -> None:
    """Without the right to MULTI each job was added by itself: they may be stored."""
    raw("ACL", "SETUSER", "limited", "~*", "+@all", "-multi", "nopass", "on")
    url = redis_url.replace("://", "://limited:x@")
    async with Producer(url) as producer:
        with pytest.raises(BulkError) as caught:
            await producer.enqueue_bulk([Email(to="a", subject="b")] * 3)
    raw("ACL", "DELUSER", "limited")
    assert caught.value.unknown == 3
