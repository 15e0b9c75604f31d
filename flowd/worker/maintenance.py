"""Maintain a queue: promote due jobs, claim expired leases, forget dead consumers.

One script promotes and claims. This module decides when it runs, how much it may take,
and what the answer means for the next time. The runner's loop calls it between two reads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from flowd.broker.extension import MaintainExtension
from flowd.broker.outage import RECONNECT
from flowd.broker.stream import Stream
from flowd.model.claimer import Claimer
from flowd.model.delivery import Entry
from flowd.model.event import EventBus
from flowd.model.text import count_of
from flowd.worker.fetcher import Fetcher
from flowd.worker.gate import AnyGate
from flowd.worker.in_flight import InFlight
from flowd.worker.lease import RENEWALS_PER_LEASE
from flowd.worker.server_clock import ServerClock

__all__ = ["DEAD_CONSUMER_LEASES", "Maintenance", "Round", "next_wait"]

_POLL: Final = 2.0
_POLLS_PER_LEASE: Final = 3
_SOONEST: Final = 0.01
DEAD_CONSUMER_LEASES: Final = 10
"""After so many without a sign of life a consumer counts as dead."""


class Round(NamedTuple):
    """What one run of the maintenance may take."""

    orphans: int
    """How many of this consumer's own orphaned entries."""

    claims: int
    """How many deliveries whose lease has expired; not while orphans are taken."""

    @property
    def what(self) -> str:
        """Its name in an outage: a success of the one does not end an outage of the other."""
        return "claiming" if self.claims and not self.orphans else "maintaining"


