"""What others wrote is shown, and does nothing: no markup, no terminal, no direction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Final

import httpx
import pytest
from starlette.requests import Request

from flowd.model.keys import Keys
from flowd.model.text import printable
from flowd.web import Dashboard, User
from tests.support.jobs.vault import Vault
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.web.conftest import Open
from tests.web.forms import form_of

MARKUP: Final = (
    """"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7777*7777}}"""
)
OBEYED: Final = "\x1b[31m\x00\r\x07\u202e\u2066\u200f\u2028"
EVIL: Final = MARKUP + OBEYED
LARGE: Final = 1_000_000
OWN: Final = (
    *("_dlq_id", "_dlq_reason", "_dlq_error", "_dlq_traceback"),
    *("_dlq_attempts", "_dlq_deliveries", "_dlq_enqueued", "_dlq_consumer"),
)


class Tags(HTMLParser):
    """Remembers the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember one."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        for name, value in attrs:
            if name in ("href", "src", "action"):
                assert value is not None
                assert value.startswith(("/", "#")), value


def judge(page: str) -> None:
    """The page has only the tags of its templates, and no character that is obeyed."""
    found = Tags()
    found.feed(page)
    assert "img" not in found.tags
    assert page.count("<script") == 1
    assert not {each for each in found.attributes if each.startswith("on")}
    assert "style" not in found.attributes | found.tags
    assert "60481729" not in page  # {{7777*7777}} is no template
    obeyed = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert not {ch for ch in page if unicodedata.category(ch) in obeyed} - {"\n"}


def hostile(raw: Raw) -> dict[str, str]:
    """A queue whose names, jobs, letters and consumers are hostile; its parameters."""
    stream, group = f"s{EVIL}", f"g{EVIL}"
    raw("SADD", "flowd:queues", f"{stream}\n{group}")
    raw("XGROUP", "CREATE", stream, group, 0, "MKSTREAM")
    fields = (EVIL, EVIL, "large", "<b>" + "x" * LARGE, b"\xff\xfe", b"\xff\xfe")
    raw("XADD", stream, "*", *fields)
    raw("XADD", stream, "*", *fields, "_err", EVIL)
    raw("XREADGROUP", "GROUP", group, EVIL, "COUNT", 1, "STREAMS", stream, ">")
    own = (EVIL, EVIL, EVIL, f"{EVIL}\nsecond line", "x", "y", "z", EVIL)
    dead = Keys(stream, group).dead
    pairs = [word for pair in zip(OWN, own, strict=True) for word in pair]
    raw("XADD", dead, "*", *fields, *pairs)
    raw("XADD", dead, "*", *fields)
    return {"stream": stream, "group": group}


async def test_secret_value_cannot_be_searched_for(raw: Raw, dashboard: Open) -> None:
    """A filter by it would answer whether a guess is right; so would any field without
    a class, of a user who may only look.
    """
    policy = Vault.SPEC.policy
    where = {"stream": policy.stream, "group": policy.group}
    raw("SADD", "flowd:queues", f"{policy.stream}\n{policy.group}")
    raw("XGROUP", "CREATE", policy.stream, policy.group, 0, "MKSTREAM")
    guess = where | {"field": " token=swordfish", "state": "waiting"}
    confirm = guess | {"verb": "delete", "scope": "all"}
    async with dashboard(user=User("ops")) as client:
        for path, query in (
            ("/jobs", guess),
            ("/letters", guess),
            ("/jobs/confirm", confirm),
            ("/letters/confirm", confirm | {"verb": "purge"}),
        ):
            answer = await client.get(path, params=query)
            assert answer.status_code == 403, path
            assert "cannot be searched for" in answer.text
        shown = await client.get("/jobs", params=guess | {"field": "open=first"})
        assert shown.status_code == 200
    for jobs, status in (((), 403), ((Vault,), 200)):
        async with dashboard(jobs=jobs) as client:
            query = guess | {"field": "open=first"}
            assert (await client.get("/jobs", params=query)).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/%5c..%5capp.py",
        "/static/templates/base.html",
        "//evil.example/",
        "/\\evil.example",
    ],
)
async def test_address_leads_nowhere_else(dashboard: Open, path: str) -> None:
    """Neither to files outside of the static ones, nor to another site."""
    async with dashboard() as client:
        answer = await client.get(f"http://localhost{path}", follow_redirects=False)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert "import" not in answer.text


async def test_hook_that_raises_lets_no_one_in(redis_url: str) -> None:
    """Status 500, without a word of why, and with the policy of every answer."""

    def broken(_: Request) -> User:
        raise KeyError("the password is swordfish")

    app = Dashboard(redis_url, authorize=broken)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost"
    ) as client:
        for path in ("/", "/events", "/nowhere"):
            answer = await client.get(path)
            assert answer.status_code == 500
            assert answer.text == "Internal Server Error"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
    await app.aclose()


@pytest.mark.parametrize("may_change", [False, True])
async def test_hostile_texts_do_nothing(
    raw: Raw, dashboard: Open, may_change: bool
) -> None:
    """On every page, wherever they stand; and a value of a megabyte is cut."""
    queue = hostile(raw)
    async with dashboard(user=User(EVIL, may_change=may_change)) as client:
        pages = {
            "/": {},
            "/queue": queue,
            "/letters": queue,
            "/jobs": {**queue, "state": "waiting"},
            "/limits": queue,
            "/nowhere": {},
        }
        texts = [(await client.get(path, params=q)).text for path, q in pages.items()]
        for text in texts[1:4]:
            assert "&lt;script&gt;" in text
        links = {
            each.replace("&amp;", "&")
            for text in texts
            for each in re.findall(r'href="(/(?:job|letter)\?[^"]+)"', text)
        }
        assert len(links) >= 4
        texts += [(await client.get(each)).text for each in links]
        if may_change:
            asked = {**queue, "state": "waiting", "scope": "all", "verb": "delete"}
            for path in ("/queue/clear", "/jobs/confirm"):
                answer = await client.get(path, params=asked)
                assert answer.status_code == 200
                texts.append(answer.text)
            token = {"csrf": client.cookies["flowd_csrf"]}
            for path in ("/queue/clear", "/limits", "/job", "/queue"):
                sent = {**queue, **token, "typed": EVIL, "limit": EVIL, "do": EVIL}
                sent |= {"name": EVIL, "kind": EVIL, f"k:{EVIL}": EVIL, "id": EVIL}
                answer = await client.post(path, data=sent)
                assert answer.status_code in (400, 422), path
                texts.append(answer.text)
        for path in ("/queue", "/job", "/letter", "/letters"):
            odd = {**queue, "id": EVIL, "error": EVIL, "field": EVIL, "like": EVIL}
            texts.append((await client.get(path, params=odd)).text)
            texts.append((await client.get(path, params={"stream": EVIL})).text)
    for text in texts:
        judge(text)
        assert len(text) < 200_000


async def test_actions_reach_a_queue_of_any_name(raw: Raw, dashboard: Open) -> None:
    """Pause, redrive, purge, cancel and clear, each by the form of its page as a browser sends it."""
    queue = hostile(raw)
    keys = Keys(queue["stream"], queue["group"])
    async with dashboard(user=User("ops")) as client:

        async def send(
            path: str, asked: Mapping[str, str], **more: str
        ) -> httpx.Response:
            page = await client.get(path, params={**queue, **asked})
            assert page.status_code == 200, page.text
            form = form_of(page.text, path)
            assert "".join(form.values()).isprintable()
            answer = await client.post(path, data=form | more)
            assert answer.status_code == 303, answer.text
            return answer

        for do, is_paused in (("pause", True), ("resume", False)):
            await send("/queue", {}, do=do)
            page = await client.get("/queue", params=queue)
            assert ("it has been paused for" in page.text) is is_paused
        letter = {"id": raw.entries(keys.dead)[0][0]}
        await send("/letter", letter)
        assert raw("XLEN", keys.dead) == 1
        every = {"scope": "all", "verb": "purge"}
        await send("/letters/confirm", every)
        await wait_until(lambda: raw("XLEN", keys.dead) == 0)
        running, waiting, _ = (entry_id for entry_id, _ in raw.entries(keys.stream))
        await send("/job", {"id": waiting}, do="delete")
        assert raw("XLEN", keys.stream) == 2
        answer = await send("/job", {"id": running}, do="cancel")
        assert "said=cancelling" in answer.headers["location"]
        await send("/queue/clear", {}, typed=printable(queue["stream"]))
        await wait_until(lambda: raw("XLEN", keys.stream) == 1)
