"""Entries are packed as hiredis packs each command by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import pytest

from flowd.broker.append import pack_appends
from flowd.broker.connection import pack

PLAIN = {b"to": b"a@example.org", b"body": b""}


@pytest.mark.parametrize("stream", ["emails", "{a}:b", "with %d and %b", "öl"])
@pytest.mark.parametrize(
    "entries",
    [
        [],
        [PLAIN],
        [PLAIN, {b"to": b"\r\n%s", b"body": b"\x00\xff"}, {b"_v": b"1"}],
        [{b"100%": b"5%", b"%d": b"%b"}, {b"body": b"x" * 70_000, b"to": b"b"}],
    ],
)
def test_batch_is_packed_as_its_commands(
    stream: str, entries: Sequence[Mapping[bytes, bytes]]
) -> None:
    """Whatever names and values hold, and in whatever order the names come."""
    one_by_one = [
        pack(("XADD", stream, "*", *chain.from_iterable(fields.items())))
        for fields in entries
    ]
    assert pack_appends(stream, entries) == one_by_one
