"""The rights that the page on security lists, and users that have them."""

from __future__ import annotations

import re
from typing import Final

from flowd.embedded import Server
from tests.house.sources import ROOT
from tests.support.raw import Raw

__all__ = [
    "OPERATIONS",
    "ROLES",
    "granted",
    "knows",
    "log_in",
    "make_users",
    "refused",
    "url_of",
]

_PAGES: Final = (
    *("security", "incidents", "monitoring"),
    *("reference/metrics", "reference/log-events"),
)

OPERATIONS: Final = "\n".join(
    (ROOT / f"docs/{page}.md").read_text("utf-8") for page in _PAGES
)
"""The pages for those who run flowd, as one text."""

ROLES: Final = ("producer", "worker", "admin")

_PASSWORD: Final = "CHANGE-ME"

_BLOCKS: Final = [
    [line.split() for line in block.splitlines() if line]
    for block in re.findall(r"```\n(ACL .+?)```", OPERATIONS, re.DOTALL)
]


def granted(role: str) -> set[str]:
    """What the page grants a role on every server, as `xinfo|groups`."""
    return {
        word[1:]
        for _, _, name, *words in _BLOCKS[0]
        for word in words
        if name == role and word[0] == "+"
    }


def make_users(raw: Raw) -> None:
    """Type in what the page says, word for word."""
    base, newer = _BLOCKS
    for line in [*base, *(newer if knows(raw, "WAITAOF") else ())]:
        raw(*line)


def knows(raw: Raw, command: str) -> bool:
    """Whether the server has this command."""
    return raw("COMMAND", "INFO", command) != [None]


def url_of(server: Server, role: str) -> str:
    """Where a user of this role connects."""
    return f"unix://{role}:{_PASSWORD}@{server.socket}"


def log_in(raw: Raw, role: str) -> None:
    """Be a user of this role from now on."""
    raw("AUTH", role, _PASSWORD)


def refused(raw: Raw) -> set[str]:
    """What was refused to any client since the server started."""
    rows = raw("ACL", "LOG", 1000)
    assert isinstance(rows, list)
    found: set[str] = set()
    for row in rows:
        assert isinstance(row, list)
        what = row[row.index(b"object") + 1]
        assert isinstance(what, bytes)
        found.add(what.decode())
    return found
