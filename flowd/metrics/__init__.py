"""Metrics for Prometheus, as a middleware.

    queue = Queue(Email, send, middleware=[Metrics()])

`flowd run --metrics-port` adds it by itself and shows it at `/metrics`. What a process
saw is counted in it; what queues hold is read from Redis when Prometheus asks.
"""

from __future__ import annotations

from flowd.metrics.recorder import Metrics
from flowd.metrics.scrape import exposition

__all__ = ["Metrics", "exposition"]
