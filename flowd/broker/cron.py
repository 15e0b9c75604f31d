"""What is sent to Redis of schedules: registering them, and their ticks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from flowd.broker import replies, scripts
from flowd.broker.connection import Argument
from flowd.broker.stream import Stream
from flowd.model.expiry import with_expiry
from flowd.model.job import Job
from flowd.model.policy import Policy
from flowd.model.schedule import Schedule, Tick, digest_of

__all__ = ["Ticked", "register_schedules", "schedules_of", "tick"]


class Ticked(NamedTuple):
    """What became of ticks."""

    registered: bool
    """Whether the schedule is; if not, nothing was done."""

    recorded: float
    """The last tick that had its turn; seconds since 1970."""

    now: float
    """The server's clock; seconds since 1970."""

    stored: int
    """How many jobs were enqueued."""

    passed: int
    """How many ticks were recorded without a job."""


def schedules_of(job_class: type[Job], policy: Policy) -> list[Schedule]:
    """The schedules of a class, their jobs under the rules of a queue."""
    return [
        dataclasses.replace(each, fields=with_expiry(each.fields, policy.expires_after))
        for each in job_class.SPEC.schedules
    ]


async def register_schedules(
    stream: Stream, schedules: Sequence[Schedule], *, patient: bool = False
) -> bool:
    """Register these in place of all others; False if others stay.

    Args:
        stream: of the queue.
        schedules: all of its class; none removes what is registered.
        patient: leave others of which a worker was seen lately.

    Raises:
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    args: list[Argument] = [digest_of(schedules), int(patient)]
    for each in schedules:
        args += (each.name, each.timing, each.text, 2 * len(each.fields))
        args += chain.from_iterable(each.fields)
    done = await scripts.SCHEDULES.run(
        stream.connection, [stream.keys.cron], args, replies.number
    )
    return done == 1


async def tick(
    stream: Stream, digest: str, schedule: Schedule, ticks: Sequence[Tick]
) -> Ticked:
    """Enqueue the jobs of those ticks that had no turn yet, the oldest first.

    Args:
        stream: of the queue.
        digest: of all schedules of the worker.
        schedule: which.
        ticks: of it; without any, only asks which was the last.

    Raises:
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    args: list[Argument] = [digest, schedule.name, int(schedule.overlap == "skip")]
    for each in ticks:
        args += (each.ms, each.job_id if each.runs else "")
    keys = [stream.keys.stream, stream.keys.bodies, stream.keys.cron]
    known, recorded, now, stored, passed = await scripts.TICK.run(
        stream.connection, keys, args, replies.numbers(5)
    )
    return Ticked(known == 1, recorded / 1000, now / 1000, stored, passed)
