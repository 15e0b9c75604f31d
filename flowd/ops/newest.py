"""Dead letters from the newest on, bounded in number and in bytes; and a count by error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from flowd.broker.dead_letters import newest_letters
from flowd.model.delivery import is_entry_id
from flowd.model.job import Job
from flowd.model.letter import Letter, read_letter
from flowd.ops.letters import LetterFilter, like_of
from flowd.ops.queries import PAGE, Queries

__all__ = ["ErrorGroup", "LetterPage", "LetterSummary", "letter_page", "summarize"]

_GROUPS: Final = 100
_OWN_BYTES: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """Some of the letters that are meant, the newest first; their values may be cut."""

    letters: list[Letter[Job]]
    looked: int
    """How many were looked at."""

    before: str
    """Where to go on: the id of the last one looked at; empty at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Dead letters that differ in numbers and quoted texts of their error at most."""

    like: str
    """Reason and error, without what differs; `LetterFilter.like` selects by it."""

    reason: str
    count: int
    first: datetime
    """When the first of them died, in UTC."""

    last: datetime
    newest: str
    """The id of the newest letter."""

    error: str
    """Of the newest letter, as it is, 4,000 bytes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSummary:
    """Dead letters by error, the most frequent first."""

    groups: list[ErrorGroup]
    """At most 100."""

    others: int
    """How many letters have errors of more kinds than are listed."""

    looked: int
    """How many letters were looked at, the newest first."""

    complete: bool
    """Whether those were all."""


async def letter_page(
    queries: Queries,
    letter_filter: LetterFilter,
    *,
    before: str = "",
    limit: int,
    scan: int,
    most: int = 1_000,
) -> LetterPage:
    """The next letters that are meant, before the one with the id `before`.

    Args:
        queries: of the queue.
        letter_filter: which; ids of a file are looked for among those scanned only.
        before: `LetterPage.before` of the page before; empty for the newest.
        limit: how many are returned, at most.
        scan: how many are looked at, at most.
        most: how many bytes of each value; the rest is cut off.

    Raises:
        ServerError: as `Connection.call`.
    """
    longest = max(map(len, letter_filter.fields.values()), default=0)
    found: list[Letter[Job]] = []
    looked, last = 0, ""
    walk = _walk(
        queries,
        letter_filter,
        before=before,
        scan=scan,
        page=min(PAGE, scan if letter_filter.sifts else limit),
        most=max(most, longest + 1, _OWN_BYTES if letter_filter.sifts else 0),
        own=False,
    )
    async for letter in walk:
        if len(found) == limit:
            return LetterPage(letters=found, looked=looked, before=last)
        looked, last = looked + 1, letter.id
        if letter_filter.takes(letter):
            found.append(letter)
    return LetterPage(
        letters=found, looked=looked, before=last if looked == scan else ""
    )


async def summarize(
    queries: Queries,
    letter_filter: LetterFilter | None = None,
    *,
    scan: int = 0,
    on_progress: Callable[[], object] = lambda: None,
) -> LetterSummary:
    """Count dead letters by error.

    Args:
        queries: of the queue.
        letter_filter: which; None: all.
        scan: how many are looked at, at most, the newest first; 0: all.
        on_progress: called for each.

    Raises:
        ServerError: as `Connection.call`.
    """
    chosen = letter_filter or LetterFilter()
    groups: dict[str, ErrorGroup] = {}
    counts: dict[str, int] = {}
    firsts: dict[str, datetime] = {}
    looked = others = 0
    longest = max(map(len, chosen.fields.values()), default=0)
    async for letter in _walk(
        queries,
        chosen,
        before="",
        scan=scan,
        page=PAGE,
        most=max(_OWN_BYTES, longest + 1),
        own=not chosen.fields,
    ):
        on_progress()
        looked += 1
        if not chosen.takes(letter):
            continue
        like = like_of(letter)
        if like not in groups:
            if len(groups) >= _GROUPS:
                others += 1
                continue
            groups[like] = _group_of(letter, like)
        counts[like] = counts.get(like, 0) + 1
        firsts[like] = letter.died_at
    counted = [
        replace(each, count=counts[like], first=firsts[like])
        for like, each in groups.items()
    ]
    return LetterSummary(
        groups=sorted(counted, key=lambda each: (-each.count, each.like)),
        others=others,
        looked=looked,
        complete=not scan or looked < scan,
    )


async def _walk(
    queries: Queries,
    letter_filter: LetterFilter,
    *,
    before: str,
    scan: int,
    page: int,
    most: int,
    own: bool,
) -> AsyncIterator[Letter[Job]]:
    """Letters in the times of a filter, the newest first; their jobs are not decoded."""
    if before and not is_entry_id(before):
        return
    until, since = letter_filter.until, letter_filter.since
    start = f"({before}" if before else "+"
    if until is not None and not before:
        start = f"({_ms(until)}-0"
    last = "-" if since is None else f"{_ms(since)}"
    left = scan
    while not scan or left:
        count = min(page, left) if scan else page
        rows = await newest_letters(
            queries.stream, start, last, count, most=most, own=own
        )
        for letter_id, flat in rows:
            yield read_letter(letter_id, flat, None)
        if len(rows) < count:
            return
        start = f"({rows[-1][0].decode()}"
        left -= len(rows)


def _group_of(letter: Letter[Job], like: str) -> ErrorGroup:
    return ErrorGroup(
        like=like,
        reason=letter.reason,
        count=1,
        first=letter.died_at,
        last=letter.died_at,
        newest=letter.id,
        error=letter.error,
    )


def _ms(moment: datetime) -> int:
    # A time before 1970 means the first id.
    return max(1, int(moment.timestamp() * 1000))
