"""`flowd exporter`: the metrics of every queue of a server, without a worker."""

from __future__ import annotations

import argparse
import asyncio
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from flowd.broker.registry import QueueList
from flowd.broker.session import connected
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command, add_url, port
from flowd.cli.run import set_up_log
from flowd.errors import ServerError
from flowd.log import log
from flowd.worker.signals import until_stopped

if TYPE_CHECKING:
    from flowd.metrics.http import Page

__all__ = ["add"]

_HOST: Final = "127.0.0.1"
_PORT: Final = 9_107
_WITHIN: Final = 2.0

_DESCRIPTION: Final = """\
Serve /metrics for Prometheus: what every queue of a server holds, and its workers. Run one for
a server, so that alerts fire when no worker is left; workers show what they count themselves
(flowd run --metrics-port). /healthz says that it runs, /readyz that Redis answers. It runs
until SIGTERM or SIGINT."""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "exporter",
        "serve the metrics of every queue, without a worker",
        _command,
        description=_DESCRIPTION,
        examples="  flowd exporter\n  flowd exporter --host 0.0.0.0 --port 9107",
    )
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=port,
        default=_PORT,
        help=f"where to listen (default: {_PORT}; 0: any that is free)",
    )
    parser.add_argument(
        "--host",
        metavar="HOST",
        default=_HOST,
        help=f"address of that port (default: {_HOST}; 0.0.0.0: all interfaces)",
    )
    add_url(parser)


def _command(options: argparse.Namespace) -> int:
    if find_spec("prometheus_client") is None:
        raise UsageError(
            "flowd exporter needs the extra `metrics`: pip install prometheus-client"
        )
    set_up_log()
    exporter = _Exporter(Address.of(options.url), options.host, options.port)
    asyncio.run(until_stopped(exporter, 0.0, jobs=False))
    return 0


class _Exporter:
    """Serves until it is stopped."""

    def __init__(self, address: Address, host: str, number: int) -> None:
        self._address = address
        self._host = host
        self._port = number
        self._list = QueueList()
        self._stopped = asyncio.Event()
        self._away = False

    def stop(self, grace: float | None = 25.0) -> None:  # noqa: ARG002 - nothing to end
        """Stop; a request that is not answered yet never will be."""
        self._stopped.set()

    async def wait(self) -> None:
        """Serve, and return when it was stopped.

        Raises:
            UsageError: the process cannot listen there.
        """
        from flowd.cli.listen import live, serving  # noqa: PLC0415 - with the extra

        pages = {"/metrics": self._metrics, "/healthz": live, "/readyz": self._ready}
        # One connection for as long as it runs.
        async with (
            connected(self._address),
            serving(pages, self._host, self._port, option="--port"),
        ):
            await self._stopped.wait()

    async def _metrics(self) -> Page:
        from flowd.cli.listen import metrics_page  # noqa: PLC0415
        from flowd.metrics.scrape import server_exposition  # noqa: PLC0415

        places = [
            (self._address, each.keys.stream, each.group) for each in await self._seen()
        ]
        return metrics_page(
            await server_exposition(self._address, places, up=not self._away)
        )

    async def _seen(self) -> list[Stream]:
        """The queues of the server; none while it does not answer.

        Of a cluster, another node may have some of them.
        """
        try:
            async with connected(self._address) as connection, asyncio.timeout(_WITHIN):
                found = await self._list.queues(connection)
        except (ServerError, TimeoutError) as error:
            self._note(f"{error}")
            return []
        self._note("the node that lists the queues" if self._list.is_old else "")
        return found

    def _note(self, away: str) -> None:
        """Remember what cannot be asked, and log it once; empty: all answers."""
        if away and not self._away:
            log(logging.WARNING, "%s cannot be asked: %s", self._address, away)
        self._away = bool(away)

    async def _ready(self) -> Page:
        from flowd.cli.listen import verdict  # noqa: PLC0415

        await self._seen()
        return verdict(["Redis does not answer"] if self._away else [])
