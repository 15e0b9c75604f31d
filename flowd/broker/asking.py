"""Ask many servers the same: for one answer, and once for all callers that want it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final, Generic, TypeVar

from flowd.broker.connection import Argument, Connection, unreachable
from flowd.broker.replies import Reader
from flowd.broker.url import Address
from flowd.errors import FatalError

__all__ = ["SharedQuestion", "ask_server", "first_answer"]

R = TypeVar("R")

_PATIENCE: Final = 1.0
"""Seconds that one server has to answer, connecting included."""

_HEAD_START: Final = 0.25
"""Seconds that one has before the next is asked as well."""


async def ask_server(
    address: Address, name: str, *command: Argument, read: Reader[R]
) -> R:
    """What one server answers, over a connection of this name for this one command.

    Raises:
        ServerError: as `Connection.call`; Unreachable if it does not answer in time.
    """
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            aclosing(Connection(address, name=name)) as connection,
        ):
            return await connection.call(*command, read=read)
    except TimeoutError as error:
        raise unreachable(address, error) from None


async def first_answer(asks: Iterable[Callable[[], Awaitable[R]]]) -> R:
    """The first answer; the next is asked when one fails, or is silent for a moment.

    Raises:
        FatalError: all refuse, and will until their settings change.
        OSError: none answers; the text has what each of them failed of.
    """
    waiting = list(asks)
    asked: set[asyncio.Future[R]] = set()
    failed: list[BaseException] = []
    try:
        while waiting or asked:
            if waiting:
                asked.add(asyncio.ensure_future(waiting.pop(0)()))
            done, asked = await asyncio.wait(
                asked,
                timeout=_HEAD_START if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            answers: list[R] = []
            for each in done:
                if (error := each.exception()) is None:
                    answers.append(each.result())
                else:
                    failed.append(error)
            if answers:
                return answers[0]
    finally:
        for each in asked:
            each.cancel()
        if asked:
            await asyncio.wait(asked)
    if all(isinstance(each, FatalError) for each in failed):
        raise failed[0]
    said = [str(each) or type(each).__name__ for each in failed]
    raise OSError("; ".join(dict.fromkeys(said)))


class SharedQuestion(Generic[R]):
    """A question whose answer all get who asked for it meanwhile, on one event loop.

    Args:
        ask: asks it.
    """

    def __init__(self, ask: Callable[[], Awaitable[R]]) -> None:
        self._ask = ask
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Asked[R]] = (
            weakref.WeakKeyDictionary()
        )

    async def answer(self) -> R:
        """An answer that came after this call.

        Raises:
            Exception: what `ask` raises.
        """
        loop = asyncio.get_running_loop()
        asked = self._loops.get(loop)
        if asked is None:
            asked = self._loops[loop] = _Asked()
        before = asked.times
        async with asked.lock:
            if asked.times == before:
                # One that is cancelled has no answer for the others: the next asks.
                try:
                    asked.answer, asked.error = [await self._ask()], None
                except Exception as error:  # of any kind: all that wait get it too
                    asked.answer, asked.error = [], error
                asked.times += 1
            if asked.error is not None:
                raise asked.error
            return asked.answer[0]


class _Asked(Generic[R]):
    """What was asked on one loop."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.times = 0
        self.answer: list[R] = []
        self.error: Exception | None = None
