"""Try a job class on all that a queue holds: what would it read, and what not, and why.

Nothing is run and nothing is written. However many jobs there are, what is kept of them
is a few samples for each reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, Literal, NamedTuple, TypeAlias

from flowd.errors import DecodeError, NewerVersion
from flowd.model.delivery import Delivery, Entry
from flowd.model.job import Job
from flowd.ops.everything import Found, Page, Place, everything
from flowd.ops.look import Look
from flowd.worker.executor import read_job

__all__ = ["Fate", "Misfit", "Sample", "Trial"]

Fate: TypeAlias = Literal["readable", "newer", "unreadable", "mended", "dead"]
"""What a class makes of a job: reads it, leaves it to a newer class, or cannot read it.
Of a dead letter that was undecodable before: can read it now, or cannot either."""

_AT_ONCE: Final = 25
_REASONS: Final = 50


class Sample(NamedTuple):
    """One job of a misfit."""

    place: Place
    id: str
    detail: str
    """What was found, as an error says it; empty where that says nothing."""


class Misfit:
    """Jobs that are not read, all for the same reason.

    Attributes:
        fate: which of the three that are not read.
        job: the name of the class that refused it, which may be of an older version.
        field: the wire name; empty when the entry as a whole is at fault.
        reason: what is wrong.
        places: how many there are in each place.
        samples: the first ones.
    """

    def __init__(self, fate: Fate, job: str, field: str, reason: str) -> None:
        self.fate: Fate = fate
        self.job = job
        self.field = field
        self.reason = reason
        self.places: Counter[Place] = Counter()
        self.samples: list[Sample] = []


class Trial:
    """A class, and what became of the jobs that it was tried on.

    Args:
        job_class: reads them as a worker would.
        samples: how many jobs are named for each reason.

    Attributes:
        counts: how many jobs of each place had which fate.
        misfits: those that are not read; fate, class, field and reason are the key.
    """

    def __init__(self, job_class: type[Job], *, samples: int = 5) -> None:
        self.job_class = job_class
        self.counts: Counter[tuple[Place, Fate]] = Counter()
        self.misfits: dict[tuple[Fate, str, str, str], Misfit] = {}
        self._samples = samples

    async def run(
        self,
        look: Look,
        *,
        limit: int = 0,
        told: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Try the class on all that a queue holds.

        Args:
            look: the queue.
            limit: how many of each place, at most; 0: all.
            told: called with how many more were looked at.

        Raises:
            ServerError: as `Link.call`.
        """
        async with aclosing(everything(look, limit=limit)) as pages:
            async for page in pages:
                await self._take(page)
                told(len(page.found))

    async def _take(self, page: Page) -> None:
        for index, found in enumerate(page.found):
            if not index % _AT_ONCE:
                await asyncio.sleep(0)  # the next page is on its way
            self._judge(page.place, found)

    def _judge(self, place: Place, found: Found) -> None:
        fate, error = self._try(found)
        self.counts[place, fate] += 1
        if error is not None:
            self._keep(fate, place, found, error)

    def _try(self, found: Found) -> tuple[Fate, DecodeError | None]:
        name = self.job_class.SPEC.name
        if found.reason == "unknown":
            text = "the dead letter was not written by flowd"
            return "dead", DecodeError(name, "", text)
        before = found.reason == "undecodable"
        entry = Entry(found.id, 1, found.fields, found.size)
        try:
            read_job(self.job_class, Delivery(entry, 0.0))
        except NewerVersion as error:
            return "dead" if before else "newer", error
        except DecodeError as error:
            return "dead" if before else "unreadable", error
        except SystemExit:  # a mapper's, which would end a worker as well
            text = "a mapper ended the program with SystemExit"
            return "dead" if before else "unreadable", DecodeError(name, "", text)
        return "mended" if before else "readable", None

    def _keep(self, fate: Fate, place: Place, found: Found, error: DecodeError) -> None:
        # What is in brackets differs from job to job.
        reason, bracket, rest = error.reason.partition(" (")
        key = (fate, error.job, error.field, reason)
        if key not in self.misfits and len(self.misfits) >= _REASONS:
            key = (fate, error.job, error.field, "other reasons")
        if key not in self.misfits:
            self.misfits[key] = Misfit(*key)
        misfit = self.misfits[key]
        misfit.places[place] += 1
        if len(misfit.samples) < self._samples:
            value = "" if error.value is None else f"got {error.value}"
            detail = f"{(bracket + rest).lstrip()} {value}".strip()
            text = found.id.decode("utf-8", "backslashreplace")
            misfit.samples.append(Sample(place, text, detail))
