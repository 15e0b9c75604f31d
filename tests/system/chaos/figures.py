"""How long work stands still: after a crash, after a shutdown, after the server's end.

Each function takes one measurement, with workers and a stream of its own.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flowd.embedded import Server
from tests.support.raw import Raw
from tests.support.waiting import wait_until_blocking
from tests.system.chaos.worker_pool import WorkerPool

__all__ = ["handed_back", "restarted", "taken_over"]

_AWAY: Final = 1.0


def taken_over(server: Server, lease: float) -> float:
    """Seconds from a worker's SIGKILL to its job's start elsewhere, less a lease."""
    with _two(server, lease=lease) as (pool, stream):
        _enqueue(server, stream)
        wait_until_blocking(lambda: pool.notes("start"))
        began = time.time()
        _busy(pool).kill()
        wait_until_blocking(lambda: len(pool.notes("start")) == 2, within=30.0)
        return pool.notes("start")[1].at - began - lease


def handed_back(server: Server) -> float:
    """Seconds from a worker's SIGTERM, without grace, to its job's start elsewhere."""
    with _two(server, lease=60.0) as (pool, stream):
        _enqueue(server, stream)
        wait_until_blocking(lambda: pool.notes("start"))
        began = time.time()
        _busy(pool).terminate()
        wait_until_blocking(lambda: len(pool.notes("start")) == 2, within=30.0)
        return pool.notes("start")[1].at - began


def restarted(server: Server) -> float:
    """Seconds from the first answer of a server that was killed to the first start."""
    with _two(server, lease=60.0) as (pool, stream):
        _enqueue(server, stream)
        wait_until_blocking(lambda: pool.notes("start"))
        server.kill()
        killed = time.time()
        # By then the workers ask as seldom as they ever do.
        wait_until_blocking(lambda: time.time() > killed + _AWAY)
        server.start()
        answered = time.time()
        _enqueue(server, stream)
        wait_until_blocking(lambda: len(pool.notes("start")) == 2, within=30.0)
        return pool.notes("start")[1].at - answered


@contextmanager
def _two(server: Server, lease: float) -> Generator[tuple[WorkerPool, str], None, None]:
    """Two workers that look for abandoned jobs as seldom as they do by default."""
    stream = f"figures-{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory(prefix="flowd-figures-") as folder:
        path = Path(folder)
        with WorkerPool(
            server.url, stream, path, lease=lease, grace=0.0, interval=10.0
        ) as pool:
            pool.call()
            pool.hire()
            wait_until_blocking(lambda: all(map(pool.ready, pool.workers)))
            yield pool, stream


def _enqueue(server: Server, stream: str) -> None:
    with Raw(server.url) as raw:
        raw("XADD", stream, "*", "to", "a", "subject", "wait")


def _busy(pool: WorkerPool) -> subprocess.Popen[bytes]:
    (note,) = pool.notes("start")
    (worker,) = [each for each in pool.workers if each.pid == note.pid]
    return worker
