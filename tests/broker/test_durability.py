"""A durable job is confirmed to outlive its server, or its producer gets an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from flowd import (
    BulkError,
    Durable,
    NotDurable,
    OptionError,
    OutcomeUnknown,
    Producer,
    Unreachable,
)
from flowd.embedded import Server
from tests.support.email_job import email
from tests.support.proxy import proxy_to
from tests.support.raw import Raw, RawError
from tests.support.servers import chosen
from tests.support.waiting import wait_until

STREAM = "emails"


@pytest.fixture
def kept(own_server: Server) -> Iterator[Raw]:
    """A client of a server that knows WAITAOF and flushes once a second."""
    with Raw(own_server.url) as raw:
        try:
            raw("WAITAOF", 0, 0, 1)
        except RawError:
            pytest.skip(f"{chosen().name} has no WAITAOF")
        raw("CONFIG", "SET", "appendfsync", "everysec")
        yield raw


async def test_durable_enqueue_returns_once_the_job_is_on_disk(
    own_server: Server, kept: Raw
) -> None:
    """While nothing is flushed nothing is confirmed, delayed or keyed or in bulk."""
    short, long = Durable(timeout=0.05), Durable(timeout=60.0)
    async with Producer(own_server.url) as producer:

        async def enqueue_all(wish: Durable) -> Sequence[str | BaseException]:
            return await asyncio.gather(
                producer.enqueue(email(), durable=wish),
                producer.enqueue(email(), delay=60.0, durable=wish),
                producer.enqueue(email(), key="a", durable=wish),
                return_exceptions=True,
            )

        kept("CONFIG", "SET", "appendfsync", "no")
        for refused in await enqueue_all(short):
            assert isinstance(refused, NotDurable)
            assert "not yet on the disk" in str(refused)
            assert len(refused.ids) == 1
        kept("CONFIG", "SET", "appendfsync", "always")
        assert all(isinstance(each, str) for each in await enqueue_all(long))
        assert len(await producer.enqueue_bulk([email()] * 3, durable=long)) == 3


async def test_many_share_a_flush(own_server: Server, kept: Raw) -> None:
    """A hundred callers at once wait for one flush or two, not for a hundred."""
    wish = Durable(timeout=60.0)
    async with Producer(own_server.url) as producer:
        await producer.enqueue(email(), durable=wish)
        started = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(producer.enqueue(email(), durable=wish) for _ in range(100))
        )
        took = asyncio.get_running_loop().time() - started

    assert kept("XLEN", STREAM) == 101
    # Flushes are a second apart: one for each would take a hundred seconds anywhere.
    assert took < 50.0


async def test_waiting_call_blocks_no_other(own_server: Server, kept: Raw) -> None:
    """While a durable job waits for a replica, other jobs of the process go through."""
    wish = Durable(fsync=False, replicas=1, timeout=3600.0)
    async with Producer(own_server.url) as producer:
        waiting = asyncio.ensure_future(producer.enqueue(email(), durable=wish))
        await wait_until(lambda: kept("XLEN", STREAM) == 1)
        await producer.enqueue(email())
        assert not waiting.done()
        kept("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(OutcomeUnknown):
            await waiting

    assert kept("XLEN", STREAM) == 2


async def test_missing_replica_is_not_durable(redis_url: str, raw: Raw) -> None:
    """The job is stored and will run, and the producer knows that it is not safe."""
    wish = Durable(fsync=False, replicas=1, timeout=0.01)
    async with Producer(redis_url) as producer:
        with pytest.raises(NotDurable, match="0 of 1 replicas") as caught:
            await producer.enqueue(email(), durable=wish)
        (entry,) = raw.entries(STREAM)
        assert caught.value.ids == (entry[0],)

        with pytest.raises(BulkError) as broken:
            await producer.enqueue_bulk([email(), email()], durable=wish)
        assert (broken.value.ids, broken.value.unknown) == ((), 2)
        assert isinstance(broken.value.__cause__, NotDurable)

    assert raw("XLEN", STREAM) == 3


async def test_keyed_durable_enqueue_may_be_repeated(redis_url: str, raw: Raw) -> None:
    """Each repetition asks for the proof again, and the job is stored once."""
    wish = Durable(fsync=False, replicas=1, timeout=0.01)
    async with Producer(redis_url) as producer:
        for _ in range(3):
            with pytest.raises(NotDurable) as caught:
                await producer.enqueue(email(), key="a", durable=wish)
            (entry,) = raw.entries(STREAM)
            assert caught.value.ids == (entry[0],)
    life = raw("PTTL", f"{{{STREAM}}}:key:a")
    assert isinstance(life, int)
    assert 86_000_000 < life <= 86_400_000


async def test_a_repetition_waits_for_the_first(own_server: Server, kept: Raw) -> None:
    """The proof covers what another connection stored under the key before."""
    async with Producer(own_server.url) as producer:
        first = await producer.enqueue(email(), key="a")
        kept("CONFIG", "SET", "appendfsync", "no")
        with pytest.raises(NotDurable):
            await producer.enqueue(email(), key="a", durable=Durable(timeout=0.2))
        kept("CONFIG", "SET", "appendfsync", "always")
        assert await producer.enqueue(email(), key="a", durable=True) == first


async def test_unprovable_durability_is_refused(redis_url: str, raw: Raw) -> None:
    """Without an append-only file, or on Redis 6.2, a durable job is refused at once."""
    async with Producer(redis_url) as producer:
        with pytest.raises(NotDurable, match="nothing was stored") as caught:
            await producer.enqueue(email(), durable=True)

    assert caught.value.ids == ()
    assert raw("EXISTS", STREAM) == 0


@pytest.mark.parametrize("key", [None, "a"])
async def test_a_connection_that_breaks_confirms_nothing(
    own_server: Server, kept: Raw, key: str | None
) -> None:
    """A lost proof is an unknown outcome, which a key repeats until it is known."""
    async with proxy_to(own_server.url) as proxy, Producer(proxy.url) as producer:
        await producer.enqueue(email(), durable=True)
        proxy.lose(b"WAITAOF")
        if key is None:
            with pytest.raises(OutcomeUnknown, match="stored, and then no proof"):
                await producer.enqueue(email(), durable=True)
        else:
            await producer.enqueue(email(), key=key, durable=True)
        assert proxy.lost == 1

    assert kept("XLEN", STREAM) == 2


async def test_no_server_stores_nothing(own_server: Server) -> None:
    """Without a connection the error is the usual one."""
    own_server.kill()
    async with Producer(own_server.url, connect_timeout=0.05) as producer:
        with pytest.raises(Unreachable):
            await producer.enqueue(email(), durable=True)


@pytest.mark.parametrize(
    "wish",
    [
        {"fsync": False},
        {"replicas": -1},
        {"timeout": 0.0},
        {"timeout": float("nan")},
    ],
)
def test_a_wish_has_to_make_sense(wish: dict[str, float]) -> None:
    """A copy or the disk has to be awaited, with a limit."""
    with pytest.raises(OptionError):
        Durable(**wish)  # type: ignore[arg-type]


async def test_two_that_wait_do_not_end_each_other(own_server: Server) -> None:
    """Without a replica both get the error, after the time of the one and of both."""
    wish = Durable(fsync=False, replicas=1, timeout=1.2)
    async with Producer(own_server.url) as producer:
        results = await asyncio.gather(
            *(_behind(number, producer, wish) for number in range(3)),
            return_exceptions=True,
        )
    assert [type(each) for each in results] == [NotDurable] * 3


async def _behind(turns: int, producer: Producer, wish: Durable) -> str:
    await asyncio.sleep(0.05 * turns)
    return await producer.enqueue(email(), durable=wish)


async def test_a_failover_is_followed(
    own_server: Server, kept: Raw, redis_url: str
) -> None:
    """A replica confirms nothing, and is left for the primary that the address has now."""
    async with proxy_to(own_server.url) as proxy:
        kept("REPLICAOF", "127.0.0.1", 1)
        async with Producer(proxy.url, connect_timeout=30.0) as producer:
            kept("CONFIG", "RESETSTAT")
            asked = asyncio.ensure_future(producer.enqueue(email(), durable=True))
            await wait_until(lambda: kept.calls("waitaof") > 0)
            proxy.server = redis_url
            with pytest.raises(NotDurable, match="appendonly is disabled"):
                await asked
