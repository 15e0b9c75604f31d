"""`flowd preflight` names the queues that no class of the package reads."""

from __future__ import annotations

import asyncio
import json

import pytest

from flowd import Queue
from jobs.email import Email
from tests.ops.preflight.queue import EMAIL, preflight, write
from tests.support.email_job import RecordingHandler, email
from tests.support.raw import Raw

RENAMED = EMAIL.replace('"emails"', '"mails"')
OTHER = EMAIL.replace("job.Email", "job.Report").replace('"emails"', '"reports"')
REGROUPED = EMAIL.replace('"senders"', '"mailers"')


async def _set_up(url: str) -> None:
    async with Queue(Email, RecordingHandler(), url=url) as queue:
        await queue.enqueue(email())
        await queue.enqueue(email(), delay=3_600.0)


@pytest.mark.parametrize("schema", [RENAMED, OTHER])
def test_jobs_that_no_class_reads_are_a_warning(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str], schema: str
) -> None:
    """A renamed stream, a deleted job: exit 0, and the queue is named with its jobs."""
    asyncio.run(_set_up(redis_url))
    raw("XADD", "{emails}:senders:dlq", "*", "x", "y")
    write(text=schema)
    assert preflight(redis_url) == 0
    out = capsys.readouterr().out
    assert (
        "warning[QUEUE_NOT_READ]: stream emails, group senders: 3 jobs, no class here"
        " reads it\n"
    ) in out
    assert "  = in emails: stream 1, delayed 1, dead letters 1\n" in out
    assert out.splitlines()[-1] == (
        "yes, but nothing is in the streams of these classes; 3 jobs in queues that no"
        " class here reads"
    )
    assert preflight(redis_url, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["stream"], found["group"], found["count"]) == ("emails", "senders", 3)
    assert preflight(redis_url, "--github") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("::warning title=QUEUE_NOT_READ::stream emails, group")


def test_a_changed_group_is_refused(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1: workers under the new group refuse the stream, so no job would run."""
    asyncio.run(_set_up(redis_url))
    write(text=REGROUPED)
    assert preflight(redis_url) == 1
    out = capsys.readouterr().out
    assert (
        "breaking[STREAM_OF_ANOTHER_GROUP]: stream emails, group senders: 2 jobs, no"
        " class here reads it, and workers of Email under group mailers will refuse"
    ) in out
    assert out.splitlines()[-1] == (
        "no: workers of these classes will refuse what another group reads: emails"
    )


def test_dead_letters_of_a_group_that_is_gone_are_a_warning(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stream's jobs go to the new group; the old group's dead letters stay."""
    asyncio.run(_set_up(redis_url))
    raw("XADD", "{emails}:senders:dlq", "*", "x", "y")
    raw("XGROUP", "DESTROY", "emails", "senders")
    write(text=REGROUPED)
    assert preflight(redis_url) == 0
    out = capsys.readouterr().out
    assert (
        "stream emails, group senders: 1 job, no class here reads it, as Email" in out
    )
    assert "yes: all jobs in the streams of these classes can be read; 1 job in" in out


def test_queues_that_may_not_be_listed_are_a_note(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user without the right to see them still learns what its classes read."""
    asyncio.run(_set_up(redis_url))
    raw("ACL", "SETUSER", "few", "on", ">word", "~emails", "~{emails}*", "+@all")
    write()
    try:
        assert preflight(redis_url.replace("://", "://few:word@")) == 0
    finally:
        raw("ACL", "DELUSER", "few")
    out = capsys.readouterr().out
    assert "note[QUEUE_NOT_SEEN]: queues that no class here reads cannot be seen" in out
    assert "yes: all jobs in the streams of these classes can be read" in out


def test_empty_queues_of_others_are_not_named(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A queue without a job needs no reader."""

    async def set_up() -> None:
        async with Queue(Email, RecordingHandler(), url=redis_url):
            pass

    asyncio.run(set_up())
    write(text=RENAMED)
    assert preflight(redis_url) == 0
    assert "QUEUE_NOT_READ" not in capsys.readouterr().out
