"""Who works on a queue: whether each worker lives, what it can take, and what it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from flowd.broker.stream import STUCK
from flowd.model.heartbeat import Heartbeat
from flowd.ops.jobs import JobView
from flowd.ops.rows import ConsumerRow
from flowd.worker.maintenance import DEAD_CONSUMER_LEASES

__all__ = ["ConsumerState", "ConsumerView", "consumer_views"]

ConsumerState: TypeAlias = Literal["working", "idle", "stopping", "dead", "stuck"]
"""`working` holds jobs, `idle` holds none, `stopping` is being shut down. `dead` gave no
sign of life for a lease: it was killed, or is frozen or cut off; its jobs are taken over.
`stuck` is a name under which handlers are left that did not end."""

# The default name of a consumer: host, process and a number for each run.
_NAME: Final = re.compile(rf"(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{{8}}(?:{STUCK})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerView:
    """A worker's place in a queue."""

    name: str
    host: str | None
    """Where it runs; None if it does not say so."""

    pid: int | None
    """Its process there; None likewise."""

    state: ConsumerState
    silent: float
    """Seconds since its last sign of life. Of one that has no heartbeat, since it asked for
    anything; on Redis 6.2 since it was given anything."""

    owned: int
    """How many jobs it holds."""

    slots: int | None
    """How many jobs it runs at once; None if it has no heartbeat."""

    lease: float | None
    """Its `claim_after` in seconds; None likewise."""

    started_at: datetime | None
    """When it was started, by the server's clock, in UTC; None likewise."""

    flowd: str
    """The version of flowd that it runs; empty likewise."""

    job: str
    """The name of its job class; empty likewise."""

    version: int | None
    """The newest version of jobs that it reads; None likewise."""

    runs: tuple[JobView, ...]
    """The oldest of the jobs that it holds."""

    @property
    def is_live(self) -> bool:
        """Whether it takes jobs, or will as soon as there are some."""
        return self.state not in ("dead", "stuck")

    @property
    def free(self) -> int | None:
        """How many more jobs it can take; None if it has no heartbeat."""
        if self.slots is None:
            return None
        return 0 if self.state == "dead" else max(0, self.slots - self.owned)


def consumer_views(
    rows: Sequence[ConsumerRow],
    held: Sequence[Sequence[JobView]],
    beats: Mapping[str, Heartbeat],
    now: float,
    lease: float,
) -> tuple[ConsumerView, ...]:
    """Every worker of a queue, by name.

    Args:
        rows: the consumers, as Redis knows them.
        held: some of the jobs of each.
        beats: their last signs of life.
        now: the server's time.
        lease: seconds; of those without a heartbeat.
    """
    return tuple(
        _view(row, jobs, beats.get(row.name), now, lease)
        for row, jobs in zip(rows, held, strict=True)
    )


def _view(
    row: ConsumerRow,
    jobs: Sequence[JobView],
    beat: Heartbeat | None,
    now: float,
    lease: float,
) -> ConsumerView:
    named = _NAME.fullmatch(row.name)
    host = named["host"] if named else None
    pid = int(named["pid"]) if named else None
    return ConsumerView(
        name=row.name,
        host=host if beat is None else beat.host,
        pid=pid if beat is None else beat.pid,
        state=_state(row, jobs, beat, now, lease),
        silent=row.silent if beat is None else beat.silent(now),
        owned=row.owned,
        slots=None if beat is None else beat.slots,
        lease=None if beat is None else beat.lease,
        started_at=None if beat is None else beat.started_at,
        flowd="" if beat is None else beat.flowd,
        job="" if beat is None else beat.job,
        version=None if beat is None else beat.version,
        runs=tuple(jobs),
    )


def _state(
    row: ConsumerRow,
    jobs: Sequence[JobView],
    beat: Heartbeat | None,
    now: float,
    lease: float,
) -> ConsumerState:
    if row.name.endswith(STUCK):
        return "stuck"
    if beat is not None:
        is_dead = beat.is_over(now)
    else:
        is_dead = any((job.silent or 0.0) > lease for job in jobs) or (
            not row.owned and row.silent > DEAD_CONSUMER_LEASES * lease
        )
    if is_dead:
        return "dead"
    if beat is not None and beat.stopping:
        return "stopping"
    return "working" if row.owned else "idle"
