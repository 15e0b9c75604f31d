"""A link to a server that can be cut, and that can lose what the server answers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Proxy", "proxy_to"]


class _Pair:
    """A client's connection and the server's, with what was asked last."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self.client = client
        self.server = server
        self.asked = b""


class Proxy:
    """Passes bytes between clients and a server, until it is told not to.

    Attributes:
        url: where clients connect.
        server: the URL of the server that new connections go to.
        accepted: how often a client has connected.
        lost: how many answers were lost.
    """

    def __init__(self, server: str, path: Path) -> None:
        self.server = server
        self.url = f"unix://{path}"
        self.accepted = 0
        self.lost = 0
        self._losing = b""
        self._closed = False
        self._pairs: set[_Pair] = set()

    def lose(self, asked: bytes) -> None:
        """Lose the next answer to a request with these bytes, and its connection."""
        self._losing = asked

    def cut(self) -> None:
        """Close every connection and take no new one until `mend`."""
        self._closed = True
        for pair in self._pairs:
            pair.client.transport.abort()
            pair.server.transport.abort()

    def mend(self) -> None:
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
        """Serve one client."""
        self.accepted += 1
        if self._closed:
            client.transport.abort()
            return
        try:
            replies, server = await _connect(self.server)
        except OSError:
            client.transport.abort()
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
            client.transport.abort()
            server.transport.abort()

    def close(self) -> None:
        """Close every connection for good."""
        self.cut()

    async def _ask(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        # uvloop says RuntimeError where asyncio drops what is written too late.
        with suppress(OSError, RuntimeError):
            while data := await reader.read(2**16):
                pair.asked = data
                pair.server.write(data)
            if not pair.client.transport.is_closing():
                pair.server.transport.abort()

    async def _answer(self, pair: _Pair, replies: asyncio.StreamReader) -> None:
        while data := await replies.read(2**16):
            if self._losing and self._losing in pair.asked:
                self._losing = b""
                self.lost += 1
                return
            pair.client.write(data)


@asynccontextmanager
async def proxy_to(server: str) -> AsyncGenerator[Proxy]:
    """A proxy in front of the server with this URL."""
    folder = Path(tempfile.mkdtemp(prefix="flowd-proxy-"))
    proxy = Proxy(server, folder / "socket")
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_unix_server(serve, folder / "socket")
    try:
        yield proxy
    finally:
        listening.close()
        proxy.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        shutil.rmtree(folder)


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(unquote(parts.path))
    return await asyncio.open_connection(parts.hostname, parts.port)
