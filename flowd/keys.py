"""Every Redis key flowd touches.

A stream keeps its plain name, the seed's wire. Its companions carry that name as hash
tag, so that one script may touch all of them on a cluster.

    emails                    the jobs, waiting and running
    {emails}:delayed          sorted set: job id -> due time (ms, server clock)
    {emails}:delayed:jobs     hash: job id -> its fields, packed
    {emails}:senders:dlq      the dead letters of one group
    {emails}:senders:progress hash: entry id -> how far the job is that runs
    {emails}:senders:receipts hash: consumer -> what its last settle did, for minutes
    {emails}:senders:tail     channel: what happens, while somebody listens
    {emails}:key:KEY          an idempotency key -> job id
    {emails}:call:TOKEN       the ids that one call has stored, while it may repeat
    flowd:queues              set: [stream, group] of every queue that was set up
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["QUEUES", "Keys"]

QUEUES: Final = "flowd:queues"

_HASH_TAG: Final = re.compile(r"\{[^}]+\}")


class Keys:
    """The keys of one stream and group."""

    __slots__ = (
        "_tag",
        "bodies",
        "dead",
        "delayed",
        "progress",
        "receipts",
        "stream",
        "tail",
    )

    def __init__(self, stream: str, group: str) -> None:
        # Redis hashes what is between the first braces; without any, the whole name.
        self._tag = stream if _HASH_TAG.search(stream) else f"{{{stream}}}"
        self.stream = stream
        self.delayed = f"{self._tag}:delayed"
        self.bodies = f"{self._tag}:delayed:jobs"
        self.dead = f"{self._tag}:{group}:dlq"
        self.progress = f"{self._tag}:{group}:progress"
        self.receipts = f"{self._tag}:{group}:receipts"
        self.tail = f"{self._tag}:{group}:tail"

    def idempotency(self, key: str) -> str:
        """Where the job id that was enqueued under `key` is remembered."""
        return f"{self._tag}:key:{key}"

    def receipt(self, token: str) -> str:
        """Where the ids are that a call with this token has stored."""
        return f"{self._tag}:call:{token}"
