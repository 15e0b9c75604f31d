"""Why delayed jobs wait: for their time, for a retry, or for workers with newer classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from flowd.broker import replies, scripts
from flowd.model.delivery import number
from flowd.model.heartbeat import Heartbeat
from flowd.ops.queries import Queries
from flowd.ops.rows import Sizes

__all__ = ["Delays", "Why", "delays", "newest_version", "why_delayed"]

Why: TypeAlias = Literal["scheduled", "released", "retrying", "newer version"]
"""`scheduled`: it never ran, and waits for its time; `released`: it was released, as by
`Snooze`; `retrying`: an attempt failed; `newer version`: no worker's class can read it."""

_SAMPLES: Final = 16
_SAMPLE: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """How many delayed jobs wait for what."""

    scheduled: int = 0
    released: int = 0
    retrying: int = 0
    newer_version: int = 0
    estimated: bool = False
    """Whether only some of the jobs were looked at, evenly; exact up to 500 of them."""


class _Row(NamedTuple):
    """The jobs of one version of the schema."""

    version: int
    scheduled: int
    released: int
    retrying: int


def newest_version(beats: Mapping[str, Heartbeat], now: float) -> int | None:
    """The newest version that a live worker reads; None if none says so."""
    live = [each.version for each in beats.values() if not each.is_over(now)]
    return max(live, default=None)


def why_delayed(fields: Mapping[bytes, bytes], newest: int | None) -> Why:
    """Why a job is delayed.

    Args:
        fields: its own, and flowd's.
        newest: as `newest_version`.
    """
    if newest is not None and number(fields.get(b"_v", b"1")) > newest:
        return "newer version"
    attempt = fields.get(b"_attempt")
    if attempt is None:
        return "scheduled"
    return "released" if attempt == b"1" else "retrying"


async def delays(queries: Queries, sizes: Sizes, newest: int | None) -> Delays:
    """Why the delayed jobs of a queue wait; asks nothing if there are none.

    Args:
        queries: of the queue.
        sizes: what it holds.
        newest: as `newest_version`.

    Raises:
        ServerError: as `Connection.call`.
    """
    if not sizes.delayed:
        return Delays()
    every, looked, rows = await scripts.DELAYED_KINDS.run(
        queries.connection,
        [queries.keys.delayed, queries.keys.bodies],
        [_SAMPLES, _SAMPLE],
        _read,
    )
    newer = [row for row in rows if newest is not None and row.version > newest]
    known = [row for row in rows if row not in newer]
    estimated = looked < every
    share = every / looked if looked else 0.0

    def counted(several: int) -> int:
        return round(several * share) if estimated else several

    return Delays(
        scheduled=counted(sum(row.scheduled for row in known)),
        released=counted(sum(row.released for row in known)),
        retrying=counted(sum(row.retrying for row in known)),
        newer_version=counted(sum(sum(row[1:]) for row in newer)),
        estimated=estimated,
    )


def _read(reply: object) -> tuple[int, int, list[_Row]]:
    every, looked, rows = replies.array(reply)
    return replies.number(every), replies.number(looked), replies.items(_row)(rows)


def _row(reply: object) -> _Row:
    version, scheduled, released, retrying = replies.array(reply)
    return _Row(
        number(replies.data(version)),
        replies.number(scheduled),
        replies.number(released),
        replies.number(retrying),
    )
