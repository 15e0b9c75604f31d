"""The limits of a queue with policies, as operators see and change them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from flowd.broker import replies, scripts
from flowd.broker.connection import Argument
from flowd.errors import OptionError
from flowd.errors.option import count
from flowd.model.gate import WHOLE, Gate, key_of
from flowd.ops.queries import Queries

__all__ = [
    "KeyLimit",
    "Kind",
    "Limit",
    "key_limits",
    "limits_of",
    "reset_limit",
    "schema_limits",
    "set_key",
    "set_limit",
    "unique_holder",
]

Kind: TypeAlias = Literal["concurrency", "rate", "unique"]
"""What a job waits for: a slot, a rate, or the end of the job that has its key."""

_MOST: Final = 1_000_000_000
_WAITS: Final = ("c:", "r:", "u:")
_KINDS: Final[Mapping[str, Kind]] = {"c": "concurrency", "r": "rate", "u": "unique"}
_SIGNS: Final[Mapping[Kind, str]] = {kind: sign for sign, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of a queue's schema, of which each key may have one of its own."""

    kind: Kind
    per: tuple[str, ...]
    """The fields of a key; none: the whole queue has one."""

    limit: int

    def name_of(self, fields: Mapping[str, str], secrets: Collection[str] = ()) -> str:
        """The name of a key, by the values of its fields.

        Raises:
            KeyError: a field is missing.
        """
        raw = {name.encode(): value.encode() for name, value in fields.items()}
        return f"{_SIGNS[self.kind]}:{key_of(self.per, raw, secrets)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimit:
    """A key at or near its limit, or with one of its own."""

    kind: Kind
    key: str
    """As `customer=7`; `*` is the whole queue."""

    limit: int | None
    """What holds now; None if no worker with policies was seen lately."""

    own: bool
    """Whether an operator set it."""

    @property
    def name(self) -> str:
        """As the scripts name it: `c:customer=7`."""
        return f"{_SIGNS[self.kind]}:{self.key}"

    taken: int
    """How many slots are taken."""

    parked: int
    """How many jobs wait for it, in 20 lanes at most."""

    opens: float | None
    """Seconds until a job may start by its rate; None: now, or it has none."""

    holders: tuple[str, ...]
    """Who has the slots, 20 at most: ids of entries, `@` and the id of a delayed job; of
    a unique key the id of the job."""

    def holds_up(self, job_id: str) -> bool:
        """Whether a parked job has to wait for this key: itself it may have it."""
        if self.kind == "rate":
            return self.limit == 0 or self.opens is not None
        if not {job_id, f"@{job_id}"}.isdisjoint(self.holders):
            return False
        return self.limit is not None and self.taken >= self.limit


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the workers of a queue say that they go by."""

    text: str = ""
    per: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )
    """By `c` and `r`: the fields of a key."""

    limit: Mapping[str, int] = field(default_factory=dict[str, int])


async def _rules(queries: Queries, gate: Gate | None = None) -> _Rules:
    """Those of `gate` if no worker with policies was seen in the last minute; else empty."""
    names = queries.keys
    text: bytes | str | None = await queries.connection.call(
        "GET", names.policies, read=replies.maybe(replies.data)
    )
    if text is None and gate is not None:
        text = gate.text
    if text is None:
        return _Rules()
    said = json.loads(text)
    limits = {sign: said[sign] for sign in ("c", "r") if sign in said}
    return _Rules(
        said["rules"],
        {sign: tuple(each["per"]) for sign, each in limits.items()},
        {sign: each["limit"] for sign, each in limits.items()},
    )


async def schema_limits(queries: Queries) -> list[Limit]:
    """The limits by which the workers of a queue go; none if none was seen lately.

    Raises:
        ServerError: as `Connection.call`.
    """
    rules = await _rules(queries)
    return [
        Limit(_KINDS[sign], per, rules.limit[sign]) for sign, per in rules.per.items()
    ]


async def key_limits(queries: Queries, name: str = "") -> list[KeyLimit]:
    """The keys that hold up jobs, or have a limit of their own; 100 at most.

    Args:
        queries: of the queue.
        name: only this one, as the scripts name it: `c:customer=7`.

    Raises:
        ServerError: as `Connection.call`.
    """
    rules = await _rules(queries)
    rows = await _run(queries, rules, "list", name)
    return [_key_limit(row, rules) for row in rows]


async def limits_of(queries: Queries, ticket: bytes) -> list[KeyLimit]:
    """What a parked job may wait for, by its ticket.

    Raises:
        ServerError: as `Connection.call`.
    """
    names = [word for word in ticket.decode().split(" ") if word[:2] in _WAITS]
    rules = await _rules(queries)
    rows = [await _run(queries, rules, "list", name) for name in names]
    return [_key_limit(row, rules) for each in rows for row in each]


async def unique_holder(queries: Queries, key: str) -> str:
    """The id of the job that has a key of the policy `unique`; empty if it is free.

    Raises:
        ServerError: as `Connection.call`.
    """
    (row,) = await _run(queries, _Rules(), "list", f"u:{key}")
    _, _, _, _, _, *holders = replies.array(row)
    return replies.data(holders[0]).decode() if holders else ""


async def set_key(queries: Queries, name: str, limit: int | None) -> None:
    """Give a key a limit of its own; 0 pauses it, None lets it go by the schema again.

    Args:
        queries: of the queue.
        name: as `KeyLimit.name`.
        limit: how many at once, or in the time of the rate.

    Raises:
        OptionError: no limit of the queue has such keys, or `limit` is no count, or more
            than 1 where jobs are ordered.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    rules = await _rules(queries)
    if limit is None:
        if name[:2] not in ("c:", "r:"):
            raise _no_key(rules, name)
        # Also a key of a schema before: its limit would be left for good.
        await _run(queries, rules, "reset", name)
    else:
        count("limit", limit, most=_MOST)
        await _set(queries, rules, _checked(rules, name), limit)


