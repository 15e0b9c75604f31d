"""One connection to one server: commands go out in batches, answers come back in order.

redis-py connects, logs in and reads; its retries are off, because it repeats commands
whose answer was lost, and an XADD that is repeated is a second job. A `Link` says which
of the two happened: `Unreachable` (nothing was sent) or `OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import hiredis
import redis.exceptions
from redis.asyncio.connection import AbstractConnection

from flowd.address import Address
from flowd.errors import (
    AccessDenied,
    GroupMissing,
    IdNotIncreasing,
    NotReady,
    OutcomeUnknown,
    QueueFull,
    ServerError,
    StreamShared,
    Unreachable,
    WrongKeyType,
)

__all__ = ["Argument", "Link", "ScriptMissing", "refusal"]

Argument: TypeAlias = str | bytes | int

_TIMEOUT: Final = 2.0
_GRACE: Final = 0.05

# The stub of hiredis says that a command has one argument.
_pack: Final[Callable[[tuple[Argument, ...]], bytes]] = vars(hiredis)["pack_command"]

# Found anywhere in the text, not only in front: 6.2 wraps what a script raises.
_REFUSALS: Final[tuple[tuple[str, type[ServerError]], ...]] = (
    ("SHARED stream", StreamShared),
    ("NOGROUP", GroupMissing),
    ("UNBLOCKED the stream key no longer exists", GroupMissing),
    ("WRONGTYPE", WrongKeyType),
    ("NOPERM", AccessDenied),
    ("can't run this command or subcommand", AccessDenied),
    ("ACL failure in script", AccessDenied),
    ("The user executing the script", AccessDenied),
    ("NOAUTH", AccessDenied),
    ("equal or smaller than the target stream top item", IdNotIncreasing),
    ("must be greater than 0-0", IdNotIncreasing),
    ("command not allowed when used memory", QueueFull),
    ("OOM", QueueFull),
    ("LOADING", NotReady),
    ("READONLY", NotReady),
    ("read only replica", NotReady),
    ("MISCONF", NotReady),
    ("MASTERDOWN", NotReady),
    ("NOREPLICAS", NotReady),
    ("BUSY", NotReady),
    ("UNBLOCKED", NotReady),
)

_DEMOTED: Final = ("READONLY", "read only replica", "MASTERDOWN", "UNBLOCKED")


class ScriptMissing(ServerError):
    """The server does not know a script yet, or has forgotten it (NOSCRIPT)."""


def refusal(error: Exception | str) -> ServerError:
    """The flowd error for what a server answered."""
    text = str(error)
    match error:
        case redis.exceptions.NoScriptError():
            return ScriptMissing(text)
        case redis.exceptions.AuthenticationError():
            return AccessDenied(f"Redis refuses the login: {text}")
        case redis.exceptions.NoPermissionError():
            return AccessDenied(f"the Redis user lacks a right: {text}")
        case redis.exceptions.OutOfMemoryError():
            return QueueFull(f"Redis is out of memory: {text}")
        case redis.exceptions.BusyLoadingError() | redis.exceptions.ReadOnlyError():
            return NotReady(f"Redis cannot do it now: {text}")
        case _:
            for sign, kind in _REFUSALS:
                if sign in text:
                    return kind(text)
            return ServerError(text)


class _Call:
    """A command on its way."""

    __slots__ = ("command", "reply", "timeout")

    def __init__(self, command: tuple[Argument, ...], timeout: float) -> None:
        self.command = command
        self.timeout = timeout
        self.reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def answer(self, reply: object) -> None:
        # The caller may have been cancelled; the command was carried out all the same.
        if self.reply.done():
            return
        if isinstance(reply, ServerError):
            self.reply.set_exception(reply)
        else:
            self.reply.set_result(reply)

    def fail(self, error: ServerError) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class Link:
    """A connection that everything on one event loop may share.

    Calls made while others are on their way are sent together, in one write. A read
    that blocks needs a link of its own, or all others would wait behind it.
    """

    def __init__(self, address: Address, *, name: str = "flowd") -> None:
        self._address = address
        self._name = name
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Call] = []
        self._pump: asyncio.Task[None] | None = None
        self.client_id = 0
        """The server's number for this connection; 0 while there is none."""

        self.connections = 0
        """How many there have been."""

    async def call(
        self, *command: Argument, timeout: float = _TIMEOUT  # noqa: ASYNC109 - Redis'
    ) -> object:
        """Send one command and return its raw answer (RESP 2, bytes).

        A caller that is cancelled stops waiting; the command is carried out.

        Raises:
            Unreachable: not connected within `timeout` seconds; nothing was sent.
            OutcomeUnknown: sent, but no answer came within `timeout` seconds.
            ServerError: the server refused; the subclass says why.
        """
        call = _Call(command, timeout)
        self._waiting.append(call)
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(
                self._run(), name=self._name, context=contextvars.Context()
            )
        return await call.reply

    async def aclose(self) -> None:
        """Close the connection; what is on its way fails with `OutcomeUnknown`."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        await self._drop()

    async def _run(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting, []
                await self._exchange(calls)
        finally:
            self._pump = None

    async def _exchange(self, calls: list[_Call]) -> None:
        answered, sent = 0, False
        limit = asyncio.timeout(None)
        alarm = asyncio.get_running_loop().call_later(
            max(call.timeout for call in calls), _give_grace, limit
        )
        try:
            async with limit:
                connection = await self._connected()
                packed = b"".join([_pack(call.command) for call in calls])
                sent = True
                await connection.send_packed_command(packed, check_health=False)
                elsewhere = False
                for call in calls:
                    reply = await _read(connection)
                    elsewhere |= _may_be_elsewhere(reply)
                    call.answer(reply)
                    answered += 1
                if elsewhere:
                    await self._drop()
        except ServerError as error:
            for call in calls[answered:]:
                call.fail(error)
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            await self._drop()
            for call in calls[answered:]:
                call.fail(self._lost(sent, error))
        except asyncio.CancelledError as error:
            for call in calls[answered:]:
                call.fail(self._lost(sent, error))
            raise
        finally:
            alarm.cancel()

    def _lost(self, sent: bool, error: BaseException) -> ServerError:
        what = str(error) or "no answer in time"
        if sent:
            return OutcomeUnknown(f"the answer of {self._address} was lost: {what}")
        return Unreachable(f"cannot reach {self._address}: {what}")

    async def _connected(self) -> AbstractConnection:
        if self._connection is not None:
            if not await _is_stale(self._connection):
                return self._connection
            await self._drop()
        connection = await self._address.connection(self._name)
        connect: Callable[[], Awaitable[None]] = connection.connect
        try:
            await connect()
            await connection.send_command("CLIENT", "ID", check_health=False)
            reply = await _read(connection)
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
        self.client_id = reply if isinstance(reply, int) else 0
        return connection

    async def _drop(self) -> None:
        connection, self._connection, self.client_id = self._connection, None, 0
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _read(connection: AbstractConnection) -> object:
    """The next answer; an error the server sent is returned, not raised."""
    try:
        return await _reader(connection)(disconnect_on_error=False)
    except (
        redis.exceptions.ResponseError,
        redis.exceptions.BusyLoadingError,
        redis.exceptions.AuthenticationError,
    ) as error:
        return refusal(error)


def _give_grace(limit: asyncio.Timeout) -> None:
    """Let the answer in that came while a handler kept the loop from looking."""
    limit.reschedule(asyncio.get_running_loop().time() + _GRACE)


def _may_be_elsewhere(reply: object) -> bool:
    """Whether the address may lead to another server by now: after a failover.

    The old primary keeps its connections and refuses what writes.
    """
    return isinstance(reply, NotReady) and any(sign in str(reply) for sign in _DEMOTED)


def _reader(connection: AbstractConnection) -> Callable[..., Awaitable[object]]:
    return connection.read_response


async def _is_stale(connection: AbstractConnection) -> bool:
    """Whether a connection was closed while nobody used it.

    Seen before a command is sent, so that it is not called unknown.
    """
    try:
        return not connection.is_connected or bool(await connection.can_read())
    except (redis.exceptions.RedisError, OSError):
        return True
