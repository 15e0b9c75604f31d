"""Redrive, purge, edit and enqueue: what is sent, what is refused, and by whom."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

import httpx
import pytest

from flowd import DeadLetters, Job, Producer
from flowd.web import User
from jobs.email import Email
from tests.ops.many import GROUP, STREAM, fill
from tests.support.dead_letters import bury, letters
from tests.support.jobs.report import Format, Report
from tests.support.jobs.vault import Vault
from tests.support.raw import Raw
from tests.support.waiting import RECOVERY, wait_until
from tests.web.conftest import Open
from tests.web.forms import Form, form_of

QUEUE: Final = {"stream": STREAM, "group": GROUP}
OPS: Final = User("ops")
OWN: Final = (
    *("_dlq_id", "1-1", "_dlq_reason", "failed", "_dlq_error", "ValueError: no"),
    *("_dlq_traceback", "", "_dlq_attempts", "1", "_dlq_deliveries", "1"),
    *("_dlq_enqueued", "1", "_dlq_consumer", "me"),
)


async def page_of(client: httpx.AsyncClient, path: str, **query: str) -> str:
    """A page that is there."""
    answer = await client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    return answer.text


def dead_key(job_class: type[Job]) -> str:
    """Where the dead letters of a class are."""
    policy = job_class.SPEC.policy
    return f"{{{policy.stream}}}:{policy.group}:dlq"


def letter_of(raw: Raw, job_class: type[Job], *fields: str | bytes) -> dict[str, str]:
    """A dead letter with these fields; the parameters of its page."""
    policy = job_class.SPEC.policy
    raw("SADD", "flowd:queues", f"{policy.stream}\n{policy.group}")
    found = raw("XADD", dead_key(job_class), "*", *fields, *OWN)
    assert isinstance(found, bytes)
    return {"stream": policy.stream, "group": policy.group, "id": found.decode()}


def stored(raw: Raw, job_class: type[Job]) -> dict[bytes, bytes]:
    """The fields of the only job of a stream, without flowd's own."""
    ((_, fields),) = raw.entries(job_class.SPEC.policy.stream)
    return {name: value for name, value in fields.items() if name[:1] != b"_"}


async def sent(
    client: httpx.AsyncClient, path: str, form: Form, status: int = 303
) -> httpx.Response:
    """The answer to a form."""
    answer = await client.post(path, data=form)
    assert answer.status_code == status, answer.text
    return answer


