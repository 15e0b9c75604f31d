"""`flowd run MODULE:QUEUES`: run queues until a signal says stop."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import Final, TypeGuard

from flowd.cli.load import UsageError, load, users_code
from flowd.cli.options import Commands, add_app_dir, add_command, seconds
from flowd.display import printable
from flowd.endpoint import Endpoint
from flowd.errors import NotReady, OutcomeUnknown, Unreachable
from flowd.group import GroupHandle, QueueGroup
from flowd.job import Job
from flowd.queue import Queue
from flowd.signals import until_stopped

__all__ = ["add"]

_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_AGAIN: Final = 0.5
_HOST: Final = "127.0.0.1"

_DESCRIPTION: Final = """\
Run queues in this process until SIGTERM or SIGINT: then no more jobs are taken, running
ones have --grace seconds to end, and the rest is handed back. A second signal hands back
at once.

QUEUES is a Queue, a list of them, a QueueGroup, or a function that returns one of these.
Log lines go to standard error, one for each job."""


class _Lines(logging.Formatter):
    """Puts the job before what a handler says with `ctx.log`, as in flowd's own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        if record.name == "flowd.job":
            job = vars(record)
            place = (
                f"{job['stream']} {printable(job['job_id'])} attempt {job['attempt']}"
            )
            record.message = f"{place} {record.message}"
        return super().formatMessage(record)


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "run",
        "run queues until a signal says stop",
        _command,
        description=_DESCRIPTION,
        examples="  flowd run app.workers:queues\n"
        "  flowd run app.workers:queues --burst\n"
        "  flowd run app.workers:queues --metrics-port 9000\n"
        "  flowd run app.workers:queues --reload      in development",
    )
    parser.add_argument("queues", metavar="MODULE:QUEUES")
    add_app_dir(parser)
    parser.add_argument(
        "--burst", action="store_true", help="end when no job waits, runs or is delayed"
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=seconds,
        default=25.0,
        help="time for running jobs after a signal (default: 25; Kubernetes gives 30)",
    )
    parser.add_argument(
        "--metrics-port",
        metavar="PORT",
        type=port,
        help="show /metrics to Prometheus, and /healthz and /readyz to probes",
    )
    parser.add_argument(
        "--metrics-host",
        metavar="HOST",
        default=_HOST,
        help=f"where that port is (default: {_HOST}; 0.0.0.0: everywhere)",
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="start anew when a Python file below --app-dir changes; for development",
    )


def _command(options: argparse.Namespace) -> int:
    if options.reload:
        return _reload(options)
    if options.metrics_port is not None and find_spec("prometheus_client") is None:
        raise UsageError(
            "--metrics-port needs the extra `metrics`: pip install prometheus-client"
        )
    group = _group(load(options.queues, options.app_dir), options.queues)
    # Does nothing if the user's module has set up logging itself.
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Lines(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    endpoint = _endpoint(group, options)
    asyncio.run(_serve(group, endpoint, burst=options.burst, grace=options.grace))
    return 0


def _reload(options: argparse.Namespace) -> int:
    if find_spec("watchfiles") is None:
        raise UsageError("--reload needs the extra `reload`: pip install watchfiles")
    from flowd.cli.reload import run_and_reload  # noqa: PLC0415 - only now it is there

    if not options.app_dir.is_dir():
        raise UsageError(f"--app-dir {str(options.app_dir)!r} is not a folder")
    words = ["run", options.queues, "--app-dir", str(options.app_dir)]
    words += ["--grace", str(options.grace), *(["--burst"] if options.burst else [])]
    if options.metrics_port is not None:
        words += ["--metrics-port", str(options.metrics_port)]
        words += ["--metrics-host", options.metrics_host]
    return run_and_reload(words, options.app_dir)


def port(text: str) -> int:
    """A port on the command line.

    Raises:
        ValueError: it is none, which argparse says by this function's name.
    """
    value = int(text)
    if not 0 <= value <= 65_535:
        raise ValueError
    return value


def _endpoint(group: QueueGroup, options: argparse.Namespace) -> Endpoint | None:
    if options.metrics_port is None:
        return None
    from flowd.cli.listen import listening  # noqa: PLC0415 - only now it is there

    queues = [each for each in group.queues if _is_queue(each)]
    return listening(queues, options.metrics_host, options.metrics_port)


async def _serve(
    group: QueueGroup, endpoint: Endpoint | None, *, burst: bool, grace: float
) -> None:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(group.aclose)
        if endpoint is not None:
            try:
                await stack.enter_async_context(endpoint)
            except OSError as error:
                raise UsageError(f"--metrics-port: {error.strerror}") from None
            logging.getLogger("flowd").info("shows metrics at %s/metrics", endpoint.url)
        await until_stopped(_Service(group, burst=burst), grace)


class _Service:
    """Queues from their set-up to their end; can be stopped at any moment of it."""

    def __init__(self, group: QueueGroup, *, burst: bool) -> None:
        self._group = group
        self._burst = burst
        self._handle: GroupHandle | None = None
        self._setting_up = asyncio.ensure_future(group.init_all())

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown, or give up waiting for a server."""
        self._setting_up.cancel()
        if self._handle is not None:
            self._handle.stop(grace)

    async def wait(self) -> None:
        """Set up, run, and return when all have ended."""
        await asyncio.wait([self._setting_up])
        if self._setting_up.cancelled():
            return
        self._setting_up.result()
        self._handle = self._group.run_all()
        draining = asyncio.ensure_future(self._stop_when_drained(self._handle))
        try:
            await self._handle.wait()
        finally:
            draining.cancel()

    async def _stop_when_drained(self, handle: GroupHandle) -> None:
        while self._burst:
            try:
                await self._group.drain()
            except (Unreachable, OutcomeUnknown, NotReady):
                await asyncio.sleep(_AGAIN)  # the queues wait for the server as well
            else:
                handle.stop()
                return


def _group(found: object, reference: str) -> QueueGroup:
    """The queues as a group, whatever they were given as."""
    if _is_factory(found):
        with users_code():
            found = found()
    if isinstance(found, QueueGroup):
        return found
    several = found if _is_many(found) else [found]
    queues = [each for each in several if _is_queue(each)]
    others = [each for each in several if not _is_queue(each)]
    if others or not queues:
        what = printable(repr(others[0] if others else found), 80)
        raise UsageError(
            f"{reference} holds {what}; it must be a Queue, a list of them,"
            " a QueueGroup, or a function that returns one of these"
        )
    return QueueGroup(queues)


def _is_factory(found: object) -> TypeGuard[Callable[[], object]]:
    if not callable(found) or isinstance(found, type):
        return False
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return False
    return True


def _is_many(found: object) -> TypeGuard[Sequence[object]]:
    return isinstance(found, list | tuple)


def _is_queue(found: object) -> TypeGuard[Queue[Job]]:
    return isinstance(found, Queue)
