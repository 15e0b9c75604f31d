"""A primary that sentinels know: they are asked at each connect, and heard in between.

A failover is noticed in three ways. The old primary is gone, or refuses what writes: the next
connect asks anew. A sentinel publishes `+switch-master`: every link to another server is
dropped at once, also one to a primary that was demoted and does not know it yet. And what the
sentinels name is used only if it says itself that it is a primary.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeAlias

from redis.asyncio.connection import AbstractConnection

from flowd.broker import replies
from flowd.broker.asking import SharedQuestion, ask_server, first_answer
from flowd.broker.connection import log_in, pack
from flowd.broker.outage import RECONNECT
from flowd.broker.protocol import Call, RedisProtocol
from flowd.broker.settings import Settings
from flowd.broker.transport import QUICK_KEEPALIVE
from flowd.broker.url import Address
from flowd.errors import OutcomeUnknown, ServerError

__all__ = ["SentinelAddress"]

_Place: TypeAlias = tuple[str, int]

_SILENCE: Final = 10.0
_SWITCH: Final = "+switch-master"


class SentinelAddress(Address):
    """Where the primary of a name is at this moment.

    Args:
        shown: as text; without a password.
        kind: of connections to the primary.
        settings: of these, without host and port.
        name: of the primary, as the sentinels know it.
        sentinels: where they are.
    """

    checks_role = True
    keepalive = QUICK_KEEPALIVE

    def __init__(
        self,
        shown: str,
        kind: type[AbstractConnection],
        settings: Settings,
        *,
        name: str,
        sentinels: Sequence[Address],
    ) -> None:
        super().__init__(shown, kind, settings)
        self._name = name
        self._sentinels = list(sentinels)
        self.sentinels = tuple(sentinels)
        """Where they are."""

        self._primary = SharedQuestion(self._ask_sentinels)
        # Of all loops and threads that use this address.
        self._links: weakref.WeakKeyDictionary[RedisProtocol, _Place] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    async def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """Ask the sentinels, and connect a protocol to the primary that they name.

        Raises:
            OSError: no sentinel names one, or it cannot be reached.
        """
        place = await self._primary.answer()
        await self.connect_to(protocol, place)
        if isinstance(protocol, RedisProtocol):
            with self._lock:
                self._links[protocol] = place

    async def watch(self) -> None:
        """Listen to all sentinels, and drop links to what is no primary any more."""
        await asyncio.gather(*map(self._listen, list(self._sentinels)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SentinelAddress):
            return NotImplemented
        return (
            super().__eq__(other)
            and self._name == other._name
            and set(self.sentinels) == set(other.sentinels)
        )

    def __hash__(self) -> int:
        return hash((super().__hash__(), self._name))

    async def _ask_sentinels(self) -> _Place:
        asks = [partial(self._ask_one, each) for each in self._sentinels]
        return await first_answer(asks)

    async def _ask_one(self, sentinel: Address) -> _Place:
        place = await ask_server(
            sentinel,
            "flowd-sentinel",
            *("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name),
            read=replies.maybe(_place),
        )
        if place is None:
            raise OSError(f"the sentinel {sentinel} knows no primary {self._name!r}")
        return place

    async def _listen(self, sentinel: Address) -> None:
        """Listen to one sentinel, without an end: it may be away, others hear it too."""
        failures = 0
        while True:
            try:
                await self._hear(sentinel)
            except (ServerError, OSError):
                failures += 1
            else:
                failures = 1
            await asyncio.sleep(RECONNECT.delay(failures))

    async def _hear(self, sentinel: Address) -> None:
        """Follow one connection to a sentinel until it is lost."""
        heard = asyncio.Queue[object]()

        def gone(
            _: object, sent: Sequence[Call], ready: Sequence[Call], why: str
        ) -> None:
            heard.put_nowait(None)
            for call in (*sent, *ready):
                call.fail(OutcomeUnknown(why))

        protocol = RedisProtocol(gone)
        await log_in(protocol, sentinel, "flowd-sentinel")
        try:
            protocol.listen(heard.put_nowait)
            protocol.write(pack(("SUBSCRIBE", _SWITCH)))
            asked = True
            while (said := await _next(heard)) is not None:
                if said != _SILENT:
                    asked = False
                    self._switched(said, sentinel)
                elif asked:
                    return
                else:
                    # To subscribe again changes nothing, and is answered.
                    protocol.write(pack(("SUBSCRIBE", _SWITCH)))
                    asked = True
        finally:
            protocol.close()

    def _switched(self, said: object, sentinel: Address) -> None:
        """Drop the links to all servers but the new primary."""
        try:
            kind, _, text = map(replies.data, replies.array(said))
            name, *_, host, port = text.decode("utf-8", "replace").split(" ")
        except ValueError:
            return  # no message, but the answer to SUBSCRIBE
        if kind != b"message" or name != self._name:
            return
        # It knows first; others may still name the old one.
        self._sentinels.sort(key=lambda each: each is not sentinel)
        with self._lock:
            links = list(self._links.items())
        for protocol, place in links:
            if place != (host, int(port)):
                protocol.close_soon(f"the primary is {host}:{port} now")


_SILENT: Final = "silent"


async def _next(heard: asyncio.Queue[object]) -> object:
    """What was heard next; `_SILENT` if there was nothing for a while."""
    try:
        async with asyncio.timeout(_SILENCE):
            return await heard.get()
    except TimeoutError:
        return _SILENT


def _place(reply: object) -> _Place:
    host, port = map(replies.text, replies.array(reply))
    return host, int(port)
