"""The other side of every comparison: redis-py with nothing around it.

It reads 500 entries at once, acknowledges them with one XACK, decodes nothing and keeps
no promise: what it has read and not acknowledged stays with a process that may be dead.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, TypeAlias

import redis.asyncio

from benchmarks.jobs import crawl

__all__ = ["Raw"]

_BATCH: Final = 500
_GROUP: Final = "workers"
_BLOCK: Final = 2_000

Fields: TypeAlias = Mapping[bytes, bytes]


class Raw:
    """Moves fields through a stream of its own; an async context manager."""

    def __init__(self, url: str) -> None:
        # Its annotations name every shape that an answer may have in any protocol.
        path = url.removeprefix("unix://")
        self._redis: Any = redis.asyncio.Redis(
            unix_socket_path=path, max_connections=200
        )
        self.stream = uuid.uuid4().hex
        self._handled = 0

    async def __aenter__(self) -> Self:
        """Create stream and group."""
        await self._redis.xgroup_create(self.stream, _GROUP, "0", mkstream=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def enqueue(self, number: int) -> None:
        """Append one entry."""
        await self._redis.xadd(self.stream, dict(crawl(number).to_fields()))

    async def enqueue_bulk(self, numbers: Sequence[int]) -> None:
        """Append many, 500 in a pipeline."""
        for start in range(0, len(numbers), _BATCH):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for number in numbers[start : start + _BATCH]:
                    pipeline.xadd(self.stream, dict(crawl(number).to_fields()))
                await pipeline.execute()

    async def drain(self, jobs: int) -> None:
        """Handle so many entries, and acknowledge them."""
        while self._handled < jobs:
            await self._step()

    async def latencies(self, jobs: int, pause: float) -> list[float]:
        """Seconds from the start of an enqueue to the handler, `pause` seconds apart."""
        waits: list[float] = []

        async def consume() -> None:
            while len(waits) < jobs:
                entries = await self._step()
                now = time.perf_counter()
                waits.extend(now - float(fields[b"url"]) for fields in entries)

        consuming = asyncio.ensure_future(consume())
        for _ in range(jobs):
            await asyncio.sleep(pause)
            now = repr(time.perf_counter()).encode()
            await self._redis.xadd(self.stream, {b"url": now, b"priority": b"1"})
        await consuming
        return waits

    async def _step(self) -> list[Fields]:
        reply = await self._redis.xreadgroup(
            _GROUP, "raw", {self.stream: ">"}, count=_BATCH, block=_BLOCK
        )
        if not reply:
            return []
        entries: list[tuple[bytes, Fields]] = reply[0][1]
        for _, fields in entries:
            await self._handle(fields)
        await self._redis.xack(self.stream, _GROUP, *[each for each, _ in entries])
        return [fields for _, fields in entries]

    async def _handle(self, _: Fields) -> None:
        self._handled += 1
