"""The schedules of a job as a JSON Schema."""

from __future__ import annotations

from flowd.wire import Json
from flowd_codegen.export.json_table import Rules, ref, table
from flowd_codegen.parse.cron import CRON_OPTIONS, MISSED, OVERLAP, SCHEDULE_NAME

__all__ = ["crons", "schedule"]

_PART = r"[0-9A-Za-z*,/-]+"


def crons() -> dict[str, Json]:
    """What `[job.N.cron]` may hold."""
    return {
        "description": "When the job is enqueued by itself, by name.",
        "type": "object",
        "propertyNames": {"pattern": f"^{SCHEDULE_NAME.pattern}$"},
        "additionalProperties": ref("schedule"),
    }


def schedule() -> dict[str, Json]:
    """What `[job.N.cron.NAME]` may hold."""
    return {
        **table("One schedule.", CRON_OPTIONS, _options()),
        "oneOf": [{"required": ["at"]}, {"required": ["every"]}],
    }


def _options() -> dict[str, Rules]:
    return {
        "at": {
            "description": "A cron expression: minute, hour, day of month, month, day of week.",
            "type": "string",
            "pattern": rf"^[ \t]*{_PART}(?:[ \t]+{_PART}){{4}}[ \t]*$",
            "examples": ["0 3 * * *", "*/15 8-18 * * mon-fri"],
        },
        "every": ref("duration", "From tick to tick, counted from 1970-01-01 UTC."),
        "tz": {
            "description": "The time zone, by its IANA name.",
            "type": "string",
            "default": "UTC",
            "examples": ["Europe/Berlin"],
        },
        "missed": {
            "description": "What becomes of ticks that no worker was there for.",
            "enum": [*MISSED],
            "default": "once",
        },
        "overlap": {
            "description": "Whether a tick runs while the run before it has not ended.",
            "enum": [*OVERLAP],
            "default": "allow",
        },
        "with": {
            "description": "The fields of the job, by name.",
            "type": "object",
        },
    }
