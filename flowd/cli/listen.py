"""The HTTP pages `/metrics`, `/healthz` and `/readyz` of commands that run on."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from flowd.cli.load import UsageError
from flowd.cli.service import why_failing
from flowd.log import log
from flowd.metrics import Metrics, exposition
from flowd.metrics.http import Endpoint, Page, PageMaker
from flowd.metrics.scrape import Place
from flowd.model.job import Job
from flowd.queue import Queue

__all__ = [
    "counting",
    "listening",
    "live",
    "metrics_page",
    "places",
    "serving",
    "verdict",
]


@asynccontextmanager
async def listening(
    queues: Sequence[Queue[Job]], host: str, port: int
) -> AsyncGenerator[None]:
    """Show queues that do not run yet; each gets metrics if it has none.

    Raises:
        OptionError: one of the queues runs already.
        UsageError: the port cannot be opened, or there are several `Metrics`.
    """
    metrics = counting(queues)

    async def show_metrics() -> Page:
        return metrics_page(await exposition(metrics.registry, places(queues)))

    async def ready() -> Page:
        return verdict(why_failing(queues))

    pages = {"/metrics": show_metrics, "/healthz": live, "/readyz": ready}
    async with serving(pages, host, port):
        yield


@asynccontextmanager
async def serving(
    pages: Mapping[str, PageMaker], host: str, port: int, option: str = "--metrics-port"
) -> AsyncGenerator[None]:
    """Serve pages, among them `/metrics`; `option` is what the user calls the port.

    Raises:
        UsageError: the process cannot listen there.
    """
    async with AsyncExitStack() as stack:
        try:
            endpoint = await stack.enter_async_context(Endpoint(pages, host, port))
        except OSError as error:
            raise UsageError(
                f"{option} {port}: {error.strerror}; 0 lets the system choose a port"
            ) from None
        log(logging.INFO, "serves metrics at %s/metrics", endpoint.url)
        yield


def metrics_page(text: bytes) -> Page:
    """The page `/metrics` with this text."""
    return Page(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


async def live() -> Page:
    """The page of a process whose event loop runs: that it is answered is the proof."""
    return Page(b"ok\n")


def verdict(reasons: Sequence[str]) -> Page:
    """200 without a reason against it, else 503 and the reasons, one a line."""
    if not reasons:
        return Page(b"ok\n")
    text = "".join(f"{each}\n" for each in reasons)
    return Page(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)


def counting(queues: Sequence[Queue[Job]]) -> Metrics:
    """What counts for queues that do not run yet; each gets it if it has none.

    Raises:
        OptionError: one of the queues runs already.
        UsageError: there are several `Metrics`.
    """
    metrics = _metrics_of(queues)
    for queue in queues:
        if not any(isinstance(each, Metrics) for each in queue.middleware):
            queue.add_middleware(metrics)
    return metrics


def places(queues: Sequence[Queue[Job]]) -> list[Place]:
    """Where the metrics of queues are read."""
    return [(each.address, each.policy.stream, each.policy.group) for each in queues]


def _metrics_of(queues: Sequence[Queue[Job]]) -> Metrics:
    """The `Metrics` object of the queues; a new one if none has one."""
    rule = "--metrics-port shows one Metrics: give the same to all that have one"
    found = {m for queue in queues for m in queue.middleware if isinstance(m, Metrics)}
    if len(found) > 1:
        raise UsageError(rule)
    try:
        return found.pop() if found else Metrics()
    except ValueError:
        raise UsageError(f"{rule}, and to the queues too") from None
