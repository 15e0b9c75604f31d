"""Change a job and redrive it, or enqueue a new one; its class checks what was typed."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from starlette.responses import Response

from flowd.errors import DecodeError, EncodeError
from flowd.log import log
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.model.text import printable
from flowd.ops.edit import checked, current_fields
from flowd.ops.letters import like_of
from flowd.web.inputs import changes, inputs
from flowd.web.letters import find_letter
from flowd.web.render import shown_fields
from flowd.web.visit import Refusal, Target, Visit

__all__ = ["ask", "enqueue", "redrive", "show_letter"]


async def show_letter(visit: Visit) -> Response:
    """One letter, by its id or that of its job; as a form where it may be changed."""
    target = await visit.target()
    letter = await find_letter(visit, target, visit.asked("id"))
    return await _letter_page(visit, target, letter)


async def redrive(visit: Visit) -> Response:
    """Put a letter's job back, with the fields that were changed."""
    form = await visit.form()
    target = await visit.target(form)
    async with visit.desk.dead_letters(target.stream, target.group) as letters:
        letter = await letters.get(form.get("id", ""))
        job: Job | None = None
        if (found := _stored(target, letter)) is not None:
            job_class, stored = found
            asked = changes(job_class, stored, form)
            refused = asked.refused
            if asked.new and not refused:
                answer = checked(job_class, stored, asked.new)
                if isinstance(answer, Mapping):
                    refused = answer
                else:
                    job = answer
            if refused:
                return await _letter_page(visit, target, letter, form, refused)
        try:
            job_id = await letters.redrive(letter, job=job)
        except EncodeError as error:
            refused = {error.field: error.reason}
            return await _letter_page(visit, target, letter, form, refused)
    what = "redrove" if job is None else "edited and redrove"
    _log(visit, target, f"{what} letter {letter.id}")
    return visit.go(target.link("/job", id=job_id, said="redriven"))


async def ask(visit: Visit) -> Response:
    """An empty form for a new job."""
    visit.must_be_allowed()
    target = await visit.target()
    return _enqueue_page(visit, target, _class_of(target))


async def enqueue(visit: Visit) -> Response:
    """Enqueue what was typed."""
    form = await visit.form()
    target = await visit.target(form)
    job_class = _class_of(target)
    version = job_class.SPEC.version
    blank = {b"_v": b"%d" % version} if version > 1 else {}
    asked = changes(job_class, blank, form, is_new=True)
    refused = dict(asked.refused)
    delay = _delay(form.get("delay", ""))
    if delay is None:
        refused["delay:"] = "a number of seconds, 0 or more"
    if not refused:
        answer = checked(job_class, blank, asked.new)
        if not isinstance(answer, Mapping):
            key = form.get("key", "").strip() or None
            job_id = await visit.desk.producer.enqueue(
                answer, delay=delay or 0.0, key=key
            )
            _log(visit, target, f"enqueued job {printable(job_id)}")
            return visit.go(target.link("/job", id=job_id, said="enqueued"))
        refused = dict(answer)
    return _enqueue_page(visit, target, job_class, form, refused)


async def _letter_page(
    visit: Visit,
    target: Target,
    letter: Letter[Job],
    given: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> Response:
    form = None
    found = _stored(target, letter) if visit.user.may_change else None
    if found is not None:
        job_class, stored = found
        form = inputs(job_class, stored, given, refused)
    known = {each.form.name for each in form or ()}
    fields = shown_fields(letter.fields, target.job_class)
    return visit.page(
        "letter",
        422 if refused else 200,
        target=target,
        letter=letter,
        like=target.link("/letters", like=like_of(letter)),
        fields=fields,
        inputs=form,
        # What a form has no input for: flowd's own fields, and those of no class.
        others=[each for each in fields if each.name not in known],
        refused=refused or {},
        whole=(refused or {}).get("", ""),
        now=await visit.now(target),
    )


def _stored(
    target: Target, letter: Letter[Job]
) -> tuple[type[Job], Mapping[bytes, bytes]] | None:
    """The class, and the letter's fields under its names; None if it has no form."""
    if target.job_class is None or letter.reason == "unknown":
        return None
    try:
        return target.job_class, current_fields(target.job_class, letter.fields)
    except DecodeError:
        return None


def _enqueue_page(
    visit: Visit,
    target: Target,
    job_class: type[Job],
    given: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> Response:
    return visit.page(
        "enqueue",
        422 if refused else 200,
        target=target,
        job_class=job_class,
        inputs=inputs(job_class, {}, given, refused, is_new=True),
        refused=refused or {},
        whole=(refused or {}).get("", ""),
        delay=(given or {}).get("delay", ""),
        key=(given or {}).get("key", ""),
    )


def _class_of(target: Target) -> type[Job]:
    if target.job_class is None:
        text = (
            "No class of this queue is loaded, so nothing could check the fields: name"
            " its package to `flowd web`, or give it to Dashboard(jobs=…)."
        )
        raise Refusal(400, "The class is not known", text)
    return target.job_class


def _delay(text: str) -> float | None:
    """Seconds; None if it is no such number."""
    if not text.strip():
        return 0.0
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _log(visit: Visit, target: Target, what: str) -> None:
    log(
        logging.INFO,
        "web: %s: %s of %s (%s)",
        printable(visit.user.name),
        what,
        printable(target.stream),
        printable(target.group),
    )
