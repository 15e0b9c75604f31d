"""`flowd limit`: keys at their limit, and limits of their own."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from hashlib import sha256
from typing import Protocol, cast

import pytest

from flowd import Concurrency, Fair, Gate, Queue, Rate, Unique
from flowd.cli import main
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import Overlap, gated, leftovers
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GATE = Gate(concurrency=Concurrency(per=("to",), limit=2))


class Limit(Protocol):
    """`flowd limit STREAM WORDS`; returns the exit code and what it printed."""

    async def __call__(self, *words: str, of: str = ...) -> tuple[int, str]: ...


@pytest.fixture
def limit(capsys: pytest.CaptureFixture[str], stream: str, redis_url: str) -> Limit:
    """The command, for the stream of the test unless it is `of` another."""

    async def run(*words: str, of: str = stream) -> tuple[int, str]:
        # Options may stand behind the words, or between them.
        command = ["limit", of, "--url", redis_url, *words]
        code = await asyncio.to_thread(main, command)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


async def test_a_key_is_paused_and_resumed_while_jobs_wait(
    redis_url: str, raw: Raw, stream: str, limit: Limit
) -> None:
    """0 pauses one key at once, for all workers; a higher limit lets more in at once."""
    job, handler = gated(GATE), RecordingHandler(closed=True)
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        code, said = await limit("to=a", "0")
        where = f"to=a of {stream} (senders)"
        assert code == 0
        # A key that no job has may be a mistake.
        assert said == f"{where} is paused; no job runs or waits under it now\n"
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(20))
        await queue.enqueue(job(to="b", subject="0"))
        await wait_until(lambda: handler.started == ["b"])
        code, said = await limit()
        assert code == 0
        assert "to=a" in said
        assert "0 (set)" in said
        code, said = await limit("to=a", "5")
        assert (code, said) == (0, f"{where} has the limit 5 now\n")
        await wait_until(lambda: len(handler.started) == 6)
        code, said = await limit("--json")
        (row,) = [each for each in json.loads(said) if each["key"] == "to=a"]
        assert (row["limit"], row["own"], row["taken"]) == (5, True, 5)
        assert row["parked"] == 15
        assert len(row["holders"]) == 5
        code, said = await limit("to=a", "--reset")
        assert (code, said) == (0, f"{where}: the limit of the schema holds\n")
        handler.gate.set()
        await queue.drain()
    assert leftovers(raw, stream) == []


async def test_a_higher_limit_lets_jobs_in_by_itself(
    redis_url: str, raw: Raw, stream: str, limit: Limit
) -> None:
    """No worker has to look for them: those of the key are in the stream at once."""
    job, handler = gated(GATE), RecordingHandler()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue_bulk(job(to="a", subject=f"{n}") for n in range(6))
        assert raw("XLEN", stream) == 2
        assert (await limit("to=a", "5"))[0] == 0
        assert raw("XLEN", stream) == 5
        await limit("--reset")
        queue.run()
        await queue.drain()
    assert leftovers(raw, stream) == []


async def test_a_lowered_limit_holds_for_what_starts(
    redis_url: str, raw: Raw, stream: str, limit: Limit
) -> None:
    """What runs goes on; the next jobs go by the new limit; all keys are reset at once."""
    job, handler = gated(GATE), Overlap(0.01)
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        assert (await limit("to=a", "1"))[0] == 0
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(20))
        await queue.drain()
        assert handler.most == {"a": 1}
        assert raw("HLEN", Keys(stream, "senders").gate[9]) == 1
        assert (await limit("--reset"))[0] == 0
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(20))
        await queue.drain()
    assert handler.most == {"a": 2}
    assert leftovers(raw, stream) == []


async def test_a_limit_does_not_break_an_order(
    redis_url: str, raw: Raw, stream: str, limit: Limit
) -> None:
    """More than one at once is refused where jobs are ordered, and ignored if it is set."""
    rule = Concurrency(per=("to",), limit=1, ordered=True)
    job, handler = gated(Gate(concurrency=rule)), Overlap(0.005)
    limits = Keys(stream, "senders").gate[9]
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await wait_until(lambda: raw("EXISTS", Keys(stream, "senders").policies) == 1)
        code, said = await limit("to=a", "5")
        assert code == 2
        assert "must be 0 or 1" in said
        assert raw("HLEN", limits) == 0
        raw("HSET", limits, "c:to=a", "5")
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(20))
        await queue.drain()
        raw("DEL", limits)
    assert handler.most == {"a": 1}
    assert handler.done == [("a", str(n)) for n in range(20)]


async def test_a_rate_of_one_key_is_changed(
    redis_url: str, stream: str, limit: Limit
) -> None:
    """The key of a rate is found by its fields; jobs that waited for it start."""
    job = gated(Gate(rate=Rate(per=("to",), limit=1, every=3600)))
    handler = RecordingHandler()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(3))
        await wait_until(lambda: len(handler.done) == 1)
        code, said = await limit()
        assert code == 0
        assert "rate" in said
        # What has started was paid for at the former rate.
        assert (await limit("to=b", "1000000"))[0] == 0
        await queue.enqueue_bulk(job(to="b", subject=str(n)) for n in range(3))
        await wait_until(lambda: len(handler.done) == 4)


async def test_a_wrong_key_or_limit_is_named(limit: Limit) -> None:
    """Which word is wrong is said, before a server is asked."""
    for words, said in (
        (("to=a", "0", "--reset"), "--reset takes no limit: leave out '0'"),
        (("to=a", "-1"), "'-1' is no limit: it is a whole number"),
        (("to=a", "1.5"), "'1.5' is no limit"),
        (("to=a", "many"), "'many' is no limit"),
        (("to=a",), "give the limit as well, as: to=a 5"),
        (("5",), "give the key as well, as: customer=7 5"),
        (("to=a", "5", "5"), "'5' is no FIELD=VALUE"),
        (("to=a", "to=b", "5"), "to is given twice"),
        (("*", "to=b", "--reset"), "'*' is no FIELD=VALUE"),
    ):
        code, shown = await limit(*words)
        assert (code, said in shown) == (2, True), shown


async def test_a_class_checks_the_key(
    redis_url: str,
    raw: Raw,
    stream: str,
    limit: Limit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value is written as a job would write it, and one that no job has is refused."""
    spec = dataclasses.replace(
        Email.SPEC,
        policy=policy(stream),
        types=("u32", "str", "str?"),
        secrets=("subject",),
        gate=Gate(concurrency=Concurrency(per=("to", "subject"), limit=2)),
    )
    made: object = type("Email", (Email,), {"SPEC": spec, "__slots__": ()})
    job = cast("type[Email]", made)
    monkeypatch.setattr("jobs.email.Email", job)
    cls = ("--job", "jobs.email:Email")
    async with Queue(job, RecordingHandler(), url=redis_url, policy=policy(stream)):
        await wait_until(lambda: raw("EXISTS", Keys(stream, "senders").policies) == 1)
        code, said = await limit("to=07", "subject=a", "0", *cls)
        digest = sha256(b"a").hexdigest()[:32]
        assert (code, f"to=7&subject=#{digest} of" in said) == (0, True), said
        code, said = await limit("to=7=8", "subject=a", "0", *cls)
        assert (code, "Email.to: expected u32" in said) == (2, True), said
        code, said = await limit("too=7", "0", *cls)
        assert (code, "no field 'too'" in said) == (2, True), said
        code, said = await limit(*cls, "--group", "g", of="other")
        assert (code, f"are on the stream {stream}, not on other" in said) == (2, True)


