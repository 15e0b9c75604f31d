"""The dead letters of one queue: list, redrive, purge."""

from __future__ import annotations

import asyncio
import builtins
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from datetime import datetime
from typing import Final, Generic, Self, TypeVar

from flowd.broker import dead_letters
from flowd.broker.commands import enqueue_command
from flowd.broker.gate import redriving
from flowd.broker.scripts import Part
from flowd.broker.session import SessionUser
from flowd.broker.settings import Client
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import (
    LetterNotFound,
    OptionError,
    OutcomeUnknown,
    ServerError,
)
from flowd.errors.option import entry_id, flag, function, instance
from flowd.model.item import Item
from flowd.model.job import Job, spec_of
from flowd.model.keys import clash
from flowd.model.letter import Letter, read_letter

__all__ = ["PAGE", "DeadLetters", "pages"]

J = TypeVar("J", bound=Job)

PAGE: Final = 100
"""How many letters one read returns, at most."""

# Redis reads `-` and `+` as the first and the last id, and `5` as any id of that millisecond.
_ID: Final = re.compile(r"\d+-\d+", re.ASCII)


class DeadLetters(Generic[J]):
    """The dead letters of a queue: list, redrive, purge; an async context manager.

    Args:
        job_class: a generated class; or None, with `stream` and `group`, to read
            letters without decoding their jobs.
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://HOST,HOST/NAME`,
            `redis+cluster://HOST,HOST`, `embedded:` or `embedded:PATH`; the
            default is the environment variable `FLOWD_URL`.
        redis: a redis-py client, instead of `url`. Only its settings are used.
        stream: overrides the schema's stream.
        group: overrides the schema's consumer group.

    Raises:
        OptionError: neither a class nor both names are given, or no server is named.
        FormatError: `job_class` was not written by `flowd-gen`.
    """

    def __init__(
        self,
        job_class: type[J] | None,
        url: str | None = None,
        *,
        redis: Client | None = None,
        stream: str | None = None,
        group: str | None = None,
    ) -> None:
        if job_class is not None:
            policy = spec_of(job_class).policy
            stream = policy.stream if stream is None else stream
            group = policy.group if group is None else group
        if stream is None or group is None:
            raise OptionError(
                "job_class", job_class, "give a job class, or both stream and group"
            )
        instance("stream", stream, str, "must be a str")
        instance("group", group, str, "must be a str")
        if found := clash(stream, group):
            name, rule = found
            raise OptionError(name, stream if name == "stream" else group, rule)
        self._job_class = job_class
        self._place = (stream, group)
        self._address = Address.of(url, redis)
        self._membership = SessionUser(self._address)

    async def __aenter__(self) -> Self:
        self._stream()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, unless another object in this process uses it."""
        await self._membership.leave()

    async def list(
        self,
        where: Callable[[Letter[J]], bool] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[Letter[J]]:
        """The letters that exist now, oldest first, read page by page.

        Args:
            where: only letters for which this returns true.
            since: only jobs that died then or later; earlier ones are not read.
            until: only jobs that died before.

        Raises:
            ServerError: the server refused, or cannot be reached.
        """
        async with aclosing(self._pages(where, since, until)) as found:
            async for page in found:
                for letter in page:
                    yield letter

    async def get(self, letter_id: str) -> Letter[J]:
        """Read one letter.

        Args:
            letter_id: the letter's id, not the job's.

        Returns:
            The letter, with its job decoded if it can be.

        Raises:
            OptionError: the id is no text.
            LetterNotFound: no letter has this id.
            ServerError: the server refused, or cannot be reached.
        """
        found: builtins.list[tuple[bytes, builtins.list[bytes]]] = []
        if _ID.fullmatch(entry_id("letter", letter_id)):
            found = await dead_letters.read_letters(
                self._stream(), letter_id, letter_id, 1
            )
        if not found:
            raise self._not_found(letter_id)
        return read_letter(*found[0], self._job_class)

    async def redrive(
        self, letter: str | Letter[J], *, job: J | None = None, when_free: bool = False
    ) -> str:
        """Move one job back into its stream, with all its attempts restored.

        It is one atomic step: the job is in the stream or a dead letter, never both.

        Args:
            letter: the letter, or its id.
            job: replaces the job. Its id, times and key stay, and so do fields that
                the class does not know.
            when_free: if another job has its `unique` key, run it when that one has
                ended.

        Returns:
            The job's id.

        Raises:
            OptionError: the id is no text.
            LetterNotFound: no letter has this id.
            KeyTaken: another job has its `unique` key; not with `when_free`.
            EncodeError: `job` cannot be serialized, or is too large.
            StreamShared: another group reads the stream.
            ServerError: the server refused, or cannot be reached. Repeating is safe.
        """
        flag("when_free", when_free)
        if job is not None:
            spec_of(type(job))
        found = letter if isinstance(letter, Letter) else await self.get(letter)
        edited = {} if job is None else {found.id: _edited(found.fields, job)}
        parts = self._parts([found.fields, *edited.values()], when_free)
        pairs = [(found.id, found.job_id)]
        (moved,) = await dead_letters.redrive(self._stream(), pairs, edited, parts)
        if isinstance(moved, ServerError):
            raise moved
        if not moved:
            raise self._not_found(found.id)
        return found.job_id

    async def redrive_all(
        self,
        where: Callable[[Letter[J]], bool] | None = None,
        *,
        when_free: bool = False,
    ) -> int:
        """Move all jobs back into their stream, or those that `where` selects.

        Args:
            where: only letters for which this returns true.
            when_free: as for `redrive`.

        Returns:
            How many jobs were moved. Letters written in the meantime are not moved.

        Raises:
            StreamShared: another group reads the stream.
            KeyTaken: other jobs have the `unique` keys of some, which are named; all
                others were moved, and it says how many.
            OutcomeUnknown: an answer was lost. The message says how many jobs are
                back, and how many more may be. Repeating is safe.
            CommandRefused: some were refused; all others were moved, and a note says how
                many.
            ServerError: the server refused, or cannot be reached. A note says how many
                jobs are back in the stream.
        """
        done = dead_letters.Redriven()
        flag("when_free", when_free)
        async with aclosing(self._pages(where)) as found:
            async for page in found:
                batch = [(letter.id, letter.job_id) for letter in page]
                parts = self._parts([letter.fields for letter in page], when_free)
                while batch:
                    try:
                        results = await dead_letters.redrive(
                            self._stream(), batch, parts=parts
                        )
                    except ServerError as error:
                        back = done.moved
                        raise _broken_off(error, back, len(batch), "back") from None
                    try:
                        done.add(batch, results)
                    except ServerError as error:
                        raise _broken_off(error, done.moved, 0, "back") from None
                    batch = batch[len(results) :]
        done.check()
        return done.moved

    async def purge(self, letter: str | Letter[J]) -> None:
        """Delete one letter permanently, and free the idempotency key of its job.

        Args:
            letter: the letter, or its id.

        Raises:
            OptionError: the id is no text.
            LetterNotFound: no letter has this id.
            ServerError: the server refused, or cannot be reached.
        """
        found = letter if isinstance(letter, Letter) else await self.get(letter)
        if not await self._purge(found):
            raise self._not_found(found.id)

    async def purge_all(self, where: Callable[[Letter[J]], bool] | None = None) -> int:
        """Delete all letters permanently, or those that `where` selects.

        Args:
            where: only letters for which this returns true.

        Returns:
            How many letters were deleted.

        Raises:
            OutcomeUnknown: an answer was lost. The message says how many letters are
                deleted, and how many more may be. Repeating is safe.
            ServerError: the server refused, or cannot be reached; a note says how many
                were deleted.
        """
        purged = 0
        async with aclosing(self._pages(where)) as found:
            async for page in found:
                asked = map(self._purge, page)
                results = await asyncio.gather(*asked, return_exceptions=True)
                purged += sum(result is True for result in results)
                failed = [each for each in results if isinstance(each, BaseException)]
                unknown = [each for each in failed if isinstance(each, OutcomeUnknown)]
                for error in unknown or failed:
                    raise _broken_off(error, purged, len(unknown), "deleted") from None
        return purged

    async def _pages(
        self,
        where: Callable[[Letter[J]], bool] | None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncGenerator[builtins.list[Letter[J]], None]:
        """The letters that `where` selects, page by page."""
        function(
            "where", where, "must be a function of (letter), true for what is meant"
        )
        for name, moment in (("since", since), ("until", until)):
            if moment is not None:
                instance(name, moment, datetime, "must be a datetime")
        stream, job_class = self._stream(), self._job_class
        async with aclosing(
            pages(stream, job_class, since=since, until=until)
        ) as found:
            async for page in found:
                picked = [each for each in page if where is None or where(each)]
                if picked:
                    yield picked

    async def _purge(self, letter: Letter[J]) -> bool:
        key = letter.fields.get(b"_key")
        return await dead_letters.purge(
            self._stream(),
            letter.id,
            letter.job_id,
            None if key is None else key.decode("utf-8", "backslashreplace"),
        )

    def _parts(
        self, entries: Sequence[Mapping[bytes, bytes]], when_free: bool
    ) -> builtins.list[Part]:
        """What letters need that come from a queue with policies."""
        if not any(b"_gate" in fields for fields in entries):
            return []
        gate = None if self._job_class is None else self._job_class.SPEC.gate
        return [redriving(self._stream(), gate, waits=when_free)]

    def _not_found(self, letter_id: str) -> LetterNotFound:
        stream, group = self._place
        return LetterNotFound(f"no dead letter {letter_id} of {stream} ({group})")

    def _stream(self) -> Stream:
        return Stream(self._membership.here().connection, *self._place)


async def pages(
    stream: Stream,
    job_class: type[J] | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    last: str | None = None,
    page_size: int = PAGE,
) -> AsyncGenerator[list[Letter[J]], None]:
    """The letters that exist now, oldest first, page by page.

    Args:
        stream: of the queue.
        job_class: decodes the jobs; None: they are not decoded.
        since: only jobs that died then or later.
        until: only jobs that died before.
        last: the id of the newest letter to return; None: the newest that exists now.
        page_size: how many letters a page has, at most.

    Raises:
        ServerError: the server refused, or cannot be reached.
    """
    # Stop at the last letter of now: a redriven job that dies again must not loop here.
    end = last or await dead_letters.newest_letter(stream)
    if until is not None:
        end = min(end, f"({_ms(until)}-0", key=_order)
    first = "-" if since is None else f"{_ms(since)}"
    while found := await dead_letters.read_letters(stream, first, end, page_size):
        first = f"({found[-1][0].decode()}"
        yield [read_letter(*each, job_class) for each in found]


def _broken_off(
    error: BaseException, done: int, unknown: int, what: str
) -> BaseException:
    """The error that ended a walk over letters, with a count of what was done."""
    if isinstance(error, OutcomeUnknown):
        return OutcomeUnknown(
            f"at least {done} are {what}, and up to {unknown} more may be: {error}"
        )
    error.add_note(f"flowd: {done} are {what}.")
    return error


def _edited(fields: Mapping[bytes, bytes], job: Job) -> dict[bytes, bytes]:
    """The new job's fields and ticket, then what the entry has that its class does not know.

    Of an entry of another version only flowd's own fields are kept.
    """
    command = enqueue_command(Item(job))
    ticket = {b"_gate": command.ticket} if command.ticket else {}
    written = {**command.fields, **ticket}
    same = written.get(b"_v", b"1") == fields.get(b"_v", b"1")
    known = {b"_v", b"_gate", *(name.encode() for name in type(job).SPEC.fields)}
    kept = {
        name: value
        for name, value in fields.items()
        if name not in known and (same or name.startswith(b"_"))
    }
    return {**written, **kept}


def _ms(moment: datetime) -> int:
    # A time before 1970 means the first id.
    return max(1, int(moment.timestamp() * 1000))


def _order(bound: str) -> tuple[int, int]:
    """The end of a range as numbers; `(5-0` excludes 5-0."""
    ms, _, seq = bound.lstrip("(").partition("-")
    return int(ms), int(seq) - bound.startswith("(")
