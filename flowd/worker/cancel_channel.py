"""Hear at once that running jobs are to be cancelled.

One connection of each event loop subscribes to the channels of all queues that run there.
Where it is missing, maintenance and renewal see the marks some seconds later: so nothing
here is reported, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, TypeGuard

from flowd.broker.connection import TIMEOUT, log_in, pack
from flowd.broker.protocol import Call, RedisProtocol
from flowd.broker.url import Address
from flowd.errors import AccessDenied, FatalError, OutcomeUnknown, ServerError
from flowd.model.keys import QUEUES
from flowd.model.policy import Backoff

__all__ = ["CancelChannel"]

_AGAIN: Final = Backoff(base=0.25, max=5.0)
_REFUSED: Final = 60.0
_DIGITS: Final = 20

_Noticed: TypeAlias = Callable[[int], None]


class CancelChannel:
    """The subscriptions of one event loop towards one server.

    A node of a cluster passes on what is published at any other, so one connection is
    enough there as well.

    Args:
        address: of the server.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._queues: dict[str, list[_Noticed]] = {}
        self._following: asyncio.Task[None] | None = None
        self._protocol: RedisProtocol | None = None
        self._refused = 0

    def add(self, channel: str, noticed: _Noticed) -> None:
        """Call `noticed` with the revision of the marks, from now on.

        Args:
            channel: that of a queue, `Keys.cancels`.
            noticed: called in this event loop.
        """
        self._queues.setdefault(channel, []).append(noticed)
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(
                self._follow(), name="flowd-cancels", context=contextvars.Context()
            )
        elif len(self._queues[channel]) == 1:
            self._subscribe(channel)

    async def remove(self, channel: str, noticed: _Noticed) -> None:
        """Undo one `add`; the last closes the connection."""
        self._queues[channel].remove(noticed)
        if not self._queues[channel]:
            # It is heard until the link ends: to unsubscribe takes a right of its own.
            del self._queues[channel]
        if not self._queues and self._following is not None:
            following, self._following = self._following, None
            following.cancel()
            await asyncio.wait([following])

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                await self._listen()
            except FatalError:
                wait = _REFUSED
            except (ServerError, OSError):
                failures += 1
                wait = _AGAIN.delay(failures)
            else:
                failures, wait = 0, _AGAIN.delay(1)
            await asyncio.sleep(wait)

    async def _listen(self) -> None:
        """Connect, and return when the connection is lost.

        Raises:
            ServerError: as `log_in`.
            AccessDenied: the user may listen to none of the channels.
            OSError: no connection in time.
        """
        lost = asyncio.get_running_loop().create_future()

        def gone(
            _: object, sent: Sequence[Call], ready: Sequence[Call], why: str
        ) -> None:
            for call in (*sent, *ready):
                call.fail(OutcomeUnknown(why))
            if not lost.done():
                lost.set_result(None)

        protocol = RedisProtocol(gone)
        try:
            async with asyncio.timeout(TIMEOUT):
                await log_in(protocol, self._address.at(QUEUES), "flowd-cancels")
            self._refused = 0
            protocol.listen(self._received)
            self._protocol = protocol
            for channel in self._queues:
                self._subscribe(channel)
            await lost
        finally:
            self._protocol = None
            protocol.close()
        if self._hears_none:
            raise AccessDenied("the user may subscribe to none of its channels")

    @property
    def _hears_none(self) -> bool:
        return self._refused >= len(self._queues)

    def _subscribe(self, channel: str) -> None:
        if self._protocol is not None:
            self._protocol.write(pack(("SUBSCRIBE", channel)))

    def _received(self, reply: object) -> None:
        if isinstance(reply, ServerError):
            # It does not name the channel.
            self._refused += 1
            if self._hears_none and self._protocol is not None:
                self._protocol.close()
            return
        if not _is_list(reply) or len(reply) != 3 or reply[0] != b"message":
            return
        _, channel, said = reply
        if not isinstance(channel, bytes) or not isinstance(said, bytes):
            return
        if said.isdigit() and len(said) <= _DIGITS and (revision := int(said)):
            for noticed in self._queues.get(channel.decode(), ()):
                noticed(revision)


def _is_list(reply: object) -> TypeGuard[Sequence[object]]:
    return isinstance(reply, list)
