"""Every metric: its name, what it counts, and of which events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from flowd.model.event import EventName
from flowd.model.outcome import Reason

__all__ = [
    "CONSUMERS",
    "COUNTERS",
    "DEAD",
    "DELAYED",
    "DELETED",
    "DONE",
    "DURATION",
    "ENQUEUED",
    "GAUGES",
    "LAG",
    "LETTERS",
    "LOST",
    "NEWER",
    "OLDEST",
    "RECONNECTS",
    "RECREATED",
    "RELEASES",
    "RETRIES",
    "RUNNING",
    "STUCK",
    "TAKEOVERS",
    "UP",
    "WAITING",
    "Metric",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as Prometheus knows it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ("stream",)
    events: tuple[EventName, ...] = ()
    """What a counter counts."""

    kinds: tuple[str, ...] = ()
    """Every value of the last label, where they are few and known."""

    begins: EventName = "started"
    """When it is shown as 0, so that Prometheus sees the first as an increase."""


ENQUEUED: Final = Metric(
    "flowd_jobs_enqueued_total", "counter", "Jobs that this process enqueued."
)
DONE: Final = Metric(
    "flowd_jobs_done_total", "counter", "Jobs that are done.", events=("done",)
)
RETRIES: Final = Metric(
    "flowd_retries_total",
    "counter",
    "Attempts that failed and are tried again.",
    events=("retry",),
)
RELEASES: Final = Metric(
    "flowd_releases_total",
    "counter",
    "Jobs that were handed back, uncounted.",
    events=("release",),
)
LETTERS: Final = Metric(
    "flowd_dead_letters_total",
    "counter",
    "Jobs that were given up.",
    ("stream", "reason"),
    ("dead_letter",),
    kinds=get_args(Reason),
)
TAKEOVERS: Final = Metric(
    "flowd_takeovers_total",
    "counter",
    "Jobs that were taken over from a worker that died.",
    events=("takeover",),
)
LOST: Final = Metric(
    "flowd_lease_losses_total",
    "counter",
    "Jobs that this process ran and another one took over.",
    events=("lease_lost", "lost"),
)
NEWER: Final = Metric(
    "flowd_newer_versions_total",
    "counter",
    "Jobs that were handed back because their class is too old.",
    events=("newer_version",),
)
STUCK: Final = Metric(
    "flowd_stuck_handlers_total",
    "counter",
    "Handlers that did not end when they were cancelled.",
    events=("stuck",),
)
DELETED: Final = Metric(
    "flowd_jobs_deleted_total",
    "counter",
    "Jobs that somebody deleted while they ran.",
    events=("deleted",),
)
RECREATED: Final = Metric(
    "flowd_groups_recreated_total",
    "counter",
    "Groups that were gone and set up again.",
    events=("group_recreated",),
)
RECONNECTS: Final = Metric(
    "flowd_reconnects_total",
    "counter",
    "Outages of a server that are over.",
    ("server",),
    ("recovery",),
    begins="outage",
)
LAG: Final = Metric(
    "flowd_loop_lags_total",
    "counter",
    "Times that the event loop stood still for a second.",
    (),
    ("loop_lag",),
)

COUNTERS: Final = (
    *(ENQUEUED, DONE, RETRIES, RELEASES, LETTERS, TAKEOVERS, LOST, NEWER, STUCK),
    *(DELETED, RECREATED, RECONNECTS, LAG),
)
"""What this process saw; counted where it happens."""

DURATION: Final = Metric(
    "flowd_handler_seconds",
    "histogram",
    "Time that a handler took; result is returned, raised or cancelled.",
    ("stream", "result"),
    kinds=("returned", "raised", "cancelled"),
)

_QUEUE: Final = ("server", "stream")

UP: Final = Metric(
    "flowd_queue_up", "gauge", "1 if Redis told the numbers below in time.", _QUEUE
)
WAITING: Final = Metric("flowd_jobs_waiting", "gauge", "Jobs that wait.", _QUEUE)
OLDEST: Final = Metric(
    "flowd_oldest_waiting_seconds",
    "gauge",
    "For how long the oldest waiting job has waited; 0 if none waits.",
    _QUEUE,
)
RUNNING: Final = Metric(
    "flowd_jobs_running", "gauge", "Jobs that run, anywhere.", _QUEUE
)
DELAYED: Final = Metric(
    "flowd_jobs_delayed", "gauge", "Jobs that wait for their time.", _QUEUE
)
DEAD: Final = Metric("flowd_jobs_dead", "gauge", "Dead letters.", _QUEUE)
CONSUMERS: Final = Metric(
    "flowd_consumers", "gauge", "Workers that Redis knows.", _QUEUE
)

GAUGES: Final = (UP, WAITING, OLDEST, RUNNING, DELAYED, DEAD, CONSUMERS)
"""What queues hold; read from Redis when somebody asks."""
