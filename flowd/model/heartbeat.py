"""What a worker says of itself, every two seconds or so: that it lives, and its capacity.

It is text in the hash `Keys.workers`, a field for each consumer: milliseconds of the server's
clock, a space, and a JSON object. A reader ignores names that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeGuard

from flowd.model.delivery import number

__all__ = ["MOST_RUNS", "Heartbeat", "heartbeat_of"]

MOST_RUNS: Final = 100
"""Of how many running jobs a heartbeat says how long they run."""

_LEAST: Final = 6.0
"""A worker that is not shut down says something every two seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last sign of life of one run of a queue in one process."""

    host: str
    pid: int
    up: float
    """Seconds that it had run by then."""

    slots: int
    """How many jobs it runs at once."""

    busy: int
    """How many slots were in use."""

    lease: float
    """Its `claim_after`, in seconds."""

    stopping: bool
    """Whether it was being shut down."""

    flowd: str
    """The version of flowd."""

    job: str
    """The name of its job class."""

    version: int
    """The newest version of jobs that it reads."""

    runs: Mapping[str, float] = field(default_factory=dict[str, float])
    """Entry id -> seconds that the handler had run, for those of more than a second; of
    many the longest."""

    at: float = 0.0
    """When, by the server's clock in seconds since 1970."""

    def silent(self, now: float) -> float:
        """Seconds since then."""
        return max(0.0, now - self.at)

    def is_over(self, now: float) -> bool:
        """Whether it should have come again by `now`: the process died, or is frozen."""
        return self.silent(now) > max(self.lease, _LEAST)

    @property
    def started_at(self) -> datetime:
        """When the queue was started, by the server's clock, in UTC."""
        return datetime.fromtimestamp(max(0.0, self.at - self.up), UTC)

    def text(self) -> str:
        """All but the time, which the server adds."""
        said: dict[str, object] = {
            "host": self.host,
            "pid": self.pid,
            "up": round(self.up, 1),
            "slots": self.slots,
            "busy": self.busy,
            "lease": self.lease,
            "stopping": self.stopping,
            "flowd": self.flowd,
            "job": self.job,
            "version": self.version,
            "runs": {each: round(age, 1) for each, age in self.runs.items()},
        }
        return json.dumps(said, separators=(",", ":"))


def heartbeat_of(raw: bytes) -> Heartbeat | None:
    """What is in the hash; None if it is nothing that flowd wrote."""
    at, _, text = raw.partition(b" ")
    try:
        said: object = json.loads(text)
    except ValueError:
        return None
    if not _is_object(said):
        return None
    runs = said.get("runs")
    return Heartbeat(
        host=_text(said, "host"),
        pid=int(_number(said, "pid")),
        up=_number(said, "up"),
        slots=int(_number(said, "slots")),
        busy=int(_number(said, "busy")),
        lease=_number(said, "lease"),
        stopping=said.get("stopping") is True,
        flowd=_text(said, "flowd"),
        job=_text(said, "job"),
        version=int(_number(said, "version")),
        runs={
            each: float(age)
            for each, age in (runs.items() if _is_object(runs) else ())
            if isinstance(age, int | float)
        },
        at=number(at) / 1000,
    )


def _is_object(found: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(found, dict)


def _text(said: Mapping[str, object], name: str) -> str:
    found = said.get(name)
    return found if isinstance(found, str) else ""


def _number(said: Mapping[str, object], name: str) -> float:
    found = said.get(name)
    return found if isinstance(found, int | float) and abs(found) < 1e15 else 0.0
