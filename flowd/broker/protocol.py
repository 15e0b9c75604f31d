"""One connection: what is asked on it, and the answers that come back in order.

Commands of one turn of the loop go out in one write, without a task or a timer for each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, cast

import hiredis

from flowd.broker.refusals import is_demotion, refusal
from flowd.broker.replies import Reader, anything
from flowd.errors import ServerError

__all__ = ["CLOSED", "Call", "RedisProtocol"]

CLOSED: Final = "it was closed here"
"""Why a connection is gone that flowd closed itself."""

_GRACE: Final = 0.05
_MORE: Final = object()
_BUFFER: Final = 64 * 1024
_SLOWEST: Final = 40_000

# Bytes that every system takes at once; of more, some may have to wait here.
_AT_ONCE: Final = 16_384


class Call:
    """What was asked in one piece, and the one answer that is awaited."""

    __slots__ = (
        *("answers", "due", "late", "packed", "read", "refused", "reply", "timeout"),
    )

    def __init__(
        self,
        packed: bytes,
        answers: int,
        timeout: float,
        read: Reader[object] = anything,
    ) -> None:
        self.packed = packed
        self.read = read
        self.answers = answers
        """How many the server will send; the last one counts."""

        self.timeout = timeout
        self.due = 0.0
        self.late = False
        self.refused: ServerError | None = None
        self.reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def answer(self, reply: object) -> None:
        """Take one answer; a refusal counts wherever it comes.

        Raises:
            Exception: it has a shape that `read` does not take.
        """
        self.answers -= 1
        if self.refused is None and isinstance(reply, ServerError):
            self.refused = reply
        # The caller may have been cancelled; the command was carried out nevertheless.
        if self.answers or self.reply.done():
            return
        if self.refused is None:
            self.reply.set_result(self.read(reply))
        else:
            self.reply.set_exception(self.refused)

    def fail(self, error: ServerError) -> None:
        """There will be no answer."""
        if not self.reply.done():
            self.reply.set_exception(error)


class RedisProtocol(asyncio.BufferedProtocol):
    """What is asked on one connection, until it is closed; a protocol for one transport.

    Args:
        gone: called once, when it is closed, with itself, the calls that have no answer,
            of those that were not sent, and why.
        refuse: makes an error of what the server refuses.
    """

    def __init__(
        self,
        gone: Callable[[RedisProtocol, Sequence[Call], Sequence[Call], str], None],
        refuse: Callable[[str], ServerError] = refusal,
    ) -> None:
        self._gone = gone
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._parser = hiredis.Reader(replyError=refuse, notEnoughData=_MORE)
        # One buffer for all reads: asyncio's own are so large that each is asked of
        # the operating system anew.
        self._view = memoryview(bytearray(_BUFFER))
        self._sent: deque[Call] = deque()
        self._ready: list[Call] = []
        self._received = 0.0  # when bytes last came, on the loop's clock
        self._written = 0  # bytes that were given to the transport
        self._bytes_out = 0  # and of those, how many had left at the last check
        self._moved = 0.0  # the last check at which more had left
        self._held = False  # whether, at the last check, bytes waited to leave
        self._alarm: asyncio.TimerHandle | None = None
        self.why = "the server closed the connection"
        """Why it is closed, once it is."""

        self._leaving = False
        self._unasked: Callable[[object], None] = self._end_unasked
        self.usable = False
        """Whether new commands may go this way."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.BufferedProtocol`."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self.usable = True

    def send(self, call: Call) -> None:
        """Send with all else that is asked in this turn of the loop."""
        if not self._ready:
            self._loop.call_soon(self.flush)
        self._ready.append(call)

    def write(self, packed: bytes) -> None:
        """Write a command whose answers go to the function of `listen`."""
        if self._transport is not None:
            self._transport.write(packed)

    def listen(self, received: Callable[[object], None]) -> None:
        """From now on, pass on what no call has asked for, and do not close because of it."""
        self._unasked = received

    def close(self, why: str = CLOSED) -> None:
        """Close at once; `gone` gets the calls without an answer."""
        if self.usable:
            self.why = why
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def close_soon(self, why: str) -> None:
        """As `close`, from any thread."""
        with suppress(RuntimeError):  # its loop is closed, and so is the connection
            self._loop.call_soon_threadsafe(self.close, why)

    def flush(self) -> None:
        """Send at once what was asked in this turn."""
        if self._transport is None or not self._ready:
            return
        calls, self._ready = self._ready, []
        data = b"".join([call.packed for call in calls])
        self._written += len(data)
        self._transport.write(data)
        self._held |= len(data) > _AT_ONCE
        # Answers come in order: none is late while one before it may be waited for.
        due = self._sent[-1].due if self._sent else 0.0
        now = self._loop.time()
        for call in calls:
            # The system and the network hold what has left here and is under way: a
            # large request is not late before a slow line (40 KB/s) has carried it.
            carried = len(call.packed) / _SLOWEST
            call.due = due = max(due, now + call.timeout) + carried
        self._sent.extend(calls)
        self._check_at(min(self._sent[0].due, now + self._sent[0].timeout))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        """As `asyncio.BufferedProtocol`."""
        # Never the bytearray: over TLS, asyncio writes all records of one read but the
        # first into a slice of what it gets here, and that of a bytearray is a copy.
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """As `asyncio.BufferedProtocol`."""
        self._received = self._loop.time()
        self._parser.feed(bytes(self._view[:nbytes]))
        gets = self._parser.gets
        try:
            while (reply := gets()) is not _MORE:
                if not self._sent:
                    self._unasked(reply)
                    if self.usable:
                        continue
                    return
                call = self._sent[0]
                if call.answers > 1 and type(reply) is bytes:
                    # QUEUED, hundreds of times: only a refusal counts.
                    call.answers -= 1
                    continue
                call.answer(reply)
                if not call.answers:
                    self._sent.popleft()
                self._leaving |= is_demotion(reply)
        except Exception as error:  # whatever is wrong with it, it is no answer
            self.close(f"the server sent what is no answer: {error}")
        if self._leaving and not self._sent:
            self.close("the server is no primary any more")

    def _end_unasked(self, reply: object) -> None:
        """Close because of what no call asked for: as a refusal, it says why itself."""
        said = str(reply) if isinstance(reply, ServerError) else "no answer to anything"
        self.close(f"the server sent {said}")

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.BufferedProtocol`."""
        if exc is not None:
            self.why = str(exc) or type(exc).__name__
        self._end()

    def _end(self) -> None:
        self.usable = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        sent, self._sent = self._sent, deque[Call]()
        ready, self._ready = self._ready, []
        self._gone(self, sent, ready, self.why)

    def _check_at(self, due: float) -> None:
        """Check for late answers then; one timer serves all calls, one after the other."""
        if self._alarm is not None:
            if self._alarm.when() <= due:
                return
            self._alarm.cancel()
        self._alarm = self._loop.call_at(due, self._check_overdue)

    def _check_overdue(self) -> None:
        self._alarm = None
        if not self._sent:
            return
        call = self._sent[0]
        if self._received + call.timeout > call.due:
            # A large answer over a slow line is not late while more of it comes.
            call.due, call.late = self._received + call.timeout, False
        now = self._loop.time()
        held, waiting = self._held, self._waiting_to_leave(now)
        self._held = waiting > 0
        if (held or waiting) and self._moved == now:
            # An answer has its time from when the request has left.
            call.due, call.late = max(call.due, now + call.timeout), False
        elif call.due <= now or (waiting and self._moved + call.timeout <= now):
            if call.late:
                self.close("no answer in time")
                return
            # Let the answer in that came while a handler kept the loop from looking.
            call.late = True
            call.due = now + _GRACE
        self._check_at(min(call.due, now + call.timeout) if waiting else call.due)

    def _waiting_to_leave(self, now: float) -> int:
        """The bytes that the peer has not taken yet; notes the time if they became fewer."""
        transport = self._transport
        waiting = transport.get_write_buffer_size() if transport is not None else 0
        before, self._bytes_out = self._bytes_out, self._written - waiting
        if self._bytes_out > before:
            self._moved = now
        return waiting
