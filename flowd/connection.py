"""One connection to one server: commands go out together, answers come back in order.

redis-py connects and logs in. From then on a protocol of flowd's own writes and reads:
redis-py repeats commands whose answer was lost, and an XADD that is repeated is a second
job. A `Link` says which of the two happened: `Unreachable` (nothing was sent) or
`OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import hiredis
import redis.exceptions
from redis.asyncio.connection import AbstractConnection

from flowd.address import Address
from flowd.errors import OutcomeUnknown, ServerError, Unreachable
from flowd.refusal import is_demotion, refusal

__all__ = ["TIMEOUT", "Argument", "Link"]

Argument: TypeAlias = str | bytes | int

TIMEOUT: Final = 2.0
"""Seconds after which an answer counts as lost, unless said otherwise."""

_GRACE: Final = 0.05
_MORE: Final = object()
_BUFFER: Final = 64 * 1024
_CLOSED: Final = "it was closed here"

# The stub of hiredis says that a command has one argument.
_pack: Final[Callable[[tuple[Argument, ...]], bytes]] = vars(hiredis)["pack_command"]
_MULTI: Final = _pack(("MULTI",))
_EXEC: Final = _pack(("EXEC",))


class _Call:
    """What was asked in one piece, and the one answer that is awaited."""

    __slots__ = ("answers", "due", "late", "packed", "refused", "reply", "timeout")

    def __init__(self, packed: bytes, answers: int, timeout: float) -> None:
        self.packed = packed
        self.answers = answers
        """How many the server will send; the last one counts."""

        self.timeout = timeout
        self.due = 0.0
        self.late = False
        self.refused: ServerError | None = None
        self.reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def answer(self, reply: object) -> None:
        """Take one answer; a refusal counts wherever it comes."""
        self.answers -= 1
        if self.refused is None and isinstance(reply, ServerError):
            self.refused = reply
        # The caller may have been cancelled; the command was carried out all the same.
        if self.answers or self.reply.done():
            return
        if self.refused is None:
            self.reply.set_result(reply)
        else:
            self.reply.set_exception(self.refused)

    def fail(self, error: ServerError) -> None:
        """There will be no answer."""
        if not self.reply.done():
            self.reply.set_exception(error)


class _Wire(asyncio.BufferedProtocol):
    """A connection after the login."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        gone: Callable[[_Wire, Sequence[_Call], Sequence[_Call], str], None],
    ) -> None:
        self._transport = transport
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._parser = hiredis.Reader(replyError=refusal, notEnoughData=_MORE)
        # One buffer for all reads: asyncio's own are so large that each is asked of
        # the operating system anew.
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._sent: deque[_Call] = deque()
        self._ready: list[_Call] = []
        self._heard = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self.why = "the server closed the connection"
        """Why it is closed, once it is."""

        self._leaving = False
        self.usable = True
        """Whether new commands may go this way."""

        transport.set_protocol(self)

    def ask(self, call: _Call) -> None:
        """Send with all else that is asked in this turn of the loop."""
        if not self._ready:
            self._loop.call_soon(self._flush)
        self._ready.append(call)

    def close(self, why: str) -> None:
        """Close at once; `gone` is told what has no answer."""
        if self.usable:
            self.why = why
        self._end()
        self._transport.abort()

    def _flush(self) -> None:
        if not self.usable:
            return
        calls, self._ready = self._ready, []
        self._transport.write(b"".join([call.packed for call in calls]))
        # Answers come in order: none is late while one before it may be waited for.
        due = self._sent[-1].due if self._sent else 0.0
        now = self._loop.time()
        for call in calls:
            call.due = due = max(due, now + call.timeout)
        self._sent.extend(calls)
        self._watch(self._sent[0].due)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio's
        """As `asyncio.BufferedProtocol`."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """As `asyncio.BufferedProtocol`."""
        self._heard = self._loop.time()
        self._parser.feed(bytes(self._view[:nbytes]))
        try:
            while (reply := self._parser.gets()) is not _MORE:
                call = self._sent[0]
                call.answer(reply)
                if not call.answers:
                    self._sent.popleft()
                self._leaving |= is_demotion(reply)
        except (hiredis.HiredisError, IndexError) as error:
            self.close(f"the server sent what is no answer: {error}")
        if self._leaving and not self._sent:
            self.close("the server is no primary any more")

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.BufferedProtocol`."""
        if exc is not None:
            self.why = str(exc) or type(exc).__name__
        self._end()

    def _end(self) -> None:
        self.usable = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        sent, self._sent = self._sent, deque[_Call]()
        ready, self._ready = self._ready, []
        self._gone(self, sent, ready, self.why)

    def _watch(self, due: float) -> None:
        """Look for late answers then; one timer serves all calls, one after the other."""
        if self._alarm is not None:
            if self._alarm.when() <= due:
                return
            self._alarm.cancel()
        self._alarm = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._alarm = None
        if not self._sent:
            return
        call = self._sent[0]
        if self._heard + call.timeout > call.due:
            # A large answer over a slow line is not late while more of it comes.
            call.due, call.late = self._heard + call.timeout, False
        if call.due <= self._loop.time():
            if call.late:
                self.close("no answer in time")
                return
            # Let the answer in that came while a handler kept the loop from looking.
            call.late = True
            call.due = self._loop.time() + _GRACE
        self._watch(call.due)


