"""A job of a queue with policies: where it is, and what it holds of the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from tests.system.delivery_model.job import Hold
from tests.system.delivery_model.policies import Keys
from tests.system.delivery_model.snapshot import Fields

__all__ = ["ENDS", "End", "GatedJob", "Place"]

End: TypeAlias = Literal[
    "done", "expired", "cancelled", "deleted", "purged", "replaced"
]
Place: TypeAlias = Literal["waiting", "held", "delayed", "parked", "dead"] | End

ENDS: Final[tuple[End, ...]] = get_args(End)
"""Places that no job leaves, and of which nothing is in Redis."""


@dataclass(eq=False)
class GatedJob:
    """An accepted job."""

    number: int
    own: Fields
    """Its fields, without those of flowd."""

    ticket: str
    keys: Keys
    key: str | None
    """Its idempotency key."""

    id: str = ""
    place: Place = "parked"
    at: str = ""
    """The id of its entry or letter, or under which name it waits; empty until seen."""

    hold: Hold | None = None
    due: float = 0.0
    attempt: int = 1
    deliveries: int = 0
    """Of its earlier entries."""

    counted: bool = False
    """Whether it carries its counters."""

    expires: float | None = None
    """Seconds from its enqueue on in which it may start."""

    born: float = 0.0
    """When it was enqueued, in seconds by which time was moved until then."""

    enqueued_ms: str = ""
    """When it was enqueued by the server's clock, once that was seen."""

    has_ticket: bool = True
    """Whether its entry carries its ticket: not while it comes from elsewhere."""

    admitted: bool = False
    """Whether its entry holds something of the gate."""

    has_slot: bool = False
    has_lock: bool = False
    is_behind: bool = False
    """Whether it waits for another one of its unique key to end."""

    is_next: bool = False
    """Whether it is the one that runs afterwards, which a new one replaces."""

    returned: bool = False
    """Whether it was at the gate before, and goes ahead of those that were not."""

    first: float | None = None
    """When the first one came whose place it has taken, while another may take its own."""

    arrived: int = 0
    """When it came to the gate, in steps."""

    @property
    def is_live(self) -> bool:
        """Whether it has still to run."""
        return self.place not in ENDS and self.place != "dead"

    @property
    def is_entry(self) -> bool:
        """Whether it is in the stream."""
        return self.place in ("waiting", "held")

    def leave_gate(self) -> None:
        """It holds nothing any more."""
        self.admitted = self.has_slot = self.has_lock = False
        self.is_behind = self.is_next = self.returned = False
        self.hold = self.first = None

    def end(self, place: Place) -> None:
        """It is over, or a dead letter."""
        self.place = place
        self.leave_gate()

    def carries(self) -> Fields:
        """What has to be among the fields that are found in its place."""
        fields = dict(self.own)
        if self.key is not None:
            fields["_key"] = self.key
        if self.has_ticket and self.ticket:
            fields["_gate"] = self.ticket
        if self.is_live and (self.at != self.id or not self.is_entry):
            fields["_id"] = self.id
        if self.counted:
            fields["_attempt"] = str(self.attempt)
            fields["_deliveries"] = str(self.deliveries)
        return fields
