"""The gate of one queue in one worker: what it reads was admitted, or comes to the gate.

A queue without policies has an open gate, which lets through what a release with policies
has left behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final, Protocol, TypeAlias

from flowd.broker import replies
from flowd.broker.extension import MaintainExtension
from flowd.broker.gate import GateScripts
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.model.delivery import ENVELOPE, Delivery
from flowd.model.event import EventBus
from flowd.model.gate import Gate
from flowd.model.job import Job, JobSpec

__all__ = ["TO_THE_GATE", "AnyGate", "Gatekeeper", "OpenGate", "gate_of"]

TO_THE_GATE: Final = (
    "no attempt began; the limits of its queue come first, and it is parked while it must"
    " wait for them"
)
"""Why an entry is released that was added by something that knows no gate."""

_AHEAD: Final = 60.0
"""Seconds for which a timer is set."""


class _Maintenance(Protocol):
    """What maintains the queue."""

    def at_once(self) -> None:
        """Maintain now."""
        ...

    def add(self, extension: MaintainExtension) -> None:
        """Let this be done as well from now on."""
        ...


class Gatekeeper:
    """The gate of a queue with policies.

    Hooks into *settle* and *maintain*, and into reading.

    Args:
        stream: of the queue.
        consumer: of the worker.
        spec: of the queue's class.
        gate: its policies.
        events: receives `gate_healed`.
    """

    def __init__(
        self,
        stream: Stream,
        consumer: str,
        spec: JobSpec,
        gate: Gate,
        events: EventBus,
    ) -> None:
        self._scripts = GateScripts(stream, gate)
        self._consumer = consumer
        self._spec = spec
        self._gate = gate
        self._events = events
        self._maintenance: _Maintenance | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.extensions = (self,)
        self.settles = 100
        """How many jobs end in one step: each frees what it holds, and a script is to hold
        the server up for less than 5 ms."""

        self.admit = self._admit if gate.parks else None
        """Admits jobs for a read of so many, which may wait so many seconds: that is asked
        already when it returns. None: what ends admits all that may go."""

    def follow(self, maintenance: _Maintenance) -> None:
        """Call this one when there is something to do."""
        self._maintenance = maintenance

    def settle_part(self) -> Part:
        """Free what has ended, and admit the next."""
        return self._scripts.settle

    def maintain_part(self) -> Part:
        """Let due jobs come to the gate, and free what is held by nothing."""
        return self._scripts.maintain

    def maintained(self, answer: int) -> None:
        """So many holders did not exist any more."""
        if answer:
            text = f"freed slots and keys of jobs that no longer exist: {answer}"
            self._events.emit(logging.WARNING, "gate_healed", text, holders=answer)

    async def look(self) -> None:
        """Nothing: it is seen to by every maintenance."""

    def _admit(self, count: int, wait: float) -> Awaitable[None]:
        return self._set_timer(self._scripts.admit(self._consumer, count, wait))

    async def _set_timer(self, admission: Awaitable[float | None]) -> None:
        due = await admission
        if due is None or due > _AHEAD:
            return  # the maintenance comes sooner
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + due:
                return
            self._timer.cancel()
        # A read that waits would end at the server's next tick, up to 0.1 s late.
        self._timer = loop.call_later(due, self._ring)

    def close(self) -> None:
        """Wake the maintenance no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._maintenance = None

    def _ring(self) -> None:
        self._timer = None
        if self._maintenance is not None:
            self._maintenance.at_once()

    def must_pass(self, delivery: Delivery) -> bool:
        """Whether an entry was added by something that knows no gate; it gets its ticket.

        What has no key, since a field is missing, is no job of this class.
        """
        fields = delivery.fields
        if b"_gate" in fields or delivery.size > len(self._spec.fields) + ENVELOPE:
            return False
        try:
            fields[b"_gate"] = self._gate.ticket(fields, self._spec.secrets)
        except KeyError:
            return False
        return True


class OpenGate:
    """The gate of a queue without policies.

    It hooks into *maintain* once it has found something of a gate: a queue that never had
    policies pays one command in ten leases.

    Args:
        stream: of the queue.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._maintenance: _Maintenance | None = None
        self.extensions: tuple[()] = ()
        self.settles = 500
        """How many jobs end in one step."""

        self.admit = None
        """All jobs are in the stream already."""

    def follow(self, maintenance: _Maintenance) -> None:
        """Hook into this one when something of a gate is found."""
        self._maintenance = maintenance

    def must_pass(self, delivery: Delivery) -> bool:
        """Never; but an entry that was admitted by a gate says that there is one."""
        if b"_gate" in delivery.fields:
            self._found()
        return False

    def close(self) -> None:
        """Nothing: it has no timer."""

    async def look(self) -> None:
        """Look whether something is parked.

        Raises:
            ServerError: as `Connection.call`.
        """
        parked = self._stream.keys.gate[1]
        # A command that every worker has the right to.
        found = await self._stream.connection.call("ZCARD", parked, read=replies.number)
        if found:
            self._found()

    def maintain_part(self) -> Part:
        """Let jobs through, once no worker with policies is there."""
        names = self._stream.keys
        return Part("maintain_ungate", (*names.gate, names.policies))

    def maintained(self, answer: int) -> None:
        """So many are still parked; the script has the next round come at once."""

    def _found(self) -> None:
        if self._maintenance is not None:
            self._maintenance.add(self)
            self._maintenance = None


AnyGate: TypeAlias = Gatekeeper | OpenGate


def gate_of(
    stream: Stream, consumer: str, job_class: type[Job], events: EventBus
) -> AnyGate:
    """The gate of a queue in a worker."""
    spec = job_class.SPEC
    if spec.gate is None:
        return OpenGate(stream)
    return Gatekeeper(stream, consumer, spec, spec.gate, events)
