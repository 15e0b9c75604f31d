"""Classes as `flowd-gen` writes them of a schema with policies, in a running queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowd import Context, Duplicate, Queue
from flowd.model.keys import Keys
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read
from tests.codegen.compat.classes import classes
from tests.support.gated import leftovers
from tests.support.raw import Raw
from tests.support.waiting import wait_until

POLICIES = {
    "Once": 'unique = ["key"]',
    "Last": 'unique = { fields = ["key"], again = "last" }',
    "Few": 'concurrency = { per = ["key"], limit = 2 }',
    "Ordered": 'concurrency = { per = ["key"], limit = 1, ordered = true }',
    "Hourly": 'rate = { per = ["key"], limit = 1, every = "1h" }',
    "Fair": 'fair = ["key"]',
    "Quiet": 'debounce = { fields = ["key"], wait = "100ms" }',
    "Urgent": 'priority = { field = "level", order = ["high", "low"] }',
    "Both": 'unique = ["number"]\nconcurrency = { per = ["key"], limit = 1 }',
}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The generated classes by name."""
    folder: Path = tmp_path_factory.mktemp("schemas")
    (folder / "jobs.toml").write_text(
        "".join(
            f"[job.{name}.fields]\nkey = 'str'\nnumber = 'u32'\n"
            "level = { one_of = ['high', 'low'] }\n"
            f"[job.{name}.queue]\n{policy}\n"
            for name, policy in POLICIES.items()
        )
    )
    with classes(parse(read(folder))) as names:
        yield names


class Shop:
    """A queue of one generated class, and what it ran."""

    def __init__(self, job: Any, url: str, stream: str, slots: int = 1) -> None:
        self.job = job
        self.ran: list[tuple[str, int]] = []
        self.running: dict[str, int] = {}
        self.most = 0
        self.open = asyncio.Event()
        self.queue: Queue[Any] = Queue(
            job, self.work, url=url, stream=stream, concurrency=slots
        )

    async def work(self, job: Any, ctx: Context) -> None:
        """Record the job, and how many of its key run."""
        self.running[job.key] = self.running.get(job.key, 0) + 1
        self.most = max(self.most, self.running[job.key])
        try:
            await self.open.wait()
            if (job.key, job.number, ctx.attempt) == ("again", 0, 1):
                raise ValueError("again")
            await asyncio.sleep(0)
            self.ran.append((job.key, job.number))
        finally:
            self.running[job.key] -= 1

    async def enqueue(self, key: str, *numbers: int, level: str = "low") -> list[str]:
        """Jobs of one key, one after the other; returns their ids."""
        return [
            await self.queue.enqueue(self.job(key=key, number=number, level=level))
            for number in numbers
        ]

    async def finish(self) -> None:
        """Let all that is queued end."""
        self.open.set()
        await self.queue.drain()


@pytest.mark.parametrize(("name", "last"), [("Once", 1), ("Last", 3)])
async def test_unique_of_a_schema(
    jobs: dict[str, Any], name: str, last: int, redis_url: str, raw: Raw, stream: str
) -> None:
    """While one is queued or runs others are not stored, or the last one runs afterwards."""
    shop = Shop(jobs[name], redis_url, stream)
    async with shop.queue:
        shop.queue.run()
        (first,) = await shop.enqueue("a", 1)
        await wait_until(lambda: shop.running)
        second, third = await shop.enqueue("a", 2, 3)
        if name == "Once":
            assert (second, third) == (first, first)
        assert isinstance(third, Duplicate)
        await shop.finish()
    assert shop.ran == ([("a", 1)] if last == 1 else [("a", 1), ("a", last)])
    assert leftovers(raw, stream) == []


@pytest.mark.parametrize(("name", "limit"), [("Few", 2), ("Ordered", 1), ("Both", 1)])
async def test_limits_of_a_schema(
    jobs: dict[str, Any], name: str, limit: int, redis_url: str, raw: Raw, stream: str
) -> None:
    """No key has more at once; ordered ones keep their order over a retry."""
    shop = Shop(jobs[name], redis_url, stream, slots=10)
    async with shop.queue:
        shop.queue.run()
        await shop.enqueue("again", *range(6))
        await shop.enqueue("b", *range(6, 10))
        await wait_until(lambda: sum(shop.running.values()) == 2 * limit)
        await shop.finish()
    assert shop.most == limit
    assert sorted(shop.ran) == [
        *(("again", number) for number in range(6)),
        *(("b", number) for number in range(6, 10)),
    ]
    if name == "Ordered":
        assert [number for key, number in shop.ran if key == "again"] == [*range(6)]
    assert leftovers(raw, stream) == []


async def test_rate_of_a_schema(
    jobs: dict[str, Any], redis_url: str, raw: Raw, stream: str
) -> None:
    """One of each key starts in an hour; the others are parked."""
    shop = Shop(jobs["Hourly"], redis_url, stream, slots=5)
    shop.open.set()
    async with shop.queue:
        shop.queue.run()
        await shop.enqueue("a", 1, 2, 3)
        await shop.enqueue("b", 4)
        await wait_until(lambda: len(shop.ran) == 2)
        assert raw("ZCARD", Keys(stream, "workers").gate[1]) == 2
    assert sorted(shop.ran) == [("a", 1), ("b", 4)]


async def test_fairness_of_a_schema(
    jobs: dict[str, Any], redis_url: str, raw: Raw, stream: str
) -> None:
    """A tenant with many jobs does not delay another's two."""
    shop = Shop(jobs["Fair"], redis_url, stream)
    async with shop.queue:
        await shop.enqueue("many", *range(20))
        await shop.enqueue("few", 20, 21)
        shop.queue.run()
        await shop.finish()
    assert len(shop.ran) == 22
    assert {("few", 20), ("few", 21)} < {*shop.ran[:5]}
    assert leftovers(raw, stream) == []


async def test_debounce_of_a_schema(
    jobs: dict[str, Any], redis_url: str, raw: Raw, stream: str
) -> None:
    """One run for many in a row, with the data of the last."""
    shop = Shop(jobs["Quiet"], redis_url, stream)
    async with shop.queue:
        await shop.enqueue("a", 1, 2, 3)
        shop.queue.run()
        await shop.finish()
    assert shop.ran[-1] == ("a", 3)
    assert len(shop.ran) < 3
    assert leftovers(raw, stream) == []


async def test_priority_of_a_schema(
    jobs: dict[str, Any], redis_url: str, raw: Raw, stream: str
) -> None:
    """A higher level goes first, by the field that the schema names."""
    shop = Shop(jobs["Urgent"], redis_url, stream)
    async with shop.queue:
        await shop.enqueue("slow", *range(6))
        await shop.enqueue("soon", 6, 7, level="high")
        shop.queue.run()
        await shop.finish()
    assert shop.ran[:2] == [("soon", 6), ("soon", 7)]
    assert leftovers(raw, stream) == []
