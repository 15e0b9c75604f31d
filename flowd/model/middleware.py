"""Code that runs around every enqueue and every handler, and receives events.

flowd's metrics and traces are middleware, and use nothing that yours cannot.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import reduce
from typing import Final, Protocol, TypeAlias

from flowd.errors import OptionError
from flowd.errors.option import iterable
from flowd.model.context import Context
from flowd.model.event import Event
from flowd.model.item import Item
from flowd.model.job import Job

__all__ = [
    "EnqueueMiddleware",
    "HandlerMiddleware",
    "Middleware",
    "MiddlewareChain",
    "Run",
    "Send",
]

Run: TypeAlias = Callable[[], Awaitable[object]]
"""Runs the next middleware; the last one runs the handler."""

HandlerMiddleware: TypeAlias = Callable[[Job, Context, Run], Awaitable[object]]
"""Runs around a handler, as `Middleware.handle`."""

Send: TypeAlias = Callable[[Iterable[Item[Job]]], Awaitable[list[str]]]
"""Passes items to the next middleware; the last one sends them to Redis."""

EnqueueMiddleware: TypeAlias = Callable[
    [str, Iterable[Item[Job]], Send], Awaitable[list[str]]
]
"""Runs around an enqueue, as `Middleware.enqueue`."""

_METHODS: Final = ("enqueue", "handle", "on_event")


class Middleware(Protocol):
    """Base class of middleware: override the methods that you need.

    It is given to `Queue(..., middleware=[...])` or `Producer(..., middleware=[...])`; the
    first in the list is the outermost. One object may serve many queues. A method that is
    not overridden costs nothing::

        class Timed(Middleware):
            async def handle(self, job: Job, ctx: Context, run: Run) -> object:
                began = time.monotonic()
                try:
                    return await run()
                finally:
                    ctx.log.info("took %.3f s", time.monotonic() - began)
    """

    async def enqueue(
        self,
        stream: str,  # noqa: ARG002
        items: Iterable[Item[Job]],
        send: Send,
    ) -> list[str]:
        """Enqueue jobs of one stream; its exceptions are raised by `enqueue`.

        Args:
            stream: where they go.
            items: one job, or those of an `enqueue_bulk`, which are made one by one as
                they are sent. Send others in their place to change a delay or a key, or
                to add headers: `dataclasses.replace(item, headers=...)`.
            send: to be awaited once; returns the job ids, and raises what `enqueue` or
                `enqueue_bulk` does.

        Returns:
            The job ids, in order.
        """
        return await send(items)

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:  # noqa: ARG002
        """Run the handler, as `await run()`.

        What leaves this method is how the attempt ends: a return is done, an exception a
        failure; `Retry`, `Snooze` and `Reject` mean what they mean in a handler. It is
        cancelled with the handler; `ctx.cancelled` says why.

        Args:
            job: what the handler gets.
            ctx: of this delivery.
            run: to be awaited once; it runs the next middleware, or the handler.

        Returns:
            What `run` returned; flowd does not use it.
        """
        return await run()

    def on_event(self, event: Event) -> None:
        """Receive an event of a job or a queue, as the end of each delivery.

        It is called after Redis has stored the change, and blocks the event loop, so it
        must be fast. `loop_lag` comes from another thread. An exception is logged.

        Args:
            event: what happened, with its details.
        """
        del event  # mypy takes an empty body for an abstract method


MIDDLEWARE: Final = (
    "must be a list of objects whose class derives from flowd.Middleware"
)
"""What the argument `middleware` of queues and producers must be."""


class MiddlewareChain:
    """The middleware of one queue or producer, with the methods that are overridden.

    Raises:
        OptionError: it is no iterable, or one of them is no middleware.
    """

    def __init__(self, middleware: Iterable[Middleware] = ()) -> None:
        iterable("middleware", middleware, MIDDLEWARE)
        self.middleware = tuple(middleware)
        for each in self.middleware:
            if isinstance(each, type) or not all(hasattr(each, m) for m in _METHODS):
                rule = (
                    "each must be an object whose class derives from flowd.Middleware"
                )
                raise OptionError("middleware", each, rule)
            if inspect.iscoroutinefunction(each.on_event):
                rule = "on_event is called and not awaited: it must be a plain function"
                raise OptionError("middleware", each, rule)
        inwards = self.middleware[::-1]
        self.listeners = [
            each.on_event for each in self.middleware if _overrides(each, "on_event")
        ]
        self.enqueue: EnqueueMiddleware | None = reduce(
            _send_through,
            [each.enqueue for each in inwards if _overrides(each, "enqueue")],
            None,
        )
        """What runs around an enqueue; None if nothing does."""

        self.handle: HandlerMiddleware | None = reduce(
            _run_through,
            [each.handle for each in inwards if _overrides(each, "handle")],
            None,
        )
        """What runs around a handler; None if nothing does."""


def _overrides(middleware: Middleware, method: str) -> bool:
    return getattr(type(middleware), method, None) is not getattr(Middleware, method)


def _send_through(
    inner: EnqueueMiddleware | None, outer: EnqueueMiddleware
) -> EnqueueMiddleware:
    if inner is None:
        return outer
    return lambda stream, items, send: outer(
        stream, items, lambda passed: inner(stream, passed, send)
    )


def _run_through(
    inner: HandlerMiddleware | None, outer: HandlerMiddleware
) -> HandlerMiddleware:
    if inner is None:
        return outer
    return lambda job, ctx, run: outer(job, ctx, lambda: inner(job, ctx, run))
