"""`flowd run MODULE:QUEUES`: run queues until a signal says stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from typing import Final

from flowd.cli.load import load
from flowd.cli.options import Commands, add_app_dir, seconds
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
    parser = commands.add_parser(
        "run",
        help="run queues until a signal says stop",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    queues = find_queues(load(options.queues, options.app_dir), options.queues)
    # Does nothing if the user's module has set up logging itself.
    logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stderr)
    service = Service(queues, options.queues, burst=options.burst)
    asyncio.run(until_stopped(service, options.grace))
    return 0
