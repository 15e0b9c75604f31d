"""Ask an endpoint, as a probe does, or with a malformed request."""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["Answer", "ask", "get"]


class Answer(NamedTuple):
    """What came back."""

    status: int
    head: str
    body: str


async def ask(url: str, request: bytes) -> Answer:
    """Send these bytes and read to the end; the status is 0 if nothing was answered."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        answer = await reader.read()
    except ConnectionError:
        answer = b""
    finally:
        writer.close()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return Answer(int(head.split()[1]) if head else 0, head, body)


async def get(url: str, path: str) -> Answer:
    """GET a page."""
    return await ask(url, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
