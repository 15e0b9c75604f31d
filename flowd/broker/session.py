"""What all queues and producers of one event loop share towards one server."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from flowd.broker.connection import Connection, connection_to
from flowd.broker.durability import DurabilityChecker
from flowd.broker.outage import RECONNECT, Outage
from flowd.broker.registry import list_queue
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import FatalError, OptionError
from flowd.model.event import EventBus, Listener
from flowd.model.keys import QUEUES

__all__ = ["Session", "SessionUser", "connected"]

V = TypeVar("V")


class Session:
    """One connection for commands, to a cluster one to each node; one view of outages.

    Durable jobs have a second connection, once there is one.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._loop = weakref.ref(asyncio.get_running_loop())
        self.connection = connection_to(address)
        self.durability = DurabilityChecker(address)
        self.events = EventBus()
        """Of what happens to the whole process."""

        self.outage = Outage(str(address), self.events)
        self.users = 0
        """How many acquired it and did not release it yet."""

        self.process = os.getpid()
        self.kept: dict[object, object] = {}
        """What its users keep for as long as it lives, by whose it is."""

        self._listed: dict[tuple[str, str], _Listed] = {}
        self._set_up: set[tuple[str, str]] = set()
        self._watching: asyncio.Task[object] | None = None
        if (watch := address.watch()) is not None:
            self._watching = asyncio.get_running_loop().create_task(
                watch, name="flowd-watch", context=contextvars.Context()
            )

    @classmethod
    def acquire(cls, address: Address, listeners: Sequence[Listener] = ()) -> Session:
        """The running event loop's session with a server, opened by its first user.

        The listeners get the events of the whole process.
        """
        _forget_closed(_sessions)
        sessions = _sessions.setdefault(_loop(), {})
        session = sessions.get(address)
        if session is None:
            session = sessions[address] = cls(address)
        session.users += 1
        session.events.subscribe(listeners)
        return session

    async def release(self, listeners: Sequence[Listener] = ()) -> None:
        """Undo one `acquire`; the last one closes the connections."""
        self.events.unsubscribe(listeners)
        self.users -= 1
        if self.users == 0:
            loop = self._loop()
            if loop is not None:
                _sessions.get(loop, {}).pop(self.address, None)
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.wait([self._watching])
            await self.connection.aclose()
            await self.durability.aclose()

    def reader_to(self, stream: str) -> Connection:
        """A connection of its user's, for reads that wait, to where a stream is."""
        reader = Connection(self.address.at(stream), name="flowd-reader")
        for each in (reader, self.connection):
            each.end_predecessors()  # what they read may be on its way
        return reader

    def keep_listed(self, stream: Stream) -> None:
        """List a queue for operators, with what is asked in this turn of the loop.

        It is listed once for each link to the server that has the list: that may have
        started anew without its data, which a queue at another node does not notice.
        Nothing waits for it, and a user without the right can still enqueue.
        """
        listed = self._listed.get((stream.keys.stream, stream.group))
        if listed is None or listed.is_in_doubt:
            self._list(stream)

    def note_set_up(self, stream: Stream) -> None:
        """`init` has created the stream and its group, and listed the queue."""
        place = (stream.keys.stream, stream.group)
        self._set_up.add(place)
        self._listed[place] = _Listed(stream.connection.at(QUEUES))

    def is_set_up(self, stream: Stream) -> bool:
        """Whether `init` of a queue has created its stream and group."""
        return (stream.keys.stream, stream.group) in self._set_up

    def _list(self, stream: Stream) -> None:
        listed = _Listed(stream.connection.at(QUEUES), under_way=True)
        self._listed[stream.keys.stream, stream.group] = listed
        list_queue(stream).add_done_callback(listed.answered)


class _Listed:
    """On which link a queue was put on the list.

    Args:
        connection: to the server that has the list.
        under_way: whether it is not answered yet.
    """

    __slots__ = ("_connection", "_not_before", "_serial", "_under_way")

    def __init__(self, connection: Connection, *, under_way: bool = False) -> None:
        self._connection = connection
        self._serial = connection.carrier
        self._under_way = under_way
        self._not_before = 0.0

    @property
    def is_in_doubt(self) -> bool:
        """Whether it is to be listed again now."""
        return (
            not self._under_way
            and self._connection.carrier != self._serial
            and time.monotonic() >= self._not_before
        )

    def answered(self, answer: asyncio.Future[object]) -> None:
        """It is on the list, or may not be put there, or has to be tried again."""
        self._under_way = False
        failed = answer.cancelled() or answer.exception()
        if failed and not isinstance(failed, FatalError):
            # Each try puts in doubt where nodes are, which all others wait for then.
            self._serial, self._not_before = -1, time.monotonic() + RECONNECT.max
        else:
            self._serial = self._connection.carrier


@asynccontextmanager
async def connected(address: Address) -> AsyncGenerator[Connection]:
    """The connection of the running loop's session; its first command opens it."""
    session = Session.acquire(address)
    try:
        yield session.connection
    finally:
        await session.release()


class SessionUser:
    """A user's part in the sessions of all event loops that it is used on.

    Args:
        address: of the server.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._sessions: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, Session
        ] = weakref.WeakKeyDictionary()

    def joined(self) -> list[Session]:
        """The sessions that it joined and did not leave."""
        return list(self._sessions.values())

    def here(self, listeners: Sequence[Listener] = ()) -> Session:
        """The running loop's session, joined at the first call.

        Raises:
            OptionError: no loop runs here, or one that a forked child has from its
                parent.
        """
        loop = _loop()
        session = self._sessions.get(loop)
        if session is None:
            _forget_closed(self._sessions)
            self._sessions[loop] = session = Session.acquire(self._address, listeners)
        if session.process != os.getpid():
            raise OptionError("event loop", "the parent's", _FORKED)
        return session

    async def leave(self, listeners: Sequence[Listener] = ()) -> None:
        """Leave all of them; those of other loops that run are left there."""
        running = asyncio.get_running_loop()
        sessions, own = list(self._sessions.items()), self._sessions.pop(running, None)
        self._sessions.clear()
        for loop, session in sessions:
            if session is own or loop.is_closed() or session.process != os.getpid():
                continue  # with its loop, a session has ended
            coroutine = session.release(listeners)
            with suppress(RuntimeError):  # it is being closed just now
                asyncio.run_coroutine_threadsafe(coroutine, loop)
        if own is not None:
            await own.release(listeners)


def _forget_closed(
    by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, V],
) -> None:
    """Forget what closed loops had: without its loop, no connection can be closed."""
    for reference in by_loop.keyrefs():
        loop = reference()
        if loop is not None and loop.is_closed():
            by_loop.pop(loop, None)


def _loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        if os.getpid() != _IMPORTED_BY:
            raise OptionError("event loop", None, _FORKED) from None
        raise OptionError.absent("event loop", _NO_LOOP) from None


_IMPORTED_BY: Final = os.getpid()
_NO_LOOP: Final = (
    "there is no running event loop; call it inside a coroutine that was started with"
    " asyncio.run"
)
_FORKED: Final = (
    "a forked child has no part in its parent's loop; begin one with asyncio.run, where"
    " the same object has a connection of its own"
)

_sessions: Final[
    weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Address, Session]]
] = weakref.WeakKeyDictionary()
