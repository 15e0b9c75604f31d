"""`flowd jobs cancel`, `delete` and `run-now`, and `flowd queue clear`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from flowd.broker.server_time import server_time
from flowd.cli.confirm import check_terminal, confirm
from flowd.cli.load import UsageError
from flowd.cli.options import (
    Commands,
    OptionGroup,
    add_ages,
    add_command,
    add_fields,
    ago,
    count,
    id_advice,
    rate,
    wrong,
)
from flowd.cli.output import print_error, print_json
from flowd.cli.target import Target, add_target, open_target
from flowd.errors import ServerError
from flowd.model.delivery import is_entry_id
from flowd.model.text import count_of, printable
from flowd.ops.control import JobFilter, due_now, end_jobs, for_each_job
from flowd.ops.jobs import JobView, find_job
from flowd.ops.rows import State

__all__ = ["add", "add_queue"]

_SCAN: Final = 10_000

_CANCEL: Final = """\
Cancel jobs by their ids, or with --all those that match. What waits, is delayed or parked is gone
at once, and frees its idempotency key. A running job is cancelled by its worker, at once or at the
latest within a quarter of its lease; it is settled as cancelled."""

_DELETE: Final = """\
Delete jobs that wait, are delayed or parked, by their ids, or with --all those that match. Running
jobs are left alone: cancel them. It cannot be undone."""

_RUN_NOW: Final = """\
Let delayed jobs be due at once: those that wait for their time, or for a retry."""

_CLEAR: Final = """\
Delete all jobs of a queue that wait, are delayed or parked. Running jobs and dead letters stay. It
cannot be undone."""


def add(verbs: Commands) -> None:
    """Add the verbs of `flowd jobs`."""
    for name, text, about in (
        ("cancel", "cancel jobs, running ones too", _CANCEL),
        ("delete", "delete jobs that wait or are delayed", _DELETE),
    ):
        parser = add_command(
            verbs,
            name,
            text,
            partial(_run, name),
            description=about,
            examples=f"  flowd jobs {name} 1795535506792-0\n"
            f"  flowd jobs {name} --all --field customer=7 --dry-run",
        )
        parser.add_argument("ids", metavar="ID", nargs="*", help="of jobs")
        parser.add_argument("--all", action="store_true", help="those that match")
        _add_filter(parser, running=name == "cancel")
        _add_caution(parser)
        add_target(parser)
    parser = add_command(
        verbs,
        "run-now",
        "let delayed jobs be due at once",
        lambda options: asyncio.run(_run_now(options)),
        description=_RUN_NOW,
        examples="  flowd jobs run-now 8f14e45fceea467a9d4b3a1a4b7c1f2d",
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help="of delayed jobs")
    add_target(parser, fields=False)


def add_queue(commands: Commands) -> None:
    """Add `flowd queue clear`."""
    queue = add_command(commands, "queue", "clear a queue", None)
    verbs = queue.add_subparsers(metavar="VERB", required=True)
    parser = add_command(
        verbs,
        "clear",
        "delete all jobs that wait or are delayed",
        partial(_run, "clear"),
        description=_CLEAR,
        examples="  flowd queue clear --stream emails --dry-run",
    )
    parser.set_defaults(
        ids=[],
        all=True,
        state=None,
        error="",
        older=None,
        newer=None,
        field=[],
        limit=0,
        after=None,
    )
    _add_pace(parser)
    _add_caution(parser)
    add_target(parser)


def _add_filter(parser: argparse.ArgumentParser, *, running: bool) -> None:
    chosen = parser.add_argument_group("which jobs, with --all")
    states = ["waiting", "delayed", "parked", *(["running"] if running else [])]
    chosen.add_argument("--state", choices=states, help="only these")
    chosen.add_argument(
        "--error", metavar="TEXT", default="", help="TEXT is in its last failure"
    )
    add_ages(chosen, "enqueued {} ago than AGE")
    add_fields(chosen)
    chosen.add_argument(
        *("-n", "--limit"), metavar="N", type=count, default=0, help="so many at most"
    )
    _add_pace(chosen)
    chosen.add_argument(
        "--from",
        dest="after",
        metavar="ID",
        type=_entry_id,
        help="go on behind this entry; with --state "
        + ("waiting or running" if running else "waiting"),
    )


def _add_pace(parser: OptionGroup) -> None:
    parser.add_argument(
        "--rate", metavar="N/s", type=rate, help="at most N jobs per second"
    )


def _entry_id(text: str) -> str:
    if not is_entry_id(text):
        raise wrong(text, "entry id", "1795535506792-0")
    return text


def _add_caution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="list them, change nothing"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


class _Work:
    """One run of a command: what it does with each page, and what became of the jobs."""

    def __init__(self, verb: str, target: Target, options: argparse.Namespace) -> None:
        self._queries = target.queries
        self._running = verb == "cancel"
        self._dry, self._quiet = options.dry_run, options.json
        self.last = ""
        """The last entry that was handled; empty if it was delayed or parked."""

        self.found: Counter[str] = Counter()
        self.refused: list[tuple[str, ServerError]] = []

    async def step(self, jobs: Sequence[JobView]) -> int:
        """End up to 100 jobs; returns how many are gone."""
        if self._dry:
            for job in jobs:
                self.found[job.state] += 1
                if not self._quiet:
                    print(f"{printable(job.id):<18} {job.state}")
            return 0
        gone, self.last = 0, jobs[-1].entry_id or ""
        for job, found in await end_jobs(self._queries, jobs, running=self._running):
            if isinstance(found, ServerError):
                self.refused.append((job.id, found))
                continue
            self.found[found or "gone"] += 1
            gone += found in ("waiting", "delayed")
        return gone


def _run(verb: str, options: argparse.Namespace) -> int:
    if bool(options.ids) == options.all:
        raise UsageError("give either the IDs of jobs, or --all")
    if options.after and options.state not in ("waiting", "running"):
        raise UsageError(
            "--from ID takes --state waiting or running: no others are in an order of ids"
        )
    return asyncio.run(_end(verb, options))


async def _end(verb: str, options: argparse.Namespace) -> int:
    missing = 0
    async with open_target(options) as target:
        now = await server_time(target.queries.connection)
        if not (options.yes or options.dry_run) and (options.all or verb == "delete"):
            await _confirm(verb, target, options)
        work = _Work(verb, target, options)
        try:
            for job_id in options.ids:
                job = await find_job(target.queries, job_id, now, scan=_SCAN)
                if job is None:
                    missing += 1
                    why = _why_missing(job_id)
                    print_error(f"no job {job_id} waits, runs or is delayed{why}")
                else:
                    await work.step([job])
            if options.all:
                await for_each_job(
                    *(target.queries, _filter(verb, options, now), now, work.step),
                    limit=options.limit,
                    rate=options.rate,
                    after=options.after or "",
                )
        except BaseException:
            if work.last and not options.ids:
                print_error(f"broke off behind entry {work.last}")
            raise
        finally:
            # Also after Ctrl-C: the operator has to know how far it got.
            _report(verb, work, options)
    for job_id, error in work.refused:
        print(f"job {printable(job_id)}: {printable(str(error))}", file=sys.stderr)
    return 3 if work.refused else 1 if missing else 0


def _why_missing(job_id: str) -> str:
    return id_advice(job_id) or ": it has ended, or never was here"


def _filter(verb: str, options: argparse.Namespace, now: float) -> JobFilter:
    states: tuple[State, ...] = ("delayed", "parked", "waiting")
    if verb == "cancel":
        # What is taken while this goes on is met among those that run.
        states = (*states, "running")
    return JobFilter(
        states=(options.state,) if options.state else states,
        text=options.error,
        fields={name.encode(): text.encode() for name, text in options.field},
        since=ago(now, options.newer),
        until=ago(now, options.older),
    )


def _report(verb: str, work: _Work, options: argparse.Namespace) -> None:
    if options.json:
        print_json({**work.found})
        return
    done = {"cancel": "cancelled", "delete": "deleted", "clear": "deleted"}[verb]
    would = "would be " if options.dry_run else ""
    ended = sum(work.found[each] for each in ("waiting", "delayed", "parked"))
    print(f"{count_of(ended, 'job')} {would}{done}")
    if running := work.found["running"]:
        what = "cancelled" if verb == "cancel" else "left alone"
        now = "being " if verb == "cancel" else ""
        be = would or ("is " if running == 1 else "are ") + now
        print(f"{count_of(running, 'running job')} {be}{what}")
    if gone := work.found["gone"]:
        print(f"{count_of(gone, 'job')} had ended or moved meanwhile")


async def _confirm(verb: str, target: Target, options: argparse.Namespace) -> None:
    check_terminal("cancelling jobs" if verb == "cancel" else "deleting jobs")
    sizes = await target.queries.sizes()
    parked = f", {sizes.parked:,} are parked" if sizes.parked else ""
    which = (
        count_of(len(options.ids), "job")
        if options.ids
        else f"jobs of {printable(target.name)}, where {sizes.waiting:,} wait and"
        f" {sizes.delayed:,} are delayed{parked}"
    )
    word = "Cancel" if verb == "cancel" else "Delete"
    await confirm(f"{word} {which}?", "nothing was changed")


async def _run_now(options: argparse.Namespace) -> int:
    done: list[str] = []
    async with open_target(options) as target:
        now = await server_time(target.queries.connection)
        for job_id in options.ids:
            if await due_now(target.queries, job_id, now):
                done.append(job_id)
                continue
            job = await find_job(target.queries, job_id, now, scan=_SCAN)
            state = (
                f"is not delayed{_why_missing(job_id)}"
                if job is None
                else f"is {job.state}, and not delayed"
            )
            if job is not None and job.state == "parked":
                state += ": `flowd jobs show` says what it waits for"
            print_error(f"job {job_id} {state}")
    if options.json:
        print_json({"due": done})
    elif done:
        print(
            f"{count_of(len(done), 'job')} {'is' if len(done) == 1 else 'are'} due now"
        )
    return 0 if len(done) == len(options.ids) else 1
