"""Alert rules for Prometheus, written from the table of metrics.

`python -m flowd.metrics` prints them; `docs/alerts.yml` is what it printed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from flowd.metrics import table

__all__ = ["ALERTS", "Alert", "rules"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule."""

    name: str
    expr: str
    hold: str
    """For how long it must be true, as Prometheus writes a time."""

    severity: str
    summary: str
    action: str
    """What to do about it."""


def _grew(metric: table.Metric, span: str, more_than: int = 0) -> str:
    by = ", ".join(metric.labels)
    rate = f"increase({metric.name}[{span}])"
    return f"sum by ({by}) ({rate}) > {more_than}" if by else f"{rate} > {more_than}"


_STREAM: Final = "{{ $labels.stream }}"

ALERTS: Final = (
    Alert(
        "FlowdQueueUnseen",
        f"max by (server, stream) ({table.UP.name}) == 0",
        "2m",
        "page",
        f"Redis does not tell what {_STREAM} holds",
        "see /readyz of the worker, and flowd doctor",
    ),
    Alert(
        "FlowdWorkersGone",
        f"max by (stream) (max_over_time({table.UP.name}[6h]))"
        f" unless max by (stream) ({table.UP.name})",
        "5m",
        "page",
        f"no worker of {_STREAM} is left to tell what waits there",
        "start one and read its log; if the queue was given up, silence this for 6 h",
    ),
    Alert(
        "FlowdJobsWaitLong",
        f"max by (server, stream) ({table.OLDEST.name}) > 300",
        "5m",
        "page",
        f"the oldest job of {_STREAM} has waited for more than five minutes",
        "flowd stats: are there workers, and is what they run slow? Start more of them",
    ),
    Alert(
        "FlowdDeadLetters",
        _grew(table.LETTERS, "10m"),
        "0m",
        "ticket",
        f"jobs of {_STREAM} were given up ({{{{ $labels.reason }}}})",
        "flowd dlq list; mend the cause; flowd dlq redrive",
    ),
    Alert(
        "FlowdManyRetries",
        f"sum by (stream) (rate({table.RETRIES.name}[10m]))"
        f" > 0.2 * sum by (stream) (rate({table.DURATION.name}_count[10m]))",
        "10m",
        "ticket",
        f"more than a fifth of the attempts of {_STREAM} fail",
        "the log has a line with event=retry for each; it says why",
    ),
    Alert(
        "FlowdTakeovers",
        _grew(table.TAKEOVERS, "15m"),
        "0m",
        "ticket",
        f"jobs of {_STREAM} were taken over from a worker",
        "find the worker that was killed, or stood still for a lease",
    ),
    Alert(
        "FlowdLeasesLost",
        _grew(table.LOST, "15m"),
        "0m",
        "ticket",
        f"jobs of {_STREAM} ran twice: a worker lost their leases",
        "it was frozen, or Redis away, for a lease; if often, raise claim_after",
    ),
    Alert(
        "FlowdWorkersTooOld",
        _grew(table.NEWER, "15m"),
        "30m",
        "ticket",
        f"jobs of {_STREAM} wait for workers with newer classes",
        "finish the deploy; old workers were left behind",
    ),
    Alert(
        "FlowdLoopStandsStill",
        _grew(table.LAG, "15m"),
        "0m",
        "ticket",
        "a handler keeps the event loop of {{ $labels.instance }}",
        "the log names it (event=loop_lag): make it a plain def, or let it await",
    ),
    Alert(
        "FlowdHandlersStuck",
        _grew(table.STUCK, "1h"),
        "0m",
        "ticket",
        f"handlers of {_STREAM} do not end when they are cancelled",
        "the log names their jobs (event=stuck)",
    ),
    Alert(
        "FlowdRedisUnsteady",
        _grew(table.RECONNECTS, "1h", 3),
        "0m",
        "ticket",
        "{{ $labels.server }} was away more than three times in an hour",
        "see why: flowd doctor, and the log of Redis",
    ),
    Alert(
        "FlowdDataDeleted",
        f"({_grew(table.DELETED, '15m')}) or ({_grew(table.RECREATED, '15m')})",
        "0m",
        "page",
        f"somebody deletes what {_STREAM} holds",
        "find who runs FLUSHALL, DEL, XDEL, XTRIM or XGROUP DESTROY",
    ),
)
"""Page for what stops jobs or loses them; the rest can wait for the morning."""


def rules() -> str:
    """The rules as YAML."""
    lines = [
        "# Written by `python -m flowd.metrics`; see docs/monitoring.md.",
        "groups:",
        "  - name: flowd",
        "    rules:",
    ]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            # A JSON string is one of YAML.
            f"        expr: {json.dumps(alert.expr)}",
            f"        for: {alert.hold}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          description: {json.dumps(alert.action)}",
        ]
    return "\n".join(lines) + "\n"
