"""Set a queue up: everything that has to be on the server before its first read."""

from __future__ import annotations

import asyncio

from flowd.broker.cron import register_schedules, schedules_of
from flowd.broker.gate import announce
from flowd.broker.registry import list_queue
from flowd.broker.stream import Stream
from flowd.model.job import Job
from flowd.model.policy import Policy

__all__ = ["set_up"]


async def set_up(stream: Stream, policy: Policy, job_class: type[Job]) -> None:
    """Create stream and group, list the queue, and register its schedules, in one round trip.

    Raises:
        StreamShared: another group reads the stream; the queue is listed nevertheless.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    await asyncio.gather(
        stream.init(policy.starting_id),
        list_queue(stream),
        register_schedules(stream, schedules_of(job_class, policy)),
        announce(stream, job_class.SPEC.gate),
    )
