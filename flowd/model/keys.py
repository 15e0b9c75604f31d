"""Every Redis key flowd touches.

A stream keeps its plain name, as in the Rust crate flowd. Its companion keys are in its
hash slot, so that one script may use all of them on a cluster.

    emails                    the jobs, waiting and running
    {emails}:delayed          sorted set: job id -> due time (ms, server clock)
    {emails}:delayed:jobs     hash: job id -> its fields, packed
    {emails}:senders:dlq      the dead letters of one group
    {emails}:senders:progress hash: entry id -> how far the job is that runs
    {emails}:senders:receipts hash: consumer -> what its last settle did, for minutes
    {emails}:senders:workers  hash: consumer -> its last sign of life, and its capacity
    {emails}:senders:control  hash: what operators have ordered: a pause, cancelled jobs
    {emails}:senders:cron     hash: registered schedules and their last ticks
    {emails}:senders:tail     channel: events, while `flowd tail` listens
    {emails}:senders:cancels  channel: that marks of cancelled jobs have changed
    {emails}:gate             what a queue with policies has of locks; and of all the
    {emails}:gate:NAME        rest of its gate (`GATE`): `lua/gate.lua` says what is where
    {emails}:key:KEY          an idempotency key -> job id
    {emails}:call:TOKEN       the ids that one call has stored, while it may repeat
    flowd:queues              set: [stream, group] of every queue that was set up, or had a
                              job enqueued

What comes before the last colons depends on the stream's name, by Redis's rule: what is
hashed is between the first `{` and the next `}`, unless nothing is; else the whole name.

    emails      {emails}:     a name without a hash tag becomes one
    {shop}:a    {shop}:a:     a name with a hash tag keeps it
    {shop}      {shop}::      so that it shares no key with the stream `shop`
    a}b         {#7}=a}b:     a name that fits in no tag gets a number of the same slot
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from itertools import count
from typing import Final

__all__ = ["GATE", "QUEUES", "Keys", "clash", "slot_of"]

QUEUES: Final = "flowd:queues"

GATE: Final = (
    *("parked", "slots", "holds", "lanes", "waits", "turns"),
    *("clocks", "timed", "limits", "want"),
)
"""What the keys of a gate are called, in the order in which the scripts take them."""

_SLOTS: Final = 16_384
_TAG: Final = re.compile(r"[^{]*\{([^}]+)\}(.*)", re.DOTALL)
_NUMBERED: Final = re.compile(r"\{#\d+\}=.*", re.DOTALL)

# What stands behind the tag of a companion.
_COMPANION: Final = re.compile(
    r".*:(?:delayed|delayed:jobs|key|call|gate|gate:[a-z]+|[^:]+:(?:dlq|progress|receipts|workers|tail|cron|control|cancels))|.*:(?:key|call):.*",
    re.DOTALL,
)


class Keys:
    """The keys of one stream and group."""

    __slots__ = (
        "_prefix",
        "bodies",
        "cancels",
        "control",
        "cron",
        "dead",
        "delayed",
        "progress",
        "receipts",
        "stream",
        "tail",
        "workers",
    )

    def __init__(self, stream: str, group: str) -> None:
        self._prefix = prefix = _prefix(stream)
        # Without a colon of its own, a group is no other stream's beginning.
        group = group.replace("%", "%25").replace(":", "%3A")
        self.stream = stream
        self.delayed = f"{prefix}delayed"
        self.bodies = f"{prefix}delayed:jobs"
        self.dead = f"{prefix}{group}:dlq"
        self.progress = f"{prefix}{group}:progress"
        self.receipts = f"{prefix}{group}:receipts"
        self.workers = f"{prefix}{group}:workers"
        self.control = f"{prefix}{group}:control"
        self.cron = f"{prefix}{group}:cron"
        self.tail = f"{prefix}{group}:tail"
        self.cancels = f"{prefix}{group}:cancels"

    @property
    def gate(self) -> tuple[str, ...]:
        """All keys of the gate but `policies`."""
        gate = f"{self._prefix}gate"
        return (gate, *(f"{gate}:{name}" for name in GATE))

    @property
    def policies(self) -> str:
        """Where the workers of a queue with policies say which, for a minute each time."""
        return f"{self._prefix}gate:policies"

    def idempotency(self, key: str) -> str:
        """Where the job id that was enqueued under `key` is remembered."""
        return f"{self._prefix}key:{key}"

    def receipt(self, token: str) -> str:
        """Where the ids are that a call with this token has stored."""
        return f"{self._prefix}call:{token}"


def slot_of(key: str) -> int:
    """The slot of a cluster that Redis puts a key in."""
    found = _TAG.match(key)
    return _slot(found[1] if found else key)


def clash(stream: str, group: str) -> tuple[str, str] | None:
    """Which of the two names could be a key of another queue, and why; None: neither."""
    if group in ("key", "call"):
        return (
            "group",
            "it must not be a word that flowd's own keys have; choose another",
        )
    if stream == QUEUES:
        return "stream", "it is the key that lists the queues"
    found = _TAG.match(stream)
    behind = found[2] if found else stream if "}" in stream else ""
    if _COMPANION.fullmatch(behind) or (found and behind.endswith(":")):
        return (
            "stream",
            "it is named as flowd names the companion keys of another stream",
        )
    if _NUMBERED.fullmatch(stream):
        return "stream", "it begins as flowd's own keys do"
    return None


def _prefix(stream: str) -> str:
    found = _TAG.match(stream)
    if found:
        return f"{stream}::" if stream == f"{{{found[1]}}}" else f"{stream}:"
    return _numbered(stream) if "}" in stream else f"{{{stream}}}:"


@lru_cache(1_000)
def _numbered(stream: str) -> str:
    slot = _slot(stream)
    number = next(each for each in count() if _slot(f"#{each}") == slot)
    return f"{{#{number}}}={stream}:"


def _slot(hashed: str) -> int:
    """The slot of a cluster that Redis puts a key with this hash tag in."""
    return binascii.crc_hqx(hashed.encode("utf-8", "surrogatepass"), 0) % _SLOTS
