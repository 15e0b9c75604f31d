"""`flowd top`: the queues of a server, live in a terminal."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from typing import Final

from flowd.broker.url import Address
from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command, add_url, seconds

__all__ = ["add"]

_EVERY: Final = 2.0
_SOONEST: Final = 0.2

_DESCRIPTION: Final = """\
Queues, workers, running jobs, rates and failures of a server, live. Queues with a problem come
first; the failures are those of the chosen queue, from now on.

- Tab, arrows: choose a table and a row
- c: cancel the chosen running job; r: redrive the dead letters of the chosen queue
- p: pause or resume the chosen queue
- q: quit

c, r and p ask before they change anything."""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "top",
        "watch queues, workers and running jobs live, and act on them",
        _command,
        description=_DESCRIPTION,
        examples="  flowd top\n  flowd top --every 1s",
    )
    parser.add_argument(
        "--every",
        metavar="TIME",
        type=seconds,
        default=_EVERY,
        help="time between two looks (default: 2s)",
    )
    add_url(parser)


def _command(options: argparse.Namespace) -> int:
    Address.of(options.url)
    if find_spec("textual") is None:
        raise UsageError("flowd top needs the extra `cli`: pip install textual")
    if sys.stdout is None or not sys.stdout.isatty():
        raise UsageError("flowd top needs a terminal; flowd stats prints into a pipe")
    from flowd.cli.top_view import TopView  # noqa: PLC0415 - only now it is there

    view = TopView(options.url, max(options.every, _SOONEST))
    view.run()
    if view.failed is not None:
        raise view.failed
    return 0
