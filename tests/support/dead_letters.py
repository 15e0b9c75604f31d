"""What the tests of dead letters share: how to get some, and how to look at them raw."""

from __future__ import annotations

from flowd import DeadLetters, Letter, Queue, Reject
from jobs.email import Email
from tests.support.raw import Raw

__all__ = ["GROUP", "bury", "letters", "raw_letters"]

GROUP = "senders"


async def reject(job: Email) -> None:
    """Dead-letter every job."""
    raise Reject(f"{job.to} is not wanted")


async def bury(url: str, stream: str, *jobs: Email) -> list[str]:
    """Enqueue jobs and let them be rejected, in this order; returns their ids."""
    async with Queue(Email, reject, url=url, stream=stream, concurrency=1) as queue:
        ids = await queue.enqueue_bulk(jobs)
        queue.run()
        await queue.drain()
    return ids


async def letters(url: str, stream: str) -> list[Letter[Email]]:
    """The dead letters of a stream, oldest first."""
    async with DeadLetters(Email, url, stream=stream) as dead:
        return [letter async for letter in dead.list()]


def raw_letters(raw: Raw, stream: str, group: str = GROUP) -> list[list[bytes]]:
    """The letters' fields as Redis has them: name, value, name, value, and on."""
    entries = raw("XRANGE", f"{{{stream}}}:{group}:dlq", "-", "+")
    assert isinstance(entries, list)
    found: list[list[bytes]] = []
    for entry in entries:
        assert isinstance(entry, list)
        assert isinstance(entry[1], list)
        found.append([word for word in entry[1] if isinstance(word, bytes)])
    return found
