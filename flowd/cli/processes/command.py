"""The options of `flowd run` that are about processes, and what they start."""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowd.cli.options import seconds, size, wrong
from flowd.cli.processes.cpus import usable_cpus
from flowd.cli.processes.limits import Limits
from flowd.embedded import is_embedded, open_embedded

if TYPE_CHECKING:
    from flowd.cli.processes.supervised import SupervisedWorker
    from flowd.cli.processes.supervisor import Supervisor

__all__ = [
    "add_processes",
    "is_supervised",
    "supervise",
    "supervised_worker",
    "worker_arguments",
]

_AUTO: Final = "auto"
_LEAST_RSS: Final = 32 * 2**20
"""Bytes; a worker that has not run a job yet has more."""


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the options to those of `flowd run`."""
    parser.add_argument(
        "--processes",
        metavar="N",
        type=processes,
        help="how many worker processes (default: 1, without a parent);"
        " auto: one for each CPU that may be used, by the limit of a container as well",
    )
    parser.add_argument(
        "--max-jobs",
        metavar="N",
        type=jobs,
        help="replace a process that has run so many jobs",
    )
    parser.add_argument(
        "--max-rss",
        metavar="SIZE",
        type=rss,
        help="replace a process with more resident memory, as 500M or 2G",
    )
    parser.add_argument(
        "--max-age",
        metavar="SECONDS",
        type=age,
        help="replace a process that has run so long, as 3600, 90m or 12h",
    )
    # From the parent to its child: the number of a file descriptor.
    parser.add_argument("--supervised", type=int, help=argparse.SUPPRESS)


def processes(text: str) -> int | str:
    """A number of processes on the command line, or `auto`.

    Raises:
        ArgumentTypeError: it is none.
    """
    if text != _AUTO and not _is_above_0(text):
        raise wrong(text, "number of processes", f"4 or {_AUTO}")
    return text if text == _AUTO else int(text)


def jobs(text: str) -> int:
    """A number above 0 on the command line.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not _is_above_0(text):
        raise wrong(text, "count above 0", "1 or 1000")
    return int(text)


def rss(text: str) -> int:
    """The memory of a worker on the command line, in bytes.

    Raises:
        ArgumentTypeError: it is none, or no worker has so little.
    """
    if (found := size(text)) < _LEAST_RSS:
        raise wrong(text, "memory of 32M or more, which each worker has", "500M or 2G")
    return found


def age(text: str) -> float:
    """A time above 0 on the command line.

    Raises:
        ArgumentTypeError: it is none.
    """
    if (found := seconds(text)) <= 0.0:
        raise wrong(text, "time above 0", "90m or 12h")
    return found


def _is_above_0(text: str) -> bool:
    return text.isdecimal() and text.isascii() and int(text) > 0


def is_supervised(options: argparse.Namespace) -> bool:
    """Whether there is a parent; `auto` has one on one CPU too, for SIGHUP."""
    return bool(_limits(options)) or options.processes not in (None, 1)


def supervise(options: argparse.Namespace, pages: bool) -> int:
    """Run the parent to its end; returns the exit code.

    Args:
        options: of `flowd run`.
        pages: whether it serves metrics.

    Raises:
        UsageError: it cannot listen at the port.
        FatalError: FLOWD_URL is `embedded:`, and no server starts.
    """
    # One process alone loads nothing of this.
    from flowd.cli.processes.child import Command  # noqa: PLC0415
    from flowd.cli.processes.supervisor import Supervisor  # noqa: PLC0415

    count: int | str = options.processes or 1
    if count == _AUTO:
        count = usable_cpus()
    assert isinstance(count, int)
    names = ("metrics_port", "max_jobs", "max_rss", "max_age")
    arguments = worker_arguments(options, *names)
    command = Command(arguments, _folder(), _environment())

    async def run() -> int:
        supervisor = Supervisor(
            command, count, grace=options.grace, burst=options.burst
        )
        return await supervisor.run(_pages(supervisor, options, pages))

    return asyncio.run(run())


def supervised_worker(options: argparse.Namespace) -> SupervisedWorker:
    """The worker of a process that has a parent.

    Raises:
        UsageError: its number is wrong.
    """
    from flowd.cli.processes.supervised import (  # noqa: PLC0415 - as above
        SupervisedWorker,
    )

    return SupervisedWorker(
        options.supervised,
        options.grace,
        _limits(options),
        counted=options.metrics_port is not None,
    )


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(options.max_jobs, options.max_rss, options.max_age)


def _pages(
    supervisor: Supervisor, options: argparse.Namespace, wanted: bool
) -> AbstractAsyncContextManager[object]:
    if not wanted:
        return nullcontext()
    from flowd.cli.processes.pages import (  # noqa: PLC0415 - an extra
        serving_for_all,
    )

    return serving_for_all(supervisor, options.metrics_host, options.metrics_port)


def worker_arguments(options: argparse.Namespace, *names: str) -> list[str]:
    """The command line of a worker that a parent starts, from `run` on.

    Args:
        options: of the parent.
        names: the attributes that are passed on where they are set, besides the queues,
            their folder, the grace period and the burst.
    """
    arguments = ["run", options.queues, "--app-dir", str(options.app_dir)]
    arguments += ["--grace", str(options.grace)]
    arguments += ["--burst"] if options.burst else []
    for name in names:
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def _folder() -> str:
    """The current folder by the name that it was entered by, which may be a link.

    A deploy that moves the link reaches the children that are started then.
    """
    here, named = Path.cwd(), Path(os.environ.get("PWD") or "/")
    return str(named if named.is_dir() and named.samefile(here) else here)


def _environment() -> dict[str, str]:
    """The children's; a server that would be each one's own is this process's."""
    url = os.environ.get("FLOWD_URL", "")
    if not is_embedded(url):
        return dict(os.environ)
    socket = open_embedded(url)
    # With a path the children look it up themselves, and take over if this process dies.
    own = {"FLOWD_URL": f"unix://{socket}"} if url == "embedded:" else {}
    return os.environ | own
