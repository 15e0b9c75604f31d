"""`make soak`: one worker at work for long; what it holds must not grow (I12).

Environment:
    SOAK_SECONDS: how long (default: 600).
    FLOWD_TEST_SERVER: as for the tests.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median_low
from typing import Final

from flowd import Queue
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.raw import Raw
from tests.support.servers import chosen
from tests.system.chaos.feeder import feed
from tests.system.chaos.plan import Wish
from tests.system.chaos.sampled import Sample

__all__ = ["grown"]

_SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "600"))
_ROOT: Final = Path(__file__).parents[3]
_STREAM: Final = "soak"

# Jobs per second, and what becomes of them.
_RATE: Final = 100
_SUBJECTS: Final = ("bad", "flaky", *["ok"] * 18)

# Seconds between two.
_CLIENT_KILLS: Final = 7.0
_RESTARTS: Final = 60.0

_PATIENCE: Final = 60.0
_MOST_GROWTH: Final = 0.1


def main() -> int:
    """Soak, judge and print; returns 1 if anything grew or the worker did not end well."""
    candidate = chosen()
    program = candidate.find()
    if program is None:
        print(f"{candidate.name}: {candidate.missing}")
        return 2
    print(f"server: {program}, {_SECONDS:.0f} s", flush=True)
    with Server("--appendonly", "yes", binary=program) as server:
        samples, enqueued, wrong = asyncio.run(_soak(server))
    samples = samples[len(samples) // 6 :]  # until then it grows into its work
    if len(samples) >= 3:
        print(f"{samples[-1].jobs} runs of {enqueued} jobs, {len(samples)} samples")
        for name in Sample._fields[:-1]:
            values = [int(getattr(sample, name)) for sample in samples]
            print(f"{name:12} first {values[0]}, last {values[-1]}, most {max(values)}")
        wrong += grown(samples)
    print("\n".join(wrong) or "nothing grew")
    return 1 if wrong else 0


def grown(samples: Sequence[Sample]) -> list[str]:
    """What grew from the first third of the samples to the last, by their medians."""
    third = len(samples) // 3
    found: list[str] = []
    for name in Sample._fields[:-1]:
        before, after = (
            median_low([int(getattr(sample, name)) for sample in part])
            for part in (samples[:third], samples[-third:])
        )
        growth = _MOST_GROWTH * before if name == "kilobytes" else 1
        if after >= before + growth:
            found.append(f"{name} grew from {before} to {after}")
    return found


async def _soak(server: Server) -> tuple[list[Sample], int, list[str]]:
    """The samples, how many jobs were enqueued, and what else is wrong."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "tests.system.chaos.sampled"),
        *(server.url, _STREAM),
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    number = int(_SECONDS * _RATE)
    wishes = [
        Wish(str(each), _SUBJECTS[each % len(_SUBJECTS)]) for each in range(number)
    ]
    sampling = asyncio.create_task(_collect(worker.stdout))
    feeding = asyncio.create_task(feed(server.url, _STREAM, wishes, _SECONDS))
    hurting = asyncio.create_task(_hurt(server))
    await asyncio.wait([sampling, feeding], return_when=asyncio.FIRST_COMPLETED)
    hurting.cancel()
    wrong: list[str] = []
    if sampling.done():
        feeding.cancel()
    else:
        wrong += await _drain(server)
        worker.terminate()
    samples = await sampling
    if code := await worker.wait():
        wrong.append(f"the worker ended with {code}")
    return samples, number, wrong


async def _collect(lines: asyncio.StreamReader) -> list[Sample]:
    return [Sample.parse(line.decode()) async for line in lines]


async def _hurt(server: Server) -> None:
    """Close all connections now and then, and restart the server every minute."""
    restart_at = time.monotonic() + _RESTARTS / 2
    while True:
        await asyncio.sleep(_CLIENT_KILLS)
        with Raw(server.url) as raw:
            raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        if time.monotonic() >= restart_at:
            restart_at += _RESTARTS
            server.restart()


async def _drain(server: Server) -> list[str]:
    rules = policy(_STREAM)
    async with Queue(Email, RecordingHandler(), url=server.url, policy=rules) as queue:
        try:
            await asyncio.wait_for(queue.drain(), _PATIENCE)
        except TimeoutError:
            return [f"not all jobs are done {_PATIENCE:.0f} s after the last"]
    return []


if __name__ == "__main__":
    sys.exit(main())
