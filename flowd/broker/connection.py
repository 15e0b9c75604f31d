"""A connection to one server that is made anew when it is lost.

A `RedisProtocol` writes and reads, not a client of redis-py: those repeat commands whose
answer was lost, and an XADD that is repeated is a second job. A `Connection` says which of
the two happened: `Unreachable` (nothing was sent) or `OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, TypeVar, cast, overload

import hiredis

from flowd.broker.predecessor import INFO, Predecessor
from flowd.broker.protocol import CLOSED, Call, RedisProtocol
from flowd.broker.replies import Reader, anything, number, okay, role
from flowd.broker.url import Address
from flowd.errors import (
    CommandRefused,
    FatalError,
    FlowdError,
    NotReady,
    OutcomeUnknown,
    ServerError,
    Unreachable,
)
from flowd.model.version import flowd_version

__all__ = [
    "BULK_READ_TIMEOUT",
    "TIMEOUT",
    "Argument",
    "Connection",
    "connection_to",
    "failure",
    "log_in",
    "pack",
    "unreachable",
]

T = TypeVar("T")

Argument: TypeAlias = str | bytes | int

TIMEOUT: Final = 2.0
"""Seconds after which an answer counts as lost, unless said otherwise."""

BULK_READ_TIMEOUT: Final = 30.0
"""As `TIMEOUT`, for reads of whole jobs: they may be large, and the network slow."""

_numbers: Final = itertools.count(1)

# Its stub says that a command has one argument, and not what is returned.
pack: Final = cast(
    "Callable[[tuple[Argument, ...]], bytes]",
    hiredis.pack_command,  # pyright: ignore[reportUnknownMemberType]
)
"""A command as it is sent."""

_MULTI: Final = pack(("MULTI",))
_EXEC: Final = pack(("EXEC",))


class Connection:
    """A connection that everything on one event loop may share.

    Calls made in one turn of the loop are sent together, in one write, whether or not
    those before them are answered. A read that blocks needs a connection of its own, or
    all others would wait behind it.
    """

    leads_to_nodes = False
    """Whether it is one of those to a cluster, each key of which has a node."""

    def __init__(self, address: Address, *, name: str = "flowd") -> None:
        self._address = address
        self._name = name
        self._protocol: RedisProtocol | None = None
        self._waiting: list[Call] = []
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self._client_id = 0
        self._serial = 0
        self._predecessor: Predecessor | None = None

    def __str__(self) -> str:
        return str(self._address)

    @property
    def client_id(self) -> int:
        """The server's number for this connection; 0 while there is none."""
        return self._client_id

    @property
    def serial(self) -> int:
        """The number of its link, which grows with each; no other connection has it.

        0 before the first link, and after `disconnect`.
        """
        return self._serial

    @property
    def carrier(self) -> int:
        """The `serial` under which the next call is sent; 0 if it has to connect first."""
        usable = self._protocol is not None and self._protocol.usable
        return self._serial if usable else 0

    def at(self, key: str) -> Connection:  # noqa: ARG002 - of a cluster it matters
        """The connection to the server that has a key: this one, unless to a cluster."""
        return self

    async def primaries(self) -> Sequence[Connection]:
        """A connection to each server that has keys: this one, unless to a cluster.

        Raises:
            ServerError: as `call`.
        """
        return [self]

    def end_predecessors(self) -> None:
        """From now on, let each new link end the one before at the server.

        Then nothing that was sent on a lost link takes effect later: see `predecessor`.
        """
        if self._predecessor is None:
            self._predecessor = Predecessor()
            if self.carrier:
                self.call(*INFO).add_done_callback(self._predecessor.answered)

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
            Unreachable: not connected within `timeout` seconds, or it is closed;
                nothing was sent.
            OutcomeUnknown: sent, and then nothing was heard for `timeout` seconds, or
                what `read` does not take.
            WrongAddress: the folder of an embedded server cannot be used.
            ServerError: the server refused; the subclass says why.
        """
        return self.ask(Call(pack(command), 1, timeout, read))

    def transact(self, commands: Sequence[bytes], read: Reader[T]) -> asyncio.Future[T]:
        """Send packed commands that are carried out all or none (MULTI, EXEC).

        The result is the list of their answers, as `read` takes it; one that failed
        while it was carried out is a ServerError. Raises as `call`, also if the server
        refused one before EXEC: then none was carried out, unless it was MULTI that it
        refused, for which the user may lack the right.
        """
        packed = b"".join([_MULTI, *commands, _EXEC])
        asked = self.ask(Call(packed, len(commands) + 2, TIMEOUT, read))
        return cast("asyncio.Future[T]", asked)

    def flush(self) -> None:
        """Send at once what was asked in this turn of the loop, if it is connected."""
        if self._protocol is not None:
            self._protocol.flush()

    async def aclose(self) -> None:
        """Close the connection for good.

        What is on its way fails with `OutcomeUnknown`, and what comes with `Unreachable`.
        """
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._drop()
        self._answer_waiting(unreachable(self._address, ConnectionError(CLOSED)))

    def disconnect(self) -> None:
        """Close the link, on which nothing is under way; the next call makes another."""
        if self.carrier:
            self._serial = 0  # it is not lost, so nothing has to replace it
        self._drop()

    async def replace_lost(self) -> None:
        """Connect again if the link was lost; whether that worked, the next call says."""
        if self._serial and not self.carrier:
            self._connect_soon()
        if self._connecting is not None:
            await asyncio.wait([self._connecting])

    def ask(self, call: Call) -> asyncio.Future[object]:
        """Send what is packed already; the result and errors are those of `call`."""
        if self._protocol is not None and self._protocol.usable:
            self._protocol.send(call)
        else:
            self._waiting.append(call)
            self._connect_soon()
        return call.reply

    def _gone(
        self,
        protocol: RedisProtocol,
        sent: Sequence[Call],
        ready: Sequence[Call],
        why: str,
    ) -> None:
        if protocol is self._protocol:
            self._protocol, self._client_id = None, 0
            if sent:
                self._address.doubt()
        for call in sent:
            call.fail(OutcomeUnknown(f"the answer of {self._address} was lost: {why}"))
        if ready:
            self._waiting += ready
            self._connect_soon()

    def _connect_soon(self) -> None:
        if self._closed:
            self._answer_waiting(unreachable(self._address, ConnectionError(CLOSED)))
        elif self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(
                self._connect(), name=self._name, context=contextvars.Context()
            )

    async def _connect(self) -> None:
        failed: ServerError = unreachable(self._address, ConnectionError(CLOSED))
        try:
            await asyncio.sleep(0)  # all calls of this turn share the result
            timeouts = (call.timeout for call in self._waiting)
            async with asyncio.timeout(max(timeouts, default=TIMEOUT)):
                self._drop()
                self._protocol = await self._open()
        except Exception as error:  # or those that wait would wait without an end
            failed = failure(self._address, error)
        finally:
            self._connecting = None
            self._answer_waiting(failed)

    def _answer_waiting(self, failed: ServerError) -> None:
        """Send what waited for a connection, or let it fail without one."""
        calls, self._waiting = self._waiting, []
        for call in calls:
            if self._protocol is None:
                call.fail(failed)
            elif not call.reply.done():  # else the caller has stopped waiting
                self._protocol.send(call)

    async def _open(self) -> RedisProtocol:
        protocol = RedisProtocol(self._gone, self._address.refusal)
        self._client_id = await log_in(
            protocol, self._address, self._name, self._predecessor
        )
        self._serial = next(_numbers)
        return protocol

    def _drop(self) -> None:
        protocol, self._protocol, self._client_id = self._protocol, None, 0
        if protocol is not None:
            protocol.close()


def connection_to(address: Address, *, name: str = "flowd") -> Connection:
    """A connection for one event loop; of a cluster, `at` leads to that of a node."""
    if not address.is_cluster:
        return Connection(address, name=name)
    # A plain URL does not load it.
    from flowd.broker.node_connections import NodeConnections  # noqa: PLC0415

    return NodeConnections(address, name).root


async def log_in(
    protocol: RedisProtocol,
    address: Address,
    name: str,
    predecessor: Predecessor | None = None,
) -> int:
    """Connect a new protocol and log in, in one write; close it if that fails.

    Args:
        protocol: not yet connected.
        address: where to.
        name: of the connection, shown by Redis.
        predecessor: the connection that this one replaces, and is the next one's.

    Returns:
        the server's number for the connection; 0 if the right to ask for it is missing, and
        then a read that blocks ends by itself.

    Raises:
        Unreachable: what may pass: of the network, of TLS, of a credential provider.
        FatalError: what does not pass: an option, or a fault in flowd.
        ServerError: the server refuses; the subclass says why.
    """
    try:
        await address.connect(protocol)
        login = [*await address.login(), ("CLIENT", "SETNAME", name)]
        return await _greet(
            protocol, login, predecessor, checks_role=address.checks_role
        )
    except Exception as error:  # `failure` says which errors are flowd's own faults
        protocol.close()
        address.doubt()
        meant = failure(address, error)
        if meant is error:
            raise
        raise meant from error
    except BaseException:
        protocol.close()
        raise


async def _greet(
    protocol: RedisProtocol,
    login: Sequence[tuple[Argument, ...]],
    predecessor: Predecessor | None,
    *,
    checks_role: bool,
) -> int:
    asked = [Call(pack(command), 1, TIMEOUT, okay) for command in login]
    asked.append(Call(pack(("CLIENT", "ID")), 1, TIMEOUT, number))
    # Operators see it from Redis 7.2 on; others say that they do not know the command.
    about = [("LIB-NAME", "flowd")]
    if known := flowd_version():
        about.append(("LIB-VER", known))
    asked += [Call(pack(("CLIENT", "SETINFO", *each)), 1, TIMEOUT) for each in about]
    if predecessor is not None:
        asked += [Call(pack(each), 1, TIMEOUT) for each in predecessor.commands()]
    named = len(asked) - 1
    if checks_role:
        asked.append(Call(pack(("ROLE",)), 1, TIMEOUT, role))
    if not protocol.usable:
        raise ConnectionError(protocol.why)
    for call in asked:
        protocol.send(call)
    protocol.flush()
    replies = (call.reply for call in asked)
    answers = await asyncio.gather(*replies, return_exceptions=True)
    for answer in answers[: len(login)]:
        if isinstance(answer, ServerError) and not isinstance(answer, OutcomeUnknown):
            raise answer
    if not protocol.usable:
        raise ConnectionError(protocol.why)
    # Without the right to ask, the first write that is refused says it.
    if checks_role and isinstance(found := answers[-1], str) and found != "master":
        raise NotReady(f"the server that was found is no primary; its role is {found}")
    if predecessor is not None:
        predecessor.note(answers[named])
    client_id = answers[len(login)]
    return client_id if isinstance(client_id, int) else 0


def failure(address: Address, error: Exception) -> ServerError:
    """The error of a try to connect, for callers, by what it has raised."""
    if isinstance(error, ServerError) and not isinstance(error, CommandRefused):
        return error
    # What the server refuses in words of no known meaning may pass.
    if isinstance(error, OSError | CommandRefused):
        return unreachable(address, error)
    if isinstance(error, FlowdError):
        return FatalError(f"cannot reach {address}: {error}")
    # Tried again without end, a fault of ours would look like an outage.
    said = f"{type(error).__name__}: {error}"
    return FatalError(
        f"a fault in flowd, please report it: connecting to {address}: {said}"
    )


def unreachable(address: Address, error: Exception) -> Unreachable:
    """The error for a server that cannot be reached."""
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    silent = isinstance(error, TimeoutError)
    # A server without TLS takes the connection, and waits for a line of its own protocol.
    tls = "; does the server speak TLS?" if address.tls else ""
    why = said or (f"no answer in time{tls}" if silent else type(error).__name__)
    return Unreachable(f"cannot reach {address}: {why}")
