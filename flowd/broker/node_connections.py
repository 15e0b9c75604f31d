"""One connection to each node of a cluster, and for each slot the way to its node."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Final

from flowd.broker.cluster import ClusterAddress, NodeAddress
from flowd.broker.connection import Connection, failure, unreachable
from flowd.broker.protocol import CLOSED, Call
from flowd.broker.url import Address
from flowd.errors import ServerError
from flowd.model.keys import QUEUES, slot_of

__all__ = ["NodeConnections"]

_LOST: Final = "a node was lost meanwhile"


class NodeConnections:
    """What one event loop has open to a cluster, made as calls need it.

    Args:
        address: of the cluster.
        name: of each connection, shown by Redis.
    """

    def __init__(self, address: Address, name: str) -> None:
        assert isinstance(address, ClusterAddress)
        self._cluster = address
        self._name = name
        self._nodes: dict[NodeAddress, Connection] = {}
        self._slots: dict[int, _SlotConnection] = {}
        self._waiting: list[tuple[int, Call]] = []
        self._finding: asyncio.Task[None] | None = None
        self._closed = False
        self._end_predecessors = False
        self.root = self.to(slot_of(QUEUES))
        """The connection for what has no key: to the node that lists the queues."""

    def to(self, slot: int) -> Connection:
        """The way to the node of a slot."""
        if slot not in self._slots:
            self._slots[slot] = _SlotConnection(self, self._cluster, slot, self._name)
        return self._slots[slot]

    def node_of(self, slot: int) -> Connection | None:
        """The connection that carries the next call for a slot; None if it has to wait."""
        node = None if self._waiting else self._cluster.known(slot)
        return None if node is None else self._to_node(node)

    def send(self, slot: int, call: Call) -> None:
        """Send to the node of a slot; find it first, if that is in doubt."""
        if self._closed:
            call.fail(unreachable(self._cluster, ConnectionError(CLOSED)))
        elif (connection := self.node_of(slot)) is not None:
            connection.ask(call)
        else:
            self._waiting.append((slot, call))
            if self._finding is None:
                self._finding = asyncio.get_running_loop().create_task(
                    self._find(), name=self._name, context=contextvars.Context()
                )

    def end_predecessors(self) -> None:
        """As `Connection.end_predecessors`, of all nodes."""
        self._end_predecessors = True
        for connection in self._nodes.values():
            connection.end_predecessors()

    async def primaries(self) -> Sequence[Connection]:
        """A connection to each node that has slots.

        Raises:
            ServerError: no node answers, or they refuse.
        """
        try:
            return [self._to_node(each) for each in await self._cluster.primaries()]
        except Exception as error:  # `failure` says which errors are flowd's own faults
            raise failure(self._cluster, error) from error

    async def aclose(self) -> None:
        """Close all of them for good."""
        self._closed = True
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.wait([self._finding])
        for connection in self._nodes.values():
            await connection.aclose()

    def _to_node(self, node: NodeAddress) -> Connection:
        if node not in self._nodes:
            self._nodes[node] = Connection(node, name=self._name)
            if self._end_predecessors:
                self._nodes[node].end_predecessors()
        return self._nodes[node]

    async def _find(self) -> None:
        """Find the nodes of the slots that calls wait for, and send them."""
        failed: ServerError = unreachable(self._cluster, ConnectionError(_LOST))
        found: dict[int, NodeAddress] = {}
        try:
            await asyncio.sleep(0)  # all calls of this turn share the result
            patience = max(call.timeout for _, call in self._waiting)
            async with asyncio.timeout(patience):
                for slot in {slot for slot, _ in self._waiting}:
                    try:
                        found[slot] = await self._cluster.find(slot)
                    except OSError as error:
                        failed = failure(self._cluster, error)
        except Exception as error:  # or those that wait would wait without an end
            failed = failure(self._cluster, error)
        finally:
            self._finding = None
            calls, self._waiting = self._waiting, []
            for slot, call in calls:
                node = found.get(slot) or self._cluster.known(slot)
                if node is None:
                    call.fail(failed)
                elif not call.reply.done():  # else the caller has stopped waiting
                    self._to_node(node).ask(call)


class _SlotConnection(Connection):
    """The connection to whichever node has a slot, as all queues of that node share it."""

    leads_to_nodes = True

    def __init__(
        self, nodes: NodeConnections, cluster: ClusterAddress, slot: int, name: str
    ) -> None:
        super().__init__(cluster, name=name)
        self._nodes = nodes
        self._slot = slot

    @property
    def client_id(self) -> int:
        """As `Connection.client_id`."""
        node = self._nodes.node_of(self._slot)
        return 0 if node is None else node.client_id

    @property
    def serial(self) -> int:
        """As `Connection.serial`."""
        node = self._nodes.node_of(self._slot)
        return 0 if node is None else node.serial

    @property
    def carrier(self) -> int:
        """As `Connection.carrier`."""
        node = self._nodes.node_of(self._slot)
        return 0 if node is None else node.carrier

    def at(self, key: str) -> Connection:
        """As `Connection.at`."""
        return self._nodes.to(slot_of(key))

    async def primaries(self) -> Sequence[Connection]:
        """As `Connection.primaries`."""
        return await self._nodes.primaries()

    def end_predecessors(self) -> None:
        """As `Connection.end_predecessors`, of all nodes."""
        self._nodes.end_predecessors()

    def ask(self, call: Call) -> asyncio.Future[object]:
        """As `Connection.ask`."""
        self._nodes.send(self._slot, call)
        return call.reply

    def flush(self) -> None:
        """As `Connection.flush`."""
        node = self._nodes.node_of(self._slot)
        if node is not None:
            node.flush()

    async def aclose(self) -> None:
        """Close the connections to all nodes for good."""
        await self._nodes.aclose()