class Link:
    """A connection that everything on one event loop may share.

    Calls made in one turn of the loop are sent together, in one write, whether or not
    those before them are answered. A read that blocks needs a link of its own, or all
    others would wait behind it.
    """

    def __init__(self, address: Address, *, name: str = "flowd") -> None:
        self._address = address
        self._name = name
        self._connection: AbstractConnection | None = None
        self._wire: _Wire | None = None
        self._waiting: list[_Call] = []
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self.client_id = 0
        """The server's number for this connection; 0 while there is none."""

        self.connections = 0
        """How many there have been."""

    def call(
        self, *command: Argument, timeout: float = TIMEOUT
    ) -> asyncio.Future[object]:
        """Send one command; the result is its raw answer (RESP 2, bytes).

        A caller that is cancelled stops waiting; the command is carried out, unless it
        waited for a connection.

        Raises, when awaited:
            Unreachable: not connected within `timeout` seconds, or the link is closed;
                nothing was sent.
            OutcomeUnknown: sent, and then nothing was heard for `timeout` seconds.
            WrongAddress: the folder of an embedded server cannot be used.
            ServerError: the server refused; the subclass says why.
        """
        return self._ask(_Call(_pack(command), 1, timeout))

    def transact(
        self, commands: Sequence[tuple[Argument, ...]]
    ) -> asyncio.Future[object]:
        """Send commands that are carried out all or none (MULTI, EXEC).

        The result is the list of their answers, in which one that failed while it was
        carried out is a ServerError. Raises as `call`, also if one was refused before;
        then none was carried out, unless MULTI was, for which a right may be missing.
        """
        packed = b"".join([_MULTI, *map(_pack, commands), _EXEC])
        return self._ask(_Call(packed, len(commands) + 2, TIMEOUT))

    async def aclose(self) -> None:
        """Close the connection for good.

        What is on its way fails with `OutcomeUnknown`, and what comes with `Unreachable`.
        """
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await self._drop()
        self._answer_waiting(self._unreachable(ConnectionError(_CLOSED)))

    def _ask(self, call: _Call) -> asyncio.Future[object]:
        if self._wire is not None and self._wire.usable:
            self._wire.ask(call)
        else:
            self._waiting.append(call)
            self._connect_soon()
        return call.reply

    def _gone(
        self, wire: _Wire, sent: Sequence[_Call], ready: Sequence[_Call], why: str
    ) -> None:
        if wire is self._wire:
            self._wire, self.client_id = None, 0
        for call in sent:
            call.fail(OutcomeUnknown(f"the answer of {self._address} was lost: {why}"))
        if ready:
            self._waiting += ready
            self._connect_soon()

    def _connect_soon(self) -> None:
        if self._closed:
            self._answer_waiting(self._unreachable(ConnectionError(_CLOSED)))
        elif self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(
                self._connect(), name=self._name, context=contextvars.Context()
            )

    async def _connect(self) -> None:
        failed: ServerError = self._unreachable(ConnectionError(_CLOSED))
        try:
            await asyncio.sleep(0)  # whoever asks in this turn shares what comes of it
            async with asyncio.timeout(max(call.timeout for call in self._waiting)):
                await self._drop()
                self._wire = await self._open()
        except ServerError as error:
            failed = error
        except Exception as error:  # a credential_provider may raise anything
            failed = self._unreachable(error)
        finally:
            self._connecting = None
            self._answer_waiting(failed)

    def _answer_waiting(self, failed: ServerError) -> None:
        """Send what waited for a connection, or let it fail without one."""
        calls, self._waiting = self._waiting, []
        for call in calls:
            if self._wire is None:
                call.fail(failed)
            elif not call.reply.done():  # else nobody waits for it any more
                self._wire.ask(call)

    def _unreachable(self, error: BaseException) -> ServerError:
        silent = isinstance(error, TimeoutError)
        what = str(error) or ("no answer in time" if silent else type(error).__name__)
        return Unreachable(f"cannot reach {self._address}: {what}")

    async def _open(self) -> _Wire:
        connection = await self._address.connection(self._name)
        connect: Callable[[], Awaitable[None]] = connection.connect
        try:
            await connect()
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, redis.exceptions.RedisError):
                # redis-py wraps what the server answered to the login.
                cause = error.__cause__
                if not isinstance(cause, redis.exceptions.RedisError):
                    cause = error
                answer = refusal(cause)
                if type(answer) is not ServerError:
                    raise answer from error
            raise
        self._connection = connection
        self.connections += 1
        wire = _Wire(_transport(connection), self._gone)
        asked = _Call(_pack(("CLIENT", "ID")), 1, TIMEOUT)
        wire.ask(asked)
        try:
            reply = await asked.reply
        except OutcomeUnknown as error:
            raise ConnectionError(str(error)) from None
        except ServerError:
            reply = 0  # a right is missing; then a blocked read ends by itself
        if not wire.usable:
            raise ConnectionError(wire.why)
        self.client_id = reply if isinstance(reply, int) else 0
        return wire

    async def _drop(self) -> None:
        wire, self._wire, self.client_id = self._wire, None, 0
        connection, self._connection = self._connection, None
        if wire is not None:
            wire.close(_CLOSED)
        if connection is not None:
            await connection.disconnect(nowait=True)


def _transport(connection: AbstractConnection) -> asyncio.WriteTransport:
    """What a connected connection of redis-py writes to, of which it makes no secret."""
    writer: object = getattr(connection, "_writer", None)
    assert isinstance(writer, asyncio.StreamWriter), "redis-py connects with streams"
    return writer.transport
