"""`flowd limit`: the keys of a queue that are at their limit, and limits of their own."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import Final

from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_app_dir, add_command, add_server
from flowd.cli.output import as_json, print_blocks, print_json, span
from flowd.cli.table import Table
from flowd.cli.target import Target, check_fields, open_target
from flowd.model.gate import Gate
from flowd.model.text import printable
from flowd.ops.key_text import wire_texts
from flowd.ops.limits import KeyLimit, key_limits, reset_limit, set_limit

__all__ = ["add"]

_ABOUT: Final = """\
Without KEY: the keys that are at or near their limit, who has the slots, and how many jobs
wait. With KEY and N: give that key a limit of its own, for all workers at once and until
--reset; 0 pauses it: what runs ends, and nothing of the key starts.

Who holds a slot is shown as the id of its entry, which `flowd jobs show` takes. While no worker
runs, --job says which limits there are."""

_SHOWN: Final = 3


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "limit",
        "show keys at their limit, change or pause one",
        _limit,
        description=_ABOUT,
        examples="  flowd limit crawls\n  flowd limit crawls customer=7 0\n"
        "  flowd limit crawls customer=7 --reset",
    )
    parser.add_argument("stream", metavar="STREAM", help="of the queue")
    parser.add_argument(
        "words",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="the fields that make up a key, or * for the whole queue; then its limit",
    )
    parser.add_argument(
        "--reset",
        action="store_true",
        help="let the key go by the schema again; without KEY: all keys",
    )
    parser.add_argument(
        "--job",
        metavar="MODULE:CLASS",
        help="the class of its jobs, which checks the values of a key",
    )
    parser.add_argument("--group", help="the stream's group (default: the one it has)")
    parser.set_defaults(raw=False)
    add_app_dir(parser)
    add_server(parser)


def _limit(options: argparse.Namespace) -> int:
    words: list[str] = options.words
    if options.reset:
        if words and words[-1].lstrip("-").isdecimal():
            raise UsageError(f"--reset takes no limit: leave out {words[-1]!r}")
        return asyncio.run(_reset(options, _key(words) if words else None))
    if words:
        *key, limit = words
        if "=" in limit or limit == "*":
            shown = " ".join(words)
            raise UsageError(f"give the limit as well, as: {shown} 5; 0 pauses it")
        if not (limit.isascii() and limit.isdecimal()):
            raise UsageError(
                f"{limit!r} is no limit: it is a whole number, as in customer=7 5;"
                " 0 pauses the key"
            )
        if not key:
            raise UsageError(
                f"give the key as well, as: customer=7 {limit}; * is the whole queue"
            )
        return asyncio.run(_set(options, _key(key), int(limit[:20])))
    return asyncio.run(_list(options))


def _key(words: list[str]) -> dict[str, str]:
    """The fields of a key; none for the whole queue."""
    if words == ["*"]:
        return {}
    fields: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(
                f"{word!r} is no FIELD=VALUE; a key is made of them, or is * alone for the"
                " whole queue"
            )
        if name in fields:
            raise UsageError(f"{name} is given twice; a key has one value of a field")
        fields[name] = value
    return fields


def _as_written(
    target: Target, fields: dict[str, str]
) -> tuple[dict[str, str], Collection[str]]:
    """The fields in the text of jobs, and which of them are secret, if `--job` says so."""
    if target.job_class is None:
        return fields, ()
    spec = target.job_class.SPEC
    check_fields(target.job_class, fields)
    return wire_texts(target.job_class, fields), spec.secrets


def _gate(target: Target) -> Gate | None:
    """The policies of the class that `--job` names."""
    return None if target.job_class is None else target.job_class.SPEC.gate


@asynccontextmanager
async def _queue(options: argparse.Namespace) -> AsyncGenerator[Target]:
    async with open_target(options) as target:
        stream = target.queries.keys.stream
        if target.job_class and target.job_class.SPEC.policy.stream != stream:
            spec = target.job_class.SPEC
            raise UsageError(
                f"jobs of {spec.name} are on the stream {spec.policy.stream}, not on"
                f" {stream}: give that one, or leave out --job"
            )
        yield target


async def _set(options: argparse.Namespace, given: dict[str, str], limit: int) -> int:
    async with _queue(options) as target:
        fields, secrets = _as_written(target, given)
        gate = _gate(target)
        name = await set_limit(target.queries, fields, limit, secrets, gate)
        rows = await key_limits(target.queries, name)
        taken = sum(each.taken for each in rows)
        parked = sum(each.parked for each in rows)
        if options.json:
            print_json(
                {"key": name[2:], "limit": limit, "taken": taken, "parked": parked}
            )
        else:
            what = "is paused" if limit == 0 else f"has the limit {limit} now"
            none = "runs or waits under" if name[:2] == "c:" else "waits for"
            unused = "" if taken or parked else f"; no job {none} it now"
            print(f"{printable(name[2:])} of {printable(target.name)} {what}{unused}")
    return 0


async def _reset(options: argparse.Namespace, given: dict[str, str] | None) -> int:
    async with _queue(options) as target:
        fields, secrets = _as_written(target, given or {})
        name = await reset_limit(
            target.queries, None if given is None else fields, secrets, _gate(target)
        )
        if options.json:
            print_json({"key": name[2:] or None, "limit": None})
        else:
            what = printable(name[2:]) or "all keys"
            print(f"{what} of {printable(target.name)}: the limit of the schema holds")
    return 0


async def _list(options: argparse.Namespace) -> int:
    async with _queue(options) as target:
        found = await key_limits(target.queries)
    if options.json:
        print_json(as_json(found))
    elif not found:
        print("no key is near its limit")
    else:
        head = ("key", "policy", "limit", "taken", "parked", "next start", "held by")
        print_blocks([Table(head, [_row(each) for each in found])])
    return 0


def _row(each: KeyLimit) -> list[str]:
    limit = "?" if each.limit is None else f"{each.limit}"
    held = [printable(holder) for holder in each.holders[:_SHOWN]]
    if len(each.holders) > _SHOWN:
        held.append("…")
    return [
        *(printable(each.key), each.kind, f"{limit} (set)" if each.own else limit),
        *(str(each.taken), str(each.parked)),
        "-" if each.opens is None else f"in {span(each.opens)}",
        " ".join(held) or "-",
    ]
