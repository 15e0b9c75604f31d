"""The user's function, and the one way to call it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Container
from functools import partial
from types import CodeType
from typing import Final, Generic, TypeAlias, TypeGuard, TypeVar, cast

from flowd.errors import OptionError
from flowd.model.context import Context, Place, Report
from flowd.model.delivery import Delivery
from flowd.model.job import Job, spec_of
from flowd.model.middleware import HandlerMiddleware
from flowd.worker.annotations import check_arguments

__all__ = [
    "BoundHandler",
    "Handler",
    "check_handler",
    "finished",
    "in_task",
    "name_of",
]

J = TypeVar("J", bound=Job)

Handler: TypeAlias = Callable[[J], object] | Callable[[J, Context], object]
"""A coroutine function of `(job)` or `(job, ctx)`; a plain function runs in a thread."""

_Call: TypeAlias = Callable[[J, Delivery], object]
_PoolFuture: TypeAlias = concurrent.futures.Future[object]

_AWAITS: Final = 100


def check_handler(handler: Handler[J], job_class: type[J]) -> None:
    """Check that a handler can run the jobs of a class.

    Raises:
        OptionError: it can be called neither with `(job)` nor with `(job, ctx)`, or is
            a generator function, or is annotated with other classes.
        FormatError: `flowd-gen` did not write the class.
    """
    fields = spec_of(job_class).fields
    if inspect.iscoroutine(handler):
        name = getattr(handler, "__qualname__", "handler")
        handler.close()
        rule = f"the handler was called; pass the function {name} itself, without ()"
        raise OptionError("handler", handler, rule)
    if _is_generator(handler):
        raise OptionError(
            "handler", handler, "must not have a `yield`: to call it runs nothing"
        )
    takes_context = _takes_context(handler)
    if not takes_context and not _takes_job(handler):
        rule = f"must be a function of (job) or of (job, ctx){_what_it_takes(handler)}"
        raise OptionError("handler", handler, rule)
    wanted = Context if takes_context else None
    check_arguments(handler, job_class, fields, wanted)


class BoundHandler(Generic[J]):
    """A handler that `check_handler` accepted, and the context of its queue.

    Args:
        handler: the user's.
        place: for the context.
        lease: likewise, in seconds.
        report: likewise; None without progress reports.
        around: the middleware that runs around it; None costs nothing.
    """

    def __init__(
        self,
        handler: Handler[J],
        place: Place,
        lease: float,
        *,
        report: Report | None = None,
        around: HandlerMiddleware | None = None,
    ) -> None:
        context = partial(Context, place=place, lease=lease, report=report)
        given: Callable[[J, Context], object]
        call: _Call[J]
        if _takes_context(handler):
            given, call = handler, _with_context(handler, context)
        else:
            assert _takes_job(handler), "check_handler has accepted it"
            given = call = _with_job_alone(handler)
        self.begin: Callable[[J, Delivery], Awaitable[object]]
        """Begin a run; awaiting it brings the handler to its end."""

        if around is not None:
            awaited = _gives_coroutines(call, handler)
            start = _in_loop if awaited else _in_thread
            self.begin = _surrounded(given, context, around, start)
        elif _gives_coroutines(call, handler):
            self.begin = call
        else:
            self.begin = partial(_in_thread, call)


def name_of(handler: Callable[..., object]) -> str:
    """Where a handler is defined, for the log."""
    function = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{function.__module__}.{function.__qualname__}"


def _what_it_takes(handler: Callable[..., object]) -> str:
    """Where a handler is defined and its parameters; empty if neither can be said."""
    try:
        takes = inspect.signature(handler)
    except (TypeError, ValueError):
        return ""
    code = getattr(inspect.unwrap(handler), "__code__", None)
    line = f":{code.co_firstlineno}" if isinstance(code, CodeType) else ""
    module = getattr(handler, "__module__", None) or type(handler).__module__
    name = getattr(handler, "__name__", type(handler).__name__)
    given = ", ".join(takes.parameters) or "no argument"
    return f"; {name} ({module}{line}) takes {given}"


async def finished(result: object) -> object:
    """Bring to its end what a handler returned, and return what that gives.

    A decorator that forgot its `await` returns a coroutine, in which all the work is; one
    that submits to a pool returns a future of `concurrent.futures`.

    Raises:
        TypeError: it is a generator, of which calling it has run nothing; or awaiting it
            gives awaitables without an end.
    """
    for _ in range(_AWAITS):
        given = result
        if isinstance(given, concurrent.futures.Future):
            result = await asyncio.wrap_future(cast("_PoolFuture", given))
        elif inspect.isawaitable(given):
            result = await given
        else:
            break
        if result is given:  # as a connection that is opened by awaiting it
            break
    else:
        name = type(result).__name__
        raise TypeError(f"the handler returned awaitables without an end, as a {name}")
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        name = getattr(result, "__qualname__", "a generator")
        raise TypeError(f"the handler returned the generator {name}, and nothing ran")
    return result


def in_task(tasks: Container[object]) -> bool:
    """Whether the caller runs in one of these tasks.

    It does not when Python takes its coroutine down after the loop is gone.
    """
    try:
        return asyncio.current_task() in tasks
    except RuntimeError:
        return False


def _with_context(
    handler: Callable[[J, Context], object], context: Callable[[Delivery], Context]
) -> _Call[J]:
    return lambda job, delivery: handler(job, context(delivery))


def _with_job_alone(
    handler: Callable[[J], object],
) -> Callable[[J, object], object]:
    return lambda job, _: handler(job)


def _surrounded(
    handler: Callable[[J, Context], object],
    context: Callable[[Delivery], Context],
    around: HandlerMiddleware,
    start: Callable[[_Call[J], J, Delivery], Awaitable[object]],
) -> Callable[[J, Delivery], Awaitable[object]]:
    """What runs around a handler sees the same context as the handler."""

    def begin(job: J, delivery: Delivery) -> Awaitable[object]:
        ctx = context(delivery)
        return around(
            job, ctx, lambda: start(lambda job, _: handler(job, ctx), job, delivery)
        )

    return begin


def _gives_coroutines(
    _: _Call[J], handler: Callable[..., object]
) -> TypeGuard[Callable[[J, Delivery], Awaitable[object]]]:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - an object with async __call__
    )


def _is_generator(handler: Callable[..., object]) -> bool:
    call: object = getattr(handler, "__call__", None)  # noqa: B004 - as above
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in (handler, call)
    )


def _takes_job(handler: Handler[J]) -> TypeGuard[Callable[[J], object]]:
    return _accepts(handler, 1)


def _takes_context(handler: Handler[J]) -> TypeGuard[Callable[[J, Context], object]]:
    # A second parameter with a default is the handler's own, not the context.
    return not _accepts(handler, 1) and _accepts(handler, 2)


def _accepts(handler: Callable[..., object], arguments: int) -> bool:
    try:
        inspect.signature(handler).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True


async def _in_loop(call: _Call[J], job: J, delivery: Delivery) -> object:
    return await finished(call(job, delivery))


async def _in_thread(call: _Call[J], job: J, delivery: Delivery) -> object:
    """Call in a thread of its own, which does not keep the process from ending.

    A thread cannot be cancelled. After a timeout or a lost lease it still uses its slot,
    so it is waited for; when the process ends it is not.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[object] = loop.create_future()
    context = contextvars.copy_context()

    def resolve(result: object, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)
        else:
            ended.set_exception(error)

    def run() -> None:
        result: object = None
        error: BaseException | None = None
        try:
            result = context.run(call, job, delivery)
        except BaseException as raised:  # carried over to the task that waits
            error = raised
        if issubclass(type(error), StopIteration):
            # A future refuses it, since it would end the coroutine that waits.
            error = RuntimeError("the handler raised StopIteration")
        if not loop.is_closed():
            loop.call_soon_threadsafe(resolve, result, error)

    delivery.in_thread = True
    threading.Thread(target=run, name=delivery.thread_name, daemon=True).start()
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            if delivery.cancelled in ("timeout", "lost", "cancel"):
                continue
            if not ended.done():
                raise
            delivery.cancelled = ""  # too late: it has ended before
    delivery.in_thread = False
    return await finished(ended.result())
