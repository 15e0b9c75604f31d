"""What OpenTelemetry's semantic conventions for messaging say of jobs.

Spans (`flowd.tracing`) and metrics (`flowd.metering`) share these attributes.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from flowd.broker.settings import SCHEMES
from flowd.broker.url import Address
from flowd.errors import BulkError, OptionError, Snooze
from flowd.errors.option import instance
from flowd.model.context import Context
from flowd.model.job import Job
from flowd.model.labels import labels_of

__all__ = [
    "ERROR",
    "Attributes",
    "Operation",
    "check_provider",
    "error_of",
    "failure_of",
    "labels",
    "of_attempt",
    "of_enqueue",
    "server_of",
]

Operation: TypeAlias = Literal["send", "process"]

Attributes: TypeAlias = dict[str, str | int]
"""Of a span or of a measurement."""

ERROR: Final = "error.type"


def server_of(url: str | None) -> Attributes:
    """`server.address` and `server.port` of one server.

    Args:
        url: as `Queue` takes it. Of several hosts, an embedded server and None the server
            is not known beforehand, and there are none.

    Raises:
        OptionError: it is none that `Queue` takes.
    """
    if url is None:
        return {}
    if not url:
        raise OptionError("url", url, SCHEMES)
    Address.of(url)
    parts = urlsplit(url)
    match parts.scheme:
        case "unix":
            return {"server.address": parts.path}
        case "redis" | "rediss":
            host = parts.hostname or "localhost"
            return {"server.address": host, "server.port": parts.port or 6379}
        case _:
            return {}


def check_provider(option: str, provider: object, kind: type[object]) -> None:
    """Refuse what is no provider of OpenTelemetry's; None means the global one.

    Raises:
        OptionError: it is none, as a URL in its place.
    """
    if provider is not None:
        rule = f"must be an OpenTelemetry {kind.__name__}; a URL is given as url="
        instance(option, provider, kind, rule, shown=False)


def of_enqueue(stream: str) -> Attributes:
    """Of an enqueue."""
    return _common("send", stream)


def of_attempt(ctx: Context) -> Attributes:
    """Of an attempt of a job."""
    return {
        **_common("process", ctx.stream),
        "messaging.consumer.group.name": ctx.group,
    }


def _common(operation: Operation, stream: str) -> Attributes:
    return {
        "messaging.system": "flowd",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": stream,
    }


def labels(job: Job) -> Attributes:
    """The fields of a job that its schema calls labels."""
    return {f"flowd.job.{name}": value for name, value in labels_of(job).items()}


def failure_of(error: Exception) -> str:
    """The `error.type` of an enqueue; of a bulk that broke off, of what broke it off."""
    return _name(error.cause if isinstance(error, BulkError) else error)


def error_of(error: BaseException, ctx: Context) -> str | None:
    """The `error.type` of an attempt; None if it was no error.

    `Snooze` is none, and neither is a shutdown that releases the job.
    """
    if isinstance(error, Snooze):
        return None
    if isinstance(error, asyncio.CancelledError):
        return None if ctx.cancelled == "shutdown" else ctx.cancelled or _name(error)
    return _name(error)


def _name(error: BaseException) -> str:
    return type(error).__qualname__
