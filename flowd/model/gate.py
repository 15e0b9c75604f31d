"""The gate of a queue: which of its jobs may go next. `[job.X.queue]` in the schema.

A policy goes by keys, and a key is made of the wire text of some fields, as `to_fields`
writes them: `customer=7`. The *ticket* of a job has its key under each policy. It travels
as the field `_gate`, and is all that the scripts read of a job.

    c:KEY  concurrency     u:KEY  unique      p:N  level, 0 first
    r:KEY  rate            d:KEY  debounce    w:N  what it costs the rate
    f:KEY  fair
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeGuard
from urllib.parse import quote

from flowd.errors import OptionError
from flowd.errors.option import LONGEST, count, flag, instance, seconds

__all__ = [
    "WHOLE",
    "Concurrency",
    "Debounce",
    "Fair",
    "Gate",
    "Priority",
    "Rate",
    "Unique",
    "key_of",
]

WHOLE: Final = "*"
"""The key of a policy without fields: the whole queue."""

_LONGEST_VALUE: Final = 64
_SAFE: Final = "/:@.,+~-_"
_AS_IT_IS: Final = re.compile(rb"[A-Za-z0-9/:@.,+~_-]*")
"""What `quote` leaves as it is; to look first is faster than to call it."""

_NUMBER: Final = re.compile(rb"\d{1,15}(\.\d{1,15})?", re.ASCII)
_MOST_LEVELS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """At most one job of a key is queued or runs, from its enqueue to its end."""

    fields: tuple[str, ...]
    """Wire names; together they are the key."""

    again: Literal["drop", "last"] = "drop"
    """What becomes of another one: it is not stored, or the last one runs afterwards.

    Such a one keeps its `delay` or `at`: it runs when the key is free and it is due.
    """

    def __post_init__(self) -> None:
        _check_names("unique.fields", self.fields, least=1)
        if self.again not in ("drop", "last"):
            raise OptionError("unique.again", self.again, 'must be "drop" or "last"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """So many jobs of a key run at once, in all workers together."""

    limit: int
    per: tuple[str, ...] = ()
    """Wire names; none: the whole queue has one key."""

    ordered: bool = False
    """One after the other in the order of enqueue, which a job that is retried keeps."""

    def __post_init__(self) -> None:
        count("concurrency.limit", self.limit, least=1, most=1_000_000_000)
        _check_names("concurrency.per", self.per)
        if flag("concurrency.ordered", self.ordered) and self.limit != 1:
            rule = "must be 1 with ordered"
            raise OptionError("concurrency.limit", self.limit, rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many jobs of a key start in a time, by the server's clock (GCRA).

    They start evenly, `every / limit` seconds apart. After a pause `burst` of them may
    start at once, so a span of `every` sees `limit + burst - 1` starts at most.
    """

    limit: int
    every: float
    """Seconds."""

    per: tuple[str, ...] = ()
    """Wire names; none: the whole queue has one key."""

    burst: int = 1
    """How many may start at once."""

    cost: str = ""
    """The wire name of a field that says for how many a job counts; empty: for one. A job
    that costs more than may start now starts all the same, and those behind it wait."""

    def __post_init__(self) -> None:
        count("rate.limit", self.limit, least=1, most=1_000_000_000)
        seconds("rate.every", self.every, most=LONGEST)
        count("rate.burst", self.burst, least=1, most=1_000_000_000)
        _check_names("rate.per", self.per)
        if self.cost:
            _check_names("rate.cost", (self.cost,))

    @property
    def interval(self) -> float:
        """Microseconds from one start to the next."""
        return self.every * 1e6 / self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Fair:
    """Jobs of different keys take turns."""

    per: tuple[str, ...]
    """Wire names."""

    def __post_init__(self) -> None:
        _check_names("fair.per", self.per, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """A job waits until no other one of its key has come for a while; the last one runs."""

    fields: tuple[str, ...]
    """Wire names; together they are the key."""

    wait: float
    """Seconds after the last one."""

    longest: float = 0.0
    """Seconds after the first one, at most; 0: without a limit."""

    def __post_init__(self) -> None:
        _check_names("debounce.fields", self.fields, least=1)
        seconds("debounce.wait", self.wait, most=LONGEST)
        if self.longest:
            seconds("debounce.longest", self.longest, least=self.wait, most=LONGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """Jobs of a higher level go first; one start in eight is the oldest job's."""

    order: tuple[str, ...] = ("high", "normal", "low")
    """The levels, the highest first: wire texts of `field`, or names of a caller's."""

    field: str = ""
    """A wire name; empty: the level is given at the call."""

    def __post_init__(self) -> None:
        rule = f"must be 2 to {_MOST_LEVELS} different texts"
        if not _are_texts(self.order) or not 2 <= len(self.order) <= _MOST_LEVELS:
            raise OptionError("priority.order", self.order, rule)
        if self.field:
            _check_names("priority.field", (self.field,))

    @property
    def usual(self) -> int:
        """Of a job whose level is not given: the middle one, of two the lower."""
        return len(self.order) // 2

    def level(self, name: str) -> int:
        """The number of a level; 0 is the highest.

        Raises:
            OptionError: there is no such level.
        """
        if name not in self.order:
            rule = f"must be one of {', '.join(self.order)}"
            raise OptionError("priority", name, rule)
        return self.order.index(name)


_POLICIES: Final[Mapping[str, type[object]]] = {
    "unique": Unique,
    "concurrency": Concurrency,
    "rate": Rate,
    "fair": Fair,
    "debounce": Debounce,
    "priority": Priority,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The policies of one queue; those that are set hold together."""

    unique: Unique | None = None
    concurrency: Concurrency | None = None
    rate: Rate | None = None
    fair: Fair | None = None
    debounce: Debounce | None = None
    priority: Priority | None = None

    def __post_init__(self) -> None:
        for name, kind in _POLICIES.items():
            if (given := getattr(self, name)) is not None:
                rule = f"must be a {kind.__name__}, or None"
                instance(f"gate.{name}", given, kind, rule)
        if not any((self.unique, self.debounce, self.parks)):
            raise OptionError("gate", "empty", "needs one policy at least")
        if self.ordered and self.priority is not None:
            rule = "cannot be with ordered: one of the two says which job is next"
            raise OptionError("priority", self.priority.order, rule)

    @property
    def parks(self) -> bool:
        """Whether a job may have to wait for others to start or end."""
        return any((self.concurrency, self.rate, self.fair, self.priority))

    @property
    def ordered(self) -> bool:
        """Whether jobs of a key run in the order of their enqueue."""
        return self.concurrency is not None and self.concurrency.ordered

    def ticket(
        self,
        fields: Mapping[bytes, bytes],
        secrets: Collection[str] = (),
        priority: str | None = None,
    ) -> bytes:
        """The ticket of a job: its key under each policy, its level and its cost.

        Args:
            fields: as `to_fields` writes them; others among them are ignored.
            secrets: wire names whose values are shown to no one.
            priority: a level that is given at the call.

        Raises:
            KeyError: the entry lacks a field that is part of a key.
            OptionError: `priority` is no level of this queue.
        """
        words: list[str] = []
        for sign, names in self._keys():
            words.append(f"{sign}:{key_of(names, fields, secrets)}")
        if self.rate is not None and self.rate.cost:
            words.append(f"w:{_cost(fields[self.rate.cost.encode()])}")
        if priority is not None or self.priority is not None:
            words.append(f"p:{self._level(fields, priority)}")
        return " ".join(words).encode()

    @property
    def rules(self) -> str:
        """The numbers that the scripts decide by; without any, they admit nothing."""
        words = ["k=1"]
        if self.concurrency is not None:
            words.append(f"n={self.concurrency.limit}")
            if self.concurrency.ordered:
                words.append("o=1")
        if self.rate is not None:
            words += (f"i={self.rate.interval:.3f}", f"b={self.rate.burst}")
            words.append(f"q={self.rate.limit}")
        if self.fair is not None or self.priority is not None:
            words.append("s=1")
        if self.priority is not None:
            words.append(f"p={len(self.priority.order)}")
        if self.unique is not None and self.unique.again == "last":
            words.append("l=1")
        if self._keys_are_lanes:
            words.append("a=1")
        if self.debounce is not None:
            words.append(f"d={_ms(self.debounce.wait)}")
            if self.debounce.longest:
                words.append(f"m={_ms(self.debounce.longest)}")
        return " ".join(words)

    @property
    def _keys_are_lanes(self) -> bool:
        """Whether jobs of one key have all keys in common, so that none has two lanes."""
        keyed = (self.concurrency, self.rate, self.fair)
        others = (self.unique, self.priority)
        return sum(map(bool, keyed)) == 1 and not any(others)

    @property
    def text(self) -> str:
        """The limits, and the rules of the scripts, as JSON; what operators read back."""
        said = {
            sign: {"per": policy.per, "limit": policy.limit}
            for sign, policy in (("c", self.concurrency), ("r", self.rate))
            if policy is not None
        }
        return json.dumps({**said, "rules": self.rules}, separators=(",", ":"))

    def _keys(self) -> list[tuple[str, tuple[str, ...]]]:
        keys: list[tuple[str, tuple[str, ...]]] = []
        if self.concurrency is not None:
            keys.append(("c", self.concurrency.per))
        if self.rate is not None:
            keys.append(("r", self.rate.per))
        if self.fair is not None:
            keys.append(("f", self.fair.per))
        if self.unique is not None:
            keys.append(("u", self.unique.fields))
        if self.debounce is not None:
            keys.append(("d", self.debounce.fields))
        return keys

    def _level(self, fields: Mapping[bytes, bytes], priority: str | None) -> int:
        if self.priority is None:
            rule = "the schema of this job declares no priority"
            raise OptionError("priority", priority, rule)
        if priority is not None:
            return self.priority.level(priority)
        if not self.priority.field:
            return self.priority.usual
        said = fields[self.priority.field.encode()].decode("utf-8", "backslashreplace")
        # A level that a newer schema has is the last one here.
        levels = self.priority.order
        return levels.index(said) if said in levels else len(levels) - 1


def key_of(
    names: tuple[str, ...],
    fields: Mapping[bytes, bytes],
    secrets: Collection[str] = (),
) -> str:
    """The key that a job has by the values of some of its fields: `customer=7&region=eu`.

    A value that is long or secret is replaced by its digest: `url=#e3b0c44298fc1c14…`.

    Raises:
        KeyError: a field is missing.
    """
    if not names:
        return WHOLE
    return "&".join(
        f"{_quoted(name)}={_shown(fields[name.encode()], name in secrets)}"
        for name in names
    )


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return quote(name, _SAFE)


def _shown(value: bytes, secret: bool) -> str:
    if secret or len(value) > _LONGEST_VALUE:
        return f"#{hashlib.sha256(value).hexdigest()[:32]}"
    if _AS_IT_IS.fullmatch(value):
        return value.decode()
    return quote(value, _SAFE)


def _cost(value: bytes) -> str:
    """A cost below zero, or one that is no number, counts as nothing."""
    return value.decode() if _NUMBER.fullmatch(value) else "0"


def _ms(span: float) -> int:
    return max(1, round(span * 1000))


def _are_texts(given: object) -> TypeGuard[tuple[str, ...]]:
    """Whether it is a tuple of different texts, none of them empty."""
    if not _is_tuple(given):
        return False
    texts = [each for each in given if isinstance(each, str) and each]
    return len({*texts}) == len(given)


def _is_tuple(given: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(given, tuple)


def _check_names(option: str, names: object, *, least: int = 0) -> None:
    rule = f"must be a tuple of {least} or more different field names"
    if not _are_texts(names) or len(names) < least:
        raise OptionError(option, names, rule)
