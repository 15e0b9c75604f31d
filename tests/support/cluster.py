"""A Redis Cluster on loopback, for tests that fail its nodes over and move its slots."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from flowd.embedded import Server
from flowd.model.keys import slot_of
from tests.support.ports import free_port
from tests.support.raw import Raw, RawError
from tests.support.servers import over_tls
from tests.support.waiting import wait_until_blocking

__all__ = ["NODE_TIMEOUT", "Cluster"]

NODE_TIMEOUT: Final = 1.0
"""Seconds after which a silent node counts as failed."""

_SLOTS: Final = 16_384
_BUS: Final = 10_000
_LARGEST: Final = 1_000


class Cluster:
    """Masters that share all slots, and replicas of them.

    Args:
        binary: the server's program.
        options: of each node.
        masters: how many.
        replicas: how many, of the first master, the second and so on.
        tls: whether the nodes speak it, with clients and with each other.
    """

    def __init__(
        self,
        binary: Path,
        *options: str,
        masters: int = 3,
        replicas: int = 3,
        tls: bool = False,
    ) -> None:
        self._stack = ExitStack()
        self._masters = masters
        self.ports = [free_port(_BUS) for _ in range(masters + replicas)]
        self.servers = [
            _node(port, *options, binary=binary, tls=tls) for port in self.ports
        ]
        places = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        first = urlsplit(self.servers[0].url)
        query = f"?{first.query}" if first.query else ""
        self.url = f"{first.scheme}+cluster://{places}{query}"

    def __enter__(self) -> Self:
        """Start the nodes, and return when all of them are one cluster."""
        try:
            for server in self.servers:
                self._stack.enter_context(server)
            self._join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Stop all nodes."""
        for server in self.servers:
            if server.alive:
                server.resume()
        self._stack.close()

    def call(self, server: Server, *words: str | int) -> str:
        """Ask a node; returns its answer as text."""
        with Raw(server.url, timeout=5.0) as raw:  # it may be one that is frozen
            answer = raw(*words)
        return answer.decode() if isinstance(answer, bytes) else str(answer)

    def owner(self, key: str) -> Server:
        """The node that says that it has the slot of a key."""
        return self.owner_of_slot(slot_of(key))

    def owner_of_slot(self, slot: int) -> Server:
        """Likewise, of a slot; one that moves is nowhere for a moment."""
        found: list[Server] = []

        def has_owner() -> bool:
            saying = (each for each in self.servers if self._says_it_has(each, slot))
            found.extend(islice(saying, 1))
            return bool(found)

        wait_until_blocking(has_owner)
        return found[0]

    def others(self, server: Server) -> list[Server]:
        """The other masters that live."""
        return [
            each
            for each in self.servers
            if each is not server and each.alive and self._is_master(each)
        ]

    def replica_of(self, server: Server) -> Server:
        """A replica of a master."""
        own = self.call(server, "CLUSTER", "MYID")
        for each in self.servers:
            if each is not server and each.alive:
                line = next(line for line in self._nodes(each) if "myself" in line[2])
                if line[3] == own:
                    return each
        raise LookupError("it has no replica")

    def failover(self, key: str, *how: str) -> Server:
        """Let a replica take over the slots of a key's master; returns it."""
        before = self.owner(key)
        replica = self.replica_of(before)
        self.call(replica, "CLUSTER", "FAILOVER", *how)
        wait_until_blocking(partial(self._is_master, replica))
        return replica

    def wait_for_another(self, key: str) -> Server:
        """Return the master of a key, once one that lives has its slot and serves it."""
        wait_until_blocking(partial(self._is_served, key))
        return self.owner(key)

    def begin_move(self, slot: int, source: Server, target: Server) -> None:
        """Begin to move a slot the classic way."""
        to = self.call(target, "CLUSTER", "MYID")
        of = self.call(source, "CLUSTER", "MYID")
        self.call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", of)
        self.call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", to)

    def move_keys(self, slot: int, source: Server, target: Server) -> None:
        """Move the keys of a slot that is being moved."""
        with Raw(source.url) as raw:
            while keys := raw("CLUSTER", "GETKEYSINSLOT", slot, _LARGEST):
                assert isinstance(keys, list)
                names = [key for key in keys if isinstance(key, bytes)]
                port = self.ports[self.servers.index(target)]
                raw("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *names)

    def end_move(self, slot: int, target: Server) -> None:
        """Set on all masters where a slot is now."""
        to = self.call(target, "CLUSTER", "MYID")
        for server in (target, *self.others(target)):
            self.call(server, "CLUSTER", "SETSLOT", slot, "NODE", to)

    def _join(self) -> None:
        masters, replicas = self.servers[: self._masters], self.servers[self._masters :]
        edges = [_SLOTS * n // len(masters) for n in range(len(masters) + 1)]
        for epoch, (server, (first, end)) in enumerate(
            zip(masters, pairwise(edges), strict=True), 1
        ):
            self.call(server, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
            self.call(server, "CLUSTER", "ADDSLOTS", *range(first, end))
        for port in self.ports[1:]:
            self.call(self.servers[0], "CLUSTER", "MEET", "127.0.0.1", port)
        for server in self.servers:
            wait_until_blocking(partial(self._knows_all, server))
        for server, master in zip(replicas, masters * len(replicas), strict=False):
            number = self.call(master, "CLUSTER", "MYID")
            self.call(server, "CLUSTER", "REPLICATE", number)
        for server in replicas:
            wait_until_blocking(partial(_is_linked, server))
        for server in self.servers:
            wait_until_blocking(partial(self._is_ok, server, len(replicas)))

    def _nodes(self, server: Server) -> list[list[str]]:
        lines = self.call(server, "CLUSTER", "NODES").splitlines()
        return [line.split() for line in lines]

    def _knows_all(self, server: Server) -> bool:
        nodes = self._nodes(server)
        known = [line for line in nodes if "handshake" not in line[2]]
        return len(known) == len(nodes) == len(self.servers)

    def _is_ok(self, server: Server, replicas: int) -> bool:
        known = sum("slave" in line[2] for line in self._nodes(server))
        return known == replicas and "cluster_state:ok" in self.call(
            server, "CLUSTER", "INFO"
        )

    def _is_master(self, server: Server) -> bool:
        with suppress(OSError):
            return any("myself,master" in line[2] for line in self._nodes(server))
        return False

    def _says_it_has(self, server: Server, slot: int) -> bool:
        with suppress(OSError):
            return server.alive and any(
                "myself" in line[2] and _has(line, slot) for line in self._nodes(server)
            )
        return False

    def _is_served(self, key: str) -> bool:
        with suppress(RawError, OSError):
            self.call(self.owner(key), "EXISTS", key)
            return True
        return False


def _node(port: int, *options: str, binary: Path, tls: bool) -> Server:
    clustered = (
        *("--cluster-enabled", "yes"),
        *("--cluster-node-timeout", f"{NODE_TIMEOUT * 1000:.0f}"),
        *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
    )
    if tls:
        among = ("--tls-cluster", "yes", "--tls-replication", "yes")
        return over_tls(port, *among, *clustered, *options, binary=binary)
    server = Server("--port", str(port), *clustered, *options, binary=binary)
    server.url = f"redis://127.0.0.1:{port}"
    return server


def _has(line: list[str], slot: int) -> bool:
    for each in line[8:]:
        first, _, last = each.partition("-")
        if first.isdecimal() and int(first) <= slot <= int(last or first):
            return True
    return False


def _is_linked(server: Server) -> bool:
    with Raw(server.url) as raw:
        return raw.info("role") == "slave" and raw.info("master_link_status") == "up"
