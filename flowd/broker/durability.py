"""Prove that what was enqueued outlives the server: WAITAOF and WAIT.

Both count what one connection wrote, and the server does nothing else for a connection
that waits. So durable jobs have a connection of their own, and the proof is asked for
on the very one that carried them. Callers at the same time share one flush to disk: the
second proof finds nothing left to wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowd.broker.connection import Connection
from flowd.broker.extension import EnqueueCall
from flowd.broker.refusals import CommandUnknown
from flowd.broker.replies import numbers
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import (
    CommandRefused,
    NotDurable,
    OptionError,
    OutcomeUnknown,
    ServerError,
)
from flowd.errors.option import count, flag
from flowd.model.timing import milliseconds, seconds

__all__ = ["Durability", "DurabilityChecker", "Durable", "check_durable"]

_MARGIN: Final = 1.0
_MAX_REPLICAS: Final = 1_000
_LONGEST: Final = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """What has to be proved before `enqueue` returns; `durable=True` means `Durable()`.

    It narrows the time in which a job can be lost, and does not end it: a replica that
    has received a job is not always the one that a failover chooses.
    """

    fsync: bool = True
    """Wait until the primary has the job on its disk (WAITAOF: Redis 7.2, Valkey 8)."""

    replicas: int = 0
    """How many replicas have to have it; on their disks if `fsync` is set."""

    timeout: float = 5.0
    """Seconds to wait for the proof."""

    def __post_init__(self) -> None:
        flag("fsync", self.fsync)
        count("replicas", self.replicas, most=_MAX_REPLICAS)
        if not self.fsync and not self.replicas:
            rule = "must be at least 1 without fsync, or nothing would be proved"
            raise OptionError("replicas", self.replicas, rule)
        timeout = seconds("timeout", self.timeout, least=0.001)
        if timeout > _LONGEST:
            rule = f"must be from 0.001 to {_LONGEST:g} (seconds)"
            raise OptionError("timeout", self.timeout, rule)
        object.__setattr__(self, "timeout", timeout)


def check_durable(durable: object) -> None:
    """Refuse what is neither a `bool` nor a `Durable`.

    Raises:
        OptionError: it is something else.
    """
    if not isinstance(durable, bool | Durable):
        raise OptionError("durable", durable, "must be True, False or a Durable(...)")


class DurabilityChecker:
    """Asks for proofs, over a connection of its own that carries durable jobs."""

    def __init__(self, address: Address) -> None:
        self._connection = Connection(address, name="flowd-durable")
        self._able_on = -1

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()

    def over(self, stream: Stream) -> Stream:
        """The same stream over the connection of durable jobs."""
        return stream.over(self._connection)

    async def check(self, durable: Durable) -> None:
        """Ask for a proof of nothing, before a job is stored that cannot have one.

        Raises:
            NotDurable: the server can prove nothing.
            ServerError: as `Connection.call`.
        """
        if not durable.fsync or self._able_on == self._connection.connections:
            return
        try:
            await self._ask(Durable(timeout=0.001))
        except (CommandRefused, CommandUnknown) as error:
            unknown = isinstance(error, CommandUnknown)
            why = "" if unknown else f" ({str(error).rstrip('.')})"
            raise NotDurable(
                f"nothing was stored, because this server cannot prove a write to disk"
                f"{why}: durable=True needs Redis 7.2 or Valkey 8 with appendonly yes,"
                " and Durable(fsync=False, replicas=1) a replica instead",
                (),
            ) from error
        self._able_on = self._connection.connections

    async def prove(self, ids: Sequence[str], durable: Durable) -> None:
        """Wait for the proof of jobs that were stored just now.

        Raises:
            NotDurable: the server has not proved it in time.
            OutcomeUnknown: the connection was lost before the proof.
        """
        carrier = self._connection.connections
        try:
            synced, replicas = await self._ask(durable)
        except ServerError as error:
            raise OutcomeUnknown(f"stored, and then no proof came: {error}") from error
        if self._connection.connections != carrier:
            raise OutcomeUnknown("stored, and then the connection that did it was lost")
        if synced < durable.fsync or replicas < durable.replicas:
            stored = "the job is" if len(ids) == 1 else f"{len(ids)} jobs are"
            disk = "" if synced >= durable.fsync else ", not yet on the disk"
            raise NotDurable(
                f"{stored} stored, but after {durable.timeout:g} s{disk} with"
                f" {replicas} of {durable.replicas} replicas; under the same key= it"
                " is safe to enqueue again, which waits again",
                ids,
            )

    async def _ask(self, durable: Durable) -> tuple[int, int]:
        """What is proved: on this disk (0 or 1), and by how many replicas."""
        ms = milliseconds(durable.timeout)
        wait = ("WAITAOF", 1) if durable.fsync else ("WAIT",)
        return await self._connection.call(
            *(*wait, durable.replicas, ms),
            read=_proved,
            timeout=durable.timeout + _MARGIN,
        )


class Durability:
    """Hooks into *enqueue* where a proof was asked for.

    Args:
        prover: carries the jobs, and asks for the proof.
        durable: what has to be proved.
    """

    def __init__(self, durability: DurabilityChecker, durable: Durable) -> None:
        self._durability = durability
        self._durable = durable

    def on_enqueue(self, call: EnqueueCall) -> EnqueueCall:
        """Send over the connection that is asked for the proof, and wait for it."""
        return replace(
            call,
            stream=self._durability.over(call.stream),
            lasts=call.lasts + self._durable.timeout,
            confirmation=self,
        )

    async def check(self) -> None:
        """As `DurabilityChecker.check`."""
        await self._durability.check(self._durable)

    async def confirm(self, stored: Sequence[str]) -> None:
        """As `DurabilityChecker.prove`."""
        await self._durability.prove(stored, self._durable)


def _proved(reply: object) -> tuple[int, int]:
    if isinstance(reply, int):
        return 0, reply
    synced, replicas = numbers(2)(reply)
    return synced, replicas
