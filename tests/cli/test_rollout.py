"""A rolling deploy, both ways, with workers and producers of two releases in processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from flowd.model.keys import Keys
from flowd_codegen.cli import run
from tests.support.program import Program
from tests.support.raw import Raw
from tests.support.waiting import wait_until

_OLD: Final = """
[job.Order.fields]
item  = "str"
count = "u8"
"""
_NEW: Final = """
[job.Order]
version = 2

[job.Order.fields]
items = "list[str]"

[job.Order.v1.fields]
item  = "str"
count = "u8"
"""
_MIGRATIONS: Final = """
from .order import OrderV1, OrderV2


def order_v1_to_v2(old: OrderV1) -> OrderV2:
    return OrderV2(items=[old.item] * old.count)
"""
_WORKERS: Final = """
from flowd import Queue
from shop.order import Order


async def pack(order, ctx):
    with open("../packed.txt", "a") as file:
        file.write(f"{ctx.id} {ctx.attempt} {RELEASE} {order}\\n")


queue = Queue(Order, pack)
"""
_PRODUCE: Final = """
import asyncio
import sys
from flowd import Producer
from shop.order import Order


async def main():
    async with Producer() as producer:
        print(*await producer.enqueue_bulk([ORDER] * int(sys.argv[1])))


asyncio.run(main())
"""
_KEYS: Final = Keys("order", "workers")
_EACH: Final = 20


class Release:
    """What is deployed: generated classes, workers, and a program that enqueues."""

    def __init__(self, folder: Path, url: str, schema: str, order: str) -> None:
        self.name = folder.name
        self.program = Program(folder, url)
        (folder / "schemas").mkdir(parents=True)
        self.program.write("schemas/order.toml", schema)
        if "v1" in schema:
            (folder / "shop").mkdir()
            self.program.write("shop/order_migrations.py", _MIGRATIONS)
        assert run([str(folder / "schemas"), "-o", str(folder / "shop")]) == 0
        self.program.write("workers.py", _WORKERS.replace("{RELEASE}", folder.name))
        self.program.write("produce.py", _PRODUCE.replace("ORDER", order))

    def enqueue(self) -> list[str]:
        """Enqueue some orders; returns their ids."""
        done = subprocess.run(
            [sys.executable, "produce.py", str(_EACH)],
            cwd=self.program.folder,
            env=os.environ | {"FLOWD_URL": self.program.url},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.split()


async def test_old_and_new_releases_share_a_stream(
    tmp_path: Path, redis_url: str, raw: Raw
) -> None:
    """Every job runs once, as its first attempt, on a worker that knows its version."""
    old = Release(tmp_path / "old", redis_url, _OLD, 'Order(item="a", count=2)')
    new = Release(tmp_path / "new", redis_url, _NEW, 'Order(items=["b"])')
    packed = tmp_path / "packed.txt"
    packed.touch()

    def done() -> dict[str, list[str]]:
        lines = packed.read_text("utf-8").splitlines()
        return {line.partition(" ")[0]: line.split(" ", 3)[1:] for line in lines}

    start = ("run", "workers:queue")
    with old.program.start(*start) as first, old.program.start(*start) as second:
        # New producers come before new workers: their jobs are released, uncounted.
        early = new.enqueue()
        usual = old.enqueue()
        await wait_until(lambda: done().keys() >= {*usual})
        await wait_until(lambda: raw("ZCARD", _KEYS.delayed) == _EACH)
        assert done().keys() == {*usual}

        with new.program.start(*start) as third:
            # Old and new workers take from one stream what old and new producers send.
            early += new.enqueue()
            while not done().keys() >= {*early}:
                for job in early:
                    raw("ZADD", _KEYS.delayed, "XX", 0, job)
                await asyncio.sleep(0.02)
            mixed = old.enqueue()
            await wait_until(lambda: done().keys() >= {*mixed})

            # Old producers outlive old workers: what they send is migrated.
            for worker in (first, second):
                worker.signal(signal.SIGTERM)
                assert worker.end() == 0
            late = old.enqueue()
            await wait_until(lambda: done().keys() >= {*late})
            third.signal(signal.SIGTERM)
            assert third.end() == 0

    lines = packed.read_text("utf-8").splitlines()
    assert Counter(line.partition(" ")[0] for line in lines) == Counter(
        [*usual, *early, *mixed, *late]
    )
    ran = done()
    assert {attempt for attempt, *_ in ran.values()} == {"1"}
    assert {tuple(ran[job][1:]) for job in usual} == {
        ("old", "Order(item='a', count=2)")
    }
    assert {tuple(ran[job][1:]) for job in early} == {("new", "Order(items=['b'])")}
    assert {tuple(ran[job][1:]) for job in late} == {("new", "Order(items=['a', 'a'])")}
    assert {tuple(ran[job][1:]) for job in mixed} <= {
        ("old", "Order(item='a', count=2)"),
        ("new", "Order(items=['a', 'a'])"),
    }
    for keys in (("XLEN", "order"), ("ZCARD", _KEYS.delayed), ("XLEN", _KEYS.dead)):
        assert raw(*keys) == 0
    # Once for each worker; a stalled machine makes them warn of other things too.
    warned = [line for line in first.lines + second.lines if "releases jobs of" in line]
    assert len(warned) in (1, 2)
    assert "order releases jobs of version 2" in warned[0]
