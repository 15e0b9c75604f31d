"""`flowd tail`: what finishes is seen by those who follow, and costs others nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from flowd import Queue, Reject, ServerError, Snooze
from flowd.embedded import Server
from flowd.model.keys import Keys
from jobs.email import Email
from tests.ops.page import make_users, url_of
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.jobs.vault import Vault
from tests.support.program import Program, Running
from tests.support.raw import Raw
from tests.support.secrets import full, leaks
from tests.support.waiting import wait_until

CHANNEL = Keys("emails", "senders").tail
EMAILS = ("--stream", "emails")
EVIL = "\x1b[2J\u202e[red]x"


@dataclass(frozen=True, slots=True)
class Tail:
    """A `flowd tail` that runs."""

    running: Running
    printed: Path

    def text(self) -> str:
        """What it has printed."""
        return self.printed.read_text("utf-8")

    async def shows(self, *texts: str) -> None:
        """Wait until it has printed them all."""
        await wait_until(lambda: all(text in self.text() for text in texts))

    async def says(self, text: str) -> None:
        """Wait for a line on standard error."""
        await asyncio.to_thread(self.running.until, text)


@asynccontextmanager
async def tailing(
    flowd: Program, *words: str, url: str | None = None
) -> AsyncGenerator[Tail]:
    """Follow; a queue that runs knows of it by now, or will within 2 seconds."""
    printed = flowd.folder / "printed"
    with (
        printed.open("w", encoding="utf-8") as out,
        flowd.start("tail", *words, url=url, out=out) as running,
    ):
        tail = Tail(running, printed)
        await tail.says("following")
        yield tail


async def subscribed(raw: Raw, channel: str = CHANNEL, followers: int = 1) -> None:
    """Wait until the server knows of so many who follow."""
    await wait_until(
        lambda: raw("PUBSUB", "NUMSUB", channel) == [channel.encode(), followers]
    )


def asked(raw: Raw) -> int:
    """How often workers asked for followers; older servers count no subcommands."""
    return raw.calls("pubsub") + raw.calls("pubsub|numsub")


async def finish(job: Email) -> None:
    """End as the e-mail says."""
    match job.subject:
        case "rejected":
            raise Reject(job.to)
        case "failed":
            raise ValueError(job.to)
        case "snoozed":
            raise Snooze(60)
        case _:
            return


async def test_finished_jobs_are_shown(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Each end of a job is a line with its id, its attempt and why."""
    async with (
        Queue(Email, finish, url=redis_url, policy=policy("emails")) as queue,
        tailing(flowd, *EMAILS, "--group", "senders") as tail,
    ):
        await subscribed(raw)
        queue.run()
        ids = {
            subject: await queue.enqueue(Email(to="why", subject=subject))
            for subject in ("done", "rejected", "failed", "snoozed")
        }
        await tail.shows(
            f"{ids['done']} attempt 1 done in ",
            f"{ids['rejected']} attempt 1 dead-lettered (rejected): why\n",
            f"{ids['failed']} attempt 1 failed, next attempt in 0.0 s: ValueError: why\n",
            f"{ids['failed']} attempt 4 dead-lettered (failed): ValueError: why\n",
            f"{ids['snoozed']} attempt 1 released\n",
        )
        tail.running.signal(signal.SIGINT)
        assert await asyncio.to_thread(tail.running.end) == 130


