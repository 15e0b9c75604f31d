"""A server with the users that the page on operations makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowd.embedded import Server
from tests.ops.page import make_users
from tests.support.raw import Raw


@pytest.fixture
def guarded(own_server: Server) -> Iterator[Raw]:
    """A client that may do everything, on a server that has the page's users."""
    with Raw(own_server.url) as raw:
        make_users(raw)
        raw("ACL", "LOG", "RESET")
        raw("CONFIG", "RESETSTAT")
        yield raw
