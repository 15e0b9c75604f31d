"""What goes wrong behind sentinels: primaries that fail, and failovers that are ordered."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from tests.support.raw import Raw, RawError
from tests.support.sentinels import NAME, Sentinels, port_of
from tests.system.chaos.nodes.node_faults import Span, freeze, kill

__all__ = ["SentinelFaults"]

_COORDINATED: Final = "SENTINEL FAILOVER COORDINATED"
_CLOSED: Final = "connections closed"
_HEALING: Final = 60.0
_ASTRAY: Final = 1.5
_PAUSE: Final = 0.1


class SentinelFaults:
    """Hurts the primary.

    Args:
        sentinels: with servers to hurt.
        streams: of all queues.
    """

    def __init__(self, sentinels: Sentinels, streams: Sequence[str]) -> None:
        self._sentinels = sentinels
        self._streams = streams
        self._ordered = 0
        self._faults = {
            "SENTINEL FAILOVER": self._fail_over,
            "kill -9 of a master": self._kill,
            "SIGSTOP of a master": self._freeze,
            _CLOSED: self._disconnect,
        }
        if self._coordinates():
            self._faults[_COORDINATED] = self._coordinate

    @property
    def kinds(self) -> Sequence[str]:
        """As `Nodes.kinds`."""
        return list(self._faults)

    def streams_at_risk(self, kind: str, stream: str) -> Iterable[str]:
        """As `Nodes.streams_at_risk`."""
        return self._streams

    def hurt(self, kind: str, stream: str, chance: random.Random) -> Sequence[Span]:
        """As `Nodes.hurt`."""
        if kind != _CLOSED:
            self._ordered += 1
        return self._faults[kind](chance)

    def heal(self) -> None:
        """As `Nodes.heal`.

        Sentinels let a primary that comes back be one for ten seconds; an operator does not.
        """
        deadline = time.monotonic() + _HEALING
        demoting = time.monotonic() + _ASTRAY
        while not self.is_whole():
            assert time.monotonic() < deadline, f"not whole within {_HEALING:g} s"
            time.sleep(_PAUSE)
            if time.monotonic() > demoting:
                self._demote()

    def unplanned(self, hit: Iterable[str] = ()) -> bool:
        """As `Nodes.unplanned`."""
        before, self._ordered = self._ordered, self._sentinels.switches
        return self._ordered != before

    def is_whole(self) -> bool:
        """Whether all sentinels name one primary, and all other servers follow it."""
        with suppress(OSError, RawError):
            primary = self._sentinels.primary
            if any(self._flags(port) != "master" for port in self._sentinels.ports):
                return False
            return all(
                _follows(each.url, port_of(primary.url))
                for each in self._sentinels.servers
                if each is not primary
            ) and _has_replicas(primary.url, len(self._sentinels.servers) - 1)
        return False

    def _fail_over(self, _: random.Random) -> Sequence[Span]:
        began = time.time()
        self._sentinels.failover()
        return [(began, time.time())]

    def _coordinate(self, _: random.Random) -> Sequence[Span]:
        self._sentinels.failover("COORDINATED")
        return ()  # the primary waits for its replica

    def _kill(self, chance: random.Random) -> Sequence[Span]:
        killed = self._sentinels.primary
        return kill(killed, partial(self._sentinels.wait_for_another, killed), chance)

    def _freeze(self, chance: random.Random) -> Sequence[Span]:
        frozen = self._sentinels.primary
        return freeze(frozen, partial(self._sentinels.wait_for_another, frozen), chance)

    def _disconnect(self, _: random.Random) -> Sequence[Span]:
        with Raw(self._sentinels.primary.url) as raw:
            raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return ()

    def _demote(self) -> None:
        """Let every other primary follow the one that all sentinels name."""
        with suppress(OSError, RawError):
            first = self._sentinels.primary
            place = ("127.0.0.1", port_of(first.url))
            if not self._sentinels.agree:
                return
            for each in self._sentinels.servers:
                if each is not first:
                    with Raw(each.url) as raw:
                        if raw.info("role") == "master":
                            raw("REPLICAOF", *place)

    def _coordinates(self) -> bool:
        """Whether it knows how: it refuses the name of no primary in other words."""
        try:
            self._sentinels.ask("FAILOVER", "nothing", "COORDINATED")
        except RawError as error:
            return "No such" in str(error)
        return False

    def _flags(self, port: int) -> str:
        """What a sentinel says of the primary: `master`, and perhaps what is wrong."""
        with Raw(self._sentinels.url_of(port)) as raw:
            flat = raw("SENTINEL", "MASTER", NAME)
        assert isinstance(flat, list)
        known = dict(zip(flat[::2], flat[1::2], strict=True))
        flags = known[b"flags"]
        assert isinstance(flags, bytes)
        return flags.decode()


def _follows(url: str, port: int) -> bool:
    with Raw(url) as raw:
        return (
            raw.info("role") == "slave"
            and raw.info("master_link_status") == "up"
            and raw.info("master_port") == str(port)
        )


def _has_replicas(url: str, number: int) -> bool:
    with Raw(url) as raw:
        return raw.info("connected_slaves") == str(number) and all(
            "state=online" in raw.info(f"slave{each}") for each in range(number)
        )
