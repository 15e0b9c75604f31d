"""The queue table of a job as a JSON Schema."""

from __future__ import annotations

from flowd.wire import Json
from flowd_codegen.export.json_gate import policies
from flowd_codegen.export.json_table import PRINTABLE, Rules, ref, table
from flowd_codegen.model.duration import DURATION
from flowd_codegen.parse.queue import BACKOFF_KINDS, BACKOFF_OPTIONS, QUEUE_OPTIONS

__all__ = ["duration", "queue"]


def duration() -> dict[str, Json]:
    """A duration as schemas write it."""
    return {
        "type": "string",
        "pattern": rf"^{DURATION.pattern}$",
        "examples": ["250ms", "30s", "2m", "1h30m", "7d"],
    }


def queue() -> dict[str, Json]:
    """What `[job.N.queue]` may hold."""
    about = "What producers and workers must agree on."
    gate = policies()
    return table(about, (*QUEUE_OPTIONS, *gate), {**_queue(), **gate})


def _queue() -> dict[str, Rules]:
    name: dict[str, Json] = {"type": "string", "pattern": f"^{PRINTABLE}$"}
    return {
        "stream": {
            "description": "The stream's key; by default the job's name in snake_case.",
            **name,
        },
        "group": {"description": "The consumer group.", "default": "workers", **name},
        "starting_id": {
            "description": "Where a new group begins: `0` everything, `$` only what"
            " comes, or an entry's id.",
            "type": "string",
            "pattern": r"^(?:\$|[0-9]+(?:-[0-9]+)?)$",
            "default": "0",
        },
        "timeout": ref("duration", "How long one attempt may take; without it, ever."),
        "max_retries": {
            "description": "How many failed attempts are tried again.",
            "type": "integer",
            "minimum": 0,
            "default": 3,
        },
        "claim_after": ref(
            "duration", "The lease: without renewal for so long a job is taken over."
        ),
        "expires_after": ref(
            "duration", "When a job expires that has not started; without it, never."
        ),
        "backoff": table("The wait after a failure.", BACKOFF_OPTIONS, _backoff()),
    }


def _backoff() -> dict[str, Rules]:
    return {
        "kind": {
            "description": "`base` each time, times the failures, or doubled each time.",
            "enum": [*BACKOFF_KINDS],
            "default": "exponential",
        },
        "base": ref("duration", "The wait after the first failure; `1s` by default."),
        "max": ref("duration", "The longest wait; `5m` by default."),
        "jitter": {
            "description": "Wait a random time between 0 and the computed one.",
            "type": "boolean",
            "default": True,
        },
    }
