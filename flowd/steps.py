"""What a stream is asked to do, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from flowd.delivery import Delivery, Entry
from flowd.errors import ServerError

__all__ = ["Addition", "Bury", "Requeue", "Settled", "Tended"]


class Addition(NamedTuple):
    """One job on its way into a stream."""

    fields: Mapping[bytes, bytes]
    size: int
    """Bytes of all names and values."""

    id: str = "*"
    """An entry id, or `*` for the server's choice; only without a delay."""

    delay: float = 0.0
    """Seconds; above 0 the job waits in the delayed set."""

    job_id: str = ""
    """The id of a delayed job."""

    key: str | None = None
    key_ttl: float = 0.0
    """Seconds that the idempotency key is remembered."""

    @property
    def is_plain(self) -> bool:
        """Whether it takes no more than to append it."""
        return self.id == "*" and self.key is None and not self.delay


class Requeue(NamedTuple):
    """Put an entry back, `delay` seconds from now, with a new envelope."""

    delivery: Delivery
    delay: float
    envelope: Mapping[bytes, bytes]


class Bury(NamedTuple):
    """Move an entry to the dead letters, with the letter's fields behind its own."""

    delivery: Delivery
    letter: Sequence[bytes]


class Tended(NamedTuple):
    """What tending a queue brought."""

    promoted: int
    next_due: float | None
    """Seconds until the next delayed job is due; None without one."""

    cursor: bytes
    next_lease: float
    """Seconds until another consumer's lease may run out."""

    taken: list[Entry]
    listeners: int
    """How many follow what happens in the queue."""


Settled: TypeAlias = int | bytes | ServerError
"""1 settled, 0 not ours any more, 2 deleted by somebody, a letter's id, or a refusal."""
