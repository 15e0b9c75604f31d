"""Which jobs a list shows, and which of them are meant: by state, field and error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import ImmutableMultiDict

from flowd.ops.control import JobFilter
from flowd.ops.rows import State
from flowd.web.visit import Refusal

__all__ = ["PickedJobs", "picked_jobs"]

_STATES: Final[Mapping[str, State]] = {
    "running": "running",
    "waiting": "waiting",
    "delayed": "delayed",
    "parked": "parked",
}


@dataclass(frozen=True, slots=True)
class PickedJobs:
    """Which jobs a page is about, as the address says it."""

    state: State
    error: str = ""
    field: str = ""
    """`name=value`."""

    @property
    def is_all(self) -> bool:
        """Whether all jobs of the state are meant."""
        return not (self.error or self.field)

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the address."""
        return {"state": self.state, "error": self.error, "field": self.field}

    @property
    def words(self) -> str:
        """Which jobs these are, in words."""
        said = [
            *([f"with {self.field}"] if self.field else []),
            *([f"with “{self.error}” in the last error"] if self.error else []),
        ]
        return f"{self.state}, {', '.join(said)}" if said else f"all {self.state}"

    @property
    def filter(self) -> JobFilter:
        """The same for `flowd.ops`."""
        name, equals, value = self.field.partition("=")
        return JobFilter(
            states=(self.state,),
            text=self.error,
            fields={name.encode(): value.encode()} if equals else {},
        )


def picked_jobs(given: ImmutableMultiDict[str, str]) -> PickedJobs:
    """What the address of a list, or a form, chooses.

    Raises:
        Refusal: there is no such state, or the field is not written as `name=value`.
    """

    def said(name: str) -> str:
        found: str | None = given.get(name)
        return (found or "").strip()

    state = _STATES.get(said("state"))
    if state is None:
        raise Refusal(
            404, "No such page", "A job is running, waiting, delayed or parked."
        )
    field = said("field")
    if field and "=" not in field:
        # Without it every job would be meant.
        text = "Write a field as name=value, for example to=a@b.c."
        raise Refusal(400, "This is no field", text)
    return PickedJobs(state, said("error"), field)
