"""`flowd dlq`: list, show, redrive and purge dead letters."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowd.address import Address
from flowd.cli.load import UsageError, load_job_class
from flowd.cli.options import Commands, add_app_dir, add_server
from flowd.deadletter import DeadLetters
from flowd.display import printable
from flowd.job import Job, JobSpec
from flowd.letter import Letter
from flowd.secret import shown_fields
from flowd.session import Session
from flowd.stream import registered

__all__ = ["add"]

_LIMIT: Final = 50
_SHORT: Final = 120
_ALL: Final = 1_000_000

_DESCRIPTION: Final = """\
Jobs that were given up, kept with their bytes and the reason.

The queue is named by --job, the generated class, or by --stream. The class says which
fields are secret: they are hidden. Of a field that no class names the size is shown,
unless you ask for all of them with --raw."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What a verb works on."""

    letters: DeadLetters[Job]
    spec: JobSpec | None
    options: argparse.Namespace


Action: TypeAlias = Callable[[_Request], Awaitable[int]]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "dlq",
        help="list, show, redrive and purge dead letters",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = _verb(verbs, "list", "one line for each letter, oldest first", _list)
    listing.add_argument(
        *("-n", "--limit"),
        type=int,
        default=_LIMIT,
        help=f"how many at most (default: {_LIMIT}; 0: all)",
    )
    _add_where(listing)
    _add_raw(listing)
    showing = _verb(verbs, "show", "everything about one letter", _show)
    showing.add_argument("id", metavar="ID")
    _add_raw(showing)
    redriving = _verb(verbs, "redrive", "put jobs back into their stream", _redrive)
    _add_choice(redriving)
    purging = _verb(verbs, "purge", "delete letters for good", _purge)
    _add_choice(purging)
    purging.add_argument("--yes", action="store_true", help="do not ask")


def _verb(
    verbs: Commands, name: str, text: str, action: Action
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=text,
        description=f"{text.capitalize()}.",
        formatter_class=argparse.HelpFormatter,
    )
    queue = parser.add_mutually_exclusive_group(required=True)
    queue.add_argument("--stream", help="the queue's stream")
    queue.add_argument("--job", metavar="MODULE:CLASS", help="the queue's job class")
    parser.add_argument("--group", help="the stream's group (default: the one it has)")
    add_app_dir(parser)
    add_server(parser)

    def command(options: argparse.Namespace) -> int:
        return asyncio.run(_with_letters(options, action))

    parser.set_defaults(command=command)
    return parser


def _add_raw(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw",
        action="store_true",
        help="show the values of fields that no class names; any may be a secret",
    )


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--where", metavar="TEXT", help="only letters whose reason or error has TEXT"
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="*")
    parser.add_argument("--all", action="store_true", help="all letters")
    _add_where(parser)


async def _with_letters(options: argparse.Namespace, action: Action) -> int:
    """Carry out a verb on the dead letters of the queue that the options name."""
    job_class: type[Job] | None = None
    group: str | None = options.group
    if options.job is not None:
        job_class = load_job_class(options.job, options.app_dir)
    elif group is None:
        group = await _only_group(Address.of(options.url), options.stream)
    spec = None if job_class is None else job_class.SPEC
    async with DeadLetters(
        job_class, options.url, stream=options.stream, group=group
    ) as letters:
        return await action(_Request(letters, spec, options))


async def _only_group(address: Address, stream: str) -> str:
    session = Session.join(address)
    try:
        queues = await registered(session.link)
    finally:
        await session.leave()
    groups = [queue.group for queue in queues if queue.keys.stream == stream]
    if len(groups) == 1:
        return groups[0]
    known = ", ".join(sorted({queue.keys.stream for queue in queues})) or "none"
    raise UsageError(
        f"{stream} has the groups {', '.join(groups)}: choose one with --group"
        if groups
        else f"no queue on stream {stream} was set up on this server (there: {known});"
        " if there was one, name its --group"
    )


