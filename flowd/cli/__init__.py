"""The command `flowd`: run, inspect and repair queues.

Exit codes: 0 success, 1 not found or a check failed, 2 invalid usage, 3 Redis refused or
cannot be reached, or a bug.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from flowd.broker.refusals import LOGIN_REFUSED
from flowd.cli import (
    completion,
    cron,
    dlq,
    doctor,
    exporter,
    job_control,
    jobs,
    keep,
    limit,
    pause,
    preflight,
    run,
    stats,
    tail,
    top,
    web,
)
from flowd.cli.load import UsageError
from flowd.cli.options import Parser
from flowd.cli.output import print_error
from flowd.errors import (
    AccessDenied,
    DecodeError,
    EncodeError,
    LetterNotFound,
    NotReady,
    OptionError,
    ServerError,
    Unreachable,
)

__all__ = ["command_line", "main"]

_EPILOG = """\
examples:
  flowd run workers:queues              run the queues that workers.py names
  flowd stats --watch                   jobs and workers of every queue
  flowd top                             watch and act, live
  flowd tail                            follow the jobs that end
  flowd jobs list --state running       jobs that run now
  flowd jobs enqueue jobs.email:Email to=a@b.c subject=hi
  flowd dlq list --newer 1h             jobs that died in the last hour, and why
  flowd dlq redrive --all --error TimeoutError --rate 50/s
  flowd limit crawls customer=7 0       pause one key of a queue with limits
  flowd cron list                       schedules, and when they run next
  flowd pause emails                    no worker takes a job of this queue
  flowd doctor                          check the server and its queues
  flowd preflight jobs                  can this release read all queued jobs?
  flowd keep jobs                       promote and tick while no worker runs
  flowd web jobs                        a dashboard in the browser

The server is --url, or the environment variable FLOWD_URL, which keeps a password out of
the list of processes.

exit codes: 0 success; 1 not found, or a check failed; 2 invalid usage; 3 Redis refused or
cannot be reached, or a bug"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SystemExit: with 2 on wrong usage, with 0 after `--help` and `--version`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Characters that the terminal's encoding lacks are shown as escapes.
            stream.reconfigure(errors="backslashreplace")
    options = command_line().parse_args(arguments)
    code = 3
    try:
        code = _run(options)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 3
        raise
    finally:
        leave: Callable[[int], None] | None = getattr(options, "leave", None)
        if leave is not None:
            leave(code)
    return code


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.command(options)
        print(end="", flush=True)
    except LetterNotFound as error:
        return _say(error, 1)
    except (OptionError, UsageError, EncodeError, DecodeError) as error:
        return _say(_as_option(error), 2)
    except ServerError as error:
        return _say(_with_advice(error), 3)
    except KeyboardInterrupt:
        return 130
    except UnicodeEncodeError as error:
        return _say(f"{error.object!r} cannot be encoded as UTF-8", 2)
    except OSError as error:
        # Only printing raises it here; Python must not flush again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0  # the reader of the pipe, as `head`, has ended
        return _say(f"failed to write the output: {error}", 3)
    except Exception:  # a bug, which has an exit code as well
        traceback.print_exc()
        return 3
    return code


def _as_option(error: Exception) -> object:
    """An error of the arguments of flowd's classes, in the words of a command line."""
    if isinstance(error, OptionError) and (error.option, error.value) == ("url", None):
        return "no URL: give --url or set FLOWD_URL, as redis://localhost:6379"
    return error


_WHEN_READY: Final = {
    "ASK": "its slot moves to another node; try again when that has ended",
    "TRYAGAIN": "its slot moves to another node; try again when that has ended",
    "CLUSTERDOWN": "`flowd doctor` says which node is away",
}
"""What to do next, by the code of what a node of a cluster answers."""


def _with_advice(error: ServerError) -> str:
    """The error, and what to do next."""
    said, advice = f"{error}", _advice(error)
    if not advice and isinstance(error.__cause__, ServerError):
        advice = _advice(error.__cause__)  # it only names the queue
    if not advice:
        return said
    if said.endswith("?"):
        return f"{said} {advice[0].upper()}{advice[1:]}"
    return f"{said.removesuffix('.')}; {advice}"


def _advice(error: ServerError) -> str:
    """What to do next, where the answer of the server does not say it."""
    if f"{error}".startswith(LOGIN_REFUSED):
        return "check the user and the password in the URL"
    if isinstance(error, AccessDenied):
        return (
            "docs/security.md lists the rights of each role, and `flowd doctor` those"
            " that a user lacks"
        )
    if isinstance(error, Unreachable) and "embedded:" not in f"{error}":
        return "start that server, or name another with --url or FLOWD_URL"
    if isinstance(error, NotReady):
        code = f"{error}".rpartition(": ")[2].partition(" ")[0]
        return _WHEN_READY.get(code, "")
    return ""


def _say(what: object, code: int) -> int:
    print_error(what)
    return code


def command_line() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = Parser(
        prog="flowd",
        description="Run, inspect and repair queues.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"flowd {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run.add(commands)
    stats.add(commands)
    tail.add(commands)
    top.add(commands)
    jobs.add(commands)
    dlq.add(commands)
    limit.add(commands)
    cron.add(commands)
    pause.add(commands)
    job_control.add_queue(commands)
    doctor.add(commands)
    preflight.add(commands)
    keep.add(commands)
    exporter.add(commands)
    web.add(commands)
    completion.add(commands, parser)
    return parser


def _version() -> str:
    try:
        return version("flowd-jobs")
    except PackageNotFoundError:
        return "unknown: it is not installed"