async def test_fields_of_no_limit_are_refused(
    redis_url: str, stream: str, limit: Limit
) -> None:
    """A key of other fields, and a queue without limits, are said."""
    job = gated(GATE)
    async with Queue(job, RecordingHandler(), url=redis_url, policy=policy(stream)):
        code, said = await limit("subject=a", "1")
        assert code == 2
        assert "fields of a limit of this queue: to" in said
        assert (await limit("to=a"))[0] == 2
        assert (await limit("to=a", "many"))[0] == 2
        assert "no key is near" in (await limit())[1]


async def test_only_limits_can_be_set(
    redis_url: str, stream: str, limit: Limit
) -> None:
    """A key of `fair` has no limit, so it cannot be paused, and the error says why."""
    job = gated(Gate(fair=Fair(per=("to",))))
    async with Queue(job, RecordingHandler(), url=redis_url, policy=policy(stream)):
        code, said = await limit("to=a", "0")
        assert code == 2
        assert "only keys of `concurrency` and `rate` have one" in said


async def test_a_queue_without_policies_has_no_limits(
    redis_url: str, stream: str, limit: Limit
) -> None:
    """It is refused with what to do."""
    async with Queue(Email, RecordingHandler(), url=redis_url, policy=policy(stream)):
        code, said = await limit("to=a", "1")
        assert code == 2
        assert "the queue has no limits" in said


