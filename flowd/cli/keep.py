"""`flowd keep JOBS`: keep queues while no worker runs, and say how much there is to do."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from flowd.broker.session import Session
from flowd.broker.url import Address
from flowd.cli.leave import stop_on_hang_up
from flowd.cli.load import load_job_classes
from flowd.cli.options import Commands, add_app_dir, add_command, add_url
from flowd.cli.run import add_metrics_port, port_is_usable, set_up_log
from flowd.model.job import Job
from flowd.worker.keeper import Keeper
from flowd.worker.signals import until_stopped

if TYPE_CHECKING:
    from flowd.metrics.http import Page

__all__ = ["add"]

_DESCRIPTION: Final = """\
Keep the queues of generated classes while no worker runs: delayed jobs are put into their
streams when they are due, and schedules tick. No job is run, read or claimed, and no handler is
imported. Any number of keepers may run, with workers or without.

With --metrics-port it also serves what an autoscaler needs at zero workers: /metrics, and
/depth as JSON, with the number of jobs that wait or run for each stream: null for one that
cannot be seen, and status 503 if none can."""

_EXAMPLES: Final = """\
  flowd keep jobs
  flowd keep jobs --metrics-port 9000 --metrics-host 0.0.0.0"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "keep",
        "promote delayed jobs and tick schedules while no worker runs",
        _command,
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "jobs", metavar="PACKAGE_OR_MODULE", help="what `flowd-gen -o` wrote"
    )
    add_app_dir(parser)
    add_url(parser)
    add_metrics_port(parser)


def _command(options: argparse.Namespace) -> int:
    shown = port_is_usable(options)
    classes = load_job_classes(options.jobs, options.app_dir)
    address = Address.of(options.url)
    set_up_log()
    stop_on_hang_up()
    asyncio.run(_keep(classes, address, options, shown=shown))
    return 0


async def _keep(
    classes: Sequence[type[Job]],
    address: Address,
    options: argparse.Namespace,
    *,
    shown: bool,
) -> None:
    async with _session(address) as session, AsyncExitStack() as stack:
        keepers = [Keeper(session, each) for each in classes]
        if shown:
            await stack.enter_async_context(_pages(keepers, address, options))
        await until_stopped(_Keeping(keepers), None, jobs=False)


@asynccontextmanager
async def _session(address: Address) -> AsyncGenerator[Session]:
    session = Session.acquire(address)
    try:
        yield session
    finally:
        await session.release()


class _Keeping:
    """Keepers until they are stopped."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self._tasks = [asyncio.ensure_future(each.run()) for each in keepers]

    def stop(self, grace: float | None = 25.0) -> None:  # noqa: ARG002 - holds no job
        """End at once: a keeper holds no job."""
        for each in self._tasks:
            each.cancel()

    async def wait(self) -> None:
        """Return when all have ended; if one fails, end the others."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        await asyncio.wait(self._tasks)
        for each in self._tasks:
            if not each.cancelled() and (error := each.exception()):
                raise error


def _depth_page(found: Mapping[str, int | None]) -> Page:
    """What an autoscaler reads: no number where none is known.

    Zero would end the workers of a queue that is full, while Redis is away.
    """
    from flowd.metrics.http import Page  # noqa: PLC0415 - an extra

    known = [number for number in found.values() if number is not None]
    total = sum(known) if len(known) == len(found) else None
    status = HTTPStatus.OK if known else HTTPStatus.SERVICE_UNAVAILABLE
    body = json.dumps({"total": total, "queues": found})
    return Page(body.encode(), status, "application/json")


@asynccontextmanager
async def _pages(
    keepers: Sequence[Keeper], address: Address, options: argparse.Namespace
) -> AsyncGenerator[None]:
    # Only now it is there.
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from flowd.cli.listen import (  # noqa: PLC0415
        live,
        metrics_page,
        serving,
        verdict,
    )
    from flowd.metrics.scrape import depths, exposition  # noqa: PLC0415

    places = [(address, each.stream.keys.stream, each.stream.group) for each in keepers]

    async def metrics() -> Page:
        return metrics_page(await exposition(CollectorRegistry(), places))

    async def depth() -> Page:
        return _depth_page(await depths(places))

    async def ready() -> Page:
        return verdict([why for each in keepers if (why := each.failing)])

    pages = {"/metrics": metrics, "/depth": depth, "/healthz": live, "/readyz": ready}
    async with serving(pages, options.metrics_host, options.metrics_port):
        yield
