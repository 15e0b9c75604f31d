"""OpenTelemetry spans around enqueues and handlers, as a middleware.

    queue = Queue(Email, send, middleware=[Tracing()])

Names and attributes follow the semantic conventions for messaging. The trace context is
stored with the job in the field `_traceparent`, through retries, dead letter and redrive.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

try:
    from opentelemetry import trace
    from opentelemetry.context import Context as TraceContext
    from opentelemetry.trace.propagation.tracecontext import (
        TraceContextTextMapPropagator,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "flowd.tracing needs the extra `otel`: pip install opentelemetry-api",
        name=error.name,
    ) from None

from flowd import conventions
from flowd.conventions import ERROR
from flowd.errors import OptionError
from flowd.model.context import Context
from flowd.model.item import Item
from flowd.model.job import Job
from flowd.model.middleware import Middleware, Run, Send

__all__ = ["Tracing"]

_W3C: Final = TraceContextTextMapPropagator()
_MAX_TRACESTATE: Final = 512


class Tracing(Middleware):
    """A span for each enqueue, and one for each attempt.

    An attempt is a child of the span that enqueued the job and linked to it, so that all
    attempts are in one trace. An exception of the handler is recorded in its span; for a
    job with secret fields only the type of the exception. `Snooze`, and a shutdown that
    releases the job, are not errors.

    Args:
        tracer_provider: receives the spans; None means the global one.
        url: of the server, for `server.address` and `server.port`; None: without them.

    Raises:
        ModuleNotFoundError: on import, if opentelemetry-api is not installed.
        OptionError: `tracer_provider` is none, or the URL is none that `Queue` takes.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        *,
        url: str | None = None,
    ) -> None:
        self._server = conventions.server_of(url)
        conventions.check_provider(
            "tracer_provider", tracer_provider, trace.TracerProvider
        )
        self._tracer = trace.get_tracer("flowd", tracer_provider=tracer_provider)

    async def enqueue(
        self, stream: str, items: Iterable[Item[Job]], send: Send
    ) -> list[str]:
        """Enqueue in a span `send STREAM`, and store its context with the jobs."""
        with self._tracer.start_as_current_span(
            f"send {stream}",
            kind=trace.SpanKind.PRODUCER,
            attributes=self._server | conventions.of_enqueue(stream),
        ) as span:
            try:
                ids = await send(_carriers(items))
            except Exception as error:
                span.set_attribute(ERROR, conventions.failure_of(error))
                raise
            if len(ids) == 1:
                span.set_attribute("messaging.message.id", ids[0])
            else:
                span.set_attribute("messaging.batch.message_count", len(ids))
            return ids

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:
        """Run the handler in a span `process STREAM`."""
        # The parent is the job's span, not the one in which the queue was started.
        context = _W3C.extract(ctx.headers, TraceContext())
        producer = trace.get_current_span(context).get_span_context()
        with self._tracer.start_as_current_span(
            f"process {ctx.stream}",
            context,
            trace.SpanKind.CONSUMER,
            {
                **self._server,
                **conventions.of_attempt(ctx),
                **conventions.labels(job),
                "messaging.client.id": ctx.consumer,
                "messaging.message.id": ctx.id,
                "flowd.job.attempt": ctx.attempt,
                "flowd.job.deliveries": ctx.deliveries,
            },
            [trace.Link(producer)] if producer.is_valid else [],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await run()
            except BaseException as error:
                if kind := conventions.error_of(error, ctx):
                    span.set_attribute(ERROR, kind)
                    span.set_status(trace.StatusCode.ERROR)
                    _record(span, job, error)
                raise


def _record(span: trace.Span, job: Job, error: BaseException) -> None:
    """The exception of a handler, unless its text may hold a secret."""
    if not (isinstance(error, asyncio.CancelledError) or type(job).SPEC.secrets):
        span.record_exception(error)


def _carriers(items: Iterable[Item[Job]]) -> Iterator[Item[Job]]:
    """The items, with the current span in the headers of those that have none."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    if len(carrier.get("tracestate", "")) > _MAX_TRACESTATE:
        del carrier["tracestate"]
    for item in items:
        if carrier and "traceparent" not in item.headers:
            yield _carrying(item, carrier)
        else:
            yield item


def _carrying(item: Item[Job], carrier: Mapping[str, str]) -> Item[Job]:
    """The item with as much of the span context as fits next to its own headers."""
    for some in (carrier, {"traceparent": carrier["traceparent"]}):
        try:
            return dataclasses.replace(item, headers={**item.headers, **some})
        except OptionError:
            continue  # a job is never refused because of its trace
    return item
