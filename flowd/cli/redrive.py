"""`flowd dlq redrive` and `purge`: the verbs that change something."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from flowd.cli.letters import Request, letter_line
from flowd.cli.load import UsageError
from flowd.cli.show import print_json, progress
from flowd.display import printable
from flowd.errors import DecodeError
from flowd.job import Job, decode
from flowd.letter import Letter
from flowd.ops.letters import move

__all__ = ["purge", "redrive"]

Step: TypeAlias = Callable[[Letter[Job]], Awaitable[object]]


async def redrive(request: Request) -> int:
    """Put jobs back into their stream, mended if `--set` says so."""
    _check_choice(request)
    edit = _edit(request)

    async def step(letter: Letter[Job]) -> None:
        await request.letters.redrive(letter, job=edit(letter))

    if request.options.dry_run:
        return await _dry_run(request, "redriven", "put back into the stream", edit)
    return await _each(request, step, "redriven", "put back into the stream")


async def purge(request: Request) -> int:
    """Delete letters for good."""
    options = request.options
    _check_choice(request)
    if options.dry_run:
        return await _dry_run(request, "purged", "deleted", _unchanged)
    if not options.yes:
        number = await _number(request)
        letters = "1 dead letter" if number == 1 else f"{number:,} dead letters"
        _confirm(f"Delete {letters} of {request.target.name} for good?")
    return await _each(request, request.letters.purge, "purged", "deleted")


async def _each(request: Request, step: Step, name: str, what: str) -> int:
    options = request.options
    # A filter looks at all of them, however few it picks.
    most = len(options.ids) or (0 if request.is_filtered else options.limit)
    total = most or await request.total()
    moved = 0
    try:
        with progress(name, total) as told:
            chosen = _chosen(request, told)
            async for _ in move(chosen, step, rate=options.rate):
                moved += 1
    except BaseException:
        # Also a Ctrl-C: whoever goes on from here has to know how far it got.
        if moved:
            print(f"{_jobs(moved)} {what} before it broke off", file=sys.stderr)
        raise
    if options.json:
        print_json({name: moved})
    else:
        print(f"{_jobs(moved)} {what}")
    return 0


async def _dry_run(
    request: Request, name: str, what: str, edit: Callable[[Letter[Job]], object]
) -> int:
    found = 0
    async for letter in _chosen(request, int):
        edit(letter)
        found += 1
        if not request.options.json:
            print(letter_line(letter))
    if request.options.json:
        print_json({f"would_be_{name}": found})
    else:
        print(f"{_jobs(found)} would be {what}")
    return 0


def _edit(request: Request) -> Callable[[Letter[Job]], Job | None]:
    """What makes a letter's job another one: None if it stays as it was."""
    if not request.options.set:
        return _unchanged
    new = {name.encode(): value.encode() for name, value in request.options.set}
    job_class = request.target.class_with("--set", [n for n, _ in request.options.set])

    version = b"%d" % max(job_class.SPEC.version, 1)

    def edit(letter: Letter[Job]) -> Job:
        fields = letter.fields
        try:
            if fields.get(b"_v", b"1") != version:
                # The names are those of the newest version, so the rest has to be too.
                fields = decode(job_class, fields).to_fields()
            return job_class.from_fields({**fields, **new})
        except DecodeError as error:
            raise UsageError(f"letter {letter.id} with --set: {error}") from None

    return edit


def _unchanged(_: Letter[Job]) -> None:
    return None


async def _chosen(
    request: Request, told: Callable[[], object]
) -> AsyncIterator[Letter[Job]]:
    """The letters that were named, or those that are meant by `--all`."""
    for letter_id in request.options.ids:
        told()
        yield await request.letters.get(letter_id)
    if request.options.all:
        async for letter in request.picked(told, limit=request.options.limit):
            yield letter


def _check_choice(request: Request) -> None:
    options = request.options
    if bool(options.ids) == options.all:
        raise UsageError("give the IDs of letters, or --all")
    if options.ids and (request.is_filtered or options.limit):
        raise UsageError(
            "--error, --older, --newer, --field and --limit choose among --all"
        )


async def _number(request: Request) -> int:
    """How many letters are meant."""
    return sum([1 async for _ in _chosen(request, int)])


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("purging cannot be undone: confirm it with --yes")
    if input(f"{printable(question)} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was deleted")


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"
