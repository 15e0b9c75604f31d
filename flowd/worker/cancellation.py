"""Cancel running jobs that an operator or a program has marked in Redis.

A channel, the maintenance and the renewal say by one number whether the marks have changed;
only then are they read. Jobs are recognized by their id, which stays when an attempt fails or the job
is released, so a mark that comes too late for one attempt holds for the next.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import suppress
from typing import Literal, NamedTuple, Protocol

from flowd.broker.connection import Argument
from flowd.broker.control import Marks, read_marks
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.errors import DecodeError, ServerError
from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.worker.in_flight import InFlight

__all__ = ["Cancellations"]

_NONE = Marks(0, frozenset())


class _Canceller(Protocol):
    def cancel(self, delivery: Delivery, why: Literal["cancel"]) -> bool: ...


class _Waits(Protocol):
    def withdraw(self, delivery: Delivery) -> bool: ...


class _Settles(Protocol):
    def submit(self, delivery: Delivery, end: outcome.Outcome) -> None: ...


class _Ways(NamedTuple):
    executor: _Canceller
    waits: _Waits
    settles: _Settles


class Cancellations:
    """The marks of one queue, as this worker knows them.

    Hooks into *maintain* and *renew*, which say whether there are any, and *settle*, which
    takes off those of jobs that end. Without marks it asks nothing and does nothing.

    Args:
        stream: of the queue.
        in_flight: what it holds.
    """

    def __init__(self, stream: Stream, in_flight: InFlight) -> None:
        self._stream = stream
        self._in_flight = in_flight
        self._ways: _Ways | None = None
        self._known = _NONE
        self._noticed = 0
        self._reading: asyncio.Task[None] | None = None
        self._closed = False

    def attach(self, executor: _Canceller, waits: _Waits, settles: _Settles) -> None:
        """Say what cancels a handler, what waits for its turn, and what ends a job."""
        self._ways = _Ways(executor, waits, settles)

    def maintain_part(self) -> Part:
        """Ask whether the marks have changed."""
        return self._part("maintain_control")

    def maintained(self, answer: int) -> None:
        """The revision of the marks; 0 without any."""
        self.noticed(answer)

    def renew_part(self) -> Part:
        """As `maintain_part`; in the lease thread, or in the event loop."""
        return self._part("renew_control")

    def settle_part(self) -> Part | None:
        """Take the marks of jobs off that end."""
        marked = self._marked()
        if not marked:
            return None
        args: list[Argument] = []
        for each in marked:
            args += (each.entry_id, each.job_id)
        return self._part("settle_control", *args, len(marked))

    def noticed(self, revision: int) -> None:
        """Read the marks if they are others than those that are known; in the loop."""
        self._noticed = revision
        if revision == 0:
            self._known = _NONE
        elif revision != self._known.revision and not (self._reading or self._closed):
            self._reading = asyncio.get_running_loop().create_task(
                self._read(), context=contextvars.Context()
            )

    async def up_to_date(self) -> None:
        """Return when the marks are read of which the last maintenance spoke."""
        for _ in range(2):  # what is being read may be older; more may come without end
            if self._reading is not None:
                await asyncio.wait([self._reading])

    def has(self, delivery: Delivery) -> bool:
        """Whether a job is marked."""
        return bool(self._known.jobs) and delivery.job_id in self._known.jobs

    def end(self, delivery: Delivery, end: outcome.Outcome) -> outcome.Outcome:
        """How a delivery ends: a marked job does not come back."""
        if self.has(delivery) and isinstance(end, outcome.Retry | outcome.Release):
            return outcome.Discard("cancelled")
        return end

    def discard(self, delivery: Delivery) -> None:
        """End a marked job that does not run."""
        assert self._ways is not None
        with suppress(DecodeError):
            delivery.read_envelope()
        self._ways.settles.submit(delivery, outcome.Discard("cancelled"))

    def close(self) -> None:
        """Read nothing more."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        noticed = self._noticed
        try:
            self._known = await read_marks(self._stream)
            self._cancel_marked()
        except ServerError:
            return  # the next maintenance tries again, and the queue's loop reports it
        finally:
            self._reading = None
        if noticed != self._noticed:  # a mark that came while they were read
            self.noticed(self._noticed)

    def _cancel_marked(self) -> None:
        ways = self._ways
        for delivery in self._marked() if ways else ():
            assert ways is not None
            if delivery.cancelled or ways.executor.cancel(delivery, "cancel"):
                continue
            if ways.waits.withdraw(delivery):
                self.discard(delivery)

    def _marked(self) -> list[Delivery]:
        if not self._known.jobs:
            return []
        return [each for each in self._in_flight.held.values() if self.has(each)]

    def _part(self, name: str, *args: Argument) -> Part:
        return Part(name, (self._stream.keys.control,), args)
