"""What the pages show."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from flowd import Concurrency, Gate, Producer, Queue, Reject
from flowd.web import User
from jobs.email import Email
from tests.ops.many import GROUP, STREAM, fill
from tests.support.dead_letters import bury
from tests.support.email_job import RecordingHandler
from tests.support.gated import gated
from tests.support.jobs.vault import Vault
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.web.conftest import Open

QUEUE = {"stream": STREAM, "group": GROUP}


async def text_of(
    client: httpx.AsyncClient, path: str, status: int = 200, /, **query: str
) -> str:
    """The words of a page, without its markup."""
    answer = await client.get(path, params=query or None)
    assert answer.status_code == status, answer.text
    return words(answer.text)


def words(page: str) -> str:
    """The text of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


async def test_a_server_without_queues_says_what_to_do(dashboard: Open) -> None:
    """The first page explains how a queue appears."""
    async with dashboard() as client:
        assert "No queue was set up on this server yet" in await text_of(client, "/")


async def test_overview_lists_problems_first(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """A queue that no worker reads comes before one that is well, with the reason."""
    async with Queue(Email, print, url=redis_url, stream="a-fine") as fine:
        fine.run()
        async with Producer(redis_url) as producer:
            await producer.enqueue(Email(to="a", subject="b"))
        async with dashboard() as client:
            page = await text_of(client, "/")
    assert "1 queue with problems" in page
    assert page.index("emails") < page.index("a-fine")
    assert "1 job waits, and there is no consumer group" in page
    assert "start a worker, which creates it" in page


async def test_overview_names_dead_letters(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """They are trouble, also where every queue is worked on; without them all is well."""
    async with Queue(Email, print, url=redis_url) as queue, dashboard() as client:
        queue.run()
        assert "All is well" in await text_of(client, "/")
    await bury(redis_url, STREAM, Email(to="a", subject="b"))
    async with Queue(Email, print, url=redis_url) as queue, dashboard() as client:
        queue.run()
        page = await text_of(client, "/")
    assert "All is well" not in page
    assert "1 queue with problems, 1 dead letter " in page
    assert "see `flowd dlq list --stream emails --group senders`" in page


async def test_overview_counts_parked_jobs(redis_url: str, dashboard: Open) -> None:
    """In all queues and in each, where some are; else there is no column of it."""
    job = gated(Gate(concurrency=Concurrency(limit=1)))
    handler = RecordingHandler(closed=True)
    async with Queue(job, handler, url=redis_url) as queue:
        queue.run()
        async with dashboard() as client:
            assert "Parked" not in await text_of(client, "/")
        await queue.enqueue_bulk(job(to="a", subject="") for _ in range(4))
        await wait_until(lambda: handler.started)
        async with dashboard() as client:
            page = await text_of(client, "/")
        assert "Waiting 0 Running 1 Delayed 0 Parked 3 Dead 0" in page
        assert "Delayed Parked Dead Workers" in page
        handler.gate.set()
        await queue.drain()


async def test_overview_shows_numbers_and_the_rate(
    redis_url: str, raw: Raw, dashboard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Totals over all queues; two looks give a rate."""
    fill(raw, 1_200, running=50)
    raw("XADD", "flowd-other", "*", "to", "x")
    raw("SADD", "flowd:queues", "flowd-other\nworkers")
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    async with dashboard() as client:
        page = await text_of(client, "/")
        assert "Waiting 1,151 Running 50 Delayed 1,200 Dead 1,200" in page
        entries = raw("XRANGE", STREAM, "-", "+", "COUNT", 20)
        assert isinstance(entries, list)
        for entry in entries:
            assert isinstance(entry, list)
            assert isinstance(entry[0], bytes)
            raw("XACK", STREAM, GROUP, entry[0])
        clock += 10
        page = await text_of(client, "/")
    # Redis before 7 does not count what a group was given.
    version = raw("INFO", "server")
    assert isinstance(version, bytes)
    if b"redis_version:6" not in version:
        assert "2.0/s" in page


async def test_queue_page_shows_jobs_of_each_state(raw: Raw, dashboard: Open) -> None:
    """Ten of each, with a link to all; workers and what they hold; errors by kind."""
    fill(raw, 300, running=30)
    async with dashboard() as client:
        page = await text_of(client, "/queue", **QUEUE)
        assert "Running all 30" in page
        assert "Waiting all 270" in page
        assert "Delayed all 300" in page
        assert "to=user31@example.org" in page
        assert "host-0-0123abcd" in page
        assert "300 failed: ValueError: N" in page
        assert "class Email" in page


@pytest.mark.parametrize("state", ["running", "waiting", "delayed"])
async def test_each_job_is_on_one_page_of_the_list(
    raw: Raw, dashboard: Open, state: str
) -> None:
    """Pages of fifty, linked with each other, with no job twice and none left out."""
    fill(raw, 140, running=70)
    expected = {"running": 70, "waiting": 70, "delayed": 140}[state]
    seen: list[str] = []
    async with dashboard() as client:
        path = f"/jobs?stream={STREAM}&group={GROUP}&state={state}"
        while path:
            page = (await client.get(path)).text
            seen += re.findall(r'class="id" href="[^"]+">([^<]+)<', page)
            found = re.search(r'href="([^"]+)" rel="next"', page)
            path = found[1].replace("&amp;", "&") if found else ""
    assert len(seen) == len({*seen}) == expected


async def test_job_page_shows_its_fields_with_their_types(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """Types as in the schema, when it was enqueued, and why it does not run."""
    async with Producer(redis_url) as producer:
        job_id = await producer.enqueue(Email(to="a@b.c", subject="<hi>"))
        later = await producer.enqueue(Email(to="x", subject="y"), delay=60)
    async with dashboard() as client:
        page = await text_of(client, "/job", **QUEUE, id=job_id)
        assert "to str a@b.c" in page
        assert "subject str &lt;hi&gt;" in page
        assert "No worker reads this queue" in page
        page = await text_of(client, "/job", **QUEUE, id=later)
        assert "It waits for its time" in page
        assert re.search(r"Due in (60|59) s|Due in 1m00s", page)


async def test_job_that_is_not_there_is_said_so(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """Status 404, and where it may be."""
    fill(raw, 3, running=10)
    async with dashboard() as client:
        page = await text_of(client, "/job", 404, **QUEUE, id="9-9")
        assert "A job that is done leaves nothing behind" in page
        for path in ("/queue", "/job", "/letters", "/letter", "/jobs"):
            page = await text_of(client, path, 404, stream="none", group="x", id="1-1")
            assert "No such queue" in page
        assert "No such letter" in await text_of(
            client, "/letter", 404, **QUEUE, id="9-9"
        )
        assert "No such page" in await text_of(client, "/nowhere", 404)
        assert "No such page" in await text_of(client, "/jobs", 404, **QUEUE, state="x")


async def test_dead_job_leads_to_its_letter(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """The page of a job that died names the reason, and its letter shows all of it."""
    (job_id,) = await bury(redis_url, STREAM, Email(to="a@b.c", subject="hi"))
    async with dashboard() as client:
        answer = await client.get("/job", params={**QUEUE, "id": job_id})
        assert "rejected: a@b.c is not wanted" in words(answer.text)
        found = re.search(r'href="(/letter\?[^"]+)"', answer.text)
        assert found is not None
        page = await text_of(client, found[1].replace("&amp;", "&"))
        assert "a@b.c is not wanted" in page
        assert "to str a@b.c" in page
        assert job_id in page


async def test_letters_are_grouped_and_filtered(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """By error, by text, by field and by age, as the command does."""
    jobs = [Email(to=f"user{n}@b.c", subject="hi") for n in range(60)]
    await bury(redis_url, STREAM, *jobs)
    async with dashboard() as client:
        page = await text_of(client, "/letters", **QUEUE)
        assert "60 rejected: … is not wanted" in page
        assert "Older" in page
        page = await text_of(client, "/letters", **QUEUE, error="user7@")
        assert page.count("user7@b.c is not wanted") == 1
        assert "user8@b.c" not in page
        page = await text_of(client, "/letters", **QUEUE, field="to=user8@b.c")
        assert "user8@b.c is not wanted" in page
        assert "user7@b.c" not in page
        page = await text_of(client, "/letters", **QUEUE, older="1h")
        assert "No dead letter matches" in page
        like = "rejected: … is not wanted"
        page = await text_of(client, "/letters", **QUEUE, like=like, newer="1h")
        assert page.count("is not wanted to=") == 50


async def test_secrets_are_hidden_on_every_page(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """With the class, secret fields; without it, the values of all fields."""

    async def handle(job: Vault) -> None:
        raise Reject("no")

    secret = "swordfish-swordfish"
    stream, group = Vault.SPEC.policy.stream, Vault.SPEC.policy.group
    queue = {"stream": stream, "group": group}
    async with Producer(redis_url) as producer:
        await producer.enqueue(Vault(open="first", token=secret))
        async with Queue(Vault, handle, url=redis_url) as workers:
            workers.run()
            await workers.drain()
        waiting = await producer.enqueue(Vault(open="plainly", token=secret))
        await producer.enqueue(Vault(open="plainly", token=secret), delay=99)
    for jobs, shown in (((Vault,), True), ((), False)):
        async with dashboard(jobs=jobs, user=User("ops")) as client:
            letters = (await client.get("/letters", params=queue)).text
            found = re.search(r'href="(/letter\?[^"]+)"', letters)
            assert found is not None
            pages = [
                letters,
                (await client.get(found[1].replace("&amp;", "&"))).text,
                (await client.get("/queue", params=queue)).text,
                (await client.get("/job", params={**queue, "id": waiting})).text,
                (await client.get("/jobs", params={**queue, "state": "delayed"})).text,
            ]
        assert not [page for page in pages if secret in page]
        assert ("plainly" in "".join(pages)) is shown


async def test_a_server_that_is_away_is_a_page(dashboard: Open) -> None:
    """Status 503, with the reason, and no traceback."""
    async with dashboard(url="redis://127.0.0.1:1") as client:
        page = await text_of(client, "/", 503)
    assert "Redis cannot be reached" in page


async def test_queue_that_cannot_be_looked_at_is_listed(
    raw: Raw, dashboard: Open
) -> None:
    """Its key holds something else: the row says so, and the others are shown."""
    fill(raw, 15, running=10)
    raw("SET", "broken", "text")
    raw("SADD", "flowd:queues", "broken\nworkers")
    async with dashboard() as client:
        page = await text_of(client, "/")
        assert "its key broken holds what is not flowd's" in page.replace("&#39;", "'")
        assert "Waiting 5 Running 10" in page
        page = await text_of(client, "/queue", 502, stream="broken", group="workers")
        assert "This queue cannot be looked at" in page


async def test_parked_jobs_are_shown_with_what_they_wait_for(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """How many, the limit, who holds its slots, and the same on the page of one."""
    job = gated(Gate(concurrency=Concurrency(per=("to",), limit=2)))
    handler = RecordingHandler(closed=True)
    async with Queue(job, handler, url=redis_url, concurrency=8) as queue:
        queue.run()
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(5))
        await wait_until(lambda: len(handler.started) == 2)
        async with dashboard(jobs=(job,)) as client:
            page = await text_of(client, "/queue", **QUEUE)
            assert "Parked 3 until they may start" in page
            assert "to=a concurrency 2 2 3" in page
            listed = await client.get("/jobs", params={**QUEUE, "state": "parked"})
            links = re.findall(r'class="id" href="(/job\?[^"]+)"', listed.text)
            assert len(links) == 3
            page = await text_of(client, links[0].replace("&amp;", "&"))
            assert "It waits at the gate of its queue" in page
            assert "to=a concurrency 2 2 3" in page
        handler.gate.set()
        await queue.drain()