async def test_events_are_printed_as_json_objects(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """A program gets the same, with the name of the event and of the worker."""
    async with (
        Queue(Email, finish, url=redis_url) as queue,
        tailing(flowd, *EMAILS, "--json") as tail,
    ):
        await subscribed(raw)
        handle = queue.run()
        job = await queue.enqueue(email())
        await tail.shows('"done"')
        (event,) = [
            each for each in map(json.loads, tail.text().splitlines()) if each["job"]
        ]
        assert event.pop("at").endswith("+00:00")
        assert event.pop("text").startswith("done in ")
        assert event == {
            "event": "done",
            "job": job,
            "attempt": 1,
            "consumer": handle.consumer,
        }


async def test_a_queue_that_runs_starts_and_stops_to_publish(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Events are published only while a client follows."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url) as queue:
        raw("CONFIG", "RESETSTAT")
        queue.run()
        for number in range(20):
            await queue.enqueue(email(str(number)))
        await wait_until(lambda: len(recorder.done) == 20)
        assert asked(raw)
        assert not raw.calls("publish")

        async with tailing(flowd, *EMAILS) as tail:
            while "done" not in tail.text():
                await queue.enqueue(email("followed"))
                await asyncio.sleep(0.05)
        await subscribed(raw, followers=0)
        # The answer before the last one has been read.
        before = asked(raw)
        await wait_until(lambda: asked(raw) > before + 1)
        published = raw.calls("publish")
        assert published
        await queue.enqueue(email("last"))
        await wait_until(lambda: "last" in recorder.done)
        before = asked(raw)
        await wait_until(lambda: asked(raw) > before)
        assert raw.calls("publish") == published


async def test_text_of_others_is_harmless(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Job ids and errors are shown as escapes, and what no worker wrote is left out."""
    async with (
        Queue(Email, finish, url=redis_url) as queue,
        tailing(flowd, *EMAILS) as tail,
    ):
        await subscribed(raw)
        for said in ("[]", "\x1b[2J", '{"event":"done"}', b"\xff"):
            raw("PUBLISH", CHANNEL, said)
        fields = ("to", EVIL, "subject", "rejected", "_id", EVIL)
        raw("XADD", "emails", "*", *fields)
        queue.run()
        await tail.shows(
            "\\x1b[2J\\u202e[red]x attempt 1 dead-lettered (rejected): \\x1b"
        )
        assert not {"\x1b", "\u202e"} & set(tail.text())
        assert len(tail.text().splitlines()) == 1


async def test_no_secret_is_shown(flowd: Program, redis_url: str, raw: Raw) -> None:
    """What a handler says of a secret field is not shown, in text or on the channel."""

    async def die(job: Vault) -> None:
        raise ValueError(f"because of {job.token!r} {job.login!r}")

    async with (
        Queue(Vault, die, url=redis_url, policy=policy("vault")) as queue,
        tailing(flowd, "--stream", "vault", "--json") as tail,
    ):
        await subscribed(raw, Keys("vault", "senders").tail)
        queue.run()
        await queue.enqueue(full())
        await tail.shows("dead_letter")
        assert "because of" in tail.text()
        assert not leaks(tail.text())


async def test_tail_survives_a_server_restart(
    flowd: Program, own_server: Server
) -> None:
    """One line says that the connection is lost, and then events are shown again."""
    async with (
        Queue(Email, finish, url=own_server.url) as queue,
        tailing(flowd, *EMAILS, url=own_server.url) as tail,
    ):
        queue.run()
        own_server.kill()
        await tail.says("fails, trying again")
        own_server.restart()
        while "done" not in tail.text():
            with suppress(ServerError):
                await queue.enqueue(email())
            await asyncio.sleep(0.05)
        tail.running.signal(signal.SIGINT)
        await asyncio.to_thread(tail.running.end)
        said = [each for each in tail.running.lines if "fails" in each]
        assert len(said) == 1


@pytest.mark.parametrize("right", ["-pubsub", "-publish", "resetchannels"])
async def test_a_worker_without_the_right_to_publish_works(
    flowd: Program, own_server: Server, right: str
) -> None:
    """It works on without publishing events."""
    with Raw(own_server.url) as raw:
        make_users(raw)
        raw("ACL", "SETUSER", "worker", right)
        recorder = RecordingHandler()
        async with (
            Queue(Email, recorder, url=url_of(own_server, "worker")) as queue,
            tailing(flowd, *EMAILS, url=url_of(own_server, "admin")) as tail,
        ):
            await subscribed(raw)
            handle = queue.run()
            for to in ("one", "two"):
                raw("XADD", "emails", "*", "to", to, "subject", "x")
                await wait_until(partial(recorder.done.count, to))
            assert handle.failing is None
            assert not tail.text()


def test_a_queue_that_is_not_there(flowd: Program) -> None:
    """Without a queue there is nothing to follow, which is wrong usage."""
    done = flowd("tail")
    assert done.code == 2
    assert "no queue was set up on this server yet" in done.err


async def test_missing_right_to_subscribe_is_reported(
    flowd: Program, own_server: Server
) -> None:
    """The command ends with the name of what is missing."""
    with Raw(own_server.url) as raw:
        make_users(raw)
        raw("ACL", "SETUSER", "worker", "-subscribe")
        words = ("tail", *EMAILS, "--group", "senders")
        done = flowd(*words, url=url_of(own_server, "worker"))
        assert done.code == 3
        assert "subscribe" in done.err
