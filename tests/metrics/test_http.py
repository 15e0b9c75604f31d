"""The HTTP server of probes: answers what it knows, and survives everything else."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress

import pytest

from flowd.metrics.http import Endpoint, Page
from tests.metrics.asking import ask, get
from tests.support.waiting import wait_until

_LARGE = 32 << 20
"""More bytes than the sockets of both sides hold."""


def _read(client: socket.socket) -> int:
    """How many bytes there are to read until the end."""
    got = 0
    with suppress(ConnectionResetError):
        while some := client.recv(1 << 20):
            got += len(some)
    return got


async def hello() -> Page:
    """Make a page."""
    return Page(b"hello\n")


def endpoint(host: str = "127.0.0.1", port: int = 0) -> Endpoint:
    """An endpoint with one page."""
    return Endpoint({"/hello": hello}, host, port)


async def test_a_page_is_answered() -> None:
    """With its length, and the connection is closed; a query changes nothing."""
    async with endpoint() as serving:
        answer = await get(serving.url, "/hello?from=probe")
        head = await ask(serving.url, b"HEAD /hello HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.body) == (200, "hello\n")
    assert "Content-Length: 6\r\n" in answer.head
    assert (head.status, head.body) == (200, "")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"POST /hello HTTP/1.1\r\n\r\n", 405),
        (b"GET /hello\r\n\r\n", 400),
        (b"GET  HTTP/1.1\r\n\r\n", 404),
        (b"\r\n\r\n", 400),
        (b"\xff\xfe\x00 \xff HTTP/1.1\r\n\r\n", 405),
        (b"GET /\xff\x00 HTTP/1.1\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", 400),
    ],
)
async def test_malformed_http_request_is_rejected(request_: bytes, status: int) -> None:
    """It is refused, and the next one is answered."""
    async with endpoint() as serving:
        refused = await ask(serving.url, request_)
        answer = await get(serving.url, "/hello")
    # A client that sends more than is read may see a reset instead of the answer.
    assert refused.status in ({status, 0} if len(request_) > 1000 else {status})
    assert answer.status == 200


async def test_silent_client_blocks_no_other() -> None:
    """Neither another request nor the end of the endpoint."""
    async with endpoint() as serving:
        host, _, port = serving.url.removeprefix("http://").partition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        answer = await get(serving.url, "/hello")
    for _, writer in silent:
        writer.close()
    assert answer.status == 200


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """Its connection would be open for as long as it likes, with the page in memory."""

    async def large() -> Page:
        return Page(bytes(_LARGE))

    async with Endpoint({"/large": large}, "127.0.0.1", 0, patience=0.2) as serving:
        host, _, port = serving.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            await wait_until(lambda: serving.connections == 1)
            await wait_until(lambda: serving.connections == 0)
            got = await asyncio.to_thread(_read, client)
    assert got < _LARGE


async def test_endpoint_listens_on_loopback_only() -> None:
    """The default address is loopback."""
    async with endpoint() as here, endpoint("0.0.0.0") as everywhere:
        assert here.url.startswith("http://127.0.0.1:")
        assert everywhere.url.startswith("http://0.0.0.0:")


async def test_a_port_that_is_taken_is_an_error() -> None:
    """It is not shared in silence."""
    async with endpoint() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is looked at
            async with endpoint(port=port):
                pass
    assert caught.value.errno == errno.EADDRINUSE
