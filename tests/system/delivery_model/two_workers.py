"""What two workers do at one queue, with the parts of capabilities, in each walk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from flowd.broker.commands import Maintained, MoveToDeadLetter, Requeue, Settled
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.model import outcome
from flowd.model.delivery import Delivery, Entry
from flowd.model.letter import letter_fields
from tests.system.delivery_model.snapshot import Snapshot

__all__ = [
    "ENDS",
    "GROUP",
    "LEASE",
    "SLOTS",
    "WORKERS",
    "claim",
    "expire",
    "owns",
    "settle",
    "with_beliefs",
]

B = TypeVar("B")

ENDS: Final = ("ack", "retry", "release", "bury")
GROUP: Final = "g"
LEASE: Final = 1000.0
SLOTS: Final = 2
WORKERS: Final = ("a", "b")

_LONG_AGO: Final = 10_000_000


def owns(snapshot: Snapshot, worker: int, entry: Entry) -> bool:
    """Whether Redis holds the entry for this worker with this count."""
    lease = snapshot.held.get(entry.id.decode())
    fence = (WORKERS[worker], entry.delivery_count)
    return lease is not None and (lease.consumer, lease.deliveries) == fence


async def claim(
    queue: Stream, worker: str, running: Iterable[Entry], parts: Sequence[Part] = ()
) -> Maintained:
    """Take over what is abandoned; own entries first if there are such, as a worker does."""
    maintained = await queue.maintain(
        worker, lease=LEASE, takeovers=1, cursor=b"0-0", parts=parts
    )
    if not maintained.unsorted:
        return maintained
    return await queue.maintain(
        worker,
        lease=LEASE,
        takeovers=0,
        cursor=b"0-0",
        orphans=1,
        running=[entry.id for entry in running],
        parts=parts,
    )


async def expire(queue: Stream, snapshot: Snapshot) -> None:
    """Let every lease run out."""
    for entry_id, lease in snapshot.held.items():
        command = ("XCLAIM", queue.keys.stream, GROUP, lease.consumer, 0, entry_id)
        await queue.connection.call(*command, "IDLE", _LONG_AGO, "JUSTID")


async def settle(
    queue: Stream, worker: str, entry: Entry, verb: str, parts: Sequence[Part] = ()
) -> Settled:
    """End a delivery in one of the `ENDS`."""
    delivery = Delivery(entry, 0.0)
    delivery.read_envelope()
    if verb == "ack":
        return (await queue.settle(worker, [delivery], [], parts=parts))[0]
    other: Requeue | MoveToDeadLetter
    if verb == "bury":
        end = outcome.DeadLetter("failed", "why")
        other = MoveToDeadLetter(delivery, letter_fields(delivery, end, worker))
    else:
        failed = verb == "retry"
        envelope = delivery.requeue_envelope(failed=failed)
        other = Requeue(delivery, LEASE * failed, envelope)
    return (await queue.settle(worker, [], [other], parts=parts))[0]


def with_beliefs(
    beliefs: tuple[tuple[B, ...], ...], worker: int, mine: Iterable[B]
) -> tuple[tuple[B, ...], ...]:
    """What the workers hold, where one of them holds this now."""
    return (*beliefs[:worker], tuple(mine), *beliefs[worker + 1 :])
