"""`flowd dlq redrive` and `purge`: the commands that change dead letters."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import Final, TypeAlias

from flowd.cli.confirm import check_terminal, confirm
from flowd.cli.letters import LETTERS, Selection, letter_row
from flowd.cli.load import UsageError
from flowd.cli.output import Listing, print_json
from flowd.cli.progress import progress
from flowd.errors import DecodeError, FlowdError, KeyTaken, ServerError
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.model.text import count_of, printable
from flowd.ops.edit import with_fields
from flowd.ops.letters import move
from flowd.ops.trial import RedriveTrial

__all__ = ["purge", "redrive"]

_NAMED: Final = 5

Step: TypeAlias = Callable[[Letter[Job]], Awaitable[object]]


async def redrive(request: Selection) -> int:
    """Move jobs back into their stream, with the changes of `--set`."""
    _check_choice(request)
    edit = _edit(request)
    when_free, dry = request.options.when_free, request.options.dry_run
    foreseen = RedriveTrial(request.target.queries, when_free=when_free)

    async def step(letter: Letter[Job]) -> None:
        await request.letters.redrive(letter, job=edit(letter), when_free=when_free)

    async def trial(letter: Letter[Job]) -> None:
        await foreseen.redrive(letter, job=edit(letter))

    return await _each(
        request, trial if dry else step, "redriven", "put back into the stream"
    )


async def purge(request: Selection) -> int:
    """Delete letters permanently."""
    options = request.options
    _check_choice(request)

    async def trial(_: Letter[Job]) -> None:
        pass

    if not (options.yes or options.dry_run):
        await _confirm(request)
    step = trial if options.dry_run else request.letters.purge
    return await _each(request, step, "purged", "deleted")


async def _each(request: Selection, step: Step, name: str, what: str) -> int:
    options = request.options
    dry, as_json = options.dry_run, options.json
    # A filter looks at all of them, however few it picks.
    most = len(options.ids) or (0 if request.is_filtered else options.limit)
    bar = nullcontext(int) if dry else progress(name, most or await request.total())
    moved, listing = 0, Listing(LETTERS)
    refused: list[tuple[str, FlowdError]] = []
    try:
        with bar as on_progress:
            chosen = _chosen(request, on_progress)
            async for letter, error in move(chosen, step, rate=options.rate):
                if error is not None:
                    refused.append((letter.id, error))
                    continue
                moved += 1
                if dry and not as_json:
                    listing.add(letter_row(letter))
        listing.close()
    except BaseException as error:
        # Also after Ctrl-C: the operator has to know how far it got.
        if (moved or isinstance(error, asyncio.CancelledError)) and not dry:
            print(
                f"{count_of(moved, 'job')} {what} before it broke off", file=sys.stderr
            )
        _print_refused(refused, dry=dry)
        raise
    if as_json:
        print_json({f"would_be_{name}" if dry else name: moved})
    else:
        print(f"{count_of(moved, 'job')} {'would be ' if dry else ''}{what}")
    return _print_refused(refused, dry=dry)


def _print_refused(refused: list[tuple[str, FlowdError]], *, dry: bool) -> int:
    """Name each letter that could not be moved; returns the exit code."""
    taken: list[tuple[str, KeyTaken]] = []
    others: list[FlowdError] = []
    for letter_id, error in refused:
        if isinstance(error, KeyTaken):
            taken.append((letter_id, error))
            continue
        others.append(error)
        print(f"letter {letter_id}: {printable(str(error))}", file=sys.stderr)
    _print_taken(taken, dry=dry)
    if any(isinstance(error, ServerError) for error in others):
        return 3
    return 2 if others else int(bool(taken))


def _print_taken(taken: list[tuple[str, KeyTaken]], *, dry: bool) -> None:
    """Name the first letters whose keys other jobs have, and what helps."""
    if not taken:
        return
    for letter_id, error in taken[:_NAMED]:
        text = f"the job {error.job_id} has the key {error.key}"
        print(f"letter {letter_id}: {printable(text)}", file=sys.stderr)
    if len(taken) > _NAMED:
        print(f"and {count_of(len(taken) - _NAMED, 'letter')} more", file=sys.stderr)
    if len(taken) == 1:
        why = "its `unique` key is taken; with --when-free it runs when the job that"
        why += " has it has ended"
    else:
        why = "their `unique` keys are taken; with --when-free they run when the jobs"
        why += " that have them have ended"
    would = "would not be" if dry else "not"
    text = f"{count_of(len(taken), 'letter')} {would} redriven: {why}"
    print(text, file=sys.stderr)


def _edit(request: Selection) -> Callable[[Letter[Job]], Job | None]:
    """What makes a letter's job another one: None if it stays as it was."""
    if not request.options.set:
        return _unchanged
    new = {name.encode(): value.encode() for name, value in request.options.set}
    names = [name for name, _ in request.options.set]
    job_class = request.target.class_with("--set", names)

    def edit(letter: Letter[Job]) -> Job:
        try:
            return with_fields(job_class, letter.fields, new)
        except DecodeError as error:
            if error.field in names:
                raise UsageError(f"letter {letter.id} with --set: {error}") from None
            raise

    return edit


def _unchanged(_: Letter[Job]) -> None:
    return None


async def _chosen(
    request: Selection, on_progress: Callable[[], object]
) -> AsyncIterator[Letter[Job]]:
    """The letters that were named, or those that `--all` selects."""
    for letter_id in request.options.ids:
        on_progress()
        yield await request.find(letter_id)
    if request.options.all:
        async for letter in request.picked(on_progress, limit=request.options.limit):
            yield letter


def _check_choice(request: Selection) -> None:
    options = request.options
    if bool(options.ids) == options.all:
        raise UsageError("give the IDs of letters, or --all")
    if options.ids and (request.is_filtered or options.limit):
        raise UsageError(
            "--error, --like, --older, --newer, --from, --field and --limit choose"
            " among --all"
        )


async def _confirm(request: Selection) -> None:
    check_terminal("purging")
    number = sum([1 async for _ in _chosen(request, int)])
    place = printable(request.target.name)
    question = f"Delete {count_of(number, 'dead letter')} of {place} for good?"
    await confirm(question, "nothing was deleted")
