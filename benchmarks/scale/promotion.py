"""Delayed jobs that are all due at once: how fast they move, and who has to wait for it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Final, Self

from benchmarks.jobs import crawl
from benchmarks.peer import Peer
from benchmarks.servers import running
from flowd import Item, Producer
from jobs.crawl import Crawl

__all__ = ["promote", "promote_alone"]

_PATIENCE: Final = 1_800.0
_SLOW: Final = 5_000
"""Microseconds from which the server counts a command, or a turn of its loop, as slow."""

_PAUSE: Final = 0.001


def promote(jobs: int) -> dict[str, float]:
    """Work off so many delayed jobs with one worker, and watch the server meanwhile.

    Returns jobs a second; milliseconds of a script on average; what the server itself
    calls slow; and how long another client waited for a PING, in milliseconds. A server
    that had to wait for the machine calls that slow as well.

    Raises:
        Failed: the worker broke.
    """
    with running() as server:
        asyncio.run(_delay(server.url, jobs))
        server.client.config_set("slowlog-log-slower-than", _SLOW)
        server.client.config_set("latency-monitor-threshold", _SLOW // 1_000)
        server.client.slowlog_reset()
        server.client.config_resetstat()
        with _Pings(server.socket) as pings:
            took = Peer("flowd").ask(server.url, "work", jobs, 100, within=_PATIENCE)
        scripts = server.client.info("commandstats")["cmdstat_evalsha"]
        events = server.client.execute_command("LATENCY", "LATEST")
        return {
            "rate": jobs / took["seconds"],
            "script": scripts["usec_per_call"] / 1_000,
            "slow_commands": server.client.slowlog_len(),
            "longest_event": max((event[3] for event in events), default=0),
            "ping_p99": pings.waits[len(pings.waits) * 99 // 100] * 1_000,
            "ping_worst": pings.waits[-1] * 1_000,
        }


def promote_alone(jobs: int) -> float:
    """Jobs a second on a server that has nothing else to do, and so sleeps between.

    Raises:
        Failed: the worker broke.
    """
    with running() as server:
        asyncio.run(_delay(server.url, jobs))
        took = Peer("flowd").ask(server.url, "work", jobs, 100, within=_PATIENCE)
        rate: float = jobs / took["seconds"]
        return rate


async def _delay(url: str, jobs: int) -> None:
    # Due at once, but delayed until a worker promotes them.
    items: Iterator[Item[Crawl]] = (Item(crawl(n), delay=0.001) for n in range(jobs))
    async with Producer(url) as producer:
        await producer.enqueue_bulk(items)


class _Pings:
    """Sends a PING each millisecond, from a thread.

    Attributes:
        waits: seconds that each took, in order of length; there once it has ended.
    """

    def __init__(self, path: str) -> None:
        self.waits: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._over = Event()
        self._thread = Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()
        self.waits.sort()

    def _send(self) -> None:
        while not self._over.is_set():
            began = time.perf_counter()
            self._socket.sendall(b"PING\r\n")
            self._socket.recv(64)
            self.waits.append(time.perf_counter() - began)
            time.sleep(_PAUSE)
