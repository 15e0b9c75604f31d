"""The id that an enqueue returns when the queue has a job of that key already."""

from __future__ import annotations

from typing import Self

__all__ = ["Duplicate"]


class Duplicate(str):
    """The id of the job that is queued in place of the one that was enqueued.

    An enqueue returns it where the schema says `unique` or `debounce`:
    `isinstance(job_id, Duplicate)` says that no further job was stored.

    Attributes:
        replaced: whether that job got the fields of the one that was enqueued.
    """

    __slots__ = ("replaced",)

    replaced: bool

    def __new__(cls, job_id: str, *, replaced: bool = False) -> Self:
        """The id of the job, marked."""
        self = super().__new__(cls, job_id)
        self.replaced = replaced
        return self

    def __repr__(self) -> str:
        """In a list of ids it is seen which jobs were not stored."""
        return f"Duplicate({str(self)!r}, replaced={self.replaced})"
