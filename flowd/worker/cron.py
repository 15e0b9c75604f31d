"""Tick: enqueue the jobs of a queue's schedules when they are due.

No worker is special and no next run is stored. Each worker computes the ticks, and a
script lets each have its turn once. The server's clock decides.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Sequence
from typing import Final

from flowd.broker.cron import Ticked, register_schedules, tick
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.errors import FatalError, ServerError
from flowd.model.event import EventBus
from flowd.model.schedule import LATE, Schedule, digest_of, load_zone
from flowd.worker.in_flight import InFlight

__all__ = ["CronClock"]

_AHEAD: Final = 60.0
"""Seconds for which a timer is set; the maintenance comes sooner than that."""

_SOONEST: Final = 0.005


class CronClock:
    """The schedules of one queue in one worker.

    Hooks into *maintain*, which says what time it is, and *settle*, which notes how runs
    end. A queue without schedules has none.

    Args:
        stream: of the queue.
        schedules: of its class.
        in_flight: what it holds.
        events: receives `cron_tick` and `cron_refused`.

    Raises:
        OptionError: this machine does not know a time zone.
    """

    def __init__(
        self,
        stream: Stream,
        schedules: Sequence[Schedule],
        in_flight: InFlight,
        events: EventBus,
    ) -> None:
        for each in schedules:
            load_zone(each.tz)
        self._stream = stream
        self._schedules = schedules
        self._in_flight = in_flight
        self._digest = digest_of(schedules)
        self._names = ",".join(each.name for each in schedules)
        self._events = events
        self._recorded: dict[str, float] = {}
        self._links: dict[str, int] = {}
        """The `Connection.carrier` by which the last tick of each became known."""

        self._next: dict[str, float] = {}
        self._offset: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._refused = ""
        self._closed = False

    def maintain_part(self) -> Part:
        """Ask for the server's time, and whose schedules are registered."""
        return Part("maintain_cron", (self._stream.keys.cron,), (self._digest,))

    def settle_part(self) -> Part:
        """Note how runs end."""
        ends = ",".join(
            f"{each.entry_id.decode()}={each.discarded}"
            for each in self._in_flight.held.values()
            if each.discarded
        )
        return Part("settle_cron", (self._stream.keys.cron,), (self._names, ends))

    def maintained(self, answer: int) -> None:
        """The server's time in ms; below 1: other schedules are registered, or none."""
        if answer > 0:
            # The answer is older than its arrival, so a tick is late and never early.
            self._offset = answer / 1000 - time.monotonic()
            self._tick_or_wait()
            return
        self._stop_timer()
        self._offset = None
        self._forget()
        if answer < 0:
            self._start(register=True)

    def close(self) -> None:
        """Tick no more."""
        self._closed = True
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()

    def _tick_or_wait(self) -> None:
        """Tick what is due now, or set a timer for what is due soon."""
        self._stop_timer()
        if self._task is not None or self._closed or self._offset is None:
            return
        now = time.monotonic() + self._offset
        wait = min((self._due(each) for each in self._schedules), default=now) - now
        if wait <= 0:
            self._start(register=False)
        elif wait < _AHEAD:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(wait, _SOONEST), self._tick_or_wait)

    def _due(self, schedule: Schedule) -> float:
        """When it is due the next time; at once if its last tick has to be asked for."""
        if not self._knows(schedule):
            return 0.0
        if schedule.name not in self._next:
            found = schedule.next_after(self._recorded[schedule.name])
            self._next[schedule.name] = found.timestamp() if found else float("inf")
        return self._next[schedule.name]

    def _knows(self, schedule: Schedule) -> bool:
        """Whether its last tick is known by the link that carries the next call.

        Behind another link may be another server, which was promoted and knows less.
        """
        link = self._stream.connection.carrier
        return link != 0 and self._links.get(schedule.name) == link

    def _start(self, *, register: bool) -> None:
        if self._task is None and not self._closed:
            work = self._register() if register else self._tick()
            # Not in the context of what happened to be running.
            context = contextvars.Context()
            self._task = asyncio.get_running_loop().create_task(work, context=context)

    async def _register(self) -> None:
        try:
            await register_schedules(self._stream, self._schedules, patient=True)
        except ServerError as error:
            self._fail(error)
        finally:
            self._task = None

    async def _tick(self) -> None:
        try:
            for schedule in self._schedules:
                if not await self._tick_one(schedule):
                    return
            self._refused = ""
        except ServerError as error:
            self._fail(error)
            return  # the next maintenance tries again
        finally:
            self._task = None
        self._tick_or_wait()

    async def _tick_one(self, schedule: Schedule) -> bool:
        """Tick one schedule if it is due; False if it is not registered."""
        if self._offset is None:
            return False
        now = time.monotonic() + self._offset
        if self._due(schedule) > now:
            return True
        link = self._stream.connection.carrier
        last, knows = self._recorded.get(schedule.name, 0.0), self._knows(schedule)
        ticks = schedule.ticks(last, now) if knows else []
        done = await tick(self._stream, self._digest, schedule, ticks)
        if not done.registered:
            self._offset = None
            self._forget()
            return False
        self._offset = done.now - time.monotonic()
        if not knows:
            # A tick that a lost primary recorded is lost with its job, so it has its turn
            # again; unless it is missed by now.
            last = min(last, done.now - LATE)
        # A restored backup knows less than this worker, which does not repeat itself.
        self._recorded[schedule.name] = max(done.recorded, last)
        self._links[schedule.name] = link
        self._next.pop(schedule.name, None)
        self._report(schedule, done)
        return True

    def _report(self, schedule: Schedule, done: Ticked) -> None:
        if not done.stored and not done.passed:
            return
        text = f"cron {schedule.name}: enqueued {done.stored}"
        if done.passed:
            text += f", passed over {done.passed}"
        self._events.emit(
            logging.INFO,
            "cron_tick",
            text,
            schedule=schedule.name,
            outcome="enqueued" if done.stored else "passed",
        )

    def _fail(self, error: ServerError) -> None:
        """Report once what the server refuses; the queue's loop reports an outage."""
        said = str(error)
        if isinstance(error, FatalError) and said != self._refused:
            self._refused = said
            text = f"cannot tick: {said}"
            self._events.emit(logging.ERROR, "cron_refused", text)

    def _forget(self) -> None:
        self._recorded.clear()
        self._links.clear()
        self._next.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
