"""`flowd web`: the dashboard, served by itself."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

from flowd.cli.load import UsageError, load_job_classes
from flowd.cli.options import Commands, add_app_dir, add_command, add_url, port
from flowd.cli.output import print_note

if TYPE_CHECKING:
    from flowd.web import Dashboard

__all__ = ["add"]

_PORT: Final = 8321
_PASSWORD: Final = "FLOWD_WEB_PASSWORD"  # noqa: S105 - a variable's name
_LOCAL: Final = ("127.0.0.1", "::1", "localhost")
_GRACE: Final = 2
_LINE: Final = "%(asctime)s %(levelname)s %(message)s"
_EXTRA: Final = "flowd web needs the extra `web`: pip install starlette jinja2 uvicorn"

_WEB: Final = """\
Serve a dashboard: queues with what is wrong first, jobs, workers, dead letters by error,
schedules. It reads Redis; no worker has to run.

Without --user it is read-only, for everybody who can reach it. With --user a browser asks
for the name and the password, which is taken from $FLOWD_WEB_PASSWORD; if that is not set,
one is made up and printed.

The generated classes of the packages or modules that you name give fields their types and
hide secret ones. Of other queues only the sizes of fields are shown."""

_EXAMPLES: Final = """\
  flowd web
  flowd web jobs --url redis://localhost:6379
  FLOWD_WEB_PASSWORD=… flowd web jobs --user ops
  flowd web jobs --host 0.0.0.0 --allow-host queues.example.org --user ops"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "web",
        "serve a dashboard",
        _web,
        description=_WEB,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "jobs", metavar="PACKAGE_OR_MODULE", nargs="*", help="what `flowd-gen -o` wrote"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at (default: 127.0.0.1; 0.0.0.0 is all)",
    )
    parser.add_argument(
        "--port",
        metavar="N",
        type=port,
        default=_PORT,
        help=f"default: {_PORT}; 0 lets the system choose",
    )
    parser.add_argument(
        "--user", metavar="NAME", help="ask for this name, who may change something"
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="a name under which browsers reach it, next to localhost and addresses",
    )
    add_url(parser)
    add_app_dir(parser)


def _web(options: argparse.Namespace) -> int:
    try:
        import uvicorn  # noqa: PLC0415 - the extra may not be installed
    except ModuleNotFoundError:
        raise UsageError(_EXTRA) from None
    app = _dashboard(options)
    logging.basicConfig(format=_LINE, level=logging.INFO)
    if options.user is None and options.host not in _LOCAL:
        print_note(
            f"everybody who reaches {options.host} may look: --user asks for a password"
        )
    try:
        listening = socket.create_server(
            (options.host, options.port),
            family=socket.AF_INET6 if ":" in options.host else socket.AF_INET,
        )
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"--host {options.host} --port {options.port}: {reason};"
            " --port 0 lets the system choose"
        ) from None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
    )
    port = listening.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    what = f"user {options.user}" if options.user is not None else "read-only"
    print_note(f"the dashboard of {app.address} is at http://{host}:{port}/ ({what})")
    server.run(sockets=[listening])
    return 0


def _dashboard(options: argparse.Namespace) -> Dashboard:
    """The application that the options ask for.

    Raises:
        UsageError: the extra or a module is missing, or the name cannot be one.
        OptionError: no server is named.
    """
    try:
        from flowd.web import BasicAuth, Dashboard  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise UsageError(_EXTRA) from None
    classes = {
        each
        for package in options.jobs
        for each in load_job_classes(package, options.app_dir)
    }
    authorize = None
    if options.user is not None:
        if not options.user or ":" in options.user:
            raise UsageError("--user must be a name without a colon")
        password = os.environ.get(_PASSWORD, "")
        if not password:
            password = secrets.token_urlsafe(12)
            print_note(f"the password of {options.user} is {password}")
        authorize = BasicAuth(options.user, password)
    return Dashboard(
        options.url,
        jobs=sorted(classes, key=lambda each: each.SPEC.name),
        authorize=authorize,
        hosts={options.host, *options.allow_host},
    )
