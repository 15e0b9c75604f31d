"""The queues of a run: what each is for is the first part of its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Final

from flowd import Policy, Schedule
from jobs.email import Email
from tests.support.email_job import policy
from tests.support.gated import gated
from tests.support.scheduled import every, scheduled
from tests.system.chaos.gate_worker import GATES, LIMITS
from tests.system.chaos.plan import LEASE

__all__ = [
    "GROUP",
    "TICK",
    "idle",
    "job_class",
    "limit_of",
    "name_queues",
    "role",
    "rules",
]

GROUP: Final = "senders"
_MAX_RETRIES: Final = 5

TICK: Final = 1.0
"""Seconds between two ticks of the schedule."""

_ROLES: Final = ("plain", "plain", "plain", "limit", "unique", "cron")
_SCHEDULE: Final[Schedule] = every(TICK, missed="all")


def name_queues(node_of: Callable[[str], object]) -> list[str]:
    """Names for all queues, so that they are spread evenly over the nodes."""
    names: list[str] = []
    used: list[object] = []
    for place, kind in enumerate(_ROLES):
        for number in count(10 * place):
            name = f"{kind}-{number}"
            node = node_of(name)
            # The first of some masters, and after three of them again.
            if node not in used[place - place % 3 :] or number % 10 == 9:
                names.append(name)
                used.append(node)
                break
    return names


def role(stream: str) -> str:
    """What a queue is for: plain, limit, unique or cron."""
    return stream.partition("-")[0]


def limit_of(stream: str) -> int:
    """How many jobs of a key may run at once; 0 if there is no limit."""
    return LIMITS.get(role(stream), 0)


@cache
def job_class(stream: str) -> type[Email]:
    """The class of a queue's jobs."""
    match role(stream):
        case "cron":
            return scheduled(_SCHEDULE, policy=rules(stream))
        case "plain":
            return Email
        case gate:
            return gated(GATES[gate])


def rules(stream: str) -> Policy:
    """The rules of a queue."""
    return policy(stream, lease=LEASE, max_retries=_MAX_RETRIES, backoff=0.05)


async def idle(job: Email) -> None:
    """The handler of a producer, which runs no jobs."""