async def set_limit(
    queries: Queries,
    fields: Mapping[str, str],
    limit: int,
    secrets: Collection[str] = (),
    gate: Gate | None = None,
) -> str:
    """Give one key a limit of its own; 0 pauses it. Returns the key.

    Args:
        queries: of the queue.
        fields: the values of the fields that make up the key; none: the whole queue.
        limit: how many at once, or in the time of the rate.
        secrets: the fields whose values are secret, of which a key has the digest.
        gate: the policies that hold if no worker that has them was seen lately.

    Raises:
        OptionError: no limit of the queue goes by these fields, or `limit` is no count, or
            more than 1 where jobs are ordered.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    count("limit", limit, most=_MOST)
    rules = await _rules(queries, gate)
    name = _name_of(rules, fields, secrets)
    await _set(queries, rules, name, limit)
    return name


async def reset_limit(
    queries: Queries,
    fields: Mapping[str, str] | None = None,
    secrets: Collection[str] = (),
    gate: Gate | None = None,
) -> str:
    """Let a key go by the limit of the schema again; without one, all keys.

    Args:
        queries: of the queue.
        fields: as `set_limit`.
        secrets: as `set_limit`.
        gate: as `set_limit`.

    Returns:
        The name of the key, as `set_limit`; empty for all keys.

    Raises:
        OptionError: no limit of the queue goes by these fields.
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    rules = await _rules(queries, gate)
    name = "" if fields is None else _name_of(rules, fields, secrets)
    await _run(queries, rules, "reset", name)
    return name


async def _set(queries: Queries, rules: _Rules, name: str, limit: int) -> None:
    if name.startswith("c:") and limit > 1 and "o=1" in rules.text.split():
        rule = "must be 0 or 1: the jobs of this key run one after the other"
        raise OptionError("limit", limit, rule)
    await _run(queries, rules, "set", name, limit)


async def _run(
    queries: Queries, rules: _Rules, what: str, name: str, limit: int = 0
) -> list[object]:
    names = queries.keys
    args: list[Argument] = [queries.group, what, name, limit, rules.text]
    keys = (names.stream, names.bodies, *names.gate)
    return await scripts.LIMIT.run(queries.connection, keys, args, replies.array)


def _checked(rules: _Rules, name: str) -> str:
    """A name, if it is that of a key that a limit of the queue may have."""
    sign, _, key = name.partition(":")
    per = rules.per.get(sign)
    parts = [] if key == WHOLE else key.split("&")
    if per is not None and per == tuple(
        unquote(one.partition("=")[0]) for one in parts
    ):
        return name
    raise _no_key(rules, key)


def _no_key(rules: _Rules, shown: str) -> OptionError:
    if not rules.text:
        rule = (
            "the queue has no limits, or no worker that has them was seen in the last"
            " minute: declare them in the schema, and start a worker; while none runs,"
            " flowd limit --job MODULE:CLASS knows them"
        )
        return OptionError("key", shown, rule)
    known = "; ".join(" and ".join(per) or WHOLE for per in rules.per.values())
    rule = (
        f"must be made of the fields of a limit of this queue: {known}"
        if known
        else "cannot have a limit: only keys of `concurrency` and `rate` have one, and"
        " this queue declares neither"
    )
    return OptionError("key", shown, rule)


def _name_of(rules: _Rules, fields: Mapping[str, str], secrets: Collection[str]) -> str:
    """The key of the first limit that goes by just these fields."""
    shown = " ".join(f"{name}={value}" for name, value in fields.items()) or WHOLE
    for sign, per in rules.per.items():
        if {*per} == {*fields}:
            raw = {name.encode(): value.encode() for name, value in fields.items()}
            return f"{sign}:{key_of(per, raw, secrets)}"
    raise _no_key(rules, shown)


def _key_limit(row: object, rules: _Rules) -> KeyLimit:
    name, own, taken, parked, opens, *holders = replies.array(row)
    sign, _, key = replies.data(name).decode().partition(":")
    limit: int | None = replies.number(own)
    if limit == -1:
        limit = 1 if sign == "u" else rules.limit.get(sign)
    wait = replies.number(opens)
    return KeyLimit(
        kind=_KINDS[sign],
        key=key,
        limit=limit,
        own=replies.number(own) != -1,
        taken=replies.number(taken),
        parked=replies.number(parked),
        opens=None if wait < 0 else wait / 1000,
        holders=tuple(replies.data(each).decode() for each in holders),
    )
