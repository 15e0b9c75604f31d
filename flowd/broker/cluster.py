"""A Redis Cluster: which node has which slot, asked anew whenever that is in doubt.

A queue is in one slot, and so at one node. What a node refuses because a slot is elsewhere
(MOVED) says where it is. A node that is lost, or serves no slots (CLUSTERDOWN), puts the map
in doubt, and the next connect or call asks a node for another. Links to nodes that have no slots
by then are dropped: one that was cut off would answer when it is back, and lose what it answered.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

from redis.asyncio.connection import AbstractConnection

from flowd.broker import replies
from flowd.broker.asking import SharedQuestion, ask_server, first_answer
from flowd.broker.links import Links, Place, place_shown
from flowd.broker.refusals import refusal, slot_moves
from flowd.broker.settings import Settings
from flowd.broker.transport import QUICK_KEEPALIVE
from flowd.broker.url import Address
from flowd.errors import ServerError
from flowd.model.keys import QUEUES, slot_of

__all__ = ["ClusterAddress", "NodeAddress"]

_Range: TypeAlias = tuple[int, int, Place]
"""First slot, last slot, and the primary that has them."""

_SLOTS: Final = 16_384


class ClusterAddress(Address):
    """Where the nodes of a cluster are at this moment; connects to that of `flowd:queues`.

    Args:
        shown: as text; without a password.
        kind: of connections to nodes.
        settings: of these, without host and port.
        seeds: some of the nodes, by which the others are found.
    """

    is_cluster = True
    keepalive = QUICK_KEEPALIVE

    def __init__(
        self,
        shown: str,
        kind: type[AbstractConnection],
        settings: Settings,
        *,
        seeds: Sequence[Place],
    ) -> None:
        super().__init__(shown, kind, settings)
        self._node_kind = kind
        self.seeds = tuple(seeds)
        """Some of the nodes."""

        self._owners: list[Place | None] = [None] * _SLOTS
        self._doubted = True
        self._map = SharedQuestion(self._ask_nodes)
        self._nodes: dict[Place, NodeAddress] = {}
        self._servers: dict[Place, Address] = {}
        self.links = Links()
        """Those to nodes."""

    def at(self, key: str) -> Address:
        """Where the node is that has the slot of a key, at each connect."""
        return _SlotAddress(self, slot_of(key))

    def known(self, slot: int) -> NodeAddress | None:
        """The node that has a slot; None if that has to be asked."""
        place = None if self._doubted else self._owners[slot]
        return None if place is None else self._node(place)

    async def find(self, slot: int) -> NodeAddress:
        """The node that has a slot; asks, if that is in doubt.

        Raises:
            OSError: no node answers, or none has it.
            FatalError: they refuse for good.
        """
        if self._doubted:
            await self._map.answer()
        place = self._owners[slot]
        if place is None:
            self._doubted = True
            raise OSError(f"no node of {self} serves slot {slot}")
        return self._node(place)

    async def primaries(self) -> Sequence[NodeAddress]:
        """All nodes that have slots, by their places; asks for them.

        Raises:
            OSError: no node answers.
            FatalError: they refuse for good.
        """
        await self._map.answer()
        places = {place for place in self._owners if place is not None}
        return [self._node(place) for place in sorted(places)]

    async def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """As `Address.connect`, to the node that lists the queues."""
        await self.at(QUEUES).connect(protocol)

    def doubt(self) -> None:
        """As `Address.doubt`."""
        self._doubted = True

    def refused(self, answer: str, host: str | None) -> ServerError:
        """The error for what the node at a host answered; MOVED says where a slot is now."""
        if answer.startswith("CLUSTERDOWN"):
            self._doubted = True
        moves = slot_moves(answer)
        if moves is None:
            return refusal(answer)
        if answer.startswith("MOVED "):
            self._moved(answer, host)
        return moves

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClusterAddress):
            return NotImplemented
        return super().__eq__(other) and set(self.seeds) == set(other.seeds)

    def __hash__(self) -> int:
        return hash((super().__hash__(), frozenset(self.seeds)))

    def _moved(self, answer: str, host: str | None) -> None:
        with suppress(ValueError):
            _, slot, place = answer.split()
            name, _, port = place.rpartition(":")
            if name or host:
                self._owners[int(slot)] = (name or str(host), int(port))
                return
        self._doubted = True

    def _node(self, place: Place) -> NodeAddress:
        if place not in self._nodes:
            self._nodes[place] = NodeAddress(self, place, self.server_at(place))
        return self._nodes[place]

    def server_at(self, place: Place) -> Address:
        """A node as a server like any other."""
        if place not in self._servers:
            host, port = place
            settings = {**self._settings, "host": host, "port": port}
            address = Address(place_shown(place), self._node_kind, settings)
            address.keepalive = self.keepalive
            self._servers[place] = address
        return self._servers[place]

    async def _ask_nodes(self) -> None:
        """Ask one node after the other for the map, those that were there last at first."""
        known = list({place for place in self._owners if place is not None})
        random.shuffle(known)
        places = dict.fromkeys([*known, *self.seeds])
        ranges = await first_answer([partial(self._ask_one, each) for each in places])
        owners: list[Place | None] = [None] * _SLOTS
        for first, last, place in ranges:
            owners[first : last + 1] = [place] * (last + 1 - first)
        self._owners, self._doubted = owners, False
        with_slots = set(owners)
        self.links.drop(
            lambda place: (
                None
                if place in with_slots
                else f"{place_shown(place)} has no slots any more"
            )
        )

    async def _ask_one(self, place: Place) -> Sequence[_Range]:
        address = self.server_at(place)
        read = partial(_ranges, place[0])
        ranges = await ask_server(
            address, "flowd-cluster", "CLUSTER", "SLOTS", read=read
        )
        if not ranges:
            raise OSError(f"{address} knows of no slots")
        return ranges


class NodeAddress(Address):
    """One node of a cluster; puts the map in doubt when it is lost.

    Args:
        cluster: which.
        place: of the node.
        server: the same as a server like any other.
    """

    def __init__(self, cluster: ClusterAddress, place: Place, server: Address) -> None:
        host, port = place
        super().__init__(str(server), AbstractConnection, {"host": host, "port": port})
        self._cluster = cluster
        self._place = place
        self._server = server

    async def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """As `Address.connect`."""
        await self._server.connect(protocol)
        self._cluster.links.note(protocol, self._place)

    async def login(self) -> list[tuple[str | int, ...]]:
        """As `Address.login`."""
        return await self._server.login()

    @property
    def tls(self) -> bool:
        """As `Address.tls`."""
        return self._server.tls

    def refusal(self, answer: str) -> ServerError:
        """As `ClusterAddress.refused`."""
        return self._cluster.refused(answer, self._place[0])

    def doubt(self) -> None:
        """As `Address.doubt`."""
        self._cluster.doubt()


class _SlotAddress(Address):
    """Where the node of a slot is, at each connect."""

    def __init__(self, cluster: ClusterAddress, slot: int) -> None:
        super().__init__(str(cluster), AbstractConnection, {})
        self._cluster = cluster
        self._slot = slot
        self._connected: weakref.WeakKeyDictionary[object, NodeAddress] = (
            weakref.WeakKeyDictionary()
        )

    async def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """As `Address.connect`.

        Raises:
            OSError: it has no node, or that one cannot be reached.
        """
        node = await self._cluster.find(self._slot)
        await node.connect(protocol)
        self._connected[protocol] = node

    async def leads_elsewhere(self, protocol: object) -> bool:
        """As `Address.leads_elsewhere`; asks the cluster."""
        await self._cluster.primaries()
        return self._connected.get(protocol) is not self._cluster.known(self._slot)

    async def login(self) -> list[tuple[str | int, ...]]:
        """As `Address.login`."""
        return await self._cluster.login()

    @property
    def tls(self) -> bool:
        """As `Address.tls`."""
        return self._cluster.tls

    def refusal(self, answer: str) -> ServerError:
        """As `ClusterAddress.refused`."""
        return self._cluster.refused(answer, None)

    def doubt(self) -> None:
        """As `Address.doubt`."""
        self._cluster.doubt()


def _ranges(asked: str, reply: object) -> list[_Range]:
    return [_range(asked, each) for each in replies.array(reply)]


def _range(asked: str, reply: object) -> _Range:
    first, last, primary, *_ = replies.array(reply)
    host, port, *_ = replies.array(primary)
    # A node that does not know how it is called means the one that was asked.
    name = replies.text(host) if host not in {None, b"", b"?"} else asked
    return replies.number(first), replies.number(last), (name, replies.number(port))