async def test_a_parked_job_says_what_it_waits_for(
    redis_url: str, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted, listed, and shown with the key and who holds it."""
    job, handler = gated(GATE), RecordingHandler(closed=True)
    place = ("--stream", stream, "--url", redis_url)
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        ids = await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(4))
        await wait_until(lambda: len(handler.started) == 2)
        assert await asyncio.to_thread(main, ["stats", "--url", redis_url]) == 0
        assert "parked" in capsys.readouterr().out
        listing = ["jobs", "list", "--state", "parked", "--json", *place]
        assert await asyncio.to_thread(main, listing) == 0
        shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each["id"] for each in shown] == ids[2:]
        assert {each["state"] for each in shown} == {"parked"}
        assert await asyncio.to_thread(main, ["jobs", "show", ids[3], *place]) == 0
        said = capsys.readouterr().out
        assert "concurrency to=a, 2 of 2 taken by" in said
        assert all(holder in said for holder in ids[:2])
        handler.gate.set()
        await queue.drain()


async def test_a_parked_job_waits_for_nothing_that_it_may_have(
    redis_url: str, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own `unique` key and a rate that is open are not shown; a pause is called so."""
    gate = Gate(
        unique=Unique(fields=("subject",)),
        concurrency=Concurrency(per=("to",), limit=1),
        rate=Rate(per=("to",), limit=1_000, every=1.0, burst=1_000),
    )
    job, handler = gated(gate), RecordingHandler(closed=True)
    place = ["--stream", stream, "--url", redis_url]

    async def waits_for(job_id: str) -> str:
        assert await asyncio.to_thread(main, ["jobs", "show", job_id, *place]) == 0
        lines = capsys.readouterr().out.splitlines()
        return next(line for line in lines if line.startswith("waits for"))

    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        first = await queue.enqueue(job(to="a", subject="1"))
        await wait_until(lambda: handler.started)
        second = await queue.enqueue(job(to="a", subject="2"))
        said = await waits_for(second)
        assert said.split(None, 2)[2].startswith("concurrency to=a, 1 of 1 taken by ")
        assert first in said
        assert "rate" not in said
        assert "unique" not in said
        words = ["limit", stream, "to=a", "0", "--url", redis_url]
        assert await asyncio.to_thread(main, words) == 0
        capsys.readouterr()
        said = await waits_for(second)
        assert (
            said.split(None, 2)[2] == "concurrency to=a, which is paused (flowd limit)"
        )
        assert await asyncio.to_thread(main, [*words[:3], "--reset", *words[4:]]) == 0
        handler.gate.set()
        await queue.drain()


async def test_a_key_is_paused_while_no_worker_runs(
    redis_url: str,
    raw: Raw,
    stream: str,
    limit: Limit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The class says which limits there are; jobs that are ready are counted as well."""
    gate = Gate(concurrency=Concurrency(per=("to",), limit=2), fair=Fair(per=("to",)))
    job, handler, rules = gated(gate), RecordingHandler(), policy(stream)
    spec = dataclasses.replace(job.SPEC, policy=rules)
    monkeypatch.setattr(job, "SPEC", spec)
    monkeypatch.setattr("jobs.email.Email", job)
    known = ("--job", "jobs.email:Email")
    place = f"{stream} (senders)"
    async with Queue(job, handler, url=redis_url) as queue:
        await queue.enqueue_bulk(job(to="a", subject=f"{n}") for n in range(3))
        raw("DEL", Keys(stream, "senders").policies)
        code, said = await limit("to=a", "0")
        assert (code, "flowd limit --job MODULE:CLASS" in said) == (2, True)
        code, said = await limit("to=a", "0", *known)
        assert (code, said) == (0, f"to=a of {place} is paused\n")
        code, said = await limit("to=b", "0", *known)
        assert (code, "no job runs or waits under it" in said) == (0, True)
        code, said = await limit("--json")
        a, b = json.loads(said)
        waiting = raw("XLEN", stream)
        assert (a["parked"] + waiting, b["parked"]) == (3, 0)
        assert a["parked"] > 0
        queue.run()
        await wait_until(lambda: len(handler.done) == waiting)
        await limit("--reset")
        await queue.drain()
    assert len(handler.done) == 3
