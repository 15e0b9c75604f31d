"""The demo: index the standard library with two workers, and kill one of them."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.stdlib_index import files, results
from examples.stdlib_index.progress import Progress
from flowd import DeadLetters, Letter, Queue
from jobs.stdlib_index import IndexFile

BUILD = Path("build/stdlib_index")
KILL_AT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of the jobs."""

    enqueued: frozenset[str]
    results: list[results.Result]
    letters: list[Letter[IndexFile]]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every job is done or dead-lettered, and none is both."""
        done = frozenset(result.job_id for result in self.results)
        dead = frozenset(letter.job_id for letter in self.letters)
        return done | dead == self.enqueued and not done & dead

    @property
    def retries(self) -> int:
        """Attempts that followed a failed one."""
        tries = [result.attempt for result in self.results]
        tries += [letter.attempts for letter in self.letters]
        return sum(tries) - len(tries)


def main() -> int:
    """Run the demo; 0 if every job is accounted for."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--url", help="a Redis to use instead of an embedded server")
    url: str | None = parser.parse_args().url
    # The folder is the demo's own; what an earlier run left there would be counted.
    shutil.rmtree(BUILD, ignore_errors=True)
    (BUILD / "results").mkdir(parents=True)
    url = url or f"embedded:{BUILD / 'server'}"
    try:
        summary = asyncio.run(demo(url))
    except KeyboardInterrupt:
        return 130
    report(summary, url)
    return 0 if summary.complete else 1


async def demo(url: str) -> Summary:
    """Enqueue, run, kill, wait."""
    jobs = [files.job_for(path, ["stdlib"]) for path in files.library()]
    jobs += [files.job_for(p, ["broken"]) for p in files.broken(BUILD / "broken")]
    # This process only enqueues and waits; the workers are processes of their own.
    queue = Queue(IndexFile, _not_here, url=url)
    async with queue, DeadLetters(IndexFile, url) as dead_letters:
        started = time.monotonic()
        ids = frozenset(await queue.enqueue_bulk(jobs))
        print(f"enqueued {len(jobs)} files; two workers start")
        with worker(url) as first, worker(url):
            drained = asyncio.ensure_future(queue.drain())
            await watch(drained, first, len(jobs))
            await drained
        return Summary(
            enqueued=ids,
            # A server that is not the demo's own may hold jobs of an earlier run.
            results=[r for r in results.read(BUILD / "results") if r.job_id in ids],
            letters=[each async for each in dead_letters.list(_of(ids))],
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
) -> None:
    """Show progress, and kill a worker in the middle of its work."""
    progress = Progress(total)
    while not drained.done():
        done = results.count(BUILD / "results")
        progress.show(done)
        if done >= total * KILL_AT and victim.poll() is None:
            victim.kill()
            progress.note(f"worker {victim.pid} is killed (SIGKILL) at {done} files")
        await asyncio.wait([drained], timeout=0.1)
    progress.end()


def report(summary: Summary, url: str) -> None:
    """Print the table, the first dead letters, and how to redrive them."""
    done, dead = len(summary.results), len(summary.letters)
    taken_over = sum(result.taken_over for result in summary.results)
    verdict = "=" if summary.complete else "IS NOT"
    rows = [
        ("enqueued", f"{len(summary.enqueued)}"),
        (f"  {verdict} done", f"{done}"),
        ("  + dead-lettered", f"{dead}"),
        ("retries", f"{summary.retries}"),
        ("taken over from the killed worker", f"{taken_over}"),
        ("lines of Python", f"{sum(result.lines for result in summary.results):,}"),
        ("seconds", f"{summary.seconds:.1f}"),
        ("jobs per second", f"{len(summary.enqueued) / summary.seconds:.0f}"),
    ]
    print()
    for name, value in rows:
        print(f"{name:<34} {value:>10}")
    print("\nThe first dead letters:")
    for letter in summary.letters[:5]:
        print(f"  {letter.id}  {letter.error}")
    print("\nOnce the files are fixed, this redrives their jobs:")
    flowd = Path(sys.executable).with_name("flowd")
    place = shlex.join(["--url", url, "--stream", "stdlib-index"])
    print(f"  {shlex.quote(os.path.relpath(flowd))} dlq redrive --all {place}")


if __name__ == "__main__":
    sys.exit(main())
