# /// script
# dependencies = ["faststream[redis]", "hiredis"]
# ///
"""FastStream on a stream with a consumer group.

On: the ack after the handler. What a dead worker took stays pending: taking it over needs
a second subscriber (`min_idle_time`). A handler that raises is not run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Self

from faststream.redis import RedisBroker, StreamSub

from benchmarks.contract import URL, Guarantees, Job, Peer, crawl

_BATCH: Final = 500
_STREAM: Final = "crawl"


class Faststream(Peer):
    """One subscriber with as many workers as the concurrency says."""

    packages = ("faststream", "redis")
    imports = "faststream.redis"
    guarantees = Guarantees(
        survives_kill=False,
        acked_after=True,
        retries=False,
        timeout=False,
        deliveries=False,
        dead_letters=False,
    )

    def __init__(self) -> None:
        self._broker = RedisBroker(URL, logger=None)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._broker.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._broker.stop()

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return await self._broker.publish(job._asdict(), stream=_STREAM)

    async def bulk(self, jobs: Sequence[Job]) -> None:
        """Enqueue many, 500 in a pipeline."""
        client = await self._broker.connect()
        for start in range(0, len(jobs), _BATCH):
            async with client.pipeline(transaction=False) as pipeline:
                for job in jobs[start : start + _BATCH]:
                    await self._broker.publish(
                        job._asdict(), stream=_STREAM, pipeline=pipeline
                    )
                await pipeline.execute()

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        stream = StreamSub(
            _STREAM,
            group="workers",
            consumer="bench",
            last_id="0",
            max_records=concurrency,
        )
        self._broker.subscriber(stream=stream, max_workers=concurrency)(crawl)
        await self._broker.start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    Faststream.serve()
