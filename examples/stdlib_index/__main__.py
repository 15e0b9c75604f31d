"""The demo: index the standard library with two workers, and kill one of them."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from examples.stdlib_index import files, results
from examples.stdlib_index.progress import Progress
from examples.stdlib_index.report import Summary, report
from flowd import DeadLetters, Letter, Queue
from jobs.stdlib_index import IndexFile

BUILD = Path("build/stdlib_index")
KILL_AT = 0.3


def main() -> int:
    """Run the demo; 0 if every job is accounted for."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--url", help="a Redis to use instead of an embedded server")
    parser.add_argument("--files", type=int, help="how many to index; by default all")
    options = parser.parse_args()
    # The folder is the demo's own; what an earlier run left there would be counted.
    shutil.rmtree(BUILD, ignore_errors=True)
    (BUILD / "results").mkdir(parents=True)
    url = options.url or f"embedded:{BUILD / 'server'}"
    try:
        summary = asyncio.run(demo(url, options.files))
    except KeyboardInterrupt:
        return 130
    report(summary, url)
    return 0 if summary.complete else 1


async def demo(url: str, most: int | None) -> Summary:
    """Enqueue, run, kill, wait."""
    library = islice(files.library(), most)
    jobs = [files.job_for(path, ["stdlib"]) for path in library]
    jobs += [files.job_for(p, ["broken"]) for p in files.broken(BUILD / "broken")]
    # This process only enqueues and waits; the workers are processes of their own.
    queue = Queue(IndexFile, _not_here, url=url)
    async with queue, DeadLetters(IndexFile, url) as dead_letters:
        started = time.monotonic()
        ids = frozenset(await queue.enqueue_bulk(jobs))
        print(f"enqueued {len(jobs)} files; two workers start")
        with worker(url) as first, worker(url):
            drained = asyncio.ensure_future(queue.drain())
            killed_at = await watch(drained, first, len(jobs))
            await drained
        return Summary(
            enqueued=ids,
            # A server that is not the demo's own may hold jobs of an earlier run.
            results=[r for r in results.read(BUILD / "results") if r.job_id in ids],
            letters=[each async for each in dead_letters.list(_of(ids))],
            killed=first.pid,
            killed_at=killed_at,
            seconds=time.monotonic() - started,
        )


def _of(ids: frozenset[str]) -> Callable[[Letter[IndexFile]], bool]:
    return lambda letter: letter.job_id in ids


async def _not_here(job: IndexFile) -> None:
    raise AssertionError(f"{job.path} ran in the demo's own process")


@contextmanager
def worker(url: str) -> Generator[subprocess.Popen[bytes]]:
    """A worker process, as systemd or Kubernetes would start it."""
    environment = os.environ | {
        "FLOWD_URL": url,
        "STDLIB_INDEX_RESULTS": str(BUILD / "results"),
    }
    with (BUILD / "workers.log").open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "flowd",
                "run",
                "examples.stdlib_index.workers:queues",
            ],
            env=environment,
            stderr=log,
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()


async def watch(
    drained: asyncio.Future[None], victim: subprocess.Popen[bytes], total: int
) -> float:
    """Show progress, and kill a worker in the middle of its work; returns when."""
    progress, killed_at = Progress(total), 0.0
    while not drained.done():
        done = results.count(BUILD / "results")
        progress.show(done)
        if done >= total * KILL_AT and not killed_at:
            victim.kill()
            killed_at = time.time()
            progress.note(f"worker {victim.pid} is killed (SIGKILL) at {done} files")
        await asyncio.wait([drained], timeout=0.1)
    progress.end()
    return killed_at


if __name__ == "__main__":
    sys.exit(main())
