"""A few pages over HTTP, for Prometheus and for probes; nothing else is served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple, Self, TypeAlias

__all__ = ["Endpoint", "Page", "PageMaker"]

_TEXT: Final = "text/plain; charset=utf-8"
_MAX: Final = 16_384
_PATIENCE: Final = 5.0


class Page(NamedTuple):
    """What is answered."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _TEXT


PageMaker: TypeAlias = Callable[[], Awaitable[Page]]


class Endpoint:
    """Serves pages while it is entered; an async context manager.

    Every connection is for one request, and has a few seconds for it.

    Args:
        pages: path -> what makes the page.
        host: where to listen; an empty one means everywhere.
        port: likewise; 0 lets the system choose.
        patience: seconds that a request and its answer may take.
    """

    def __init__(
        self,
        pages: Mapping[str, PageMaker],
        host: str,
        port: int,
        *,
        patience: float = _PATIENCE,
    ) -> None:
        self._pages = pages
        self._host = host
        self._port = port
        self._patience = patience
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[object]] = set()

    @property
    def url(self) -> str:
        """Where it listens, as `http://127.0.0.1:9000`."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def connections(self) -> int:
        """How many requests are under way."""
        return len(self._serving)

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            OSError: the port cannot be opened.
        """
        self._server = await asyncio.start_server(
            self._serve, self._host or None, self._port, limit=_MAX
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop; a request that is not answered yet never will be."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(self._patience):
                await self._answer(reader, writer)
        except TimeoutError:
            # To close it would wait for a client that reads nothing, without an end.
            writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone
        except asyncio.CancelledError:
            pass  # the end; the task of a server must not be a cancelled one
        finally:
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path, _, version = rest.partition(b" ")
        allow = b""
        if not version.startswith(b"HTTP/1."):
            page = _refusal(HTTPStatus.BAD_REQUEST)
        elif method not in (b"GET", b"HEAD"):
            page = _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
            allow = b"Allow: GET, HEAD\r\n"
        elif make := self._pages.get(path.partition(b"?")[0].decode("latin-1")):
            page = await make()
        else:
            page = _refusal(HTTPStatus.NOT_FOUND)
        writer.write(
            f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
            f"Content-Type: {page.content_type}\r\n"
            f"Content-Length: {len(page.body)}\r\n"
            "Connection: close\r\n".encode()
            + allow
            + b"\r\n"
            + (b"" if method == b"HEAD" else page.body)
        )
        await writer.drain()


def _refusal(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase}\n".encode(), status)
