"""Schedules: shown, paused, resumed and run."""

from __future__ import annotations

from flowd import Queue
from flowd.web import User
from jobs.email import Email
from tests.ops.many import GROUP, STREAM
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled
from tests.web.conftest import Open
from tests.web.forms import form_of

QUEUE = {"stream": STREAM, "group": GROUP}


async def _handle(_: Email) -> None:
    pass


async def test_schedule_is_paused_resumed_and_run(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """From the page of all schedules; a run leads to its job."""
    async with (
        Queue(scheduled(every(3_600)), _handle, url=redis_url) as queue,
        dashboard(user=User("ops")) as client,
    ):
        await queue.init()
        page = (await client.get("/schedules")).text
        assert "nightly" in page
        assert "every 3600 s" in page
        assert "nightly" in (await client.get("/queue", params=QUEUE)).text
        form = form_of(page, "/schedules")
        for what, word in (("pause", ">paused<"), ("resume", ">active")):
            answer = await client.post("/schedules", data=form | {"do": what})
            assert answer.status_code == 303
            page = (await client.get(answer.headers["location"])).text
            assert word in page
            assert (">Resume<" in page) is (what == "pause")
        assert raw("XLEN", STREAM) == 0
        answer = await client.post("/schedules", data=form | {"do": "run"})
        page = (await client.get(answer.headers["location"])).text
        assert "cron:nightly:now:" in page
        assert raw("XLEN", STREAM) == 1


async def test_a_server_without_schedules_says_so(dashboard: Open) -> None:
    """And who registers them; a reader has no buttons."""
    async with dashboard() as client:
        page = (await client.get("/schedules")).text
    assert "No schedule is registered on this server" in page
    assert "<button" not in page
