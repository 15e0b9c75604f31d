"""Jobs that have not ended: filter, cancel, delete, run, clear a queue, change a limit."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import Final

import httpx
import pytest

from flowd import Concurrency, Gate, Producer, Queue, Rate
from flowd.ops import control
from flowd.web import User
from flowd.web.app import PAGES
from jobs.email import Email
from tests.ops.many import GROUP, STREAM, fill
from tests.support.email_job import RecordingHandler, email
from tests.support.gated import gated
from tests.support.leases import die_with
from tests.support.raw import Raw
from tests.support.waiting import RECOVERY, wait_until
from tests.web.conftest import Open
from tests.web.forms import form_of

QUEUE: Final = {"stream": STREAM, "group": GROUP}
OPS: Final = User("ops")
DELAYED: Final = f"{{{STREAM}}}:delayed"
HOUR: Final = 3_600.0


async def page_of(
    client: httpx.AsyncClient,
    path: str,
    query: Mapping[str, str] | None = None,
    status: int = 200,
) -> str:
    """A page as it comes."""
    answer = await client.get(path, params=query)
    assert answer.status_code == status, answer.text
    return answer.text


def words(page: str) -> str:
    """The text of a page, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


async def sent(
    client: httpx.AsyncClient, path: str, form: object, status: int = 303
) -> str:
    """The page that follows a form, or that answers it."""
    answer = await client.post(path, data=form)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    return (
        await page_of(client, answer.headers["location"])
        if status == 303
        else answer.text
    )


async def enqueue(redis_url: str, *names: str, delay: float = 0.0) -> list[str]:
    """Emails to these."""
    async with Producer(redis_url) as producer:
        return [await producer.enqueue(email(name), delay=delay) for name in names]


async def settled(client: httpx.AsyncClient, page: str) -> str:
    """The words of an operation's page once it has ended."""
    number = re.search(r'aria-current="page">(\d+)<', page)
    assert number is not None, page
    async with asyncio.timeout(RECOVERY):
        while ">running<" in page:
            await asyncio.sleep(0.02)
            page = await page_of(client, "/operation", {"id": number[1]})
    return words(page)