class Maintenance:
    """Keeps the times at which one queue is maintained, and does it.

    Args:
        stream: of the queue.
        fetcher: entries are claimed in the name of its consumer; its read ends when
            something is due.
        in_flight: what is held under its name.
        extensions: what else is done in the same step.
        events: receives its events.
        lease: seconds.
        block: the longest time one read waits, in seconds; above 2, the queue is also
            maintained less often, up to three times a lease.
        claimer: None: nothing is claimed.
        gate: of the queue, which has something done now and then.
    """

    def __init__(
        self,
        stream: Stream,
        fetcher: Fetcher,
        in_flight: InFlight,
        extensions: Sequence[MaintainExtension],
        events: EventBus,
        *,
        lease: float,
        block: float,
        claimer: Claimer | None,
        gate: AnyGate,
    ) -> None:
        self._stream = stream
        self._gate = gate
        gate.follow(self)
        self._fetcher = fetcher
        self._in_flight = in_flight
        self._extensions = list(extensions)
        self._events = events
        self._clock = ServerClock(stream, lease, events)
        self._lease = lease
        self._claimer = claimer
        self._silence = max(DEAD_CONSUMER_LEASES * lease, 2 * block)
        # The heartbeat goes with it, and a worker counts as silent after one lease.
        self._poll = max(_POLL, min(block, lease / _POLLS_PER_LEASE))
        self._cursor: bytes = b"0-0"
        self._orphans = False
        """Whether Redis may hold entries for this consumer that it does not run."""

        self._promoting = False
        self._claiming = False
        self._found_entries = False
        self._next = 0.0
        # Leases went on running while the server was away, so the other workers get
        # the time to renew theirs before the first claim.
        self._next_claim = self._after_renewal()
        self._next_reap = 0.0

    @property
    def next(self) -> float:
        """When it is due the next time, apart from claims (`time.monotonic`)."""
        return self._next

    def room(self, free: int) -> int:
        """How many of the free slots may go to claimed deliveries."""
        if self._claimer is None:
            return 0
        if self._claimer.concurrency is None:
            return free
        return min(free, self._claimer.concurrency - self._in_flight.takeovers)

    def due(self, free: int, room: int) -> Round | None:
        """What there is to do now; None if nothing is.

        Args:
            free: how many slots are free.
            room: how many of them may go to claimed deliveries.
        """
        now = time.monotonic()
        claims = room if now >= self._next_claim else 0
        if claims > 0 or now >= self._next or (self._orphans and free > 0):
            return Round(free if self._orphans else 0, max(claims, 0))
        return None

    def wait(self, room: int) -> float:
        """How long a read may wait for entries, in seconds; 0: there are some."""
        if self._found_entries:
            return 0.0
        until = min(self._next, self._next_claim) if room > 0 else self._next
        return max(until - time.monotonic(), _SOONEST)

    def due_in(self, delay: float) -> None:
        """A delayed job is due in so many seconds: promote it then."""
        due = time.monotonic() + delay
        if due < self._next:
            self._next = due
            self._fetcher.interrupt(after=due)

    def at_once(self) -> None:
        """Maintain now; a read that waits ends."""
        self._next = min(self._next, time.monotonic())
        self._fetcher.interrupt()

    def add(self, extension: MaintainExtension) -> None:
        """Do this as well from now on."""
        self._extensions.append(extension)

    def has_read(self) -> None:
        """New entries were read, so what waits here has its turn."""
        self._found_entries = False
        if self._promoting:
            self._next = 0.0
        if self._claiming:
            self._next_claim = 0.0

    def has_failed(self) -> None:
        """A read or a run has failed: entries may have come in an answer that was lost."""
        self._orphans = True
        self.claim_later()

    def claim_later(self) -> None:
        """Claim nothing before the other workers could renew their leases."""
        self._next_claim = self._after_renewal()

    async def run(self, this: Round) -> list[Entry]:
        """Promote, and claim or take own orphaned entries.

        Returns:
            Entries that this consumer holds now, and has to run.

        Raises:
            ServerError: as `Stream.maintain`.
        """
        if this.orphans:
            await self._fetcher.replace_lost_reader()
        claims = 0 if this.orphans else this.claims
        maintained = await self._stream.maintain(
            self._fetcher.consumer,
            lease=self._lease,
            takeovers=claims,
            cursor=self._cursor,
            orphans=this.orphans,
            running=self._in_flight.held,
            parts=[each.maintain_part() for each in self._extensions],
        )
        for extension, answer in zip(self._extensions, maintained.answers, strict=True):
            extension.maintained(answer)
        if this.orphans:
            # As many as there was room for, or as large as one answer may be: look again.
            self._orphans = bool(maintained.claimed)
        self._orphans |= maintained.unsorted
        self._cursor = maintained.cursor
        now = time.monotonic()
        self._claiming = maintained.next_lease == 0 and bool(maintained.claimed)
        if claims and self._claimer is not None:
            wait = max(maintained.next_lease, _SOONEST)
            self._next_claim = now + min(self._claimer.interval, wait)
        self._found_entries |= maintained.promoted > 0 or self._claiming
        self._promoting = maintained.next_due == 0
        self._next = now + next_wait(maintained.next_due, self._poll)
        return maintained.claimed

    async def look_around(self, this: Round) -> None:
        """Forget dead consumers, and compare the clocks; seldom.

        Raises:
            ServerError: as `Stream.reap`.
        """
        if this.claims and not this.orphans and time.monotonic() >= self._next_reap:
            await self._reap()
        await self._clock.look()

    async def _reap(self) -> None:
        """Forget consumers of processes that died.

        Redis 6.2 sees no life in one that waits for an entry. It is created again with
        the next one.
        """
        self._next_reap = time.monotonic() + self._silence
        await self._gate.look()
        if reaped := await self._stream.reap(self._silence):
            self._events.emit(
                logging.INFO,
                "reaped",
                f"forgets {count_of(reaped, 'consumer')} without jobs, silent for"
                f" {self._silence:.0f} s",
                consumers=reaped,
            )

    def _after_renewal(self) -> float:
        # Other workers try the server again after RECONNECT.max at the latest.
        wait = max(self._lease / RENEWALS_PER_LEASE, 2 * RECONNECT.max)
        return time.monotonic() + wait


def next_wait(next_due: float | None, most: float = _POLL) -> float:
    """How long the next maintenance may wait, in seconds.

    Args:
        next_due: seconds until the next delayed job is due; None: there is none.
        most: the longest time, in seconds.
    """
    due = most if next_due is None else min(next_due, most)
    return max(due, _SOONEST)