async def _list(request: _Request) -> int:
    letters, options = request.letters, request.options
    shown, limit = 0, options.limit
    async for letter in letters.list(_filter(options)):
        if limit and shown == limit:
            print(f"… and more: --limit 0 shows all ({limit} shown)", file=sys.stderr)
            break
        print(json.dumps(_as_json(letter, request)) if options.json else _line(letter))
        shown += 1
    if not shown:
        print("no dead letters", file=sys.stderr)
    return 0


async def _show(request: _Request) -> int:
    letters, options = request.letters, request.options
    letter = await letters.get(options.id)
    if options.json:
        print(json.dumps(_as_json(letter, request), indent=2))
        return 0
    rows = {
        "letter": letter.id,
        "job": letter.job_id,
        "reason": letter.reason,
        "attempts": f"{letter.attempts}",
        "deliveries": f"{letter.deliveries}",
        "enqueued": f"{letter.enqueued_at:%Y-%m-%d %H:%M:%S} UTC",
        "died": f"{letter.died_at:%Y-%m-%d %H:%M:%S} UTC",
        "consumer": letter.consumer,
        "error": letter.error,
    }
    for name, value in rows.items():
        print(f"{name:<11} {printable(value, _ALL)}")
    print("fields")
    for name, value in shown_fields(
        letter.fields, request.spec, raw=options.raw
    ).items():
        print(f"  {printable(name)} = {printable(value, _ALL)}")
    if letter.traceback:
        print("traceback")
        for line in letter.traceback.splitlines():
            print(f"  {printable(line, _ALL)}")
    return 0


async def _redrive(request: _Request) -> int:
    letters, options = request.letters, request.options
    _check_choice(options)
    if options.all:
        moved = await letters.redrive_all(_filter(options))
    else:
        moved = len([await letters.redrive(each) for each in options.ids])
    return _tell("redriven", "put back into the stream", moved, options)


async def _purge(request: _Request) -> int:
    letters, options = request.letters, request.options
    _check_choice(options)
    if not options.yes:
        which = "all dead letters" if options.all else f"{len(options.ids)} letters"
        if options.where:
            which = f"all dead letters about {options.where!r}"
        _confirm(f"Delete {printable(which)} for good?")
    if options.all:
        purged = await letters.purge_all(_filter(options))
    else:
        for each in options.ids:
            await letters.purge(each)
        purged = len(options.ids)
    return _tell("purged", "deleted", purged, options)


def _check_choice(options: argparse.Namespace) -> None:
    if bool(options.ids) == options.all:
        raise UsageError("give the IDs of letters, or --all")
    if options.where and not options.all:
        raise UsageError("--where chooses among --all")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("purging cannot be undone: confirm it with --yes")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was deleted")


def _tell(name: str, what: str, count: int, options: argparse.Namespace) -> int:
    jobs = "1 job" if count == 1 else f"{count} jobs"
    print(json.dumps({name: count}) if options.json else f"{jobs} {what}")
    return 0


def _filter(options: argparse.Namespace) -> Callable[[Letter[Job]], bool] | None:
    text: str | None = options.where
    if text is None:
        return None
    return lambda letter: text in letter.reason or text in letter.error


def _line(letter: Letter[Job]) -> str:
    died = f"{letter.died_at:%Y-%m-%d %H:%M:%S}"
    error = printable(letter.error, _SHORT)
    return f"{letter.id:<18} {died} {printable(letter.reason):<11} {error}"


def _as_json(letter: Letter[Job], request: _Request) -> dict[str, object]:
    return {
        "id": letter.id,
        "job_id": letter.job_id,
        "reason": letter.reason,
        "error": letter.error,
        "traceback": letter.traceback,
        "attempts": letter.attempts,
        "deliveries": letter.deliveries,
        "enqueued_at": letter.enqueued_at.isoformat(),
        "died_at": letter.died_at.isoformat(),
        "consumer": letter.consumer,
        "fields": shown_fields(letter.fields, request.spec, raw=request.options.raw),
    }
