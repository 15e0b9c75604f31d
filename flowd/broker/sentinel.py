"""A primary that sentinels know: they are asked at each connect, and heard in between.

A failover is noticed in four ways. The old primary is gone, or refuses what writes: the next
connect asks anew. A sentinel publishes that it is about to promote a replica: links to the old
primary are dropped at once, because what that one stores from then on is lost, and the replica
is used as soon as it is a primary (`promotion`). A sentinel publishes `+switch-master`: every
link to another server is dropped. And what the sentinels name is used only if it says itself
that it is a primary. A process that was not subscribed when a promotion began asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from redis.asyncio.connection import AbstractConnection

from flowd.broker import replies
from flowd.broker.asking import SharedQuestion, ask_server, first_answer
from flowd.broker.connection import log_in, pack
from flowd.broker.links import Links, Place, place_shown
from flowd.broker.outage import RECONNECT
from flowd.broker.promotion import Promotion, promotions_of
from flowd.broker.protocol import Call, RedisProtocol
from flowd.broker.refusals import LOGIN_REFUSED, CommandUnknown
from flowd.broker.settings import Settings
from flowd.broker.transport import QUICK_KEEPALIVE
from flowd.broker.url import Address
from flowd.errors import AccessDenied, FatalError, OutcomeUnknown, ServerError

__all__ = ["SentinelAddress"]

_SILENCE: Final = 10.0

# One of the sentinels sends this up to 0.1 s before it promotes a replica, and
# `+switch-master` a second or more behind it.
_PROMOTING: Final = "+failover-state-send-slaveof-noone"
_SWITCH: Final = "+switch-master"
_GIVEN_UP: Final = ("-failover-abort-slave-timeout", "-failover-abort-master-timeout")
_CHANNELS: Final = (_SWITCH, _PROMOTING, *_GIVEN_UP)

_TO_SAY: Final = 0.25
"""Seconds that sentinels have to say whether they promote a replica."""

_OWN_LOGIN: Final = (
    "; the login of sentinels is not that of the primary: give it in the URL as"
    " ?sentinel_username=NAME&sentinel_password=PASSWORD"
)


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
        self._missed = SharedQuestion(self._ask_what_was_missed)
        self._promotion = Promotion(self._server_at)
        self._heard: set[Address] = set()
        """The sentinels whose events are heard."""

        self._links = Links()

    async def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """Ask the sentinels, and connect a protocol to the primary that they name.

        While they promote a replica it is that one: once it is a primary, or after
        1.5 s as what it is.

        Raises:
            OSError: no sentinel names one, or it cannot be reached.
        """
        await self._missed.answer()
        await self._promotion.ended()
        place = self._promotion.replica or await self._primary.answer()
        await self.connect_to(protocol, place)
        self._links.note(protocol, place)

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

    def _server_at(self, place: Place) -> Address:
        host, port = place
        settings = {**self._settings, "host": host, "port": port}
        return Address(place_shown(place), self._kind, settings)

    async def _ask_sentinels(self) -> Place:
        asks = [partial(self._ask_one, each) for each in self._sentinels]
        return await first_answer(asks)

    async def _ask_one(self, sentinel: Address) -> Place:
        try:
            place = await ask_server(
                sentinel,
                "flowd-sentinel",
                *("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name),
                read=replies.maybe(_place),
            )
        except CommandUnknown:
            rule = (
                "name the sentinels in the URL; that of a server is redis://HOST:PORT"
            )
            raise FatalError(f"{sentinel} is no sentinel: {rule}") from None
        except AccessDenied as error:
            refused = str(error).startswith(LOGIN_REFUSED)
            raise AccessDenied(
                f"the sentinel {sentinel}: {error}{_OWN_LOGIN if refused else ''}"
            ) from None
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
            for channel in _CHANNELS:  # the right to one may be missing
                protocol.write(pack(("SUBSCRIBE", channel)))
            await self._ask_for_promotion(sentinel)
            self._heard.add(sentinel)
            asked = True
            while (said := await _next(heard)) is not None:
                if said != _SILENT:
                    asked = False
                    self._follow(said, sentinel)
                elif asked:
                    return
                else:
                    # To subscribe again changes nothing, and is answered.
                    protocol.write(pack(("SUBSCRIBE", _SWITCH)))
                    asked = True
        finally:
            self._heard.discard(sentinel)
            protocol.close()

    async def _ask_what_was_missed(self) -> None:
        """Ask the sentinels that are not heard whether they promote a replica."""
        unheard = [each for each in self._sentinels if each not in self._heard]
        if unheard:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TO_SAY):
                    await asyncio.gather(*map(self._ask_for_promotion, unheard))

    async def _ask_for_promotion(self, sentinel: Address) -> None:
        """Ask one sentinel whether it promotes a replica."""
        for replica, before in await promotions_of(sentinel, self._name):
            self._promoting(replica, before)

    def _follow(self, said: object, sentinel: Address) -> None:
        """Do what a message of a sentinel means for this primary."""
        try:
            kind, channel, text = map(replies.data, replies.array(said))
            words = text.decode("utf-8", "replace").split(" ")
            port = int(words[-1])
        except ValueError:
            return  # no message, but the answer to SUBSCRIBE
        if kind != b"message":
            return
        match channel.decode("utf-8", "replace"), words:
            # name, the old place, the new one
            case str(event), [name, *_, host, _] if event == _SWITCH:
                if name == self._name:
                    self._switched((host, port), sentinel)
            # slave, its name, its place, @, name, the old place
            case str(event), [_, _, to, at, "@", name, host, _] if event == _PROMOTING:
                if name == self._name and at.isdecimal():
                    self._promoting((to, int(at)), (host, port))
            # master, name, its place
            case str(event), [_, name, *_] if event in _GIVEN_UP:
                if name == self._name:
                    self._promotion.end()
            case _:
                pass

    def _switched(self, now: Place, sentinel: Address) -> None:
        """Drop the links to all servers but the new primary."""
        self._promotion.end()
        # It knows first; others may still name the old one.
        self._sentinels.sort(key=lambda each: each is not sentinel)
        why = f"the primary is {place_shown(now)} now"
        self._links.drop(lambda place: why if place != now else None)

    def _promoting(self, replica: Place, before: Place) -> None:
        """Drop the links to a primary that is being replaced."""
        self._promotion.begin(replica)
        why = f"the primary {place_shown(before)} is being replaced by {place_shown(replica)}"
        self._links.drop(lambda place: why if place == before else None)


_SILENT: Final = "silent"


async def _next(heard: asyncio.Queue[object]) -> object:
    """What was heard next; `_SILENT` if there was nothing for a while."""
    try:
        async with asyncio.timeout(_SILENCE):
            return await heard.get()
    except TimeoutError:
        return _SILENT


def _place(reply: object) -> Place:
    host, port = map(replies.text, replies.array(reply))
    return host, int(port)
