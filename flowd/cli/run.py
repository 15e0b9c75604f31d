"""`flowd run MODULE:QUEUES`: run queues until a signal says stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from importlib.util import find_spec
from typing import Final

from flowd.cli.load import UsageError, load
from flowd.cli.options import Commands, add_app_dir, add_command, seconds
from flowd.cli.service import Service, find_queues
from flowd.signals import until_stopped

__all__ = ["add"]

_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_DESCRIPTION: Final = """\
Run queues in this process until SIGTERM or SIGINT: then no more jobs are taken, running
ones have --grace seconds to end, and the rest is handed back. A second signal hands back
at once.

QUEUES is a Queue, a list of them, a QueueGroup, or a function that returns one of these
or an async context manager of one, which is open while they run.
Log lines go to standard error, one for each job."""


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
        "--reload",
        action="store_true",
        help="start anew when a Python file below --app-dir changes; for development",
    )


def _command(options: argparse.Namespace) -> int:
    if options.reload:
        return _reload(options)
    queues = find_queues(load(options.queues, options.app_dir), options.queues)
    # Does nothing if the user's module has set up logging itself.
    logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stderr)
    service = Service(queues, options.queues, burst=options.burst)
    asyncio.run(until_stopped(service, options.grace))
    return 0


def _reload(options: argparse.Namespace) -> int:
    if find_spec("watchfiles") is None:
        raise UsageError("--reload needs the extra `reload`: pip install watchfiles")
    from flowd.cli.reload import run_and_reload  # noqa: PLC0415 - only now it is there

    if not options.app_dir.is_dir():
        raise UsageError(f"--app-dir {str(options.app_dir)!r} is not a folder")
    words = ["run", options.queues, "--app-dir", str(options.app_dir)]
    words += ["--grace", str(options.grace), *(["--burst"] if options.burst else [])]
    return run_and_reload(words, options.app_dir)