async def test_waiting_jobs_are_cancelled_by_a_field(
    redis_url: str, raw: Raw, dashboard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that match on every page, after a question and a dry run; the others stay."""
    monkeypatch.setattr(control, "AT_ONCE", 3)
    await enqueue(redis_url, *(("bad", "good")[n % 2] for n in range(20)))
    chosen = {**QUEUE, "state": "waiting", "field": "to=bad"}
    async with dashboard(user=OPS) as client:
        page = await page_of(client, "/jobs", chosen)
        assert page.count('name="id"') == 10
        assert "to=good" not in page
        confirm = {**chosen, "scope": "all", "verb": "cancel"}
        page = await page_of(client, "/jobs/confirm", confirm)
        assert "Cancel 10 jobs? Of emails , waiting, with to=bad" in words(page)
        form = form_of(page, "/jobs/confirm")
        tried = await sent(client, "/jobs/confirm", form | {"dry": "1"})
        assert "10 jobs would be cancelled" in await settled(client, tried)
        assert raw("XLEN", STREAM) == 20
        done = await sent(client, "/jobs/confirm", form)
        assert "10 jobs cancelled" in await settled(client, done)
    left = [fields[b"to"] for _, fields in raw.entries(STREAM)]
    assert left == [b"good"] * 10


async def test_selected_jobs_are_deleted_and_those_that_run_are_left(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """One that began to run after the list was shown is left alone, and is said to be."""
    ids = await enqueue(redis_url, "a", "b", "c")
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        assert queue
    async with dashboard(user=OPS) as client:
        query = httpx.QueryParams({**QUEUE, "state": "waiting", "verb": "delete"})
        for each in (*ids[:2], "9-9"):
            query = query.add("id", each)
        page = (await client.get("/jobs/confirm", params=query)).text
        assert "Delete 3 jobs?" in page
        data = {**form_of(page, "/jobs/confirm"), "id": [*ids[:2], "9-9"]}
        die_with(raw, STREAM, GROUP, jobs=1)
        text = await settled(client, await sent(client, "/jobs/confirm", data))
    assert "1 job deleted, 1 had ended, moved or begun to run, 1 refused" in text
    assert [entry_id for entry_id, _ in raw.entries(STREAM)] == [ids[0], ids[2]]


async def test_delayed_jobs_run_now(
    redis_url: str, raw: Raw, dashboard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One from its page, a selection, or all; a job that is not delayed any more is said."""
    monkeypatch.setattr(control, "AT_ONCE", 3)
    first, *_ = await enqueue(redis_url, *map(str, range(10)), delay=HOUR)

    def due() -> int:
        found = raw("ZCOUNT", DELAYED, "-inf", int(time.time() + 60) * 1000)
        assert isinstance(found, int)
        return found

    async with dashboard(user=OPS) as client:
        where = {**QUEUE, "id": first}
        form = form_of(await page_of(client, "/job", where), "/job")
        page = await sent(client, "/job", form | {"do": "run"})
        assert "It is due now" in page
        assert due() == 1
        confirm = {**QUEUE, "state": "delayed", "scope": "all", "verb": "run"}
        page = await page_of(client, "/jobs/confirm", confirm)
        assert "Run now: 10 jobs?" in words(page)
        done = await sent(client, "/jobs/confirm", form_of(page, "/jobs/confirm"))
        assert "10 jobs due now" in await settled(client, done)
        assert due() == 10
        raw("DEL", DELAYED)
        answer = await client.post("/job", data=form | {"do": "run"})
        assert "said=not-delayed" in answer.headers["location"]
        wrong = {**QUEUE, "state": "waiting", "scope": "all", "verb": "run"}
        await page_of(client, "/jobs/confirm", wrong, 400)


async def test_one_job_is_deleted_and_a_running_one_is_not(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """A delayed and a waiting one; the page of a running one offers to cancel it."""
    running, waiting = await enqueue(redis_url, "running", "waiting")
    (delayed,) = await enqueue(redis_url, "delayed", delay=HOUR)
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        assert queue
    die_with(raw, STREAM, GROUP, jobs=1)
    async with dashboard(user=OPS) as client:
        for job_id in (waiting, delayed):
            page = await page_of(client, "/job", {**QUEUE, "id": job_id})
            form = form_of(page, "/job") | {"do": "delete"}
            answer = await client.post("/job", data=form)
            assert "said=deleted" in answer.headers["location"]
            again = await client.post("/job", data=form)
            assert "said=ended" in again.headers["location"]
        page = await page_of(client, "/job", {**QUEUE, "id": running})
        assert "Delete this job" not in page
        form = form_of(page, "/job")
        page = await sent(client, "/job", form | {"do": "delete"})
        assert "Nothing was deleted: the job runs" in page
        await sent(client, "/job", form | {"do": "drop"}, 400)
    assert [entry_id for entry_id, _ in raw.entries(STREAM)] == [running]
    assert raw("ZCARD", DELAYED) == 0


async def test_queue_is_cleared_behind_its_name(
    raw: Raw, dashboard: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Only if the stream's name was typed; what runs stays, and the log says by whom."""
    caplog.set_level(logging.INFO, "flowd")
    fill(raw, 250, running=10)
    async with dashboard(user=OPS) as client:
        page = await page_of(client, "/queue/clear", QUEUE)
        assert "240 waiting, 250 delayed" in words(page)
        form = form_of(page, "/queue/clear")
        for typed in ("", "email", "EMAILS", GROUP):
            answer = await sent(client, "/queue/clear", form | {"typed": typed}, 422)
            assert "This is not its name. Nothing was deleted." in answer
        tried = await sent(client, "/queue/clear", form | {"dry": "1"})
        assert "490 jobs would be deleted" in await settled(client, tried)
        assert raw("XLEN", STREAM) == 250
        done = await sent(client, "/queue/clear", form | {"typed": f" {STREAM} "})
        assert "490 jobs deleted" in await settled(client, done)
    assert (raw("XLEN", STREAM), raw("ZCARD", DELAYED)) == (10, 0)
    assert "web: ops: 490 jobs of emails (senders) deleted, 0 refused: done" in (
        caplog.text
    )


async def test_limit_of_a_key_is_set_and_reset(redis_url: str, dashboard: Open) -> None:
    """By the fields of the schema's limit; 0 pauses a key, and a reset lets it go on."""
    job = gated(
        Gate(
            concurrency=Concurrency(per=("to",), limit=1),
            rate=Rate(limit=1_000, every=1.0),
        )
    )
    handler = RecordingHandler(closed=True)
    async with Queue(job, handler, url=redis_url, concurrency=8) as queue:
        queue.run()
        await queue.enqueue_bulk(job(to="a b", subject=str(n)) for n in range(3))
        await wait_until(lambda: len(handler.started) == 1)
        async with dashboard(user=OPS, jobs=(job,)) as client:
            page = await page_of(client, "/limits", QUEUE)
            assert "to=a%20b concurrency 1 1 2" in words(page)
            assert "concurrency, 1 by the schema" in words(page)
            assert "rate, 1,000 by the schema" in words(page)
            form = form_of(page, "/limits") | {"do": "set"}
            assert form["name"] == "c:to=a%20b"
            for wrong, said in (
                ({"limit": "-1"}, "give a whole number"),
                ({"limit": "٣"}, "give a whole number"),
                ({"limit": "9" * 30}, "must be"),
                (
                    {"limit": "2", "name": "c:subject=1"},
                    "fields of a limit of this queue: to",
                ),
                (
                    {"limit": "2", "name": "u:to=a"},
                    "fields of a limit of this queue: to",
                ),
                ({"limit": "2", "name": "", "kind": "concurrency"}, "each field"),
            ):
                refused = await sent(client, "/limits", form | wrong, 422)
                assert said in words(refused), wrong
                assert "Nothing was changed" in refused
            page = await sent(client, "/limits", form | {"limit": "2"})
            assert "to=a%20b concurrency 2 set" in words(page)
            await wait_until(lambda: len(handler.started) == 2)

            plain = {name: form[name] for name in ("csrf", "stream", "group")}
            typed = plain | {"do": "set", "kind": "concurrency", "k:to": "x&y=z"}
            page = await sent(client, "/limits", typed | {"limit": "0"})
            assert "to=x%26y%3Dz concurrency 0 set" in words(page)
            await queue.enqueue(job(to="x&y=z", subject="held"))
            page = await sent(client, "/limits", plain | {"do": "reset-all"})
            assert "The limit of the schema holds again" in page
            assert " set " not in words(page)
            await wait_until(lambda: len(handler.started) == 3)
        handler.gate.set()
        await queue.drain()


POSTED: Final = sorted(path for method, path, _ in PAGES if method == "POST")
"""Every address that takes a form."""

ASKING: Final = ("/letters/confirm", "/jobs/confirm", "/queue/clear", "/enqueue")
"""Pages that only ask before something is changed."""


@pytest.mark.parametrize("path", POSTED)
async def test_every_form_needs_rights_and_a_token(
    raw: Raw, dashboard: Open, path: str
) -> None:
    """A reader gets 403, whatever is sent; so does a form without the cookie's token."""
    fill(raw, 20, running=10)
    form = {
        **QUEUE,
        "do": "pause",
        "id": "job1",
        "scope": "all",
        "verb": "purge",
        "typed": STREAM,
        "state": "waiting",
    }
    before = (raw("XLEN", STREAM), raw("ZCARD", DELAYED))
    async with dashboard() as client:
        page = await page_of(client, "/")
        token = client.cookies["flowd_csrf"]
        assert "read-only" in page
        await sent(client, path, form | {"csrf": token}, 403)
    async with dashboard(user=OPS) as client:
        await page_of(client, "/")
        await sent(client, path, form, 403)
        await sent(client, path, form | {"csrf": ""}, 403)
        await sent(client, path, form | {"csrf": "x" * 43}, 403)
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        token = client.cookies["flowd_csrf"]
        answer = await client.post(path, data=form | {"csrf": token}, headers=elsewhere)
        assert answer.status_code == 403
    assert (raw("XLEN", STREAM), raw("ZCARD", DELAYED)) == before


@pytest.mark.parametrize("path", ASKING)
async def test_page_that_asks_is_for_users_who_may_change(
    raw: Raw, dashboard: Open, path: str
) -> None:
    """And no other page of a reader has a form that is posted."""
    fill(raw, 20, running=10)
    async with dashboard() as client:
        query = {**QUEUE, "scope": "all", "verb": "delete", "state": "waiting"}
        await page_of(client, path, query, 403)
        for shown in ("/", "/queue", "/jobs", "/letters", "/limits", "/schedules"):
            page = await page_of(client, shown, {**QUEUE, "state": "waiting"})
            assert 'method="post"' not in page, shown
            assert "/queue/clear" not in page


async def test_field_without_a_value_is_refused(raw: Raw, dashboard: Open) -> None:
    """A filter that means nothing would mean every job."""
    fill(raw, 20, running=10)
    query = {**QUEUE, "state": "waiting", "field": "to"}
    async with dashboard(user=OPS) as client:
        await page_of(client, "/jobs", query, 400)
        asked = query | {"scope": "all", "verb": "delete"}
        await page_of(client, "/jobs/confirm", asked, 400)


async def test_filter_goes_on_where_the_last_page_ended(
    redis_url: str, raw: Raw, dashboard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job that matches is listed once, however few are looked at for a page."""
    monkeypatch.setattr("flowd.web.jobs._STEP", 4)
    monkeypatch.setattr("flowd.web.jobs._SCAN", 10)
    monkeypatch.setattr("flowd.web.jobs._PAGE", 3)
    ids = await enqueue(redis_url, *(("bad", "good")[n % 2] for n in range(30)))
    later = await enqueue(redis_url, *("bad", "good") * 15, delay=HOUR)
    for state, expected in (("waiting", ids[::2]), ("delayed", later[::2])):
        found: list[str] = []
        where = "/jobs"
        query = {**QUEUE, "state": state, "field": "to=bad"}
        async with dashboard(user=OPS) as client:
            page = await page_of(client, where, query)
            while True:
                found += re.findall(r'name="id" value="([^"]+)"', page)
                more = re.search(r'<a href="([^"]+)" rel="next"', page)
                if more is None:
                    break
                page = await page_of(client, more[1].replace("&amp;", "&"))
        assert sorted(found) == sorted(expected), state
        assert len(found) == 15