async def test_unchanged_letter_is_redriven_byte_for_byte(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """Whatever a browser does to line breaks: what was not changed stays as it was."""
    texts = ("a\r\nb", "a\nb", "\n\nx", " x ", "ä\U0001f600", "<&\"'>", "tab\t", "")
    for text in texts:
        raw("FLUSHALL")
        where = letter_of(raw, Email, "to", "x", "subject", "y", "body", text)
        async with dashboard(user=OPS) as client:
            form = form_of(await page_of(client, "/letter", **where), "/letter")
            # A browser sends each line break as two characters.
            form = {name: re.sub("\r?\n", "\r\n", each) for name, each in form.items()}
            await sent(client, "/letter", form)
        assert stored(raw, Email)[b"body"] == text.encode(), repr(text)
        assert raw("XLEN", dead_key(Email)) == 0


async def test_edited_letter_is_redriven_with_its_id(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """The changed field only; the page of the job follows."""
    (job_id,) = await bury(redis_url, STREAM, Email(to="wrong", subject="hi", body="b"))
    (letter,) = await letters(redis_url, STREAM)
    async with dashboard(user=OPS) as client:
        page = await page_of(client, "/letter", **QUEUE, id=letter.id)
        form = form_of(page, "/letter") | {"f:to": "right@b.c", "m:body": "out"}
        answer = await sent(client, "/letter", form | {"f:body": ""})
        page = await page_of(client, answer.headers["location"])
    assert stored(raw, Email) == {b"to": b"right@b.c", b"subject": b"hi"}
    assert job_id in page
    assert "Redriven: the job is back in its stream" in page


async def test_wrong_values_are_refused_at_their_fields(
    raw: Raw, dashboard: Open
) -> None:
    """All of them at once, with what was typed; nothing is moved."""
    where = letter_of(
        raw, Report, "_v", "3", "customer", "7", "days", "[]", "formats", '["pdf"]'
    )
    async with dashboard(user=OPS) as client:
        form = form_of(await page_of(client, "/letter", **where), "/letter")
        wrong = form | {"f:customer": "-1", "f:days": '["2026-02-30"]'}
        page = (await sent(client, "/letter", wrong, 422)).text
        assert page.count('class="below field-error"') == 2
        assert "expected u32" in page
        assert 'value="-1"' in page
        assert re.search(r'id="f-0"[^>]+aria-invalid="true"[^>]+autofocus', page)
        assert "2 fields" in page
        assert raw("XLEN", dead_key(Report)) == 1
        right = form_of(page, "/letter") | {"f:customer": "8", "f:days": "[]"}
        await sent(client, "/letter", right)
    assert stored(raw, Report)[b"customer"] == b"8"


async def test_letter_that_its_class_cannot_read_is_repaired(
    raw: Raw, dashboard: Open
) -> None:
    """The stored value that is wrong can be edited, and others stay as they were."""
    where = letter_of(
        raw, Report, "_v", "3", "customer", "seven", "days", "[]", "formats", "[]"
    )
    async with dashboard(user=OPS) as client:
        form = form_of(await page_of(client, "/letter", **where), "/letter")
        assert form["f:customer"] == "seven"
        page = (await sent(client, "/letter", form | {"f:days": "[1]"}, 422)).text
        assert "expected u32" in page
        await sent(client, "/letter", form | {"f:customer": "7"})
    assert stored(raw, Report)[b"customer"] == b"7"


async def test_missing_field_stays_missing_until_it_is_set(
    raw: Raw, dashboard: Open
) -> None:
    """A redrive of what was not touched adds no empty text."""
    for change, expected in (
        ({}, {b"to": b"a"}),
        ({"m:subject": "set", "f:subject": ""}, {b"to": b"a", b"subject": b""}),
    ):
        raw("FLUSHALL")
        where = letter_of(raw, Email, "to", "a")
        async with dashboard(user=OPS) as client:
            form = form_of(await page_of(client, "/letter", **where), "/letter")
            assert form["m:subject"] == "keep"
            await sent(client, "/letter", form | change)
        assert stored(raw, Email) == expected


async def test_secret_is_kept_or_replaced_and_never_shown(
    raw: Raw, dashboard: Open
) -> None:
    """It is in no page; without a word about it, it stays as it is."""
    fields = ("open", "first", "token", "swordfish")
    for change, expected in (
        ({"f:open": "second"}, b"swordfish"),
        ({"m:token": "set", "f:token": "better"}, b"better"),
    ):
        raw("FLUSHALL")
        where = letter_of(raw, Vault, *fields)
        async with dashboard(user=OPS) as client:
            page = await page_of(client, "/letter", **where)
            assert "swordfish" not in page
            form = form_of(page, "/letter")
            bad = {"m:token": "set", "f:token": "typed in", "m:number": "set"}
            refused = await sent(client, "/letter", form | bad | {"f:number": "x"}, 422)
            assert "typed in" not in refused.text
            assert "swordfish" not in refused.text
            await sent(client, "/letter", form | change)
        assert stored(raw, Vault)[b"token"] == expected


async def test_value_that_is_no_text_is_kept(raw: Raw, dashboard: Open) -> None:
    """Bytes, control characters and values of many kilobytes are kept, or replaced."""
    for value in (b"\xff\xfe", b"\x00\r", "\u202e".encode(), b"x" * 70_000):
        raw("FLUSHALL")
        where = letter_of(raw, Email, "to", "a", "subject", "b", "body", value)
        async with dashboard(user=OPS) as client:
            form = form_of(await page_of(client, "/letter", **where), "/letter")
            assert (form["m:body"], form["f:body"]) == ("keep", "")
            changed = {"f:subject": "changed"} if value[0] < 0x80 else {}
            await sent(client, "/letter", form | changed)
        assert stored(raw, Email)[b"body"] == value


async def test_selected_letters_are_purged(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """After a question that says how many; others stay."""
    fill(raw, 10, running=10)
    names = [entry_id for entry_id, _ in raw.entries(dead_key(Email))]
    async with dashboard(user=OPS) as client:
        query = httpx.QueryParams({**QUEUE, "verb": "purge", "scope": "selected"})
        query = query.add("id", names[2]).add("id", names[5])
        page = (await client.get("/letters/confirm", params=query)).text
        assert "Purge 2 dead letters?" in page
        form = form_of(page, "/letters/confirm")
        data = {**form, "id": [names[2], names[5], "9-9"]}
        answer = await client.post("/letters/confirm", data=data)
        page = await page_of(client, answer.headers["location"])
    assert "2 letters purged, 1 refused" in " ".join(page.split())
    left = [entry_id for entry_id, _ in raw.entries(dead_key(Email))]
    assert left == [each for each in names if each not in (names[2], names[5])]


async def test_dry_run_changes_nothing(raw: Raw, dashboard: Open) -> None:
    """It lists what would be moved and what would be refused."""
    fill(raw, 60, running=10)
    raw("XADD", dead_key(Email), "*", "not", "flowd's")
    async with dashboard(user=OPS) as client:
        page = await page_of(
            client, "/letters/confirm", **QUEUE, verb="redrive", scope="all"
        )
        assert "Redrive 61 dead letters?" in page
        form = form_of(page, "/letters/confirm") | {"dry": "1"}
        answer = await sent(client, "/letters/confirm", form)
        page = await page_of(client, answer.headers["location"])
    assert "60 letters would be redriven, 1 refused" in " ".join(page.split())
    assert "this entry was not written by flowd" in page
    assert raw("XLEN", dead_key(Email)) == 61
    assert raw("XLEN", STREAM) == 60


async def test_dry_run_foresees_which_keys_are_taken(raw: Raw, dashboard: Open) -> None:
    """By a letter before as well: a redrive would refuse the second of a `unique` key."""
    for to in ("a", "a", "b"):
        letter_of(raw, Email, "to", to, "_gate", f"u:to={to}")
    async with dashboard(user=OPS) as client:
        choice = {**QUEUE, "verb": "redrive", "scope": "all"}
        page = await page_of(client, "/letters/confirm", **choice)
        form = form_of(page, "/letters/confirm") | {"dry": "1"}
        answer = await sent(client, "/letters/confirm", form)
        page = " ".join((await page_of(client, answer.headers["location"])).split())
    assert "2 letters would be redriven, 1 refused" in page
    assert "the job 1-1 has its `unique` key to=a" in page
    assert raw("XLEN", dead_key(Email)) == 3


async def test_matching_letters_are_redriven_at_a_rate(
    raw: Raw, dashboard: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """In the background, where it can be watched and stopped; the log says by whom."""
    caplog.set_level(logging.INFO, "flowd")
    fill(raw, 40, running=10)
    like = {"error": "ValueError: 1"}  # 1 and 10 to 19
    async with dashboard(user=OPS) as client:
        choice = {**QUEUE, "scope": "all", "verb": "redrive", **like}
        page = await page_of(client, "/letters/confirm", **choice)
        assert "Redrive 11 dead letters?" in page
        form = form_of(page, "/letters/confirm")
        await sent(client, "/letters/confirm", form | {"rate": "fast"}, 422)
        answer = await sent(client, "/letters/confirm", form | {"rate": "0.1"})
        where = answer.headers["location"]
        page = await page_of(client, where)
        assert "of about 11" in page
        assert 'data-refresh="1"' in page
        assert "1<" in await page_of(client, "/operations")
        await wait_until(lambda: raw("XLEN", STREAM) != 40)
        await sent(client, "/operation", form_of(page, "/operation"))
        page = await page_of(client, where)
        assert "stopped" in page
        moved = raw("XLEN", STREAM)
        assert isinstance(moved, int)
        assert 40 < moved < 51
        answer = await sent(client, "/letters/confirm", form)
        where = answer.headers["location"]
        page = await page_of(client, where)
        async with asyncio.timeout(RECOVERY):
            while ">running<" in page:
                await asyncio.sleep(0.02)
                page = await page_of(client, where)
        assert "done" in page
    assert raw("XLEN", STREAM) == 51
    assert "web: ops: " in caplog.text
    assert f"of {STREAM} ({GROUP}) redriven, 0 refused: stopped" in caplog.text


async def test_no_more_than_four_operations_run(raw: Raw, dashboard: Open) -> None:
    """The next one is refused, of letters and of jobs, before anything is counted for it."""
    fill(raw, 20, running=10)
    async with dashboard(user=OPS) as client:
        choice = {**QUEUE, "scope": "all", "verb": "redrive"}
        form = form_of(
            await page_of(client, "/letters/confirm", **choice), "/letters/confirm"
        )
        form |= {"rate": "0.1", "dry": "1"}
        await asyncio.gather(
            *(sent(client, "/letters/confirm", form) for _ in range(4))
        )
        jobs = form | {"verb": "delete", "state": "waiting", "field": "to=no"}
        raw("CONFIG", "RESETSTAT")
        await sent(client, "/letters/confirm", form, 429)
        await sent(client, "/jobs/confirm", jobs, 429)
        await sent(client, "/queue/clear", form, 429)
    counted = raw("INFO", "commandstats")
    assert isinstance(counted, bytes)
    assert b"cmdstat_xlen" not in counted
    assert b"cmdstat_xrange" not in counted


async def test_job_is_enqueued_by_form(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """Checked by the class; with a delay, and a key that makes it one job."""
    raw("SADD", "flowd:queues", f"{STREAM}\n{GROUP}")
    async with dashboard(user=OPS) as client:
        form = form_of(await page_of(client, "/enqueue", **QUEUE), "/enqueue")
        assert form["m:body"] == "out"
        form |= {"f:to": "a@b.c", "f:subject": "hi"}
        await sent(client, "/enqueue", form | {"delay": "soon"}, 422)
        await sent(client, "/enqueue", form | {"delay": "nan"}, 422)
        assert raw("XLEN", STREAM) == 0
        answer = await sent(client, "/enqueue", form)
        assert "Enqueued." in await page_of(client, answer.headers["location"])
        assert stored(raw, Email) == {b"to": b"a@b.c", b"subject": b"hi"}
        later = form | {"delay": "3600", "key": "once"}
        one = await sent(client, "/enqueue", later)
        two = await sent(client, "/enqueue", later)
        assert one.headers["location"] == two.headers["location"]
    assert raw("ZCARD", f"{{{STREAM}}}:delayed") == 1


async def test_newest_version_is_enqueued(raw: Raw, dashboard: Open) -> None:
    """A class with versions gets a job of its own version, and its choices are checked."""
    policy = Report.SPEC.policy
    raw("SADD", "flowd:queues", f"{policy.stream}\n{policy.group}")
    where = {"stream": policy.stream, "group": policy.group}
    async with dashboard(user=OPS) as client:
        form = form_of(await page_of(client, "/enqueue", **where), "/enqueue")
        form |= {"f:customer": "1", "f:days": '["2026-01-02"]'}
        page = (await sent(client, "/enqueue", form | {"f:formats": "x"}, 422)).text
        assert "field-error" in page
        await sent(client, "/enqueue", form | {"f:formats": f'["{Format.PDF}"]'})
    ((_, fields),) = raw.entries(policy.stream)
    assert Report.from_fields(fields).formats == [Format.PDF]


async def test_queue_is_paused_and_resumed(raw: Raw, dashboard: Open) -> None:
    """From its page, which says that it is paused."""
    fill(raw, 30, running=10)
    async with dashboard(user=OPS) as client:
        form = form_of(await page_of(client, "/queue", **QUEUE), "/queue")
        await sent(client, "/queue", form, 400)
        for what, offered in (("pause", ">Resume<"), ("resume", ">Pause<")):
            answer = await sent(client, "/queue", form | {"do": what})
            page = await page_of(client, answer.headers["location"])
            assert offered in page
            assert ("it has been paused for" in page) is (what == "pause")
            paused = await page_of(client, "/")
            assert (">paused<" in paused) is (what == "pause")


async def test_waiting_job_is_cancelled(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """From its page; a second time there is nothing to cancel."""
    async with Producer(redis_url) as producer:
        await producer.enqueue(Email(to="a", subject="b"))
        job_id = await producer.enqueue(Email(to="a", subject="b"), delay=60)
    async with dashboard(user=OPS) as client:
        page = await page_of(client, "/job", **QUEUE, id=job_id)
        form = form_of(page, "/job")
        await sent(client, "/job", form, 400)
        answer = await sent(client, "/job", form | {"do": "cancel"})
        page = (await client.get(answer.headers["location"])).text
        assert "Cancelled: the job waited, and is gone" in page
        answer = await sent(client, "/job", form | {"do": "cancel"})
        assert "had ended" in (await client.get(answer.headers["location"])).text
    assert raw("XLEN", STREAM) == 1
    assert raw("ZCARD", f"{{{STREAM}}}:delayed") == 0


@pytest.mark.parametrize(
    "path",
    [
        "/queue",
        "/job",
        "/letter",
        "/letters/confirm",
        "/enqueue",
        "/operation",
        "/schedules",
    ],
)
async def test_forms_of_other_sites_are_refused(
    raw: Raw, dashboard: Open, path: str
) -> None:
    """Without the token, with another one, or begun elsewhere; nothing is changed."""
    fill(raw, 3, running=10)
    (letter_id, _), *_ = raw.entries(dead_key(Email))
    form = {**QUEUE, "id": letter_id, "verb": "purge", "do": "run", "name": "x"}
    async with dashboard(user=OPS) as client:
        await sent(client, path, form, 403)  # no cookie
        await client.get("/")
        token = client.cookies["flowd_csrf"]
        for csrf, headers in (
            ({}, {}),
            ({"csrf": "x" * 43}, {}),
            ({"csrf": ""}, {}),
            ({"csrf": token}, {"sec-fetch-site": "cross-site"}),
            ({"csrf": token}, {"sec-fetch-site": "same-site"}),
            ({"csrf": token}, {"origin": "https://evil.example.com"}),
            ({"csrf": token}, {"origin": "null"}),
        ):
            answer = await client.post(path, data=form | csrf, headers=headers)
            assert answer.status_code == 403, (csrf, headers)
            assert "This form has expired" in answer.text
        fine = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
        answer = await client.post(path, data=form | {"csrf": token}, headers=fine)
        assert "This form has expired" not in answer.text
    if path not in ("/letter", "/letters/confirm"):
        assert raw("XLEN", dead_key(Email)) == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/queue"),
        ("POST", "/job"),
        ("POST", "/letter"),
        ("POST", "/letters/confirm"),
        ("POST", "/enqueue"),
        ("POST", "/operation"),
        ("POST", "/schedules"),
        ("GET", "/letters/confirm"),
        ("GET", "/enqueue"),
    ],
)
async def test_user_who_may_only_look_changes_nothing(
    raw: Raw, dashboard: Open, method: str, path: str
) -> None:
    """Every way to change something is refused, and no page offers one."""
    fill(raw, 3, running=10)
    (letter_id, _), *_ = raw.entries(dead_key(Email))
    for user in (None, User("guest", may_change=False)):
        async with dashboard(user=user) as client:
            page = await page_of(client, "/letter", **QUEUE, id=letter_id)
            assert "<form" not in page
            assert "Enqueue" not in await page_of(client, "/queue", **QUEUE)
            form = {**QUEUE, "id": letter_id, "verb": "purge", "scope": "all"}
            form["csrf"] = client.cookies["flowd_csrf"]
            answer = await client.request(method, path, data=form, params=QUEUE)
            assert answer.status_code == 403
            assert "Read-only" in answer.text
    assert raw("XLEN", dead_key(Email)) == 3


async def test_strange_forms_are_refused(raw: Raw, dashboard: Open) -> None:
    """Too large, no text, unknown words: each is an answer, and none a crash."""
    fill(raw, 3, running=10)
    async with dashboard(user=OPS) as client:
        await client.get("/")
        token = {"csrf": client.cookies["flowd_csrf"]}
        for path, form, status in (
            ("/letter", {"x": "y" * (1 << 20)}, 413),
            ("/letter", {**QUEUE, **token, "id": "9-9"}, 404),
            ("/letter", {**QUEUE, **token}, 404),
            ("/letter", {**token}, 404),
            ("/letters/confirm", {**QUEUE, **token, "verb": "eat"}, 400),
            ("/letters/confirm", {**QUEUE, **token, "verb": "purge"}, 400),
            ("/schedules", {**QUEUE, **token, "do": "eat"}, 400),
            ("/schedules", {**QUEUE, **token, "do": "run", "name": "x"}, 400),
        ):
            answer = await client.post(path, data=form)
            assert answer.status_code == status, (path, answer.text)
        for body in (b"\xff=\xff", b"csrf=%ff", b"&".join([b"a=b"] * 4_000)):
            answer = await client.post("/letter", content=body)
            assert answer.status_code in (400, 403)
        assert (await client.get("/letters/confirm", params=QUEUE)).status_code == 400
        gone = {**QUEUE, "verb": "purge", "scope": "all", "error": "not-there"}
        answer = await client.get("/letters/confirm", params=gone)
        assert "There is nothing to do" in answer.text


async def test_redriven_letter_cannot_be_redriven_again(
    redis_url: str, raw: Raw, dashboard: Open
) -> None:
    """Of two tabs, the second one hears that the letter is gone."""
    await bury(redis_url, STREAM, Email(to="a", subject="b"))
    (letter,) = await letters(redis_url, STREAM)
    async with dashboard(user=OPS) as client:
        page = await page_of(client, "/letter", **QUEUE, id=letter.id)
        form = form_of(page, "/letter")
        await sent(client, "/letter", form)
        page = (await sent(client, "/letter", form, 404)).text
    assert "It was redriven or purged meanwhile" in page
    async with DeadLetters(Email, redis_url) as dead:
        assert [each async for each in dead.list()] == []
    assert raw("XLEN", STREAM) == 1
