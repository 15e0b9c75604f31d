"""What the doctor says of a queue: who works on it, and what is stuck in it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import replace

from flowd import Queue, Reject
from flowd.model.keys import Keys
from flowd.ops import Finding
from jobs.email import Email
from tests.ops.test_doctor import doctor
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, expire
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"

# Of a server that has a queue; what the doctor must never ask for is not among them.
ASKED = {
    *("ACL", "CLIENT", "CONFIG", "EVAL", "INFO", "SMEMBERS", "TIME"),
    *("HGET", "HMGET", "XINFO", "XLEN", "XPENDING", "ZCARD", "ZRANGE", "EXISTS"),
    # In the script that cuts values off.
    *("EVALSHA", "XRANGE"),
}


async def set_up(url: str, stream: str, *, jobs: int = 0, delay: float = 0.0) -> None:
    """A queue without workers, with so many jobs."""
    async with Queue(
        Email, RecordingHandler(), url=url, policy=policy(stream)
    ) as queue:
        for _ in range(jobs):
            await queue.enqueue(email(), delay=delay)


async def findings(url: str, stream: str, lease: float = 30.0) -> list[Finding]:
    """What there is to say about the stream's queues, without their names."""
    found = [each for each in await doctor(url, lease=lease) if each.check == "queue"]
    assert all(each.text.startswith(f"{stream} (") for each in found)
    return [replace(each, text=each.text.partition("): ")[2]) for each in found]


