"""A producer in a thread with an event loop of its own, for callers that do not await.

The thread starts with the first call, again if it has died, and once more in a forked child.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar, cast

from flowd.errors import Unreachable
from flowd.producer import Producer

__all__ = ["Answer", "BackgroundProducer"]

R = TypeVar("R")

_JOIN_TIMEOUT: Final = 2.0


class Answer(Generic[R]):
    """The result of a call, or an exception that would end the thread (`SystemExit`)."""

    def __init__(self, result: R | None, raised: BaseException | None = None) -> None:
        self._result = result
        self._raised = raised

    @property
    def value(self) -> R:
        """The result.

        Raises:
            BaseException: the exception, if the call raised one.
        """
        if self._raised is not None:
            raise self._raised
        return cast("R", self._result)


class BackgroundProducer:
    """Runs a producer in a thread, which the first call starts.

    Args:
        make: makes the producer of each thread.
    """

    def __init__(self, make: Callable[[], Producer]) -> None:
        self._make = make
        # Invalid arguments raise here; the first thread uses this producer.
        self._made: Producer | None = make()
        # A signal handler may interrupt at any line, and call enqueue or close itself.
        self._lock = threading.RLock()
        self._threads: list[_Thread] = []
        """None or one. It is ended with the program, or with this object. An exit handler
        that enqueues later may start another."""

        weakref.finalize(self, _end_all, self._threads)
        _backgrounds.add(self)

    def ask(
        self, ask: Callable[[Producer], Coroutine[object, object, R]]
    ) -> Future[Answer[R]]:
        """Begin a call, from any thread; starts a new thread if the last has died.

        The result is cancelled if the thread ends before the call.

        Raises:
            Unreachable: no thread can start any more; nothing was sent.
        """
        with self._lock:
            if self._threads and self._threads[0].over:
                self._threads.clear()
            if not self._threads:
                producer, self._made = self._made or self._make(), None
                self._threads.append(_Thread(producer))
            return self._threads[0].ask(ask)

    def close(self) -> None:
        """End the thread, if there is one."""
        with self._lock:
            _end_all(self._threads)

    def forget(self) -> None:
        """Reset in a forked child, where only the thread that forked runs."""
        self._lock = threading.RLock()
        while self._threads:
            self._threads.pop().disown()


def _end_all(threads: list[_Thread]) -> None:
    while threads:
        threads.pop().end()


class _Thread:
    """A thread with an event loop that runs a producer."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._ending = False
        self.over = False
        """Whether the thread accepts no more calls."""

        self._calls: dict[Future[Answer[Any]], Coroutine[object, object, object]] = {}
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread = threading.Thread(
            target=self._run, name="flowd-producer", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            # Since Python 3.12 no thread can start while the interpreter shuts down.
            self._loop.close()
            raise Unreachable(f"nothing was sent: {error}") from error

    def ask(
        self, ask: Callable[[Producer], Coroutine[object, object, R]]
    ) -> Future[Answer[R]]:
        """Begin a call; it is cancelled if the thread ends first."""
        call = _caught(ask, self._producer)
        try:
            answer = asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError as error:  # the loop was closed in the meantime
            call.close()
            raise Unreachable(f"nothing was sent: {error}") from error
        self._calls[answer] = call
        answer.add_done_callback(lambda done: self._calls.pop(done, None))
        if self.over:
            answer.cancel()
        return answer

    def end(self) -> None:
        """Cancel waiting calls, close the connection and end the thread."""
        self._ending = True
        with suppress(RuntimeError):  # the thread has died and its loop is closed
            self._loop.call_soon_threadsafe(self._loop.stop)
        # The garbage collector may call this anywhere, also in the thread itself.
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_TIMEOUT)

    def disown(self) -> None:
        """Detach from the parent's sockets, in a forked child.

        Their descriptors now refer to /dev/null, so that no destructor in the child
        reaches the server. The selector too: parent and child share it, and a socket
        that the child unregisters would be gone for the parent.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        sockets = [key.fd for key in self._selector.get_map().values()]
        for descriptor in (self._selector.fileno(), *sockets):
            os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                while not self._ending:
                    # A middleware's task must end neither the thread nor the calls.
                    with suppress(SystemExit, KeyboardInterrupt):
                        runner.get_loop().run_forever()
            finally:
                self.over = True
                try:
                    runner.run(self._close())
                finally:
                    for answer, call in tuple(self._calls.items()):
                        answer.cancel()
                        call.close()

    async def _close(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._producer.aclose()


async def _caught(
    ask: Callable[[Producer], Coroutine[object, object, R]], producer: Producer
) -> Answer[R]:
    try:
        return Answer(await ask(producer))
    except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end its loop
        return Answer(None, error)


_backgrounds: Final[weakref.WeakSet[BackgroundProducer]] = weakref.WeakSet()


def _forked() -> None:
    for background in list(_backgrounds):
        background.forget()


os.register_at_fork(after_in_child=_forked)
