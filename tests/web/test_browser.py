"""The dashboard as a person uses it, in Chromium."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from flowd import Concurrency, Gate, Queue
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.ops.limits import set_limit
from flowd.ops.queries import Queries
from jobs.email import Email
from tests.ops.many import GROUP, STREAM, fill
from tests.support.gated import gated
from tests.support.program import Program
from tests.support.raw import Raw
from tests.web.browsing import CHROMIUM, browser, page_at, tab_to, violations
from tests.web.serving import serving_dashboard
from tests.web.test_actions import OWN, dead_key
from tests.web.test_hostile import hostile

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"
)

QUEUE: Final = f"stream={STREAM}&group={GROUP}"
CRAWL: Final = "{crawl}:crawlers:dlq"

WORKERS = """
import asyncio, pathlib
from flowd import Queue
from jobs.crawl import Crawl

async def fetch(job):
    while job.url != "quick" and not pathlib.Path("go").exists():
        await asyncio.sleep(0.02)

queues = Queue(Crawl, fetch, concurrency=2)
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser() as found:
        yield found


@pytest.fixture
def base(redis_url: str, raw: Raw) -> Iterator[str]:
    """Where `flowd web` serves, for a user who may change something."""
    with serving_dashboard(redis_url, "jobs", "--user", "ops") as base:
        yield base


def bury(raw: Raw, number: int) -> None:
    """Dead letters of Crawl whose priority is no number."""
    raw("SADD", "flowd:queues", "crawl\ncrawlers")
    for index in range(number):
        fields = (
            "url",
            f"https://example.org/{index}",
            "priority",
            "high",
            "tags",
            "a",
        )
        raw("XADD", CRAWL, "*", *fields, *OWN)


def test_dead_letter_is_found_repaired_and_seen_done(
    chromium: Browser, base: str, redis_url: str, raw: Raw, tmp_path: Path
) -> None:
    """From the first page to the event that it is done, without a reload."""
    bury(raw, 1)
    flowd = Program(tmp_path, redis_url)
    flowd.write("workers.py", WORKERS)
    with (
        flowd.start("run", "workers:queues") as worker,
        # A form that is refused is an answer with status 422, which the console names.
        page_at(chromium, base, faults=("422", "404")) as page,
    ):
        worker.until("runs up to")
        page.goto("/")
        page.get_by_role("link", name="1 dead letters").click()
        page.get_by_role("link", name="failed: ValueError: no").click()
        page.locator("table.letters a.id").click()
        priority = page.get_by_label("priority u32")
        expect(priority).to_have_value("high")
        priority.fill("-1")
        page.get_by_role("button", name="Redrive").click()

        expect(page.get_by_role("alert")).to_contain_text("1 field has to be corrected")
        expect(priority).to_have_value("-1")
        expect(priority).to_have_attribute("aria-invalid", "true")
        expect(priority).to_have_accessible_description("expected u32")
        expect(priority).to_be_focused()
        assert raw("XLEN", CRAWL) == 1

        priority.fill("7")
        page.get_by_role("button", name="Redrive").click()
        expect(page.get_by_role("status")).to_contain_text("Redriven")
        expect(page.locator(".state")).to_have_text("running")
        wait_for_events(page, raw)
        flowd.write("go", "")
        expect(page.get_by_role("log")).to_contain_text("done", timeout=15_000)
        expect(page.locator(".state")).to_have_text("not here", timeout=15_000)
        assert raw("XLEN", CRAWL) == 0


def wait_for_events(page: Page, raw: Raw) -> None:
    """Return once workers publish: they see that a page listens when they maintain."""
    queue = page.context.new_page()
    queue.goto("/queue?stream=crawl&group=crawlers")
    lines = queue.get_by_role("log").locator("li")
    for _ in range(150):
        raw("XADD", "crawl", "*", "url", "quick", "priority", "1", "tags", "a")
        queue.wait_for_timeout(100)
        if lines.count():
            break
    expect(lines.first).to_contain_text("done")
    queue.close()


def test_letters_are_purged_with_the_keyboard_alone(
    chromium: Browser, base: str, raw: Raw
) -> None:
    """Each stop of Tab is seen; the skip link leads past the head of the page."""
    bury(raw, 3)
    with page_at(chromium, base) as page:
        page.goto("/")
        tab_to(page, "Skip to content", most=1)
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        tab_to(page, "3 dead letters")
        page.keyboard.press("Enter")
        page.wait_for_url("**/letters?**")
        tab_to(page, "Select")
        page.keyboard.press("Space")
        expect(page.get_by_text("1 selected")).to_be_visible()
        for _ in range(40):
            page.keyboard.press("Shift+Tab")
            if page.evaluate("document.activeElement.value") == "purge":
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(
            "Purge 1 dead letter?"
        )
        tab_to(page, "Purge")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("1 letter purged")
    assert raw("XLEN", CRAWL) == 2


