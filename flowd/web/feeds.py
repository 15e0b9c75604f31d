"""Follows the events of queues for all that look at them.

However many look at a queue, it is followed once, and only while one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final

from flowd.broker.url import Address
from flowd.errors import FatalError
from flowd.ops.tail import TailEvent, follow

__all__ = ["MOST_LISTENERS", "Feeds"]

_HELD: Final = 500
MOST_LISTENERS: Final = 200
"""How many pages may listen at once."""

_SILENCE: Final = 15.0

_Listener = asyncio.Queue[TailEvent | str]


class _Feed:
    """The events of one channel, for several listeners."""

    def __init__(self, address: Address, channel: str) -> None:
        self.listeners: set[_Listener] = set()
        self.task = asyncio.create_task(self._follow(address, channel))

    async def _follow(self, address: Address, channel: str) -> None:
        try:
            async with aclosing(follow(address, channel, self._send)) as events:
                async for event in events:
                    self._send(event)
        except FatalError as error:
            self._send(f"{error}")

    def _send(self, what: TailEvent | str) -> None:
        for each in self.listeners:
            # Who reads too slowly misses some: nothing waits for a browser.
            with suppress(asyncio.QueueFull):
                each.put_nowait(what)


class Feeds:
    """What is followed at this moment.

    Args:
        address: the server.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._feeds: dict[str, _Feed] = {}

    @property
    def is_full(self) -> bool:
        """Whether as many listen as may."""
        return (
            sum(len(each.listeners) for each in self._feeds.values()) >= MOST_LISTENERS
        )

    async def listen(self, channel: str) -> AsyncGenerator[TailEvent | str | None]:
        """Events from now on; a text says why there are none, None that all is quiet."""
        feed = self._feeds.get(channel)
        if feed is None or feed.task.done():
            feed = self._feeds[channel] = _Feed(self._address, channel)
        held = _Listener(_HELD)
        feed.listeners.add(held)
        try:
            while True:
                found: TailEvent | str | None = None
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SILENCE):
                        found = await held.get()
                yield found
        finally:
            feed.listeners.discard(held)
            if not feed.listeners:
                if self._feeds.get(channel) is feed:
                    del self._feeds[channel]
                await _end(feed)

    async def aclose(self) -> None:
        """Follow nothing any more."""
        feeds, self._feeds = [*self._feeds.values()], {}
        for each in feeds:
            await _end(each)


async def _end(feed: _Feed) -> None:
    feed.task.cancel()
    await asyncio.wait([feed.task])
