"""`flowd jobs list` and `show`: the jobs that have not ended."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

from flowd.broker.server_time import server_time
from flowd.cli import enqueue, job_control
from flowd.cli.letters import print_letter, selection
from flowd.cli.options import Commands, add_command, count, id_advice
from flowd.cli.output import (
    Listing,
    field_texts,
    fields_as_json,
    object_of,
    print_details,
    print_error,
    print_json,
    span,
    summary,
)
from flowd.cli.progress import progress
from flowd.cli.table import Cell, Table
from flowd.cli.tables import progress_of
from flowd.cli.target import Target, add_target, open_target
from flowd.errors import LetterNotFound
from flowd.model.text import printable
from flowd.ops.jobs import JobView, find_job, list_jobs
from flowd.ops.limits import limits_of
from flowd.ops.queries import WHOLE
from flowd.ops.rows import State

__all__ = ["add"]

_STATES: Final[tuple[State, ...]] = ("running", "waiting", "delayed", "parked")
_LIMIT: Final = 50
_SCAN: Final = 10_000
_CUT: Final = 1_000
_SHORT: Final = 40
_STYLES: Final = {"running": "green", "retrying": "yellow", "newer version": "yellow"}
_TABLE: Final = Table(
    ("job", "state", "time", "attempt", "progress", "fields"),
    (),
    {"attempt"},
    drop=("attempt", "progress"),
    cut={"progress", "fields"},
)

_LIST: Final = """\
One line for each job that runs, waits or is delayed: its id, its attempt, how long it has
run or waited, or when it is due, and its fields. A done job is deleted from
Redis; dead jobs are listed by `flowd dlq`."""

_SHOW: Final = """\
All details of one job, by its id or the id of its entry. A retried job has an entry with
another id, so it is searched for, first among running and then among waiting jobs, then
among dead letters."""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "jobs",
        "list, show, enqueue, cancel and delete jobs",
        None,
        examples="  flowd jobs list\n  flowd jobs show 1795535506792-0\n"
        + enqueue.EXAMPLES,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = add_command(
        verbs,
        "list",
        "jobs that run, wait or are delayed",
        lambda options: asyncio.run(_list(options)),
        description=_LIST,
        examples="  flowd jobs list --state waiting\n"
        "  flowd jobs list --job jobs.email:Email --json | jq .fields.to",
    )
    add_target(listing)
    listing.add_argument("--state", choices=_STATES, help="only these")
    listing.add_argument(
        *("-n", "--limit"),
        metavar="N",
        type=count,
        default=_LIMIT,
        help=f"show at most so many (default: {_LIMIT}; 0: all)",
    )
    showing = add_command(
        verbs,
        "show",
        "all details of one job",
        lambda options: asyncio.run(_show(options)),
        description=_SHOW,
        examples="  flowd jobs show 1795535506792-0 --stream emails",
    )
    add_target(showing)
    showing.add_argument("id", metavar="ID")
    showing.add_argument(
        "--scan",
        metavar="N",
        type=count,
        default=_SCAN,
        help=f"search so many jobs at most (default: {_SCAN:,}; 0: all)",
    )
    enqueue.add(verbs)
    job_control.add(verbs)


async def _list(options: argparse.Namespace) -> int:
    states: Sequence[State] = [options.state] if options.state else _STATES
    shown, listing = 0, Listing(_TABLE)
    async with open_target(options) as target:
        async for job in _of_states(target, states, options):
            if options.limit and shown == options.limit:
                listing.close()
                text = f"… and more: --limit 0 shows all ({shown} shown)"
                print(text, file=sys.stderr)
                break
            if options.json:
                print_json(_as_json(job, target))
            else:
                listing.add(_row(job, target))
            shown += 1
        listing.close()
        if not shown:
            which = f"job is {options.state}" if options.state else "job is there"
            text = f"no {which} in {printable(target.name)}"
            print(text, file=sys.stderr)
    return 0


async def _of_states(
    target: Target, states: Sequence[State], options: argparse.Namespace
) -> AsyncIterator[JobView]:
    now = await server_time(target.queries.connection)
    most = WHOLE if options.json else _CUT
    limit = options.limit and options.limit + 1  # one more shows that there are others
    for state in states:
        async for job in list_jobs(target.queries, state, now, limit=limit, most=most):
            yield job


async def _show(options: argparse.Namespace) -> int:
    options.id.encode()  # bytes that are no UTF-8 are wrong usage, and no missing job
    async with open_target(options) as target:
        now = await server_time(target.queries.connection)
        sizes = await target.queries.sizes()
        with progress("searching", sizes.entries) as on_progress:
            job = await find_job(
                target.queries,
                options.id,
                now,
                scan=options.scan,
                on_progress=on_progress,
            )
        parked = job is not None and job.state == "parked"
        why = await _lacks(target, job) if job is not None and parked else ""
    if job is None:
        return await _show_letter(options, _not_found(options, target))
    if options.json:
        print_json(_as_json(job, target), indent=True)
        return 0
    rows = {
        "job": job.id,
        "state": job.why or job.state,
        "entry": job.entry_id,
        "enqueued": _utc(job.enqueued_at),
        "attempt": f"{job.attempt}",
        "last error": job.error,
        "deliveries": f"{job.deliveries}",
        "waits for" if job.state == "waiting" else "runs for": span(job.age),
        "due in": span(job.due_in),
        "expires": "" if job.expires_at is None else _utc(job.expires_at),
        "consumer": job.consumer,
        "silent": span(job.silent),
        "progress": progress_of(job),
    }
    if job.state == "parked":
        rows["waits for"] = why
    if target.job_class is not None:
        rows["decodes"] = target.decodes(job.fields)
    known = {name: text for name, text in rows.items() if text and text != "-"}
    print_details(known, field_texts(job.fields, target.hidden(job.fields)))
    return 0


async def _lacks(target: Target, job: JobView) -> str:
    """What a parked job waits for, and who has it."""
    said: list[str] = []
    limits = await limits_of(target.queries, job.fields.get(b"_gate", b""))
    for each in [each for each in limits if each.holds_up(job.id)]:
        text = f"{each.kind} {each.key}"
        if each.limit == 0:
            text += ", which is paused (flowd limit)"
        elif each.opens is not None:
            text += f" in {span(each.opens)}"
        else:
            text += f", {each.taken} of {each.limit} taken by {' '.join(each.holders)}"
        said.append(text)
    return "; ".join(said) or "its turn"


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


async def _show_letter(options: argparse.Namespace, not_found: str) -> int:
    """Show the dead letter of a job that is nowhere else."""
    async with selection(options) as request:
        try:
            letter = await request.find(options.id)
        except LetterNotFound:
            print_error(not_found)
            return 1
        print_letter(letter, request)
    return 0


def _not_found(options: argparse.Namespace, target: Target) -> str:
    text = f"no job {options.id} runs, waits or is delayed in {target.name}"
    if advice := id_advice(options.id):
        return text + advice
    if options.scan:
        text += f"; of those that failed before, at most {options.scan:,} were searched"
    return f"{text}. It is done, or was never there; it has no dead letter"


def _row(job: JobView, target: Target) -> list[str]:
    match job.state:
        case "running" | "waiting":
            when = f"for {span(job.age)}"
        case "delayed":
            when = f"due in {span(job.due_in)}"
        case "parked":
            when = "until it may start"
    state = job.why or job.state
    fields = summary(job.fields, target.hidden(job.fields))
    said = printable(progress_of(job), _SHORT)
    return [
        *(job.id, Cell(state, _STYLES.get(state, "")), when, f"{job.attempt}"),
        *(said, fields),
    ]


def _as_json(job: JobView, target: Target) -> dict[str, object]:
    shown = object_of(job, without=("fields",))
    return {**shown, **fields_as_json(job.fields, target.hidden(job.fields))}
