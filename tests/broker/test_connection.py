"""One connection for everything: what is asked together goes out together."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from flowd import OutcomeUnknown, ServerError, Unreachable
from flowd.broker.connection import Connection, pack
from flowd.broker.protocol import Call, RedisProtocol
from flowd.broker.replies import texts_or_refusals
from flowd.broker.url import Address
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.servers import transport
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
    add = pack(("XADD", stream, "*", "a", "1"))
    with pytest.raises(ServerError, match="wrong number of arguments"):
        await connection.transact(
            [add, pack(("XADD", stream)), add], texts_or_refusals(3)
        )
    assert raw("EXISTS", stream) == 0
    first, second = await asyncio.gather(
        connection.transact([add, add], texts_or_refusals(2)), connection.call("PING")
    )
    await connection.aclose()

    assert second == b"PONG"
    match first:
        case [str(), str()]:
            assert raw("XLEN", stream) == 2
        case _:
            pytest.fail(f"expected two ids, got {first!r}")


async def test_unsent_command_is_unreachable_after_close(redis_url: str) -> None:
    """A connection that is closed sends nothing any more, and does not connect again."""
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
        proxy.restore()
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


@pytest.mark.skipif(
    transport() == "tls", reason="asyncio's TLS does not say what has not left yet"
)
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


class Line(asyncio.WriteTransport):
    """A line with a clock of its own, on which bytes leave when a test says so.

    It stands for the event loop too: a protocol that is made on it has its time and its
    timers.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now = 0.0
        self.held = 0
        self.timers: list[tuple[asyncio.TimerHandle, Callable[[], object]]] = []
        self.ended = ""
        self.create_future = asyncio.get_running_loop().create_future
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: self)
            self.protocol = RedisProtocol(lambda _, __, ___, why: self.end(why))
        self.protocol.connection_made(self)

    def end(self, why: str) -> None:
        self.ended = why

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[[], object]) -> None:
        """Do nothing: a test flushes itself."""

    def call_at(self, when: float, call: Callable[[], object]) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        handle = asyncio.TimerHandle(when, call, (), loop)
        self.timers.append((handle, call))
        return handle

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.held += len(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    def abort(self) -> None: ...

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on; timers run at their time."""
        until = self.now + seconds
        while due := [each for each in self.timers if each[0].when() <= until]:
            first = min(due, key=lambda each: each[0].when())
            self.timers.remove(first)
            if not first[0].cancelled():
                self.now = max(self.now, first[0].when())
                first[1]()
        self.now = until

    def receive(self, data: bytes) -> None:
        self.protocol.get_buffer(-1)[: len(data)] = data
        self.protocol.buffer_updated(len(data))


@pytest.mark.parametrize("seed", range(100))
async def test_a_request_has_time_while_its_bytes_leave(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the line, the answer has its time from when the request has left."""
    chance = random.Random(seed)
    line, timeout = Line(monkeypatch), 1.0
    # What leaves at once has its time from the start; what a slow line may hold is more.
    size = chance.randint(20_000, 200_000)
    call = Call(b"x" * size, 1, timeout)
    line.protocol.send(call)
    line.protocol.flush()
    while line.held > 0:
        line.pass_time(chance.uniform(0.01, 0.95) * timeout)
        left = int(chance.uniform(0.001, 0.02) * size) + 1
        line.held = max(0, line.held - left)
        assert not line.ended, (line.now, line.held)
    line.pass_time(0.95 * timeout)
    assert not line.ended
    line.receive(b"+OK\r\n")
    assert await call.reply == b"OK"


@pytest.mark.parametrize("seed", range(20))
async def test_a_request_whose_bytes_stay_is_lost(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large it is, once none has left for its time."""
    chance = random.Random(seed)
    line, timeout = Line(monkeypatch), 1.0
    line.protocol.send(Call(b"x" * 20_000_000, 1, timeout))
    line.protocol.flush()
    for _ in range(chance.randrange(5)):
        line.pass_time(chance.uniform(0.1, 0.95) * timeout)
        line.held -= 1000
    line.pass_time(3.2 * timeout)
    assert line.ended == "no answer in time"
