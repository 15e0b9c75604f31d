"""No page asks for more than a page of jobs, however many there are."""

from __future__ import annotations

import shlex
from typing import Final

import pytest

from flowd.web import User
from tests.ops.many import GROUP, STREAM, fill
from tests.ops.test_bounded import is_bounded
from tests.support.raw import Raw
from tests.web.conftest import Open

QUEUE: Final = f"stream={STREAM}&group={GROUP}"
JOBS: Final = 6_000
MOST: Final = 500
"""Commands, those within scripts as well, of which one shows each job of a page."""

PAGES: Final = [
    "/",
    f"/queue?{QUEUE}",
    f"/jobs?{QUEUE}&state=running",
    f"/jobs?{QUEUE}&state=waiting",
    f"/jobs?{QUEUE}&state=delayed&after=4000",
    f"/job?{QUEUE}&id=job5999",
    f"/letters?{QUEUE}",
    f"/letters?{QUEUE}&error=not-there",
    f"/letters?{QUEUE}&field=to=x&older=15m",
    "/schedules",
    f"/letters/confirm?{QUEUE}&verb=purge&scope=all",
    f"/letters/confirm?{QUEUE}&verb=purge&scope=all&error=1",
]
SEARCHES: Final = [f"/job?{QUEUE}&id=not-there", f"/letter?{QUEUE}&id=not-there"]


@pytest.mark.parametrize("page", [*PAGES, *SEARCHES])
async def test_every_page_asks_for_little(
    redis_url: str, raw: Raw, dashboard: Open, page: str
) -> None:
    """Ranges without an end are never sent, and what comes back is a page."""
    fill(raw, JOBS, running=500)
    async with dashboard(user=User("ops")) as client:
        await client.get("/static/app.css")
        with Raw(redis_url) as watcher:
            watcher("MONITOR")
            answer = await client.get(page)
            raw("ECHO", "that was it")
            seen: list[list[str]] = []
            while (seen or [[]])[-1] != ["ECHO", "that was it"]:
                line = watcher.line().decode("utf-8", "replace")
                seen.append(shlex.split(line.partition("] ")[2]))
    assert answer.status_code in (200, 404)
    assert [each for each in seen[:-1] if not is_bounded(*each)] == []
    assert len(seen) < MOST + (page in SEARCHES) * 2_000
    assert len(answer.text) < 150_000
