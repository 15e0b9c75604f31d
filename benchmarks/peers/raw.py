"""redis-py with nothing around it: the floor.

It writes the fields that flowd writes, reads 500 entries at once, acknowledges them with
one XACK, decodes and deletes nothing and keeps no promise: what it has read and not
acknowledged stays with a process that may be dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio

from benchmarks.contract import URL, Guarantees, Job, Peer, meter
from jobs.crawl import Crawl

_BATCH: Final = 500
_BLOCK: Final = 2_000
_STREAM: Final = "raw"
_GROUP: Final = "workers"


class Raw(Peer):
    """A loop over XREADGROUP and XACK."""

    packages = ("redis", "hiredis")
    imports = "redis.asyncio"
    guarantees = Guarantees(
        survives_kill=False,
        acked_after=True,
        retries=False,
        timeout=False,
        deliveries=False,
        dead_letters=False,
    )

    def __init__(self) -> None:
        # Its annotations name every shape that an answer may have in any protocol.
        self._redis: Any = redis.asyncio.Redis.from_url(URL)

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def enqueue(self, job: Job) -> object:
        """Append one entry."""
        return await self._redis.xadd(_STREAM, _fields(job))

    async def bulk(self, jobs: Sequence[Job]) -> None:
        """Append many, 500 in a pipeline."""
        for start in range(0, len(jobs), _BATCH):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for job in jobs[start : start + _BATCH]:
                    pipeline.xadd(_STREAM, _fields(job))
                await pipeline.execute()

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed; one batch at a time, whatever the concurrency."""
        await self._redis.xgroup_create(_STREAM, _GROUP, "0", mkstream=True)
        while True:
            reply = await self._redis.xreadgroup(
                _GROUP, "raw", {_STREAM: ">"}, count=_BATCH, block=_BLOCK
            )
            for _, entries in reply:
                for _, fields in entries:
                    await _handle(fields[b"url"])
                ids = [entry_id for entry_id, _ in entries]
                await self._redis.xack(_STREAM, _GROUP, *ids)


async def _handle(url: str) -> None:
    meter.handled(url)


def _fields(job: Job) -> dict[bytes, bytes]:
    return Crawl(
        url=job.url, priority=job.priority, tags=job.tags, assigned_to=job.assigned_to
    ).to_fields()


if __name__ == "__main__":
    Raw.serve()
