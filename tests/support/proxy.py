"""A link to a server that can be cut or slow, and that can lose what is answered."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Sized
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import hiredis
import pytest

from tests.support.certificates import certificates, trusting

__all__ = ["Proxy", "proxy_to"]

_TICK: Final = 0.05
_MORE: Final = object()


class _Pair:
    """A client's connection and the server's, with what was asked last."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self.client = client
        self.server = server
        self.asked = b""
        self.silent = False
        self.requests = hiredis.Reader(notEnoughData=_MORE)

    def most_arguments(self, data: bytes) -> int:
        """How many words the longest request has that ends in what came now."""
        self.requests.feed(data)
        most = 0
        while (request := self.requests.gets()) is not _MORE:
            most = max(most, len(request) if isinstance(request, Sized) else 0)
        return most


class Proxy:
    """Passes bytes between clients and a server, until a test breaks that.

    Attributes:
        url: where clients connect.
        server: the URL of the server that new connections go to.
        rate: bytes a second in each direction of a connection; 0 means no limit.
        accepted: how often a client has connected.
        requests: how often clients have sent something.
        lost: how many answers were lost.
        holds: how many requests are under way.
        most_arguments: of one request so far.
    """

    def __init__(self, server: str, url: str) -> None:
        self.server = server
        self.url = url
        self.rate = 0.0
        self.accepted = 0
        self.requests = 0
        self.lost = 0
        self.most_arguments = 0
        self._losing = b""
        self._with = b""
        self._passed_on = 0.0
        self._forging = b""
        self._forged = b""
        self._hanging = False
        self._holding = b""
        self._silencing = True
        self.holds = 0
        self._let_through = asyncio.Event()
        self._closed = False
        self._pairs: set[_Pair] = set()

    def lose(
        self,
        asked: bytes,
        *,
        answer: bytes = b"",
        passed_on: float = 0.0,
        hang: bool = False,
    ) -> None:
        """Lose the next answer to a request with these bytes, and its connection.

        Args:
            asked: found in the request.
            answer: found in the answer, where several may come to one request.
            passed_on: the share of the answer that arrives all the same.
            hang: keep the connection, on which nothing arrives any more.
        """
        self._losing, self._passed_on, self._hanging = asked, passed_on, hang
        self._with = answer

    def hold(self, asked: bytes, *, silent: bool = True) -> None:
        """Keep the next request with these bytes under way until `let_through`.

        Args:
            asked: found in the request.
            silent: whether the client gets no answer on its connection any more, which is
                open at the server.
        """
        self._holding, self._silencing = asked, silent
        self._let_through.clear()

    def let_through(self) -> None:
        """Pass on what is held; the client may have given it up meanwhile."""
        self._let_through.set()

    def forge(self, asked: bytes, answer: bytes) -> None:
        """Answer every request with these bytes like this; no answer: not any more."""
        self._forging, self._forged = asked, answer

    def cut(self) -> None:
        """Close every connection and take no new one until `restore`."""
        self._closed = True
        for pair in self._pairs:
            pair.client.transport.abort()
            pair.server.transport.abort()

    def restore(self) -> None:
        """Take connections again."""
        self._closed = False

    def abandon(self, asked: bytes) -> None:
        """Close clients that asked this; the server does not notice (half open)."""
        for pair in self._pairs:
            if asked in pair.asked:
                pair.client.transport.abort()

    async def serve(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        """Serve one client; its connection is the caller's to close."""
        self.accepted += 1
        if self._closed:
            return
        try:
            replies, server = await _connect(self.server)
        except OSError:
            return
        if self._closed:  # meanwhile
            server.transport.abort()
            return
        pair = _Pair(client, server)
        self._pairs.add(pair)
        asking = asyncio.ensure_future(self._ask(pair, reader))
        try:
            # Not ended by the client: a server may not notice that one is gone.
            with suppress(OSError, RuntimeError):
                await self._answer(pair, replies)
        finally:
            asking.cancel()
            self._pairs.discard(pair)
            server.transport.abort()

    def close(self) -> None:
        """Close every connection for good."""
        self.cut()

    async def _ask(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        # uvloop says RuntimeError where asyncio drops what is written too late.
        with suppress(OSError, RuntimeError):
            while data := await reader.read(2**16):
                self.requests += 1
                pair.asked = data
                if self._holding and self._holding in data:
                    await self._hold(pair)
                most = pair.most_arguments(data)
                self.most_arguments = max(self.most_arguments, most)
                await self._pass(data, pair.server)
            if not pair.client.transport.is_closing():
                pair.server.transport.abort()

    async def _hold(self, pair: _Pair) -> None:
        self._holding, pair.silent = b"", self._silencing
        self.holds += 1
        try:
            await self._let_through.wait()
        finally:
            self.holds -= 1

    async def _answer(self, pair: _Pair, replies: asyncio.StreamReader) -> None:
        while data := await replies.read(2**16):
            if pair.silent:
                continue
            if self._forged and self._forging in pair.asked:
                data = self._forged
            elif self._losing and self._losing in pair.asked and self._with in data:
                self._losing = b""
                self.lost += 1
                if self._hanging:
                    pair.silent = True
                    continue
                pair.client.write(data[: int(len(data) * self._passed_on)])
                pair.client.close()
                await pair.client.wait_closed()
                return
            await self._pass(data, pair.client)

    async def _pass(self, data: bytes, to: asyncio.StreamWriter) -> None:
        while self.rate and data:
            piece = max(1, int(self.rate * _TICK))
            to.write(data[:piece])
            data = data[piece:]
            await asyncio.sleep(_TICK)
        to.write(data)


@asynccontextmanager
async def proxy_to(server: str, *, tls: bool | None = None) -> AsyncGenerator[Proxy]:
    """A proxy in front of the server with this URL.

    With `tls` clients speak it to the proxy; by default they do where the server does.
    """
    if "+" in urlsplit(server).scheme:
        pytest.skip("a proxy is in front of one server, and nodes name each other")
    proxy = Proxy(server, "")
    if tls is None:
        tls = urlsplit(server).scheme == "rediss"
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # Not in the task, which may be cancelled before its first step.
        task.add_done_callback(lambda _: writer.transport.abort())

    folder = Path(tempfile.mkdtemp(prefix="flowd-proxy-"))
    if tls:
        context = certificates().serving()
        listening = await asyncio.start_server(serve, "127.0.0.1", ssl=context)
        proxy.url = certificates().url(listening.sockets[0].getsockname()[1])
    else:
        proxy.url = f"unix://{folder / 'socket'}"
        listening = await asyncio.start_unix_server(serve, folder / "socket")
    try:
        yield proxy
    finally:
        listening.close()
        proxy.close()
        ending = {*tasks, *_handshakes()}
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        shutil.rmtree(folder)


def _handshakes() -> list[asyncio.Task[object]]:
    """The tasks in which asyncio's loop accepts TLS, which its server does not end."""
    name = "_accept_connection2"
    return [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__name__", "") == name
    ]


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(unquote(parts.path))
    reader = asyncio.StreamReader()
    protocol = _Upstream(reader)
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(
            lambda: protocol,
            parts.hostname or "",
            parts.port or 6379,
            ssl=trusting(url),
        )
    except BaseException:
        # Cancelled when TLS has just been agreed on, asyncio would wait for the server's
        # farewell, which may be longer than the loop lives.
        if protocol.transport is not None:
            protocol.transport.abort()
        raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Upstream(asyncio.StreamReaderProtocol):
    """As of `asyncio.open_connection`, and its transport can be aborted from the start."""

    transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.StreamReaderProtocol`."""
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        super().connection_made(transport)
