"""The delivery as its handler sees it, with a log and progress reports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from flowd.model.delivery import OWN, Delivery, timestamp

__all__ = ["Context", "Place", "Report"]

Report: TypeAlias = Callable[[Delivery, float, str], None]
"""Takes note of how far a delivery is: from 0 to 1, and a word about it."""

_log: Final = logging.getLogger("flowd.job")


class Place(NamedTuple):
    """Where a handler runs: the queue, and the worker's name in its group."""

    stream: str
    group: str
    consumer: str


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    """Binds a job's fields; those of a call come on top, which Python 3.13 can too."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class _Turn:
    """Awaited, it gives the event loop one turn; else it is nothing."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Context:
    """What a handler may know about its delivery, as its second argument."""

    __slots__ = ("_delivery", "_job_log", "_lease", "_place", "_report")

    def __init__(
        self, delivery: Delivery, place: Place, lease: float, report: Report | None
    ) -> None:
        self._delivery = delivery
        self._place = place
        self._lease = lease
        self._report = report
        self._job_log: _JobLog | None = None

    @property
    def id(self) -> str:
        """The job's id, as `enqueue` returned it; the same in every attempt."""
        return self._delivery.job_id

    @property
    def stream(self) -> str:
        """The stream the job came from."""
        return self._place.stream

    @property
    def group(self) -> str:
        """The consumer group that reads the stream."""
        return self._place.group

    @property
    def consumer(self) -> str:
        """The name of the worker in the group; it is another one for each run."""
        return self._place.consumer

    @property
    def attempt(self) -> int:
        """1 for the first run, one more after each failure."""
        return self._delivery.attempt

    @property
    def deliveries(self) -> int:
        """How often the job was delivered: failures, crashes and this time."""
        return self._delivery.deliveries

    @property
    def lease_deadline(self) -> float:
        """When the lease expires unless it is renewed, on the clock of `time.monotonic()`.

        Every renewal moves it forward.
        """
        return self._delivery.held_since + self._lease

    @property
    def enqueued_at(self) -> datetime:
        """When the job was enqueued, by the server's clock, in UTC."""
        return timestamp(self._delivery.enqueued_ms)

    @property
    def queued_at(self) -> datetime:
        """When it could run: enqueued, due, or to be tried again, by the server's clock, in UTC."""
        return timestamp(self._delivery.entry_id.partition(b"-")[0])

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that were enqueued with the job, as `Item.headers`."""
        return {
            name[1:].decode("utf-8", "backslashreplace"): value.decode(
                "utf-8", "backslashreplace"
            )
            for name, value in self._delivery.fields.items()
            if name[:1] == b"_" and name not in OWN
        }

    @property
    def cancelled(self) -> Literal["", "timeout", "lost", "shutdown", "cancel"]:
        """Why flowd cancels the handler; empty if it does not.

        `timeout`: the attempt took too long; `lost`: the lease was lost; `shutdown`: the
        process ends; `cancel`: the job was cancelled, and will not run again. A plain
        function has to look, because a thread cannot be cancelled.
        """
        return self._delivery.cancelled

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger `flowd.job`, with `stream`, `job_id` and `attempt` in each record.

        `flowd run` shows them; your own format may use `%(job_id)s`.
        """
        if self._job_log is None:
            fields = {"stream": self.stream, "job_id": self.id, "attempt": self.attempt}
            self._job_log = _JobLog(_log, fields)
        return self._job_log

    def progress(self, fraction: float, text: str = "") -> _Turn:
        """Report the progress of the job: `await ctx.progress(0.4, "parsing")`.

        `flowd stats` and `flowd jobs show` show it until the delivery ends. It can be
        called often: the last report is sent to Redis, at most once a second. It never
        fails the job. Awaiting it lets other jobs run; a plain function calls it without
        `await`.

        Args:
            fraction: from 0 to 1; other values are clamped, so 40 for 40 % is shown as 1.
            text: the current step in a few words; 200 characters are kept.
        """
        if self._report is not None:
            self._report(self._delivery, fraction, text)
        return _Turn()

    def __repr__(self) -> str:
        return f"Context(id={self.id!r}, attempt={self.attempt})"
