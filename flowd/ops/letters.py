"""Dead letters in bulk: select, redrive or purge them, at a limited rate."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
)
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from flowd.broker.stream import Stream
from flowd.deadletter import PAGE, pages
from flowd.errors import (
    CommandRefused,
    DecodeError,
    EncodeError,
    FlowdError,
    KeyTaken,
    LetterNotFound,
)
from flowd.model.delivery import timestamp
from flowd.model.job import Job
from flowd.model.letter import Letter

__all__ = ["LetterFilter", "by_job_id", "like_of", "move", "pick"]

_BURST: Final = 0.1
"""Of how many seconds a rate is used up at once."""

_ALIKE: Final = 200
_QUOTED: Final = re.compile(r"""'[^']*'|"[^"]*"|<[^<>]*>""")
_ADDRESS: Final = re.compile(
    r"\S*[^\s(]@[^\s),;]+|\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which dead letters are meant: those for which all of this is true."""

    text: str = ""
    """Is in the error, or in the reason as `failed`."""

    like: str = ""
    """What `like_of` says of the letter; empty: whatever it is."""

    fields: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    """The entry has them, with these values."""

    since: datetime | None = None
    """The job died then or later."""

    until: datetime | None = None
    """The job died before."""

    ids: Collection[str] | None = None
    """One of them is the letter's id; None: whatever it is."""

    job_id: str | None = None
    """The job's id; None: whatever it is."""

    @property
    def sifts(self) -> bool:
        """Whether each letter has to be looked at."""
        return replace(self, since=None, until=None) != LetterFilter()

    def takes(self, letter: Letter[Job]) -> bool:
        """Whether all but the time is true of a letter."""
        return (
            (self.text in letter.reason or self.text in letter.error)
            and (not self.like or self.like == like_of(letter))
            and (self.ids is None or letter.id in self.ids)
            and self.job_id in (None, letter.job_id)
            and all(
                letter.fields.get(name) == value for name, value in self.fields.items()
            )
        )


def like_of(letter: Letter[Job]) -> str:
    """Reason and error of a letter without what differs among letters of the same fault.

    Numbers become `N`; quoted texts, addresses and long hexadecimal numbers become `…`.
    """
    text = f"{letter.reason[:_ALIKE]}: {letter.error[:_ALIKE]}"
    text = _ADDRESS.sub("…", _QUOTED.sub("…", text))
    return " ".join(_NUMBER.sub("N", text).split())


def by_job_id(job_id: str) -> LetterFilter:
    """The letter of the job with this id, which died no earlier than its id says."""
    since = timestamp(job_id.partition("-")[0].encode()) if "-" in job_id else None
    return LetterFilter(job_id=job_id, since=since)


async def pick(
    stream: Stream,
    job_class: type[Job] | None,
    letter_filter: LetterFilter,
    *,
    last: str | None = None,
    scan: int = 0,
    limit: int = 0,
    on_progress: Callable[[], object] = lambda: None,
) -> AsyncGenerator[Letter[Job]]:
    """The letters that are meant, the oldest first, of those that are there now.

    Args:
        stream: of the queue.
        job_class: reads the jobs; None: nothing does.
        letter_filter: which.
        last: the id of the newest letter that counts; None: of the newest there is.
        scan: how many are looked at, at most; 0: all.
        limit: how many are given out, at most; 0: all.
        on_progress: called for each that is looked at.

    Raises:
        ServerError: the server cannot be asked.
    """
    looked, given = itertools.count(1), itertools.count(1)
    # Letters may be large: no more are asked for than can be meant.
    most = min(filter(None, (PAGE, scan, 0 if letter_filter.sifts else limit)))
    since, until = letter_filter.since, letter_filter.until
    letters = pages(
        stream, job_class, since=since, until=until, last=last, page_size=most
    )
    async with aclosing(letters) as found:
        async for page in found:
            for letter in page:
                on_progress()
                if letter_filter.takes(letter):
                    yield letter
                    if next(given) == limit:
                        return
                if next(looked) == scan:
                    return


async def move(
    picked: AsyncIterable[Letter[Job]],
    step: Callable[[Letter[Job]], Awaitable[object]],
    *,
    rate: float | None = None,
) -> AsyncGenerator[tuple[Letter[Job], FlowdError | None]]:
    """Take a step with each letter, many at once; yield it, and why it was refused.

    Args:
        picked: the letters.
        step: as `DeadLetters.redrive`. A letter that is gone meanwhile is passed over.
        rate: how many in a second, at most; None: as fast as it goes.

    Raises:
        Exception: what the first step raised that failed for a reason that is not the
            letter's; steps before it, and those taken at once with it, are not undone.
        CancelledError: once the steps under way have ended and were yielded.
    """
    at_once = PAGE
    if rate is not None:
        at_once = max(1, min(PAGE, int(rate * _BURST)))
    batch: list[Letter[Job]] = []
    async for letter in picked:
        batch.append(letter)
        if len(batch) < at_once:
            continue
        async for moved in _together(batch, step):
            yield moved
        if rate is not None:
            await asyncio.sleep(len(batch) / rate)
        batch = []
    async for moved in _together(batch, step):
        yield moved


async def _together(
    batch: list[Letter[Job]], step: Callable[[Letter[Job]], Awaitable[object]]
) -> AsyncIterator[tuple[Letter[Job], FlowdError | None]]:
    under_way = asyncio.gather(*map(step, batch), return_exceptions=True)
    failed: BaseException | None = None
    interrupted: asyncio.CancelledError | None = None
    try:
        results = await asyncio.shield(under_way)
    except asyncio.CancelledError as cancelled:
        # Redis still carries them out, and the operator has to know.
        results, interrupted = await under_way, cancelled
    for letter, result in zip(batch, results, strict=True):
        match result:
            case LetterNotFound():
                pass
            case FlowdError() if _is_its_own(result):
                yield letter, result
            case BaseException():
                failed = failed or result
            case _:
                yield letter, None
    # A lost answer says more than that it was interrupted: some may be carried out.
    if ended := failed or interrupted:
        raise ended


def _is_its_own(error: FlowdError) -> bool:
    """Whether one letter failed, and not what all of them need: a plain refusal."""
    return isinstance(error, CommandRefused | DecodeError | EncodeError | KeyTaken)
