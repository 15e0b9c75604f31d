"""An incident, contained from the dashboard: with the mouse, and with the keyboard alone.

The mouse works without scripts: no step needs one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ops.many import GROUP, STREAM
from tests.support.program import Program
from tests.support.raw import Raw
from tests.web.browsing import CHROMIUM, browser, page_at, tab_to
from tests.web.serving import serving_dashboard

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"
)

BAD: Final = """
import dataclasses, logging, pathlib
from flowd import Backoff, Queue
from jobs.email import Email

async def send(job):
    # The test reads no further lines, and a full pipe would stop the worker.
    logging.getLogger("flowd").setLevel(logging.CRITICAL)
    with pathlib.Path("{log}").open("a") as log:
        print(job.to, file=log)
    {then}

backoff = Backoff(kind="fixed", base=0.01, jitter=False)
rules = dataclasses.replace(Email.SPEC.policy, max_retries=1_000, backoff=backoff)
queues = Queue(Email, send, policy=rules)
"""
DELAYED: Final = f"{{{STREAM}}}:delayed"


class Mouse:
    """Works a page with the mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, words: str) -> None:
        """A button or a link with these words."""
        button = self.page.get_by_role("button", name=words, exact=True)
        link = self.page.get_by_role("link", name=words)
        button.or_(link).first.click()

    def choose_all(self) -> None:
        """All jobs that match, instead of the selected ones."""
        self.page.get_by_label("all that match").check()

    def type(self, label: str, text: str) -> None:
        """Into the field with this label."""
        self.page.get_by_label(label, exact=True).fill(text)


class Keyboard:
    """Works a page with the keyboard alone; what has the focus is always seen."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, words: str) -> None:
        """A button or a link with these words."""
        tab_to(self.page, words)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def choose_all(self) -> None:
        """All jobs that match, instead of the selected ones."""
        tab_to(self.page, "scope")
        self.page.keyboard.press("ArrowRight")

    def type(self, label: str, text: str) -> None:
        """Into the field with this label."""
        tab_to(self.page, label)
        self.page.keyboard.type(text)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser() as found:
        yield found


def until(page: Page, is_so: Callable[[], bool]) -> None:
    """Let the browser go on until it is so, for a minute at most."""
    end = time.monotonic() + 60.0
    while not is_so():
        assert time.monotonic() < end
        page.wait_for_timeout(20)


@pytest.mark.parametrize(
    ("hand", "scripts"), [(Keyboard, True), (Mouse, False)], ids=["keyboard", "mouse"]
)
def test_an_incident_is_contained_from_the_dashboard(
    chromium: Browser,
    redis_url: str,
    raw: Raw,
    tmp_path: Path,
    hand: Callable[[Page], Mouse | Keyboard],
    scripts: bool,
) -> None:
    """A bad release is paused, its jobs of one customer cancelled, the fix runs the rest."""
    flowd = Program(tmp_path, redis_url)
    harm, done = tmp_path / "harm", tmp_path / "done"
    flowd.write("workers.py", BAD.format(log="harm", then="raise ValueError(job.to)"))
    with (
        serving_dashboard(redis_url, "jobs", "--user", "ops") as base,
        page_at(chromium, base, scripts=scripts) as page,
    ):
        with flowd.start("run", "workers:queues") as worker:
            worker.until("runs up to")
            for number in range(40):
                to = ("a", "b")[number % 2]
                raw("XADD", STREAM, "*", "to", to, "subject", str(number))
            until(page, lambda: harm.exists() and len(harm.read_text()) > 10)
            by = hand(page)
            page.goto("/")
            by.press(STREAM)
            by.press("Pause")
            expect(page.get_by_role("status")).to_contain_text("Paused")
            # What failed becomes due, and waits.
            until(page, lambda: raw("XPENDING", STREAM, GROUP)[0] == 0)  # type: ignore[index]
            until(page, lambda: raw("ZCARD", DELAYED) == 0)
            assert raw("XLEN", STREAM) == 40
            before = harm.read_text()
        page.reload()
        by.press("40 waiting jobs")
        by.type("Field", "to=a")
        by.press("Filter")
        expect(page.locator("table.jobs tbody tr")).to_have_count(20)
        by.choose_all()
        by.press("Cancel…")
        expect(page.get_by_role("heading", level=1)).to_have_text("Cancel 20 jobs?")
        by.press("Cancel them")
        expect(page.get_by_role("status")).to_contain_text("20 jobs cancelled")
        assert harm.read_text() == before
        assert raw("XLEN", STREAM) == 20

        flowd.write("workers.py", BAD.format(log="done", then="pass"))
        with flowd.start("run", "workers:queues") as worker:
            worker.until("runs up to")
            assert not done.exists()
            by.press("The queue")
            expect(page.get_by_text("it has been paused for")).to_be_visible()
            by.press("Resume")
            expect(page.get_by_role("status")).to_contain_text("Resumed")
            until(page, lambda: raw("XLEN", STREAM) == 0)
            if not scripts:
                page.reload()
            expect(page.locator("dl.figures")).to_contain_text("Waiting0")
    assert done.read_text().split() == ["b"] * 20
    assert harm.read_text() == before
