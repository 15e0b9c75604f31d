"""Redrive or purge a selection of dead letters, or all that match: ask first, then do it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from flowd.broker.dead_letters import newest_letter
from flowd.errors import LetterNotFound
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.ops.letters import pick
from flowd.ops.newest import summarize
from flowd.ops.trial import RedriveTrial
from flowd.web.letters import Chosen, chosen
from flowd.web.operation_pages import begin, must_have_room, new_operation
from flowd.web.operations import Operation, Verb, move_letters
from flowd.web.selection import Selection, selected_ids, selected_verb
from flowd.web.visit import Refusal, Target, Visit

__all__ = ["ask", "start"]

_COUNTED: Final = 3_000
_VERBS: Final[Sequence[Verb]] = ("redrive", "purge")


async def ask(visit: Visit) -> Response:
    """The page that says how many letters it is about, and asks."""
    visit.must_be_allowed()
    target = await visit.target()
    asked = _request(visit.request.query_params)
    total, exact = await _total(visit, target, asked)
    if not total:
        text = "No dead letter is selected, or none matches."
        raise Refusal(400, "There is nothing to do", text)
    return _confirm_page(visit, target, asked, total, exact=exact)


async def start(visit: Visit) -> Response:
    """Begin it, or its dry run."""
    form = await visit.form()
    target = await visit.target(form)
    asked = _request(form)
    try:
        rate = _rate(form.get("rate", ""))
    except ValueError:
        total, exact = await _total(visit, target, asked)
        typed = form.get("rate", "")
        return _confirm_page(visit, target, asked, total, exact=exact, refused=typed)
    must_have_room(visit)
    total, _ = await _total(visit, target, asked)
    begun = new_operation(
        *(visit, target, form),
        verb=asked.verb,
        which=asked.words,
        total=total,
        rate=rate,
    )
    picked = pick(
        target.queries.stream,
        None,
        asked.matching.filter(await visit.now(target)),
        last=await newest_letter(target.queries.stream),
    )
    work = _work(visit, target, begun, asked.ids, picked)
    return await begin(visit, begun, work)


def _confirm_page(
    visit: Visit,
    target: Target,
    asked: Selection[Chosen],
    total: int,
    *,
    exact: bool,
    refused: str = "",
) -> Response:
    """The page that asks; `refused` is a rate that is none."""
    return visit.page(
        "confirm",
        422 if refused else 200,
        target=target,
        verb=asked.verb,
        ids=asked.ids,
        chosen=asked.matching,
        words=asked.words,
        total=total,
        exact=exact,
        rate=refused,
        rate_error="A number above 0, for example 50." if refused else "",
    )


async def _work(
    visit: Visit,
    target: Target,
    begun: Operation,
    ids: Sequence[str],
    picked: AsyncGenerator[Letter[Job]],
) -> None:
    foreseen = RedriveTrial(target.queries)
    async with visit.desk.dead_letters(target.stream, target.group) as letters:

        async def trial(letter: Letter[Job]) -> None:
            if begun.verb == "redrive":
                await foreseen.redrive(letter)

        async def named() -> AsyncGenerator[Letter[Job]]:
            for each in ids:
                try:
                    yield await letters.get(each)
                except LetterNotFound as error:
                    begun.refuse(each, f"{error}")

        step = letters.redrive if begun.verb == "redrive" else letters.purge
        await move_letters(
            begun, named() if ids else picked, trial if begun.dry else step
        )


async def _total(
    visit: Visit, target: Target, asked: Selection[Chosen]
) -> tuple[int, bool]:
    """How many letters it is about, and whether that is exact."""
    if asked.ids:
        return len(asked.ids), True
    if asked.matching.is_all:
        return (await target.queries.sizes()).dead, True
    letter_filter = asked.matching.filter(await visit.now(target))
    found = await summarize(target.queries, letter_filter, scan=_COUNTED)
    number = sum(each.count for each in found.groups) + found.others
    if found.complete:
        return number, True
    return max(1, number), False


def _request(given: ImmutableMultiDict[str, str]) -> Selection[Chosen]:
    verb = selected_verb(given, _VERBS, "Redrive or purge them?")
    ids = selected_ids(given, "letter")
    return Selection(verb, ids, chosen(given))


def _rate(text: str) -> float | None:
    """Letters in a second; None without a limit.

    Raises:
        ValueError: it is none.
    """
    if not text.strip():
        return None
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(text)
    return value
