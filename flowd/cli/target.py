"""The queue that a command works on: `--stream`, `--job`, or the only one there is."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from flowd.broker.connection import Connection
from flowd.broker.registry import listed_queues
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli.load import UsageError, load_job_class
from flowd.cli.options import add_app_dir, add_server
from flowd.errors import DecodeError
from flowd.model.job import Job, decode
from flowd.model.redaction import redacted_fields
from flowd.ops.queries import Queries

__all__ = [
    "Target",
    "add_target",
    "check_fields",
    "open_target",
]


@dataclass(frozen=True, slots=True)
class Target:
    """A queue, and the class of its jobs if the command line names it."""

    queries: Queries
    job_class: type[Job] | None
    raw: bool = False
    """Show the fields that no class names as well."""

    @property
    def name(self) -> str:
        """Stream and group."""
        return f"{self.queries.keys.stream} ({self.queries.group})"

    def hidden(self, fields: Mapping[bytes, bytes]) -> Mapping[bytes, str]:
        """The text shown instead of the value, for each hidden field."""
        spec = None if self.job_class is None else self.job_class.SPEC
        return redacted_fields(fields, spec, raw=self.raw)

    def decodes(self, fields: Mapping[bytes, bytes]) -> str:
        """Whether the class can read an entry, and why not."""
        if self.job_class is None:
            return "no class was given"
        try:
            decode(self.job_class, fields)
        except DecodeError as error:
            return f"no: {error}"
        return f"as {self.job_class.SPEC.name}"

    def class_with(self, option: str, names: Collection[str]) -> type[Job]:
        """The class of the jobs, which has to have these fields.

        Raises:
            UsageError: `--job` is missing, or the class has no such field.
        """
        if self.job_class is None:
            raise UsageError(
                f"{option} needs --job MODULE:CLASS, which checks the value"
            )
        check_fields(self.job_class, names)
        return self.job_class


def check_fields(job_class: type[Job], names: Collection[str]) -> None:
    """Refuse wire names that a class does not have, which it would ignore.

    Raises:
        UsageError: one of them.
    """
    spec = job_class.SPEC
    for name in names:
        if name not in spec.fields:
            known = ", ".join(spec.fields) or "none"
            raise UsageError(f"{spec.name} has no field {name!r}; it has {known}")


def add_target(parser: argparse.ArgumentParser, *, fields: bool = True) -> None:
    """Add the options of a command that works on one queue of a server.

    Args:
        parser: of the command.
        fields: whether it shows the fields of jobs.
    """
    queue = parser.add_argument_group("which queue (default: the only one)")
    queue.add_argument("--job", metavar="MODULE:CLASS", help="that of this class")
    queue.add_argument(
        "--stream", help="that of this stream, with --job instead of its"
    )
    queue.add_argument("--group", help="the stream's group (default: the one it has)")
    parser.set_defaults(raw=False)
    if fields:
        queue.add_argument(
            "--raw",
            action="store_true",
            help="show fields that the class does not name; without --job, all of them",
        )
    add_app_dir(parser)
    add_server(parser)


@asynccontextmanager
async def open_target(options: argparse.Namespace) -> AsyncGenerator[Target]:
    """The queue that the options name, over a connection that is closed at the end.

    Raises:
        UsageError: they name none, or more than one.
        ServerError: the server cannot be asked which queues there are.
    """
    job_class: type[Job] | None = None
    stream: str | None = options.stream
    group: str | None = options.group
    if options.job is not None:
        job_class = load_job_class(options.job, options.app_dir)
        policy = job_class.SPEC.policy
        stream, group = stream or policy.stream, group or policy.group
    async with connected(Address.of(options.url)) as connection:
        if stream is None or group is None:
            stream, group = await _only(connection, stream, group)
        yield Target(Queries(connection, stream, group), job_class, options.raw)


async def _only(
    connection: Connection, stream: str | None, group: str | None
) -> tuple[str, str]:
    """The only queue that was set up and has this stream and group, if they are given."""
    there = [(each.keys.stream, each.group) for each in await listed_queues(connection)]
    fitting = [
        each for each in there if stream in (None, each[0]) and group in (None, each[1])
    ]
    if len(fitting) == 1:
        return fitting[0]
    if stream is not None and fitting:
        groups = ", ".join(group for _, group in fitting)
        raise UsageError(f"{stream} has the groups {groups}: choose one with --group")
    known = ", ".join(sorted({name for name, _ in there})) or "none"
    if stream is not None:
        raise UsageError(
            f"no queue on stream {stream} was set up on this server (there: {known});"
            " if there was one, name its --group"
        )
    if not there:
        raise UsageError(
            "no queue was set up on this server yet: start a worker or enqueue a job, or"
            " name another server with --url or FLOWD_URL"
        )
    if not fitting:
        places = ", ".join(sorted(f"{name} ({its})" for name, its in there))
        raise UsageError(
            f"no queue of the group {group} was set up on this server; there: {places}"
        )
    fit = ", ".join(sorted({name for name, _ in fitting}))
    raise UsageError(f"name the queue with --stream or --job; on this server: {fit}")
