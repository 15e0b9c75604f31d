"""What goes wrong in a cluster: nodes that fail, and slots that move."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from flowd.embedded import Server
from flowd.model.keys import slot_of
from tests.support.cluster import Cluster
from tests.support.raw import Raw, RawError
from tests.support.waiting import wait_until_blocking
from tests.system.chaos.nodes.node_faults import Span, freeze, kill

__all__ = ["ClusterFaults"]

_MOVED_AT_ONCE: Final = "a slot moved at once"
_MOVED: Final = "a slot moved key by key"
_HEALING: Final = 60.0


class ClusterFaults:
    """Hurts the master of a queue, or moves the queue.

    Args:
        cluster: whose masters have a replica each.
        streams: of all queues.
    """

    def __init__(self, cluster: Cluster, streams: Sequence[str]) -> None:
        self._cluster = cluster
        self._streams = streams
        self._faults = {
            "CLUSTER FAILOVER": self._fail_over,
            "CLUSTER FAILOVER TAKEOVER": self._take_over,
            "kill -9 of a master": self._kill,
            "SIGSTOP of a master": self._freeze,
            _MOVED: self._move,
            "connections closed": self._disconnect,
        }
        self._owners: dict[str, Server] = {}
        self.unplanned()
        if _moves_at_once(cluster.servers[0]):
            self._faults[_MOVED_AT_ONCE] = self._move_at_once

    @property
    def kinds(self) -> Sequence[str]:
        """As `Nodes.kinds`."""
        return list(self._faults)

    def streams_at_risk(self, kind: str, stream: str) -> Iterable[str]:
        """As `Nodes.streams_at_risk`."""
        if kind in (_MOVED, _MOVED_AT_ONCE):
            return [stream]
        node = self._cluster.owner(stream)
        return [each for each in self._streams if self._cluster.owner(each) is node]

    def hurt(self, kind: str, stream: str, chance: random.Random) -> Sequence[Span]:
        """As `Nodes.hurt`."""
        return self._faults[kind](stream, chance)

    def heal(self) -> None:
        """As `Nodes.heal`."""
        wait_until_blocking(self.is_whole, within=_HEALING)

    def unplanned(self, hit: Iterable[str] = ()) -> bool:
        """As `Nodes.unplanned`."""
        before = self._owners
        self._owners = {each: self._cluster.owner(each) for each in self._streams}
        return any(
            before.get(each) not in (None, now)
            for each, now in self._owners.items()
            if each not in hit
        )

    def is_whole(self) -> bool:
        """Whether all say the same of the slots, and each master has its replica."""
        said: set[str] = set()
        for server in self._cluster.servers:
            with suppress(OSError, RawError), Raw(server.url) as raw:
                if not _is_linked(raw):
                    return False
                said.add(_slots(raw))
                continue
            return False
        return len(said) == 1

    def _fail_over(self, stream: str, _: random.Random) -> Sequence[Span]:
        self._cluster.failover(stream)
        return ()  # the master waits for its replica

    def _take_over(self, stream: str, _: random.Random) -> Sequence[Span]:
        began, before = time.time(), self._cluster.owner(stream)
        self._cluster.failover(stream, "TAKEOVER")
        wait_until_blocking(lambda: _is_replica(before))
        return [(began, time.time())]

    def _kill(self, stream: str, chance: random.Random) -> Sequence[Span]:
        wait = partial(self._cluster.wait_for_another, stream)
        return kill(self._cluster.owner(stream), wait, chance)

    def _freeze(self, stream: str, chance: random.Random) -> Sequence[Span]:
        frozen = self._cluster.owner(stream)
        is_replaced = partial(self._is_replaced, stream, frozen)
        return freeze(frozen, partial(wait_until_blocking, is_replaced), chance)

    def _move(self, stream: str, chance: random.Random) -> Sequence[Span]:
        slot, source = slot_of(stream), self._cluster.owner(stream)
        target = chance.choice(self._cluster.others(source))
        self._cluster.begin_move(slot, source, target)
        time.sleep(chance.uniform(0.0, 0.3))
        self._cluster.move_keys(slot, source, target)
        time.sleep(chance.uniform(0.0, 0.3))
        self._cluster.end_move(slot, target)
        return ()

    def _move_at_once(self, stream: str, chance: random.Random) -> Sequence[Span]:
        slot, source = slot_of(stream), self._cluster.owner(stream)
        target = chance.choice(self._cluster.others(source))
        to = self._cluster.call(target, "CLUSTER", "MYID")
        move = ("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to)
        self._cluster.call(source, *move)
        wait_until_blocking(lambda: self._cluster.owner(stream) is target)
        return ()

    def _disconnect(self, stream: str, _: random.Random) -> Sequence[Span]:
        node = self._cluster.owner(stream)
        self._cluster.call(node, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return ()

    def _is_replaced(self, stream: str, frozen: Server) -> bool:
        """Whether a node that is not frozen says that the slot is elsewhere."""
        for server in self._cluster.servers:
            if server is not frozen:
                with suppress(RawError, OSError):
                    self._cluster.call(server, "EXISTS", stream)
                    return True
        return False


def _moves_at_once(server: Server) -> bool:
    with Raw(server.url) as raw:
        return raw("COMMAND", "INFO", "CLUSTER|MIGRATESLOTS") not in ([None], [])


def _is_replica(server: Server) -> bool:
    with Raw(server.url) as raw:
        return raw.info("role") == "slave"


def _is_linked(raw: Raw) -> bool:
    if raw.info("role") == "slave":
        return raw.info("master_link_status") == "up"
    return raw.info("connected_slaves") == "1" and "state=online" in raw.info("slave0")


def _slots(raw: Raw) -> str:
    """Which master has which slots; that of a node that is not well."""
    state, nodes = raw("CLUSTER", "INFO"), raw("CLUSTER", "NODES")
    assert isinstance(state, bytes)
    assert isinstance(nodes, bytes)
    if b"cluster_state:ok" not in state or b"fail" in nodes:
        raise ConnectionError("the cluster is not well")
    lines = [line.split() for line in nodes.decode().splitlines()]
    masters = [(line[0], *line[8:]) for line in lines if "master" in line[2]]
    return repr(sorted(masters))
