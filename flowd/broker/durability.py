"""Confirm that what was enqueued outlives the server: WAITAOF and WAIT.

Both count what one connection wrote, and the server does nothing else for a connection
that waits. So durable jobs have a connection of their own, and are confirmed on the very
one that carried them. Callers at the same time share one flush to disk: the second
finds nothing left to wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowd.broker.connection import Connection, connection_to
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
from flowd.errors.option import count, flag, wait
from flowd.model.timing import milliseconds

__all__ = ["Durability", "DurabilityChecker", "Durable", "check_durable"]

_MARGIN: Final = 1.0
_MAX_REPLICAS: Final = 1_000
_LONGEST: Final = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """What has to be confirmed before `enqueue` returns; `durable=True` means `Durable()`.

    It narrows the time in which a job can be lost, and does not end it: a replica that
    has received a job is not always the one that a failover chooses.
    """

    fsync: bool = True
    """Wait until the primary has the job on its disk (WAITAOF: Redis 7.2, Valkey 8)."""

    replicas: int = 0
    """How many replicas have to have it; on their disks if `fsync` is set."""

    timeout: float = 5.0
    """Seconds to wait for the confirmation."""

    def __post_init__(self) -> None:
        flag("fsync", self.fsync)
        count("replicas", self.replicas, most=_MAX_REPLICAS)
        if not self.fsync and not self.replicas:
            rule = "must be at least 1 without fsync, or nothing would be confirmed"
            raise OptionError("replicas", self.replicas, rule)
        timeout = wait("timeout", self.timeout, least=0.001)
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
    """Confirms durable jobs, over a connection of its own that carries them."""

    def __init__(self, address: Address) -> None:
        self._connection = connection_to(address, name="flowd-durable")
        self._confirm_disks: set[int] = set()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()

    def over(self, stream: Stream) -> Stream:
        """The same stream over the connection of durable jobs."""
        return stream.over(self._connection)

    async def check(self, connection: Connection, durable: Durable) -> None:
        """Confirm no write, to learn whether the server can, before a job is stored.

        Args:
            connection: that of a stream of `over`.
            durable: what is to be confirmed.

        Raises:
            NotDurable: the server cannot confirm a write to disk.
            ServerError: as `Connection.call`.
        """
        if not durable.fsync or connection.serial in self._confirm_disks:
            return
        try:
            await _ask(connection, Durable(timeout=0.001))
        except (CommandRefused, CommandUnknown) as error:
            unknown = isinstance(error, CommandUnknown)
            why = "" if unknown else f" ({str(error).rstrip('.')})"
            raise NotDurable(
                f"nothing was stored, because this server cannot confirm a write to disk"
                f"{why}: durable=True needs Redis 7.2 or Valkey 8 with appendonly yes,"
                " and Durable(fsync=False, replicas=1) a replica instead",
                (),
            ) from error
        self._confirm_disks.add(connection.serial)

    async def confirm(
        self,
        connection: Connection,
        carrier: int,
        ids: Sequence[str],
        durable: Durable,
    ) -> None:
        """Wait for the confirmation of jobs that were stored just now.

        Args:
            connection: which has carried them.
            carrier: its `carrier` when they were sent.
            ids: theirs.
            durable: what is to be confirmed.

        Raises:
            NotDurable: the server has not confirmed it in time.
            OutcomeUnknown: the connection was lost before the confirmation.
        """
        try:
            synced, replicas = await _ask(connection, durable)
        except ServerError as error:
            raise OutcomeUnknown(f"stored, and then no proof came: {error}") from error
        if connection.carrier != carrier:
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


class Durability:
    """Hooks into *enqueue* where `durable` was asked for.

    Args:
        checker: carries the jobs, and confirms them.
        durable: what has to be confirmed.
    """

    def __init__(self, checker: DurabilityChecker, durable: Durable) -> None:
        self._checker = checker
        self._durable = durable

    def on_enqueue(self, call: EnqueueCall) -> EnqueueCall:
        """Send over the connection that confirms, and wait for the confirmation."""
        stream = self._checker.over(call.stream)
        return replace(
            call,
            stream=stream,
            lasts=call.lasts + self._durable.timeout,
            confirmation=_Confirmation(self._checker, stream.connection, self._durable),
        )


class _Confirmation:
    """Of what is stored over one connection."""

    def __init__(
        self, checker: DurabilityChecker, connection: Connection, durable: Durable
    ) -> None:
        self._checker = checker
        self._connection = connection
        self._durable = durable
        self._carrier = 0

    async def check(self) -> None:
        """As `DurabilityChecker.check`."""
        await self._checker.check(self._connection, self._durable)
        if not self._connection.carrier:
            await self._connection.call("TIME")  # connects
        # In a cluster, the next call may go to a node that knows nothing of this one.
        self._carrier = self._connection.carrier

    async def confirm(self, stored: Sequence[str]) -> None:
        """As `DurabilityChecker.confirm`."""
        await self._checker.confirm(
            self._connection, self._carrier, stored, self._durable
        )


async def _ask(connection: Connection, durable: Durable) -> tuple[int, int]:
    """What is confirmed: on this disk (0 or 1), and by how many replicas."""
    ms = milliseconds(durable.timeout)
    command = ("WAITAOF", 1) if durable.fsync else ("WAIT",)
    return await connection.call(
        *(*command, durable.replicas, ms),
        read=_confirmed,
        timeout=durable.timeout + _MARGIN,
    )


def _confirmed(reply: object) -> tuple[int, int]:
    if isinstance(reply, int):
        return 0, reply
    synced, replicas = numbers(2)(reply)
    return synced, replicas
