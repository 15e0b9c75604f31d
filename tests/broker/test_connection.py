"""One connection for everything: what is asked together goes out together."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from flowd import OutcomeUnknown, ServerError, Unreachable
from flowd.broker.connection import Connection
from flowd.broker.replies import text
from flowd.broker.url import Address
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.waiting import wait_until


async def test_commands_of_one_loop_turn_are_one_write(redis_url: str) -> None:
    """Fifty callers at the same time need one trip, and each gets its own answer."""
    async with proxy_to(redis_url) as proxy:
        connection = Connection(Address.of(proxy.url))
        await connection.call("PING")
        before = proxy.requests
        answers = await asyncio.gather(*(connection.call("ECHO", n) for n in range(50)))
        assert proxy.requests == before + 1
        await connection.aclose()

    assert answers == [b"%d" % number for number in range(50)]


async def test_a_transaction_is_carried_out_whole_or_not_at_all(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """If one command is refused, those before it and behind it do nothing."""
    connection = Connection(Address.of(redis_url))
    add = ("XADD", stream, "*", "a", "1")
    with pytest.raises(ServerError, match="wrong number of arguments"):
        await connection.transact([add, ("XADD", stream), add], text)
    assert raw("EXISTS", stream) == 0
    first, second = await asyncio.gather(
        connection.transact([add, add], text), connection.call("PING")
    )
    await connection.aclose()

    assert second == b"PONG"
    match first:
        case [str(), str()]:
            assert raw("XLEN", stream) == 2
        case _:
            pytest.fail(f"expected two ids, got {first!r}")


async def test_unsent_command_is_unreachable_after_close(redis_url: str) -> None:
    """A link that is closed sends nothing any more, and does not connect again."""
    async with proxy_to(redis_url) as proxy:
        connection = Connection(Address.of(proxy.url))
        await connection.call("PING")
        before = proxy.requests
        asked = connection.call("PING")
        await connection.aclose()
        with pytest.raises(Unreachable, match="closed"):
            await asked
        await asyncio.sleep(0.01)
        assert (proxy.accepted, proxy.requests) == (1, before)


async def test_an_answer_that_is_none_ends_the_connection() -> None:
    """What follows could answer any command, so it is discarded."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            commands = data.startswith(b"*") + data.count(b"\r\n*")
            answers = [b"+OK\r\n"] * commands
            if b"\r\nID\r\n" in data:  # the second of what a connection begins with
                answers[1] = b":7\r\n"
            to.write(b"?what" if b"PING" in data else b"".join(answers))
        to.close()

    def accept(reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, to)))

    with tempfile.TemporaryDirectory(prefix="flowd-") as folder:
        path = Path(folder) / "socket"
        server = await asyncio.start_unix_server(accept, path)
        connection = Connection(Address.of(f"unix://{path}"))
        asked = [connection.call("PING"), connection.call("ECHO", "a")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [OutcomeUnknown] * 2
        assert "no answer" in str(answers[0])
        await connection.aclose()
        server.close()
        await asyncio.wait(serving)


async def test_a_large_answer_over_a_slow_line_arrives(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It is not late while more of it comes, however long that takes in all."""
    raw("SET", stream, "x" * 200_000)
    async with proxy_to(redis_url) as proxy:
        connection = Connection(Address.of(proxy.url))
        await connection.call("PING")
        proxy.rate = 200_000
        value = await connection.call("GET", stream, timeout=0.3)
        await connection.aclose()

    assert value == b"x" * 200_000


async def test_none_is_late_while_one_before_it_may_be_waited_for(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Behind a command that waits in the server, others wait as long as it may."""
    connection = Connection(Address.of(redis_url))
    waiting = connection.call("BLPOP", stream, 0, timeout=60.0)
    await asyncio.sleep(0)
    other = connection.call("PING", timeout=0.05)
    await wait_until(lambda: raw.info("blocked_clients") == "1")
    done, _ = await asyncio.wait([other], timeout=0.5)
    raw("RPUSH", stream, "a")
    assert not done
    assert await other == b"PONG"
    assert await waiting == [stream.encode(), b"a"]
    await connection.aclose()


@pytest.mark.parametrize("turns", range(4))
async def test_callers_during_close_get_an_error(redis_url: str, turns: int) -> None:
    """At any moment: every call ends, and nothing connects again."""
    async with proxy_to(redis_url) as proxy:
        connection = Connection(Address.of(proxy.url))
        asked = connection.call("PING")
        for _ in range(turns):
            await asyncio.sleep(0)
        late = asyncio.ensure_future(_ask_at_once(connection))
        await connection.aclose()
        results = await asyncio.gather(asked, late, return_exceptions=True)
        assert all(isinstance(each, Unreachable) for each in results)
        with pytest.raises(Unreachable, match="closed"):
            await connection.call("PING")
        await asyncio.sleep(0.01)
        assert proxy.accepted <= 1


async def _ask_at_once(connection: Connection) -> object:
    return await connection.call("PING")


async def test_a_connection_that_dies_as_it_begins_is_a_failure() -> None:
    """Callers that wait for it get an error."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            commands = data.startswith(b"*") + data.count(b"\r\n*")
            last = b"\r\nID\r\n" in data
            to.write(b":7\r\n+what\r\n" if last else b"+OK\r\n" * commands)
        to.close()

    def accept(reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, to)))

    with tempfile.TemporaryDirectory(prefix="flowd-") as folder:
        path = Path(folder) / "socket"
        server = await asyncio.start_unix_server(accept, path)
        connection = Connection(Address.of(f"unix://{path}"))
        with pytest.raises(Unreachable, match="no answer"):
            await asyncio.wait_for(connection.call("PING"), 10)
        await connection.aclose()
        server.close()
        await asyncio.wait(serving)


async def test_cancelled_command_is_not_sent(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A caller that was cancelled while there was no connection enqueues nothing."""
    async with proxy_to(redis_url) as proxy:
        proxy.cut()
        connection = Connection(Address.of(proxy.url))
        first = connection.call("RPUSH", stream, "first")
        second = connection.call("RPUSH", stream, "second", timeout=5.0)
        first.cancel()
        proxy.mend()
        with suppress(Unreachable):
            await second
        await connection.call("RPUSH", stream, "third")
        await connection.aclose()

    assert raw("LPOS", stream, "first") is None


async def test_a_large_request_over_a_slow_line_is_stored(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The time for an answer starts when the request has left, however slowly."""
    async with proxy_to(redis_url) as proxy:
        connection = Connection(Address.of(proxy.url))
        await connection.call("PING")
        proxy.rate = 150_000
        await connection.call("SET", stream, "x" * 250_000, timeout=0.3)
        await connection.aclose()

    assert raw("STRLEN", stream) == 250_000


async def test_large_unread_request_is_lost(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A slow line has time for each byte; one on which none leaves has no more of it."""
    async with proxy_to(redis_url) as proxy:
        connection = Connection(Address.of(proxy.url))
        await connection.call("PING")
        proxy.rate = 20.0  # bytes a second: what has been read is passed on for an hour
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await connection.call("SET", stream, "x" * 20_000_000, timeout=0.3)
        await connection.aclose()