async def test_queue_that_is_worked_on_is_well(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """All is well: one line, with what the queue holds and who works on it."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=30.0, concurrency=2) as queue:
        handle = queue.run()
        for _ in range(3):
            await queue.enqueue(email())
        await queue.enqueue(email(), delay=60.0)
        await wait_until(lambda: len(recorder.started) == 2)
        (found,) = await findings(redis_url, stream)
        await handle.shutdown(grace=0.0)

    assert (found.level, found.advice) == ("ok", "")
    assert found.text == "1 wait, 2 run, 1 are delayed; workers: 1"


async def test_an_empty_queue(redis_url: str, stream: str) -> None:
    """Without jobs no worker is needed."""
    await set_up(redis_url, stream)
    (found,) = await findings(redis_url, stream)

    assert found.level == "ok"
    assert found.text == "0 wait, 0 run, 0 are delayed; workers: 0"


async def test_missing_workers_are_a_finding(redis_url: str, stream: str) -> None:
    """Jobs that wait without a worker are wrong."""
    await set_up(redis_url, stream, jobs=2)
    (found,) = await findings(redis_url, stream)

    assert found.level == "wrong"
    assert found.text == "no worker reads what waits: 2 jobs"
    assert found.advice


async def test_the_worker_is_dead(redis_url: str, raw: Raw, stream: str) -> None:
    """A consumer that was silent for ten leases is no worker."""
    await set_up(redis_url, stream, jobs=2)
    read = ("XREADGROUP", "GROUP", GROUP, "owner", "COUNT", 1, "STREAMS", stream, ">")
    raw(*read)
    raw("XGROUP", "CREATECONSUMER", stream, GROUP, "once")
    (alive,) = await findings(redis_url, stream)
    dead, abandoned, note = await findings(redis_url, stream, lease=0.0001)

    assert alive.level == "ok"
    assert [each.level for each in (dead, abandoned, note)] == [
        "wrong",
        "wrong",
        "note",
    ]
    assert dead.text == "no worker reads what waits: 1 job"
    assert "own nothing and were silent for 0 s: 1;" in note.text


async def test_jobs_are_abandoned(redis_url: str, raw: Raw, stream: str) -> None:
    """Jobs whose worker died long ago are wrong: a worker should have claimed them."""
    await set_up(redis_url, stream, jobs=3)
    die_with(raw, stream, GROUP, jobs=2)
    raw("XREADGROUP", "GROUP", GROUP, "alive", "STREAMS", stream, ">")
    (found,) = await findings(redis_url, stream)

    assert found.level == "wrong"
    assert found.text.startswith("abandoned for up to 3,6")
    assert found.text.endswith(": 2 jobs")
    assert "Claimer" in found.advice
    (patient,) = await findings(redis_url, stream, lease=600.0)
    assert patient.level == "warn"
    assert patient.text.startswith("2 jobs of dead workers, to be taken over: ")


async def test_many_jobs_are_abandoned(redis_url: str, raw: Raw, stream: str) -> None:
    """Of very many, the first thousand are looked at, and the answer stays short."""
    await set_up(redis_url, stream)
    many = "for i = 1, 5000 do redis.call('XADD', KEYS[1], '*', 'f', 'v') end"
    raw("EVAL", many, 1, stream)
    die_with(raw, stream, GROUP, jobs=5000)
    expire(raw, stream, GROUP)
    raw("CONFIG", "RESETSTAT")
    (found,) = await findings(redis_url, stream)

    assert found.text.endswith(": 1,000 jobs or more")
    assert int(raw.info("total_net_output_bytes")) < 200_000
    lines = raw("INFO", "commandstats")
    assert isinstance(lines, bytes)
    names = [line.partition(":")[0] for line in lines.decode().splitlines()[1:]]
    asked = {name.removeprefix("cmdstat_").partition("|")[0].upper() for name in names}
    assert asked <= ASKED


async def test_overdue_delayed_jobs_are_a_finding(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Delayed jobs that are due and stay where they are are wrong."""
    await set_up(redis_url, stream, jobs=1, delay=60.0)
    (found,) = await findings(redis_url, stream)
    assert found.level == "ok"

    raw("ZADD", f"{{{stream}}}:delayed", (time.time() - 100) * 1000, "late")
    (found,) = await findings(redis_url, stream)
    assert found.level == "wrong"
    assert found.text.startswith("its first delayed job has been due for 1")
    assert found.advice == "start a worker: none promotes what is due"


async def test_a_second_group(redis_url: str, raw: Raw, stream: str) -> None:
    """It is named, because nothing can be settled until it is gone."""
    await set_up(redis_url, stream)
    raw("XGROUP", "CREATE", stream, "auditors", "0")
    (found,) = await findings(redis_url, stream)

    assert found.level == "wrong"
    assert found.text.startswith("group auditors reads it too")
    assert "XGROUP DESTROY" in found.advice


async def test_two_queues_of_one_stream_name_each_other(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Both are wrong: neither can settle."""
    await set_up(redis_url, stream, jobs=1)
    raw("XGROUP", "CREATE", stream, "auditors", "0")
    raw("SADD", "flowd:queues", f"{stream}\nauditors")
    found = [
        each
        for each in await findings(redis_url, stream)
        if "reads it too" in each.text
    ]
    assert {each.level for each in found} == {"wrong"}
    said = [each.text.partition(" reads it too")[0] for each in found]
    assert said == [f"group {GROUP}", "group auditors"]


async def test_a_queue_whose_jobs_another_one_has_is_noted(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """After a group was renamed, nothing is wrong; a foreign group is no queue."""
    await set_up(redis_url, stream, jobs=1)
    raw("XREADGROUP", "GROUP", GROUP, "alive", "STREAMS", stream, ">")
    raw("ZADD", f"{{{stream}}}:delayed", (time.time() + 100) * 1000, "later")
    raw("SADD", "flowd:queues", f"{stream}\nbe'fore")
    other, well = await findings(redis_url, stream)
    assert (other.level, well.level) == ("note", "ok")
    assert other.text == f"its group is not there, and the stream's jobs go to {GROUP}"
    command = other.advice.partition("to forget this one: ")[2]
    member = command.replace("redis-cli -x SREM flowd:queues", "cat")
    done = await asyncio.to_thread(
        subprocess.run, member, shell=True, capture_output=True, check=True
    )
    assert done.stdout == f"{stream}\nbe'fore".encode()

    raw("SREM", "flowd:queues", f"{stream}\n{GROUP}")
    texts = [each.text for each in await findings(redis_url, stream)]
    assert texts[0].startswith(f"group {GROUP} reads it too")
    assert texts[1].startswith("2 jobs wait, and there is no consumer group")


async def test_a_queue_without_a_worker_is_wrong(redis_url: str, stream: str) -> None:
    """A producer alone makes its queue known, and jobs that no worker came for wrong."""
    queue = Queue(Email, RecordingHandler(), url=redis_url, stream=stream)
    await queue.enqueue(email())
    await queue.enqueue(email(), delay=60.0)
    await queue.aclose()
    (found,) = await findings(redis_url, stream)
    assert found.level == "wrong"
    assert found.text.startswith("2 jobs wait, and there is no consumer group")


async def test_the_group_is_gone(redis_url: str, raw: Raw, stream: str) -> None:
    """Jobs without a group to read them are wrong; a queue that is gone with them is not."""
    await set_up(redis_url, stream, jobs=2)
    raw("XGROUP", "DESTROY", stream, GROUP)
    (found,) = await findings(redis_url, stream)
    assert found.level == "wrong"
    assert "no worker ever ran, or a client deleted it" in found.text

    raw("DEL", stream)
    (found,) = await findings(redis_url, stream)
    assert found.level == "ok"


async def test_a_key_of_another_type(redis_url: str, raw: Raw, stream: str) -> None:
    """A queue whose keys hold something else is wrong, and each is named."""
    await set_up(redis_url, stream)
    keys = Keys(stream, GROUP)
    for key in (keys.delayed, keys.bodies, keys.dead, keys.progress, stream):
        raw("DEL", key)
        raw("SET", key, "text")
    found = await findings(redis_url, stream)
    assert {each.level for each in found} == {"wrong"}
    assert [each.text for each in found] == [
        f"its key {key} holds what is not flowd's"
        for key in (stream, keys.delayed, keys.bodies, keys.dead, keys.progress)
    ]

    raw("DEL", stream, keys.bodies, keys.dead, keys.progress)
    (found_one,) = await findings(redis_url, stream)
    assert keys.delayed in found_one.text


async def test_dead_letters(redis_url: str, stream: str) -> None:
    """They are counted, with the command that shows them, safe to copy."""
    stream += " ; x"

    def reject(job: Email) -> None:
        raise Reject("no")

    async with Queue(Email, reject, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    (found,) = await findings(redis_url, stream)

    assert found.level == "warn"
    assert found.text == "1 dead letter"
    assert f"flowd dlq list --stream '{stream}' --group {GROUP}" in found.advice
