"""Events of a queue as they happen, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from starlette.responses import Response, StreamingResponse

from flowd.model.text import printable
from flowd.ops.tail import TailEvent
from flowd.web.feeds import Feeds
from flowd.web.visit import Refusal, Visit

__all__ = ["show"]

# Some proxies hold back what is not whole.
_HEADERS: Final = {"X-Accel-Buffering": "no"}


async def show(visit: Visit) -> Response:
    """The events of a queue, or of one of its jobs."""
    target = await visit.target()
    feeds, job_id = visit.desk.feeds, visit.asked("job")
    if feeds.is_full:
        text = "Close a page that is not needed."
        raise Refusal(503, "Too many pages listen", text)

    def wanted(event: TailEvent) -> bool:
        return not job_id or event.job == job_id

    return StreamingResponse(
        _stream(feeds, target.queries.keys.tail, wanted),
        media_type="text/event-stream",
        headers=_HEADERS,
    )


async def _stream(
    feeds: Feeds, channel: str, wanted: Callable[[TailEvent], bool]
) -> AsyncGenerator[str]:
    yield ": follows\n\n"
    async with aclosing(feeds.listen(channel)) as events:
        async for event in events:
            match event:
                case None:
                    yield ":\n\n"
                case str():
                    yield _message({"event": "outage", "text": printable(event)})
                case TailEvent() if wanted(event):
                    yield _message(
                        {
                            "at": f"{event.at:%H:%M:%S}",
                            "event": printable(event.event),
                            "job": printable(event.job),
                            "attempt": event.attempt,
                            "consumer": printable(event.consumer),
                            "text": printable(event.text),
                        }
                    )
                case _:
                    pass


def _message(said: dict[str, object]) -> str:
    return f"data: {json.dumps(said)}\n\n"
