"""The page of dead letters: by error, and in a list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from flowd.errors import LetterNotFound
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.ops.letters import LetterFilter, by_job_id
from flowd.ops.newest import letter_page, summarize
from flowd.web.render import line_of
from flowd.web.visit import Target, Visit

__all__ = ["Chosen", "chosen", "find_letter", "show_list"]

_PAGE: Final = 50
_SCAN: Final = 2_000
_AGES: Final = ("15m", "1h", "6h", "1d", "7d", "30d")
_SECONDS: Final = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters a page is about, as the address says it."""

    error: str = ""
    like: str = ""
    field: str = ""
    """`name=value`."""

    newer: str = ""
    """An age, as `1h`."""

    older: str = ""

    @property
    def is_all(self) -> bool:
        """Whether all letters of the queue are meant."""
        return self == Chosen()

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the address."""
        named = {"error": self.error, "like": self.like, "field": self.field}
        return {**named, "newer": self.newer, "older": self.older}

    @property
    def words(self) -> str:
        """Which letters these are, in words."""
        said = [
            *([f"with “{self.error}” in the error"] if self.error else []),
            *([f"like “{self.like}”"] if self.like else []),
            *([f"with {self.field}"] if self.field else []),
            *([f"dead for less than {self.newer}"] if self.newer else []),
            *([f"dead for more than {self.older}"] if self.older else []),
        ]
        return ", ".join(said) or "all"

    def filter(self, now: float) -> LetterFilter:
        """What it means at this moment, by the server's clock."""
        name, equals, value = self.field.partition("=")
        return LetterFilter(
            text=self.error,
            like=self.like,
            fields={name.encode(): value.encode()} if equals else {},
            since=_ago(now, self.newer),
            until=_ago(now, self.older),
        )


def chosen(given: ImmutableMultiDict[str, str]) -> Chosen:
    """What the address of a list, or a form, chooses."""

    def said(name: str) -> str:
        found: str | None = given.get(name)
        return (found or "").strip()

    newer, older = said("newer"), said("older")
    return Chosen(
        error=said("error"),
        like=said("like"),
        field=said("field"),
        newer=newer if newer in _AGES else "",
        older=older if older in _AGES else "",
    )


async def show_list(visit: Visit) -> Response:
    """Dead letters by error, and the newest of those that are chosen."""
    target = await visit.target()
    queries = target.queries
    which, before = chosen(visit.request.query_params), visit.asked("before")
    now = await visit.now(target)
    letter_filter = which.filter(now)
    sizes = await queries.sizes()
    dated = LetterFilter(since=letter_filter.since, until=letter_filter.until)
    summary = await summarize(queries, dated, scan=_SCAN)
    page = await letter_page(
        queries, letter_filter, before=before, limit=_PAGE, scan=_SCAN, most=200
    )
    more = ""
    if page.before and (len(page.letters) == _PAGE or page.looked >= _SCAN):
        more = target.link("/letters", **which.parameters, before=page.before)
    return visit.page(
        "letters",
        target=target,
        total=sizes.dead,
        summary=summary,
        groups=[
            (each, target.link("/letters", like=each.like, newer=which.newer))
            for each in summary.groups[:20]
        ],
        chosen=which,
        ages=_AGES,
        rows=[
            (
                each,
                target.link("/letter", id=each.id),
                line_of(each.fields, target.job_class),
            )
            for each in page.letters
        ],
        page=page,
        more=more,
        before=before,
        now=now,
        all_link=target.link("/letters"),
    )


async def find_letter(visit: Visit, target: Target, name: str) -> Letter[Job]:
    """The letter with this id, or that of the job with this id, if it is a newer one.

    Raises:
        LetterNotFound: there is neither.
        ServerError: the server cannot be asked.
    """
    async with visit.desk.dead_letters(target.stream, target.group) as letters:
        try:
            return await letters.get(name)
        except LetterNotFound:
            page = await letter_page(
                target.queries, by_job_id(name), limit=1, scan=_SCAN, most=1
            )
            if not name or not page.letters:
                raise
            return await letters.get(page.letters[0].id)


def _ago(now: float, age: str) -> datetime | None:
    if not age:
        return None
    return datetime.fromtimestamp(
        max(0.0, now - float(age[:-1]) * _SECONDS[age[-1]]), UTC
    )
