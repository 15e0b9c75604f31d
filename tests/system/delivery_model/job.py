"""A job of the model, and an entry that carries it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.system.delivery_model.snapshot import Fields

__all__ = ["Hold", "Job", "Row"]


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
