"""What the demo prints at its end: who ran what, who claimed what, and what to try next."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from examples.stdlib_index.results import Result
from flowd import Letter
from jobs.stdlib_index import IndexFile

SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of the jobs."""

    enqueued: frozenset[str]
    results: list[Result]
    letters: list[Letter[IndexFile]]
    killed: int
    """The process id of the worker that was killed; 0: none was."""

    killed_at: float
    """When, in seconds since 1970."""

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


def report(summary: Summary, url: str) -> None:
    """Print the outcome, the workers, the first dead letters, and what to try next."""
    _print_outcome(summary)
    _print_workers(summary)
    print("\nThe first dead letters:")
    for letter in summary.letters[:SHOWN]:
        print(f"  {Path(letter.fields[b'path'].decode()).name:<24} {letter.error[:60]}")
    _print_next(url)


def _print_outcome(summary: Summary) -> None:
    jobs, done, dead = map(len, (summary.enqueued, summary.results, summary.letters))
    lines = sum(result.lines for result in summary.results)
    verdict = "No job is lost" if summary.complete else "JOBS ARE MISSING"
    print(
        f"\n{verdict}: {jobs} enqueued = {done} done + {dead} dead-lettered,"
        f" after {summary.retries} retries.\n"
        f"{lines:,} lines in {summary.seconds:.0f} s:"
        f" {jobs / summary.seconds:.0f} files/s. Parsing is CPU-bound; it sets this rate."
    )


def _print_workers(summary: Summary) -> None:
    print()
    ran = Counter(result.worker for result in summary.results)
    ran.setdefault(summary.killed, 0)
    claimed = sorted(
        (result for result in summary.results if result.taken_over),
        key=lambda result: result.began,
    )
    for worker, files in sorted(ran.items()):
        fate = (
            f"killed (SIGKILL) while it held {len(claimed)} jobs"
            if worker == summary.killed
            else f"claimed {sum(each.worker == worker for each in claimed)} of its jobs"
        )
        print(f"worker {worker}  {files:>5} files  {fate}")
    for result in claimed[:SHOWN]:
        after = result.began - summary.killed_at
        name = "/".join(Path(result.path).parts[-2:])
        print(f"  {name:<40} by {result.worker}, {after:.1f} s after the kill")


def _print_next(url: str) -> None:
    flowd = Path(sys.executable).with_name("flowd")
    command = shlex.quote(os.path.relpath(flowd))
    server = f"--url {shlex.quote(url)}"
    print(f"\n$ flowd stats {server}", flush=True)
    subprocess.run([flowd, "stats", "--url", url], check=False)
    print(
        "\nThe queue is still there. Look at a dead letter, and run all of them again:"
    )
    print(f"  {command} dlq list {server} --stream stdlib-index --limit 1 --json")
    print(f"  {command} dlq redrive --all {server} --stream stdlib-index")
