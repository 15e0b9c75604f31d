"""What several views of one queue need, asked once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Generic, TypeVar

from flowd.broker.control import paused_since, removals
from flowd.model.heartbeat import Heartbeat
from flowd.ops.cron import schedules
from flowd.ops.heartbeats import heartbeats
from flowd.ops.queries import GLANCE, Queries

__all__ = ["Answer", "Snapshot"]

T = TypeVar("T")

_SILENCES: Final = 1_000
"""Of how many pending entries: a sample is enough."""


class Answer(Generic[T]):
    """The answer to a question that is asked when it is first needed; to be called.

    Errors are not kept: what the server refused is asked again.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._kept: tuple[T] | None = None

    async def __call__(self) -> T:
        """Return it, and ask if it is not known."""
        if self._kept is None:
            self._kept = (await self._ask(),)
        return self._kept[0]


class Snapshot:
    """A queue at one time, as far as it is looked at.

    Each answer may raise a ServerError, as `Connection.call`.

    Args:
        queries: of the queue.
        now: the server's time.
    """

    def __init__(self, queries: Queries, now: float) -> None:
        self.queries: Final = queries
        self.now: Final = now
        self.sizes: Final = Answer(queries.sizes)
        self.first_due: Final = Answer(queries.first_due)
        self.consumers: Final = Answer(queries.consumers)
        self.heartbeats: Final = Answer(self._heartbeats)
        self.oldest_waiting: Final = Answer(lambda: queries.waiting(1, most=GLANCE))
        """The job that waits longest, cut off; empty if none waits."""

        self.silences: Final = Answer(lambda: queries.silences(_SILENCES))
        """Of the oldest pending entries; empty without the queue's group."""

        self.paused_since: Final = Answer(lambda: paused_since(queries.stream))
        self.removals: Final = Answer(lambda: removals(queries.stream))
        self.schedules: Final = Answer(lambda: schedules(queries, now))

    async def _heartbeats(self) -> Mapping[str, Heartbeat]:
        return await heartbeats(self.queries, await self.consumers())
