"""Write to Redis that this worker lives, what it can take, and since when its jobs run."""

from __future__ import annotations

import os
import socket
import time
from typing import Final, Generic, TypeVar

from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.model.heartbeat import MOST_RUNS, Heartbeat
from flowd.model.job import Job
from flowd.model.version import flowd_version
from flowd.worker.in_flight import InFlight
from flowd.worker.options import QueueOptions
from flowd.worker.shutdown import Shutdown

__all__ = ["HeartbeatWriter"]

J = TypeVar("J", bound=Job)

_PAUSE: Final = 1.0
_KEEP: Final = 3_600.0
_KEEP_LEASES: Final = 20


class HeartbeatWriter(Generic[J]):
    """The heartbeat of one queue in this process; takes no command and no round trip.

    Hooks into *maintain*, which runs every two seconds (less often with a longer `block`)
    while the loop reads, and *renew*, which runs while a handler blocks the loop, and while
    running jobs end in a shutdown.

    Args:
        options: of the queue.
        stream: of the queue.
        in_flight: what it holds.
        shutdown: says whether it is being shut down.
    """

    def __init__(
        self,
        options: QueueOptions[J],
        stream: Stream,
        in_flight: InFlight,
        shutdown: Shutdown,
    ) -> None:
        self._keys = (stream.keys.workers,)
        self._in_flight = in_flight
        self._shutdown = shutdown
        self._spec = options.job_class.SPEC
        self._lease = options.lease
        self._concurrency = options.concurrency
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._began = time.monotonic()
        self._next = 0.0
        # Kept a while for those who ask what became of the last worker.
        self._keep_ms = round(1000 * max(_KEEP, _KEEP_LEASES * options.lease))

    def maintain_part(self) -> Part:
        """Write it, unless that was done a moment ago."""
        return self._part("maintain_heartbeat")

    def maintained(self, answer: int) -> None:
        """Whether it was written changes nothing: the next comes soon."""

    def renew_part(self) -> Part:
        """Likewise; in the lease thread, or in the event loop."""
        return self._part("renew_heartbeat")

    def _part(self, name: str) -> Part:
        now = time.monotonic()
        text = ""
        if now >= self._next:
            self._next = now + _PAUSE
            text = self._text(now)
        return Part(name, self._keys, (text, self._keep_ms))

    def _text(self, now: float) -> str:
        running = list(self._in_flight.running)
        longest = [each for each in running if now - each.began > 1.0]
        return Heartbeat(
            host=self._host,
            pid=self._pid,
            up=now - self._began,
            slots=self._concurrency,
            busy=len(running),
            lease=self._lease,
            stopping=self._shutdown.requested.is_set(),
            flowd=flowd_version(),
            job=self._spec.name,
            version=max(self._spec.version, 1),
            runs={
                each.entry_id.decode("ascii", "replace"): now - each.began
                for each in longest[:MOST_RUNS]
            },
        ).text()
