"""What the loop of a queue does when the server fails: report, set up again, wait."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from flowd.broker.outage import RECONNECT, Outage
from flowd.broker.registry import list_queue
from flowd.broker.stream import Stream
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.model.event import EventBus
from flowd.worker.maintenance import Maintenance

__all__ = ["LoopOutages"]


class LoopOutages:
    """Counts the failures of each kind of step of one queue's loop.

    Args:
        stream: of the queue.
        outage: the outages of the connection.
        events: receives `group_recreated` and `group_created`.
        maintenance: claims and promotes for the queue.
        renew_soon: renews the leases, which ran on while the server was away.
        is_set_up: whether `init` was called for the queue in this process.
    """

    def __init__(
        self,
        stream: Stream,
        outage: Outage,
        events: EventBus,
        maintenance: Maintenance,
        *,
        renew_soon: Callable[[], None],
        is_set_up: bool,
    ) -> None:
        self._stream = stream
        self._outage = outage
        self._events = events
        self._maintenance = maintenance
        self._renew_soon = renew_soon
        self._failures: Counter[str] = Counter()
        self._group_seen = is_set_up

    async def take(self, what: str, step: Awaitable[None]) -> None:
        """Take one step; after a failure, wait the longer the more there were.

        Args:
            what: its name in an outage.
            step: what is awaited.

        Raises:
            FatalError: the server refuses, and will until its settings change.
        """
        try:
            await step
        except FatalError:
            raise
        except ServerError as error:
            self._renew_soon()
            await asyncio.sleep(await self._failed(what, error))
        else:
            self._succeeded(what)

    async def _failed(self, what: str, error: ServerError) -> float:
        """Report it, and set the group up again if that is why; returns the wait."""
        self._failures[what] += 1
        if self._group_seen or not isinstance(error, GroupMissing):
            self._outage.report_failure(what, self._stream.keys.stream, error)
        self._maintenance.has_failed()
        if isinstance(error, GroupMissing):
            await self._recreate_group()
        return RECONNECT.delay(self._failures[what])

    def _succeeded(self, what: str) -> None:
        """Report that a step works again, if it did not."""
        # Promoting succeeds without a group; only a read shows that it exists.
        self._group_seen |= what == "reading"
        if self.recovered(what):
            # What is read or maintained is set up, by whichever worker.
            self._outage.report_recovery("setting up", self._stream.keys.stream)
            self._maintenance.claim_later()

    def recovered(self, what: str) -> bool:
        """End its outage; returns whether there was one."""
        failed = self._failures.pop(what, 0) > 0
        if failed:
            self._outage.report_recovery(what, self._stream.keys.stream)
        return failed

    async def _recreate_group(self) -> None:
        """Set the group up again at 0, so that nothing is passed over."""
        try:
            created = await self._stream.init("0")
            await list_queue(self._stream)
        except FatalError:
            raise
        except ServerError as error:
            self._outage.report_failure("setting up", self._stream.keys.stream, error)
            return
        self._outage.report_recovery("setting up", self._stream.keys.stream)
        if not created:
            # Another worker did it, or the slot of the stream is at another node by now.
            self._group_seen = True
        elif self._group_seen:
            self._events.emit(
                logging.WARNING,
                "group_recreated",
                f"group {self._stream.group} was gone and is set up again; jobs that"
                " were in the stream may be lost with it",
            )
        else:
            self._group_seen = True
            self._events.emit(
                logging.WARNING,
                "group_created",
                f"group {self._stream.group} did not exist and is set up now; call"
                " `await queue.init()` before `run()`, or use `async with queue`",
            )
