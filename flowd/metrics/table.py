"""Every metric: its name, what it counts, and of which events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from flowd.model.event import EventName
from flowd.model.outcome import Reason
from flowd.ops.consumers import ConsumerState

__all__ = [
    "BUSY",
    "CANCELLED",
    "COUNTERS",
    "DEAD",
    "DELAYED",
    "DELETED",
    "DONE",
    "DURATION",
    "ENQUEUED",
    "EXPIRED",
    "GAUGES",
    "HISTOGRAMS",
    "INFO",
    "LAG",
    "LETTERS",
    "LOST",
    "NEWER",
    "OLDEST",
    "PARKED",
    "RECONNECTS",
    "RECREATED",
    "RELEASES",
    "REMOVED",
    "RETRIES",
    "RUNNING",
    "SERVER_UP",
    "SLOTS",
    "STUCK",
    "TAKEOVERS",
    "TICKS",
    "UP",
    "WAIT",
    "WAITING",
    "WORKERS",
    "Metric",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as Prometheus knows it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ("queue", "group")
    events: tuple[EventName, ...] = ()
    """The events that a counter counts."""

    kinds: tuple[str, ...] = ()
    """Every value of the last label, where they are few and known."""

    begins: EventName = "started"
    """When it is first shown, as 0, so that Prometheus sees the first event as an increase."""


ENQUEUED: Final = Metric(
    "flowd_jobs_enqueued_total", "counter", "Jobs that this process enqueued."
)
DONE: Final = Metric(
    "flowd_jobs_done_total", "counter", "Jobs that are done.", events=("done",)
)
CANCELLED: Final = Metric(
    "flowd_jobs_cancelled_total",
    "counter",
    "Jobs that were cancelled while they ran.",
    events=("cancelled",),
)
EXPIRED: Final = Metric(
    "flowd_jobs_expired_total",
    "counter",
    "Jobs that were not started by their deadline, and were dropped.",
    events=("expired",),
)
RETRIES: Final = Metric(
    "flowd_jobs_retried_total",
    "counter",
    "Failed attempts that will be retried.",
    events=("retry",),
)
RELEASES: Final = Metric(
    "flowd_jobs_released_total",
    "counter",
    "Jobs that were released without spending an attempt.",
    events=("release",),
)
LETTERS: Final = Metric(
    "flowd_jobs_dead_lettered_total",
    "counter",
    "Jobs that were dead-lettered.",
    ("queue", "group", "reason"),
    ("dead_letter",),
    kinds=get_args(Reason),
)
TAKEOVERS: Final = Metric(
    "flowd_jobs_taken_over_total",
    "counter",
    "Jobs that this process claimed after the lease of another worker expired.",
    events=("takeover",),
)
LOST: Final = Metric(
    "flowd_leases_lost_total",
    "counter",
    "Jobs whose lease this process lost to another worker.",
    events=("lease_lost", "lost"),
)
NEWER: Final = Metric(
    "flowd_jobs_too_new_total",
    "counter",
    "Jobs that were released because this worker's class is too old.",
    events=("newer_version",),
)
STUCK: Final = Metric(
    "flowd_handlers_stuck_total",
    "counter",
    "Handlers that did not end when they were cancelled.",
    events=("stuck",),
)
DELETED: Final = Metric(
    "flowd_jobs_deleted_total",
    "counter",
    "Jobs that another client deleted while they ran.",
    events=("deleted",),
)
RECREATED: Final = Metric(
    "flowd_groups_recreated_total",
    "counter",
    "Consumer groups that were deleted and created again.",
    events=("group_recreated",),
)
RECONNECTS: Final = Metric(
    "flowd_outages_ended_total",
    "counter",
    "Outages of the server that have ended.",
    ("server",),
    ("recovery",),
    begins="outage",
)
TICKS: Final = Metric(
    "flowd_cron_ticks_total",
    "counter",
    "Ticks that this process gave their turn; outcome is enqueued or passed.",
    ("queue", "group", "schedule", "outcome"),
    ("cron_tick",),
    kinds=("enqueued", "passed"),
    begins="cron_tick",
)
LAG: Final = Metric(
    "flowd_loops_blocked_total",
    "counter",
    "Times that the event loop was blocked for a second.",
    (),
    ("loop_lag",),
)

COUNTERS: Final = (
    *(ENQUEUED, DONE, EXPIRED, CANCELLED, RETRIES, RELEASES, LETTERS, TAKEOVERS),
    *(LOST, NEWER, STUCK, DELETED, RECREATED, RECONNECTS, TICKS, LAG),
)
"""Events of this process; counted when they happen."""

DURATION: Final = Metric(
    "flowd_handler_duration_seconds",
    "histogram",
    "Duration of a handler; result is returned, raised or cancelled.",
    ("queue", "group", "result"),
    kinds=("returned", "raised", "cancelled"),
)

WAIT: Final = Metric(
    "flowd_job_wait_duration_seconds",
    "histogram",
    "Time in the queue, from when a job could first run, or again, to its handler's start.",
)
HISTOGRAMS: Final = (DURATION, WAIT)
"""Of handlers of this process."""

INFO: Final = Metric(
    "flowd_info",
    "gauge",
    "1, of this process; the versions are labels.",
    ("version", "python"),
)

SERVER_UP: Final = Metric(
    "flowd_server_up", "gauge", "1 if Redis answered `flowd exporter`.", ("server",)
)

_QUEUE: Final = ("server", "queue", "group")

UP: Final = Metric(
    "flowd_queue_up", "gauge", "1 if Redis returned the numbers below in time.", _QUEUE
)
WAITING: Final = Metric("flowd_jobs_waiting", "gauge", "Waiting jobs.", _QUEUE)
OLDEST: Final = Metric(
    "flowd_oldest_waiting_seconds",
    "gauge",
    "Age of the oldest waiting job in seconds; 0 if none waits.",
    _QUEUE,
)
RUNNING: Final = Metric(
    "flowd_jobs_running", "gauge", "Jobs that run, in any process.", _QUEUE
)
DELAYED: Final = Metric(
    "flowd_jobs_delayed",
    "gauge",
    "Delayed jobs; reason is scheduled, released, retrying or newer_version.",
    (*_QUEUE, "reason"),
    kinds=("scheduled", "released", "retrying", "newer_version"),
)
PARKED: Final = Metric(
    "flowd_jobs_parked", "gauge", "Jobs that wait at the gate of their queue.", _QUEUE
)
DEAD: Final = Metric("flowd_jobs_dead", "gauge", "Dead letters.", _QUEUE)
WORKERS: Final = Metric(
    "flowd_workers",
    "gauge",
    "Workers; state is working, idle, stopping, dead or stuck.",
    (*_QUEUE, "state"),
    kinds=get_args(ConsumerState),
)
SLOTS: Final = Metric(
    "flowd_slots", "gauge", "Jobs that the live workers can run at once.", _QUEUE
)
BUSY: Final = Metric("flowd_slots_busy", "gauge", "Jobs that these hold.", _QUEUE)

REMOVED: Final = Metric(
    "flowd_jobs_removed_total",
    "counter",
    "Jobs that no worker had when they ended; how is cancelled or deleted.",
    (*_QUEUE, "how", "state"),
    kinds=("waiting", "delayed", "parked"),
)

GAUGES: Final = (
    UP,
    WAITING,
    OLDEST,
    RUNNING,
    DELAYED,
    PARKED,
    DEAD,
    WORKERS,
    SLOTS,
    BUSY,
    REMOVED,
)
"""The contents of queues, and what ended in none of the processes; read at each scrape."""
