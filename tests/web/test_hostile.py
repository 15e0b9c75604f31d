"""What others wrote is shown, and does nothing: no markup, no terminal, no direction."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser
from typing import Final

import pytest

from flowd.model.keys import Keys
from flowd.web import User
from tests.support.raw import Raw
from tests.web.conftest import Open

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
        for path in ("/queue", "/job", "/letter", "/letters"):
            odd = {**queue, "id": EVIL, "error": EVIL, "field": EVIL, "like": EVIL}
            texts.append((await client.get(path, params=odd)).text)
            texts.append((await client.get(path, params={"stream": EVIL})).text)
    for text in texts:
        judge(text)
        assert len(text) < 200_000
