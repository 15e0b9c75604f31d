"""Tools for those who operate queues; nothing that runs jobs imports them."""

from __future__ import annotations

from flowd.broker.server_time import server_time
from flowd.ops.consumers import ConsumerView
from flowd.ops.delays import Delays
from flowd.ops.doctor import examine
from flowd.ops.finding import Finding, Level
from flowd.ops.jobs import JobView, find_job, list_jobs
from flowd.ops.overview import QueueView, overview, queue_view
from flowd.ops.queries import Queries

__all__ = [
    "ConsumerView",
    "Delays",
    "Finding",
    "JobView",
    "Level",
    "Queries",
    "QueueView",
    "examine",
    "find_job",
    "list_jobs",
    "overview",
    "queue_view",
    "server_time",
]
