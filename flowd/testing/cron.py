"""Schedules without a server: they tick as a fake clock moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from flowd.model.schedule import Schedule
from flowd.testing.clock import FakeClock
from flowd.testing.memory import MemoryStream

__all__ = ["MemoryCron"]


class MemoryCron:
    """The schedules of one queue; of the past none runs.

    Args:
        schedules: of its class.
        stream: where their jobs go.
        clock: what they go by.
    """

    def __init__(
        self, schedules: Sequence[Schedule], stream: MemoryStream, clock: FakeClock
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._schedules = {each.name: each for each in schedules}
        self._next = {each.name: _after(each, clock.now) for each in schedules}
        self._last_run: dict[str, str] = {}

    @property
    def next(self) -> float:
        """When the next tick is due, by the clock; infinite without one."""
        return min(self._next.values(), default=math.inf)

    def tick(self) -> Mapping[bytes, bytes] | None:
        """Let the next tick have its turn; returns the job's fields if it runs."""
        name = min(self._next, key=lambda each: self._next[each])
        schedule, at = self._schedules[name], self._next[name]
        self._next[name] = _after(schedule, at)
        tick = next(schedule.latest(at))
        last = self._last_run.get(name)
        if schedule.overlap == "skip" and last and self._stream.holds(last):
            return None
        job_id = self._last_run[name] = schedule.job_id(tick)
        envelope = {
            b"_id": job_id.encode(),
            b"_at": b"%d" % int(self._clock.now * 1000),
        }
        fields = dict(schedule.fields)
        self._stream.put(self._stream.new_id(), {**envelope, **fields}, 0.0)
        return fields


def _after(schedule: Schedule, now: float) -> float:
    found = schedule.next_after(now)
    return math.inf if found is None else found.timestamp()
