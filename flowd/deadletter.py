"""The dead letters of one queue: list, redrive, purge."""

from __future__ import annotations

import asyncio
import builtins
import re
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, Self, TypeVar

import redis.asyncio

from flowd.address import Address
from flowd.errors import LetterNotFound, OptionError, ServerError
from flowd.job import Job, spec_of
from flowd.letter import Letter, read_letter
from flowd.session import Session
from flowd.stream import Stream

__all__ = ["DeadLetters"]

J = TypeVar("J", bound=Job)

_PAGE: Final = 100

# Redis reads `-` and `+` as the first and the last, and `5` as any id of that moment.
_ID: Final = re.compile(r"\d+-\d+", re.ASCII)


class DeadLetters(Generic[J]):
    """What a queue gave up, typed; an async context manager.

    Args:
        job_class: a generated class; or None, with `stream` and `group`, to read
            letters without decoding their jobs.
        url: as `Queue`; falls back to `FLOWD_URL`.
        redis: a client whose connection settings are used, instead of `url`.
        stream: instead of the schema's.
        group: instead of the schema's.

    Raises:
        OptionError: neither a class nor both names are given.
        FormatError: `job_class` was not written by `flowd-gen`.
    """

    def __init__(
        self,
        job_class: type[J] | None,
        url: str | None = None,
        *,
        redis: redis.asyncio.Redis | None = None,
        stream: str | None = None,
        group: str | None = None,
    ) -> None:
        if job_class is not None:
            policy = spec_of(job_class).policy
            stream = stream or policy.stream
            group = group or policy.group
        if stream is None or group is None:
            raise OptionError(
                "job_class", job_class, "give a job class, or both stream and group"
            )
        self._job_class = job_class
        self._place = (stream, group)
        self._address = Address.of(url, redis)
        self._session: Session | None = None

    async def __aenter__(self) -> Self:
        self._stream()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, unless somebody else in this process uses it."""
        session, self._session = self._session, None
        if session is not None:
            await session.leave()

    async def list(
        self, where: Callable[[Letter[J]], bool] | None = None
    ) -> AsyncIterator[Letter[J]]:
        """The letters, oldest first, read page by page.

        Args:
            where: only letters for which this is true.

        Raises:
            ServerError: the server cannot be asked.
        """
        async for page in self._pages("+", where):
            for letter in page:
                yield letter

    async def get(self, letter_id: str) -> Letter[J]:
        """One letter.

        Raises:
            LetterNotFound: there is none under this id.
            ServerError: the server cannot be asked.
        """
        found: builtins.list[tuple[bytes, builtins.list[bytes]]] = []
        if _ID.fullmatch(letter_id):
            found = await self._stream().letters(letter_id, letter_id, 1)
        if not found:
            raise self._not_found(letter_id)
        return read_letter(*found[0], self._job_class)

    async def redrive(self, letter_id: str) -> str:
        """Put one job back into its stream, with all its attempts; returns its id.

        One step inside Redis: the job is in the stream or a dead letter, never both.

        Raises:
            LetterNotFound: there is none under this id.
            StreamShared: another group reads the stream.
            ServerError: refused, or the server cannot be asked. Repeating is safe.
        """
        letter = await self.get(letter_id)
        (moved,) = await self._stream().redrive([(letter.id, letter.job_id)])
        if isinstance(moved, ServerError):
            raise moved
        if not moved:
            raise self._not_found(letter_id)
        return letter.job_id

    async def redrive_all(
        self, where: Callable[[Letter[J]], bool] | None = None
    ) -> int:
        """Put all jobs back into their stream, or those that `where` picks.

        Returns:
            How many were put back. Letters written meanwhile are left alone.

        Raises:
            StreamShared: another group reads the stream.
            ServerError: one was refused, or the server cannot be asked; those before
                it are back in the stream.
        """
        moved = 0
        async for page in self._pages(await self._stream().last_letter(), where):
            batch = [(letter.id, letter.job_id) for letter in page]
            for result in await self._stream().redrive(batch):
                if isinstance(result, ServerError):
                    raise result
                moved += result
        return moved

    async def purge(self, letter_id: str) -> None:
        """Delete one letter for good and free the idempotency key of its job.

        Raises:
            LetterNotFound: there is none under this id.
            ServerError: the server cannot be asked.
        """
        letter = await self.get(letter_id)
        if not await self._purge(letter):
            raise self._not_found(letter_id)

    async def purge_all(self, where: Callable[[Letter[J]], bool] | None = None) -> int:
        """Delete all letters for good, or those that `where` picks; returns how many.

        Raises:
            ServerError: the server cannot be asked.
        """
        purged = 0
        async for page in self._pages(await self._stream().last_letter(), where):
            purged += sum(await asyncio.gather(*map(self._purge, page)))
        return purged

    async def _pages(
        self, last: str, where: Callable[[Letter[J]], bool] | None
    ) -> AsyncIterator[builtins.list[Letter[J]]]:
        """The letters up to `last`, page by page; only those that `where` picks."""
        after = "0-0"
        while found := await self._stream().letters(f"({after}", last, _PAGE):
            after = found[-1][0].decode()
            letters = [read_letter(*each, self._job_class) for each in found]
            picked = [each for each in letters if where is None or where(each)]
            if picked:
                yield picked

    async def _purge(self, letter: Letter[J]) -> bool:
        key = letter.fields.get(b"_key")
        return await self._stream().purge(
            letter.id,
            letter.job_id,
            None if key is None else key.decode("utf-8", "backslashreplace"),
        )

    def _not_found(self, letter_id: str) -> LetterNotFound:
        stream, group = self._place
        return LetterNotFound(f"no dead letter {letter_id} of {stream} ({group})")

    def _stream(self) -> Stream:
        if self._session is None:
            self._session = Session.join(self._address)
        return Stream(self._session.link, *self._place)
