"""Decode everything that a queue holds with a job class: what would it read, and why not.

Nothing is run and nothing is written. However many jobs there are, what is kept of them
is a few samples for each reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flowd.errors import DecodeError, NewerVersion
from flowd.model.delivery import Delivery, Entry
from flowd.model.job import Job
from flowd.ops.queries import Queries
from flowd.ops.scan import Page, Place, ScannedJob, scan
from flowd.worker.executor import decode_delivery

__all__ = ["DecodeCheck", "DecodeFailure", "DecodeStatus", "Sample"]

DecodeStatus: TypeAlias = Literal[
    "readable", "unreadable", "newer", "dead_unreadable", "dead_readable"
]
"""What a class makes of a job: reads it, cannot read it, or leaves it to a newer class.
A dead letter that was undecodable when it died cannot be read either, or can be now."""

_AT_ONCE: Final = 25
_REASONS: Final = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """One job of a failure."""

    place: Place
    id: str
    detail: str
    """What was found, as an error says it; empty where that says nothing."""


class DecodeFailure:
    """Jobs that are not read, all for the same reason.

    Attributes:
        status: which of those that are not read.
        job: the name of the class that refused it, which may be of an older version.
        field: the wire name; empty when the entry as a whole is at fault.
        reason: what is wrong.
        places: how many there are in each place.
        samples: the first ones.
    """

    def __init__(self, status: DecodeStatus, job: str, field: str, reason: str) -> None:
        self.status: DecodeStatus = status
        self.job = job
        self.field = field
        self.reason = reason
        self.places: Counter[Place] = Counter()
        self.samples: list[Sample] = []


class DecodeCheck:
    """A class, and which jobs it can decode.

    Args:
        job_class: decodes them as a worker would.
        samples: how many jobs are named for each reason.

    Attributes:
        counts: how many jobs of each place have which status.
        failures: those that are not read; status, class, field and reason are the key.
    """

    def __init__(self, job_class: type[Job], *, samples: int = 5) -> None:
        self.job_class = job_class
        self.counts: Counter[tuple[Place, DecodeStatus]] = Counter()
        self.failures: dict[tuple[DecodeStatus, str, str, str], DecodeFailure] = {}
        self._samples = samples

    async def run(
        self,
        queries: Queries,
        *,
        limit: int = 0,
        on_progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Decode all that a queue holds.

        Args:
            queries: of the queue.
            limit: how many of each place, at most; 0: all.
            on_progress: called with how many more were decoded.

        Raises:
            ServerError: as `Connection.call`.
        """
        async with aclosing(scan(queries, limit=limit)) as pages:
            async for page in pages:
                await self._take(page)
                on_progress(len(page.found))

    async def _take(self, page: Page) -> None:
        for index, found in enumerate(page.found):
            if not index % _AT_ONCE:
                await asyncio.sleep(0)  # the next page is on its way
            status, error = self._decode(found)
            self.counts[page.place, status] += 1
            if error is not None:
                self._keep(status, page.place, found, error)

    def _decode(self, found: ScannedJob) -> tuple[DecodeStatus, DecodeError | None]:
        name = self.job_class.SPEC.name
        if found.reason == "unknown":
            text = "the dead letter was not written by flowd"
            return "dead_unreadable", DecodeError(name, "", text)
        before = found.reason == "undecodable"
        entry = Entry(found.id, 1, found.fields, found.size)
        try:
            decode_delivery(self.job_class, Delivery(entry, 0.0))
        except NewerVersion as error:
            return "dead_unreadable" if before else "newer", error
        except DecodeError as error:
            return "dead_unreadable" if before else "unreadable", error
        except SystemExit:  # a mapper's, which would end a worker as well
            text = "a mapper ended the program with SystemExit"
            failed = DecodeError(name, "", text)
            return "dead_unreadable" if before else "unreadable", failed
        return "dead_readable" if before else "readable", None

    def _keep(
        self, status: DecodeStatus, place: Place, found: ScannedJob, error: DecodeError
    ) -> None:
        # What is in brackets differs from job to job.
        reason, bracket, rest = error.reason.partition(" (")
        key = (status, error.job, error.field, reason)
        if key not in self.failures and len(self.failures) >= _REASONS:
            key = (status, error.job, error.field, "other reasons")
        if key not in self.failures:
            self.failures[key] = DecodeFailure(*key)
        failure = self.failures[key]
        failure.places[place] += 1
        if len(failure.samples) < self._samples:
            value = "" if error.value is None else f"got {error.value}"
            detail = f"{(bracket + rest).lstrip()} {value}".strip()
            text = found.id.decode("utf-8", "backslashreplace")
            failure.samples.append(Sample(place, text, detail))
