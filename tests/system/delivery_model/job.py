"""A job of the model, and an entry that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.system.delivery_model.snapshot import Fields, Lease

__all__ = ["SLACK", "Hold", "Job", "Row", "check_leases"]

SLACK: Final = 60.0
"""Seconds by which times may differ: those that the test itself takes."""


@dataclass(eq=False)
class Job:
    """An accepted job, and what its next entry says of its past."""

    number: str
    key: str | None
    id: str
    attempt: int = 1
    deliveries: int = 0
    """Of its earlier entries."""

    moved: bool = False
    """Whether the id of its entry is another, so that it carries its own."""

    counted: bool = False
    """Whether it carries its counters."""

    due: float = 0.0
    """When it may be promoted, while it is delayed."""

    born: str = ""
    """When it was enqueued, once that was seen."""

    def seen(self, found: Fields, entry_id: str = "") -> None:
        """Fields that were found in its place are its own."""
        fields = dict(found)
        born = fields.pop("_at", entry_id.partition("-")[0])
        self.born = self.born or born
        assert fields == self.fields()
        assert born == self.born

    def fields(self) -> Fields:
        """What its entry has to hold."""
        fields = {"n": self.number}
        if self.key is not None:
            fields["_key"] = self.key
        if self.moved:
            fields["_id"] = self.id
        if self.counted:
            fields["_attempt"] = str(self.attempt)
            fields["_deliveries"] = str(self.deliveries)
        return fields


@dataclass
class Hold:
    """Who has an entry."""

    consumer: str
    count: int
    since: float
    """When it was delivered or renewed."""


@dataclass(eq=False)
class Row:
    """An entry of the stream."""

    job: Job
    id: str = ""
    """Empty until it was seen."""

    hold: Hold | None = None


def check_leases(
    holds: Mapping[str, Hold | None], leases: Mapping[str, Lease], now: float
) -> None:
    """Redis has each entry with the consumer, the count and the age of its hold."""
    assert holds.keys() == leases.keys()
    for entry_id, hold in holds.items():
        assert hold is not None
        lease = leases[entry_id]
        assert (lease.consumer, lease.deliveries) == (hold.consumer, hold.count)
        assert abs(lease.idle - (now - hold.since)) < SLACK
