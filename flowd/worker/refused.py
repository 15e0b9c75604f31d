"""Hold endings apart that the server refuses one by one, until it takes them.

A server that is out of memory takes no dead letters. Their jobs are held and their leases
renewed, but they take no slot and nothing waits for them: the worker goes on and makes
the room that they need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.job import payload_size
from flowd.model.policy import Backoff
from flowd.worker.in_flight import InFlight

__all__ = ["Ending", "RefusedSettlements"]

_MOST: Final = 1_000
_MOST_BYTES: Final = 64_000_000
_PATIENCE: Final = Backoff(base=0.25, max=5.0, jitter=False)

Ending: TypeAlias = tuple[Delivery, outcome.Outcome]


class RefusedSettlements:
    """The refused endings of one queue: up to 1,000, and up to 64 MB of jobs.

    One of them asks from time to time, ever more slowly; once it is accepted, all do.

    Args:
        in_flight: where they are marked, so that nothing waits for them.
        again: settles endings that may be accepted by now.
    """

    def __init__(
        self, in_flight: InFlight, again: Callable[[Sequence[Ending]], None]
    ) -> None:
        self._in_flight = in_flight
        self._again = again
        self._endings: dict[Delivery, outcome.Outcome] = {}
        self._asking: set[Delivery] = set()
        self._bytes = 0
        self._refusals = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many there are, those that are asked for again included."""
        return len(self._endings)

    def hold(self, delivery: Delivery, end: outcome.Outcome) -> bool:
        """Hold a refused ending; False if there are too many."""
        self._asking.discard(delivery)
        if self._endings.pop(delivery, None) is None:
            size = payload_size(delivery.fields)
            if len(self) >= _MOST or self._bytes + size > _MOST_BYTES:
                return False
            self._bytes += size
            self._in_flight.mark_refused(delivery)
        # At the end: one that is refused for a reason of its own stops no other.
        self._endings[delivery] = end
        if self._timer is None:
            self._refusals += 1
            wait = _PATIENCE.delay(self._refusals)
            self._timer = asyncio.get_running_loop().call_later(wait, self._ask)
        return True

    def accepted(self, delivery: Delivery) -> None:
        """An ending was settled; if it was held here, others may be accepted as well."""
        if self._endings.pop(delivery, None) is not None:
            self._asking.discard(delivery)
            self._bytes -= payload_size(delivery.fields)
            self._refusals = 0
            self.ask_all()

    def ask_all(self) -> None:
        """Settle all of them again, now."""
        self.close()
        waiting = [e for e in self._endings.items() if e[0] not in self._asking]
        self._asking.update(delivery for delivery, _ in waiting)
        if waiting:
            self._again(waiting)

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self) -> None:
        self._timer = None
        for ending in self._endings.items():
            if ending[0] not in self._asking:
                self._asking.add(ending[0])
                self._again([ending])
                return
