"""`flowd jobs enqueue`: one job, from the text of its fields."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Final, TypeGuard

from flowd.cli.load import UsageError, load_job_class
from flowd.cli.options import (
    Commands,
    add_app_dir,
    add_command,
    add_server,
    moment,
    pair,
    seconds,
)
from flowd.cli.output import print_json
from flowd.cli.target import check_fields
from flowd.model.duplicate import Duplicate
from flowd.model.job import Job
from flowd.ops.edit import with_fields
from flowd.producer import Producer

__all__ = ["EXAMPLES", "add"]

_DESCRIPTION: Final = """\
Enqueue one job and print its id. Values are given as the text on the wire, and the class
checks them. In --fields a value that is not a string is written as JSON, and null is left
out; --fields - reads from standard input, which keeps values out of the list of processes.

The `fields` of a dead letter can be used as --fields: flowd's own, as `_key`, are ignored,
and `_v` is the version of the others. Without `_v` they are of version 1.

Where the schema says `unique` or `debounce`, the id may be that of a job that is there already:
then it is said, and in --json `duplicate` is true, and `replaced` if that job got the new fields. With --key it is
null: the id is that of the first job of that key, whichever it was."""

EXAMPLES: Final = """\
  flowd jobs enqueue jobs.email:Email to=a@b.c subject=hi
  flowd jobs enqueue jobs.email:Email --fields '{"to": "a@b.c", "subject": "hi"}'
  flowd jobs enqueue jobs.email:Email to=a@b.c subject=hi --delay 10m --key order-17
  head -n 1 letters.jsonl | jq .fields | flowd jobs enqueue jobs.email:Email --fields -"""
"""Command lines, for the help of `flowd jobs` as well."""


def add(verbs: Commands) -> None:
    """Add the verb to `flowd jobs`."""
    parser = add_command(
        verbs,
        "enqueue",
        "enqueue one job",
        lambda options: asyncio.run(_enqueue(options)),
        description=_DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("job", metavar="MODULE:CLASS", help="the job's class")
    parser.add_argument("values", metavar="NAME=VALUE", nargs="*", type=_value)
    parser.add_argument("--fields", metavar="JSON", help="an object with the fields")
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--delay", metavar="TIME", type=seconds, default=0.0, help="run it after TIME"
    )
    when.add_argument(
        "--at",
        metavar="MOMENT",
        type=moment,
        help="run it at this date and time, with a zone,"
        " as 2031-05-01T08:00:00+02:00",
    )
    parser.add_argument("--key", help="an idempotency key: enqueue it once")
    parser.add_argument(
        "--priority",
        metavar="LEVEL",
        help="a level of the schema's `priority`, as high",
    )
    parser.add_argument(
        "--expires",
        metavar="TIME",
        type=seconds,
        help="drop it if it has not started TIME after it might have",
    )
    add_app_dir(parser)
    add_server(parser)


def _value(text: str) -> tuple[str, str]:
    """A field and its text.

    Raises:
        ArgumentTypeError: it is none.
    """
    if text.startswith("{"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no NAME=VALUE: give JSON with --fields"
        )
    return pair(text)


async def _enqueue(options: argparse.Namespace) -> int:
    job_class = load_job_class(options.job, options.app_dir)
    new = dict(options.values)
    entry = _entry(job_class, options.fields)
    check_fields(job_class, new)
    job = with_fields(job_class, _encoded(entry), _encoded(new))
    async with Producer(options.url) as producer:
        job_id = await producer.enqueue(
            job,
            delay=options.delay,
            at=options.at,
            key=options.key,
            expires=options.expires,
            priority=options.priority,
        )
    # Of one with a key of its own, the answer is the same for the first and the second.
    same = isinstance(job_id, Duplicate) or (None if options.key else False)
    replaced = isinstance(job_id, Duplicate) and job_id.replaced
    if options.json:
        print_json({"id": job_id, "duplicate": same, "replaced": replaced})
        return 0
    print(job_id)
    if same:
        # Scripts read the id alone.
        what = "got these fields" if replaced else "is queued or runs already"
        print(f"a duplicate: job {job_id} {what}; no job was added", file=sys.stderr)
    return 0


def _entry(job_class: type[Job], text: str | None) -> dict[str, str]:
    """The fields of `--fields`, or none, of the version that they are of."""
    version = max(job_class.SPEC.version, 1)
    if text is None:
        return {"_v": f"{version}"} if version > 1 else {}
    fields = _read_fields(text)
    if fields.get("_v", "1") == f"{version}":
        # Of an older job the class does not have all names; flowd's own are no field.
        check_fields(job_class, [name for name in fields if name[:1] != "_"])
    return fields


def _encoded(fields: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def _read_fields(text: str) -> dict[str, str]:
    """The wire text of each field of a JSON object."""
    try:
        found: object = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise UsageError(f"--fields is not JSON: {error}") from None
    if not _is_object(found):
        raise UsageError('--fields must be a JSON object, as {"to": "a@b.c"}')
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
        if value is not None
    }


def _is_object(found: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(found, dict)
