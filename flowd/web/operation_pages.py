"""The pages of operations: how far each is; and how one is begun and stopped."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from flowd.web.operations import Operation, Verb
from flowd.web.render import link
from flowd.web.visit import Refusal, Target, Visit

__all__ = ["begin", "must_have_room", "new_operation", "show", "show_list", "stop"]

_WAIT: Final = 1.0


def must_have_room(visit: Visit) -> None:
    """Refuse one operation more than may run at once.

    Raises:
        Refusal: four run.
    """
    if visit.desk.operations.is_full:
        text = "Wait until one of those that run has ended, or stop it."
        raise Refusal(429, "Too many operations run", text)


def new_operation(
    visit: Visit,
    target: Target,
    form: ImmutableMultiDict[str, str],
    *,
    verb: Verb,
    which: str,
    total: int,
    rate: float | None = None,
) -> Operation:
    """An operation of the user on a queue, or its dry run if the form asks for one.

    Args:
        visit: of the user.
        target: the queue.
        form: what was sent.
        verb: as of `Operation`, like the others.
        which: which letters or jobs.
        total: how many.
        rate: how many in a second, at most.
    """
    return Operation(
        verb=verb,
        stream=target.stream,
        group=target.group,
        which=which,
        user=visit.user.name,
        dry=bool(form.get("dry")),
        rate=rate,
        total=total,
    )


async def begin(visit: Visit, begun: Operation, work: Awaitable[None]) -> Response:
    """Start an operation, and go to its page."""
    await visit.desk.operations.start(begun, work, wait=_WAIT)
    return visit.go(link("/operation", id=begun.id))


async def show(visit: Visit) -> Response:
    """How far one is, or how it ended."""
    found = visit.desk.operations.get(visit.asked("id"))
    if found is None:
        text = (
            "This process does not know it: it is an old one, or flowd web restarted."
        )
        raise Refusal(404, "No such operation", text)
    return visit.page("operation", operation=found)


async def show_list(visit: Visit) -> Response:
    """Those of this process, the newest first."""
    return visit.page("operations", found=visit.desk.operations.latest())


async def stop(visit: Visit) -> Response:
    """End one after the step that is under way."""
    form = await visit.form()
    operation_id = form.get("id", "")
    await visit.desk.operations.stop(operation_id)
    return visit.go(link("/operation", id=operation_id))
