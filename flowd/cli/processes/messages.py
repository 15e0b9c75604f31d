"""The messages between parent and child: one JSON object a line."""

from __future__ import annotations

import json
from typing import Final, TypedDict

__all__ = ["LIMIT", "Family", "FromChild", "FromParent", "from_line", "line"]

LIMIT: Final = 64 * 1024 * 1024
"""The longest line, in bytes; all metrics of a process are one."""


class Family(TypedDict):
    """One metric as Prometheus knows it, with its samples."""

    name: str
    kind: str
    help: str
    samples: list[tuple[str, dict[str, str], float]]
    """Name, labels and value of each."""


class FromChild(TypedDict, total=False):
    """A report of a child, or its answer to a question."""

    state: str
    """`loaded`: the user's code is loaded; `ready`: all its queues run."""

    retire: str
    """Why it wants to be replaced."""

    large_after: float
    """Seconds after which it was above `--max-rss`, if that is why."""

    answer: int
    """The number of the question that this answers."""

    failing: list[str]
    """Why it is not ready; empty if it is."""

    counted: list[Family]
    """What it has counted since its start; unasked, at its end."""

    queues: list[Family]
    """What its queues hold."""


class FromParent(TypedDict, total=False):
    """A request or a question of the parent."""

    stop: float
    """Seconds that running jobs have."""

    times: int
    """How often a stop was requested, this time included."""

    signal: str
    """The name of the signal that caused it; empty if the child is replaced."""

    ask: int
    """A number for the answer."""

    counted: bool
    queues: bool


def line(message: FromChild | FromParent) -> bytes:
    """A message as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def from_line(text: bytes) -> object:
    """What was sent.

    Raises:
        ValueError: it is not JSON.
    """
    found: object = json.loads(text)
    return found