def test_numbers_follow_what_happens(chromium: Browser, base: str, raw: Raw) -> None:
    """The first page is current without a reload, and keeps the focus where it was."""
    fill(raw, 12, running=10)
    with page_at(chromium, base) as page:
        page.goto("/")
        row = page.get_by_role("row").filter(has_text=STREAM)
        expect(row.first).to_contain_text("12")
        page.get_by_role("link", name=STREAM, exact=True).focus()
        raw("DEL", dead_key(Email))
        expect(page.get_by_role("link", name="dead letters")).to_have_count(0)
        expect(page.get_by_role("link", name=STREAM, exact=True)).to_be_focused()


def test_every_page_works_without_scripts(
    chromium: Browser, base: str, raw: Raw
) -> None:
    """Forms included."""
    bury(raw, 2)
    with page_at(chromium, base, scripts=False) as page:
        page.goto("/letters?stream=crawl&group=crawlers")
        page.locator("table.letters a.id").first.click()
        page.get_by_label("priority u32").fill("3")
        page.get_by_role("button", name="Redrive").click()
        expect(page.get_by_role("status")).to_contain_text("Redriven")
        page.goto("/letters?stream=crawl&group=crawlers")
        page.get_by_label("all", exact=True).check()
        page.get_by_role("button", name="Redrive").click()
        page.get_by_role("button", name="Redrive", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("1 letter redriven")
    assert raw("XLEN", "crawl") == 2


def test_hostile_texts_do_nothing_in_a_browser(
    chromium: Browser, base: str, raw: Raw
) -> None:
    """No dialog, no error of the page's policy; a megabyte is cut."""
    hostile(raw)
    with page_at(chromium, base) as page:
        page.goto("/")
        page.locator("a.name").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
        for link in page.locator("main a.id").all():
            with page.context.expect_page() as opened:
                link.click(modifiers=["Control"])
            expect(opened.value.locator("h2").first).to_be_visible()
            opened.value.close()
        page.get_by_role("link", name=re.compile("dead letters")).click()
        page.locator("table.letters a.id").first.click()
        expect(page.get_by_role("heading", name="Fields")).to_be_visible()
        assert page.evaluate("document.scripts.length") == 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.limit(300)
def test_pages_are_accessible(
    chromium: Browser, base: str, raw: Raw, dark: bool, width: int
) -> None:
    """Axe finds no violation of WCAG 2.2 AA, and nothing is wider than the window."""
    fill(raw, 60, running=20)
    bury(raw, 4)
    raw("XGROUP", "CREATE", "crawl", "crawlers", 0, "MKSTREAM")
    (letter, _), *_ = raw.entries(CRAWL)
    (entry, _), *_ = raw.entries(STREAM)
    with page_at(chromium, base, width=width, dark=dark, faults=("404", "422")) as page:
        for path in (
            "/",
            f"/queue?{QUEUE}",
            f"/jobs?{QUEUE}&state=delayed",
            f"/job?{QUEUE}&id={entry}",
            f"/letters?{QUEUE}",
            f"/letter?stream=crawl&group=crawlers&id={letter}",
            f"/letters/confirm?{QUEUE}&verb=purge&scope=all",
            f"/jobs/confirm?{QUEUE}&state=delayed&verb=run&scope=all",
            f"/queue/clear?{QUEUE}",
            f"/limits?{QUEUE}",
            "/enqueue?stream=crawl&group=crawlers",
            "/schedules",
            "/operations",
            "/nowhere",
        ):
            page.goto(path)
            judge(page, path, width)
        refuse(page, f"/letter?stream=crawl&group=crawlers&id={letter}")
        judge(page, "a refused form", width)


@pytest.mark.parametrize("width", [1280, 360])
def test_forms_of_limits_are_accessible(
    chromium: Browser, base: str, redis_url: str, width: int
) -> None:
    """A key with a limit of its own, the form for others, and a limit that is refused."""
    with ThreadPoolExecutor(1) as pool:  # the driver has the loop of this thread
        pool.submit(asyncio.run, limit_a_key(redis_url)).result()
    with page_at(chromium, base, width=width, faults=("422",)) as page:
        page.goto(f"/limits?{QUEUE}")
        expect(page.get_by_role("button", name="Reset to=a")).to_be_visible()
        expect(page.get_by_label("concurrency, 1 by the schema")).to_be_visible()
        judge(page, "limits", width)
        page.get_by_label("Limit of concurrency to=a").fill("many")
        page.get_by_role("button", name="Set to=a", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("Nothing was changed")
        judge(page, "a refused limit", width)


async def limit_a_key(redis_url: str) -> None:
    """A queue with a limit for each `to`, and one of its own for one of them."""
    job = gated(Gate(concurrency=Concurrency(per=("to",), limit=1)))
    async with (
        Queue(job, print, url=redis_url),
        connected(Address.of(redis_url)) as connection,
    ):
        await set_limit(Queries(connection, STREAM, GROUP), {"to": "a"}, 7)


def refuse(page: Page, path: str) -> None:
    """Send a form that is refused."""
    page.goto(path)
    page.get_by_label("priority u32").fill("-1")
    page.get_by_role("button", name="Redrive").click()
    expect(page.get_by_role("alert")).to_be_visible()


def judge(page: Page, path: str, width: int) -> None:
    """A page is accessible, and fits."""
    assert violations(page) == [], path
    assert page.evaluate("document.documentElement.scrollWidth") <= width, path
