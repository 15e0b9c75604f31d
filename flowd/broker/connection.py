"""A connection to one server that is made anew when it is lost.

redis-py connects and logs in. From then on an `Exchange` writes and reads: redis-py
repeats commands whose answer was lost, and an XADD that is repeated is a second job. A
`Link` says which of the two happened: `Unreachable` (nothing was sent) or
`OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias, TypeVar, cast, overload

import hiredis
import redis.exceptions
from redis.asyncio.connection import AbstractConnection

from flowd.broker.protocol import Call, Exchange
from flowd.broker.refusals import refusal
from flowd.broker.replies import Reader, anything, items
from flowd.broker.url import Address
from flowd.errors import OutcomeUnknown, ServerError, Unreachable

__all__ = ["TIMEOUT", "Argument", "Link"]

T = TypeVar("T")

Argument: TypeAlias = str | bytes | int

TIMEOUT: Final = 2.0
"""Seconds after which an answer counts as lost, unless said otherwise."""

_CLOSED: Final = "it was closed here"

# The stub of hiredis says that a command has one argument.
_pack: Final[Callable[[tuple[Argument, ...]], bytes]] = vars(hiredis)["pack_command"]
_MULTI: Final = _pack(("MULTI",))
_EXEC: Final = _pack(("EXEC",))


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
        self._exchange: Exchange | None = None
        self._waiting: list[Call] = []
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self.client_id = 0
        """The server's number for this connection; 0 while there is none."""

        self.connections = 0
        """How many there have been."""

    @overload
    def call(
        self, *command: Argument, timeout: float = TIMEOUT
    ) -> asyncio.Future[object]: ...

    @overload
    def call(
        self, *command: Argument, read: Reader[T], timeout: float = TIMEOUT
    ) -> asyncio.Future[T]: ...

    def call(
        self,
        *command: Argument,
        read: Reader[object] = anything,
        timeout: float = TIMEOUT,
    ) -> (
        asyncio.Future[object]
        | asyncio.Future[T]  # pyright: ignore[reportInvalidTypeVarUse]
    ):
        """Send one command; the result is its answer (RESP 2, bytes), as `read` takes it.

        A caller that is cancelled stops waiting; the command is carried out, unless it
        waited for a connection.

        Raises, when awaited:
            Unreachable: not connected within `timeout` seconds, or the link is closed;
                nothing was sent.
            OutcomeUnknown: sent, and then nothing was heard for `timeout` seconds, or
                what `read` does not take.
            WrongAddress: the folder of an embedded server cannot be used.
            ServerError: the server refused; the subclass says why.
        """
        return self._ask(Call(_pack(command), 1, timeout, read))

    def transact(
        self, commands: Sequence[tuple[Argument, ...]], read: Reader[T]
    ) -> asyncio.Future[list[T | ServerError]]:
        """Send commands that are carried out all or none (MULTI, EXEC).

        The result is the list of their answers, each as `read` takes it; one that failed
        while it was carried out is a ServerError. Raises as `call`, also if one was refused before;
        then none was carried out, unless MULTI was, for which a right may be missing.
        """
        packed = b"".join([_MULTI, *map(_pack, commands), _EXEC])
        each = items(_or_refusal(read), len(commands))
        asked = self._ask(Call(packed, len(commands) + 2, TIMEOUT, each))
        return cast("asyncio.Future[list[T | ServerError]]", asked)

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

    def _ask(self, call: Call) -> asyncio.Future[object]:
        if self._exchange is not None and self._exchange.usable:
            self._exchange.ask(call)
        else:
            self._waiting.append(call)
            self._connect_soon()
        return call.reply

    def _gone(
        self, exchange: Exchange, sent: Sequence[Call], ready: Sequence[Call], why: str
    ) -> None:
        if exchange is self._exchange:
            self._exchange, self.client_id = None, 0
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
                self._exchange = await self._open()
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
            if self._exchange is None:
                call.fail(failed)
            elif not call.reply.done():  # else nobody waits for it any more
                self._exchange.ask(call)

    def _unreachable(self, error: BaseException) -> ServerError:
        silent = isinstance(error, TimeoutError)
        what = str(error) or ("no answer in time" if silent else type(error).__name__)
        return Unreachable(f"cannot reach {self._address}: {what}")

    async def _open(self) -> Exchange:
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
        exchange = Exchange(_transport(connection), self._gone)
        asked = Call(_pack(("CLIENT", "ID")), 1, TIMEOUT)
        exchange.ask(asked)
        try:
            reply = await asked.reply
        except OutcomeUnknown as error:
            raise ConnectionError(str(error)) from None
        except ServerError:
            reply = 0  # a right is missing; then a blocked read ends by itself
        if not exchange.usable:
            raise ConnectionError(exchange.why)
        self.client_id = reply if isinstance(reply, int) else 0
        return exchange

    async def _drop(self) -> None:
        exchange, self._exchange, self.client_id = self._exchange, None, 0
        connection, self._connection = self._connection, None
        if exchange is not None:
            exchange.close(_CLOSED)
        if connection is not None:
            await connection.disconnect(nowait=True)


def _or_refusal(read: Reader[T]) -> Reader[T | ServerError]:
    return lambda reply: reply if isinstance(reply, ServerError) else read(reply)


def _transport(connection: AbstractConnection) -> asyncio.WriteTransport:
    """What a connected connection of redis-py writes to, of which it makes no secret."""
    writer: object = getattr(connection, "_writer", None)
    assert isinstance(writer, asyncio.StreamWriter), "redis-py connects with streams"
    return writer.transport
