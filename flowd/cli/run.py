"""`flowd run MODULE:QUEUES`: run queues until a signal stops them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Final

from flowd.broker.url import Address
from flowd.cli.leave import Leaving, leave, run_loop, stop_on_hang_up
from flowd.cli.load import UsageError, load
from flowd.cli.options import Commands, add_app_dir, add_command, port, seconds
from flowd.cli.output import print_note
from flowd.cli.processes.command import (
    add_processes,
    is_supervised,
    supervise,
    supervised_worker,
    worker_arguments,
)
from flowd.cli.service import Service, Shown, find_queues
from flowd.model.text import printable
from flowd.worker.signals import Stoppable, until_stopped
from flowd.worker.stacks import stacks_on_signal

__all__ = ["add", "add_metrics_port", "port_is_usable", "set_up_log"]

_HOST: Final = "127.0.0.1"
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_OF_PROCESS: Final = _FORMAT.replace("%(name)s", "%(name)s[%(process)d]")

_DESCRIPTION: Final = """\
Run queues in this process until SIGTERM or SIGINT (Ctrl-C). The shutdown is graceful: no
more jobs are read, running handlers have --grace seconds to end, and the jobs of the
others are released. A second signal releases them at once. SIGUSR1 logs for how long each
handler has run, and where it stands.

QUEUES is a Queue, a list of them, a QueueGroup, or a function that returns one of these
or an async context manager of one, which is open while they run.

With --processes a parent keeps that many workers running, starts one that died again, and
on SIGHUP replaces all, one by one, with the code that is there then. --metrics-port is the
parent's and shows all of them. Each of --max-jobs, --max-rss and --max-age replaces a
worker; its replacement is ready before it stops.

Log lines go to standard error, one for each job."""


class _Lines(logging.Formatter):
    """Prefixes the lines of `ctx.log` with the job, as flowd's own lines."""

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
        "run queues until a signal stops them",
        _command,
        description=_DESCRIPTION,
        examples="  flowd run workers:queues\n"
        "  flowd run workers:queues --burst\n"
        "  flowd run workers:queues --metrics-port 9000\n"
        "  flowd run workers:queues --processes auto --max-rss 500M\n"
        "  flowd run workers:queues --reload      in development",
    )
    parser.add_argument("queues", metavar="MODULE:QUEUES")
    add_app_dir(parser)
    parser.add_argument(
        "--url",
        help="the server of queues without url=, as redis://localhost:6379"
        " (default: $FLOWD_URL, which keeps a password out of the list of processes)",
    )
    parser.add_argument(
        "--burst",
        action="store_true",
        help="exit when no job waits, runs or is delayed; waits for the server without a"
        " limit, as every worker does (use `timeout` to set one)",
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=seconds,
        default=25.0,
        help="time for running jobs after a signal (default: 25; Kubernetes gives 30)",
    )
    add_metrics_port(parser)
    add_processes(parser)
    parser.add_argument(
        "--reload",
        action="store_true",
        help="restart when a Python file below --app-dir changes; for development",
    )


def add_metrics_port(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is served over HTTP."""
    parser.add_argument(
        "--metrics-port",
        metavar="PORT",
        type=port,
        help="serve /metrics for Prometheus, and /healthz and /readyz for probes",
    )
    parser.add_argument(
        "--metrics-host",
        metavar="HOST",
        default=_HOST,
        help=f"address of that port (default: {_HOST}; 0.0.0.0: all interfaces)",
    )


def _command(options: argparse.Namespace) -> int:
    several = is_supervised(options)
    if options.url:
        Address.of(options.url)  # a wrong one is refused before the user's code runs
        # Read by queues without url=, and passed on to the processes that this one starts.
        os.environ["FLOWD_URL"] = options.url
    if options.reload and several:
        raise UsageError(
            "--reload is for development and one process: leave out --processes and --max-…"
        )
    if options.reload:
        return _reload(options)
    if several and options.supervised is None:
        set_up_log(_OF_PROCESS)
        _note_terminal()
        return supervise(options, port_is_usable(options))
    if options.supervised is not None:
        return _run_supervised(options)
    shown = _shown(options)
    queues = find_queues(load(options.queues, options.app_dir), options.queues)
    set_up_log(_FORMAT)
    service = Service(queues, options.queues, burst=options.burst, shown=shown)
    stop_on_hang_up()
    _note_terminal()
    _run_to_the_end(service, options)
    return 0


def _run_supervised(options: argparse.Namespace) -> int:
    """Run as one of several, whose parent has started this one."""
    worker = supervised_worker(options)
    queues = find_queues(load(options.queues, options.app_dir), options.queues)
    set_up_log(_OF_PROCESS)
    service = Service(queues, options.queues, burst=options.burst, shown=worker.shown)
    _run_to_the_end(worker.around(service), options)
    return 0


def _run_to_the_end(running: Stoppable, options: argparse.Namespace) -> None:
    options.leave = leave
    with stacks_on_signal():
        run_loop(until_stopped(Leaving(running), options.grace))


def _note_terminal() -> None:
    if sys.stderr.isatty():
        print_note("waiting for jobs; Ctrl-C ends")


def set_up_log(template: str = _FORMAT) -> None:
    """Log to standard error; has no effect if the user's module has configured logging."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Lines(template))
    logging.basicConfig(level=logging.INFO, handlers=[lines])


def _shown(options: argparse.Namespace) -> Shown:
    """The server of metrics and probes, which is open while queues run."""
    if not port_is_usable(options):
        return lambda _: nullcontext()
    from flowd.cli.listen import listening  # noqa: PLC0415 - only now it is there

    host, number = options.metrics_host, options.metrics_port
    return lambda queues: listening(queues, host, number)


def port_is_usable(options: argparse.Namespace) -> bool:
    """Whether there is to be a port; what it needs is there then.

    Raises:
        UsageError: it is not.
    """
    if options.metrics_port is None:
        if options.metrics_host != _HOST:
            raise UsageError(
                "--metrics-host is the address of --metrics-port: give both"
            )
        return False
    if find_spec("prometheus_client") is None:
        raise UsageError(
            "--metrics-port needs the extra `metrics`: pip install prometheus-client"
        )
    return True


def _reload(options: argparse.Namespace) -> int:
    if find_spec("watchfiles") is None:
        raise UsageError("--reload needs the extra `reload`: pip install watchfiles")
    from flowd.cli.reload import run_and_reload  # noqa: PLC0415 - only now it is there

    if not options.app_dir.is_dir():
        raise UsageError(f"--app-dir {str(options.app_dir)!r} is not a folder")
    arguments = worker_arguments(options, "metrics_port", "metrics_host")
    return run_and_reload(arguments, options.app_dir)
