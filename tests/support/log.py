"""What flowd logged, by its events."""

from __future__ import annotations

import logging

__all__ = ["events", "outages"]


def outages(names: list[str]) -> int:
    """How many outages began; one is logged again when its reason changes."""
    lines = [each for each in names if each in ("outage", "recovery")]
    former = ["recovery", *lines]
    return [*zip(former, lines, strict=False)].count(("recovery", "outage"))


def events(records: list[logging.LogRecord]) -> list[str]:
    """The events that flowd logged, in order."""
    return [
        str(vars(record).get("event")) for record in records if record.name == "flowd"
    ]
