"""Names of streams and groups: their keys share a slot, and no two queues share a key."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from flowd import DeadLetters, OptionError, Policy, Queue
from flowd.embedded import Server
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.raw import Raw, RawError

NOWHERE = "redis://localhost:1"

STREAMS = [
    *("a", "{a}", "{a}:x", "{a}x", "x{a}", "x{a}y", "{a}{b}", "a b:c", "größe"),
    *("a}b", "}", "{", "{}", "{}a", "a{}", "{}{x}", "a{b", "}a{b}", "{{a}}", "a{b}c}d"),
    *("{a}:x:y", "a:b", "{a}:dlq", "#7", "{shop}:key2"),
]

REFUSED = [
    *("flowd:queues", "{a}:delayed", "{a}:delayed:jobs", "{a}:g:dlq", "{a}:key"),
    *(
        "{a}:g:progress",
        "{a}:g:receipts",
        "{a}:g:workers",
        "{a}:key:k",
        "{a}:call:t",
        "x{a}:delayed",
    ),
    *("{a}:", "{#7}=a}b", "{a}::g:dlq", "{a}:x:key:k", "}:key:x"),
]


@pytest.mark.parametrize("stream", STREAMS)
def test_keys_share_the_slot_of_their_stream(own_server: Server, stream: str) -> None:
    """Redis hashes all keys of a queue alike, whatever braces its name has."""
    with Raw(own_server.url) as raw:
        try:
            slots = {
                str(raw("CLUSTER", "KEYSLOT", key)) for key in keys_of(stream, "g")
            }
        except RawError as error:
            pytest.skip(f"Redis 7.0 computes no slot outside a cluster: {error}")
    assert len(slots) == 1


def test_keys_of_two_queues_differ() -> None:
    """No stream, group and idempotency key make a name that another queue has."""
    owners: dict[str, tuple[str, str]] = {}
    groups = ("g", "x:g", "x::g", ":g", "g:dlq", "keys", "x%3Ag", "key:k", "y:g")
    for stream, group in itertools.product(STREAMS, groups):
        for key in keys_of(stream, group):
            shared = key == stream or ":key:" in key or key.endswith(SHARED)
            owner = (stream, "" if shared else group)
            assert owners.setdefault(key, owner) == owner


SHARED = (":delayed", ":delayed:jobs", ":call:0123")


def keys_of(stream: str, group: str) -> Iterator[str]:
    """Every key that a queue of these names may touch."""
    keys = Keys(stream, group)
    yield from (keys.stream, keys.delayed, keys.bodies, keys.receipt("0123"))
    yield from (keys.dead, keys.progress, keys.receipts, keys.tail)
    for key in ("k", "dlq", "x:key:k", "g:dlq", "delayed"):
        yield keys.idempotency(key)


@pytest.mark.parametrize("stream", REFUSED)
def test_a_stream_named_as_a_key_is_refused(stream: str) -> None:
    """It could be a key of another queue, so rules and queues refuse it."""
    with pytest.raises(OptionError, match=r"^stream is "):
        Policy(stream=stream)
    with pytest.raises(OptionError, match=r"^stream is "):
        Queue(Email, RecordingHandler(), url=NOWHERE, stream=stream)
    with pytest.raises(OptionError, match=r"^stream is "):
        DeadLetters(Email, NOWHERE, stream=stream)


@pytest.mark.parametrize("group", ["key", "call"])
def test_a_group_named_as_a_key_is_refused(group: str) -> None:
    """Its dead letters could be under an idempotency key."""
    with pytest.raises(OptionError, match=r"^group is "):
        Policy(stream="a", group=group)
    with pytest.raises(OptionError, match=r"^group is "):
        Queue(Email, RecordingHandler(), url=NOWHERE, group=group)
    with pytest.raises(OptionError, match=r"^group is "):
        DeadLetters(Email, NOWHERE, group=group)


async def test_a_name_and_its_tag_are_two_queues(redis_url: str, raw: Raw) -> None:
    """`a` and `{a}` share neither delayed jobs nor keys nor dead letters."""
    recorder, other = RecordingHandler(), RecordingHandler()
    async with (
        Queue(Email, recorder, url=redis_url, policy=policy("a")) as plain,
        Queue(Email, other, url=redis_url, policy=policy("{a}")) as tagged,
    ):
        first = await plain.enqueue(email("plain"), key="k", delay=0.001)
        second = await tagged.enqueue(email("tagged"), key="k")
        assert first != second
        tagged.run()
        await tagged.drain()
        plain.run()
        await plain.drain()
    assert (recorder.done, other.done) == (["plain"], ["tagged"])
