"""The pages of operations: how far each is; and how one is begun and stopped."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from starlette.responses import Response

from flowd.web.operations import Operation
from flowd.web.render import link
from flowd.web.visit import Refusal, Visit

__all__ = ["begin", "must_have_room", "show", "show_list", "stop"]

_WAIT: Final = 1.0


def must_have_room(visit: Visit) -> None:
    """Refuse one operation more than may run at once.

    Raises:
        Refusal: four run.
    """
    if visit.desk.operations.is_full:
        text = "Wait until one of those that run has ended, or stop it."
        raise Refusal(429, "Too many operations run", text)


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
