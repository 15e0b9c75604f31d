"""The policies of a queue, as `unique` and `concurrency`: a part of `[job.X.queue]`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from flowd.errors import OptionError
from flowd.errors.option import LONGEST
from flowd.model.gate import (
    Concurrency,
    Debounce,
    Fair,
    Gate,
    Priority,
    Rate,
    Unique,
)
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, quoted, visible
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.model.schema import Field, Job
from flowd_codegen.parse.durations import read_duration
from flowd_codegen.parse.gate_fields import cost_refusal, key_refusal, level_choices
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table, written

__all__ = [
    "AGAIN",
    "GATE_OPTIONS",
    "MOST_LEVELS",
    "POLICY_OPTIONS",
    "read_gate",
]

POLICY_OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "unique": ("fields", "again"),
    "concurrency": ("per", "limit", "ordered"),
    "rate": ("per", "limit", "every", "burst", "cost"),
    "fair": (),
    "debounce": ("fields", "wait", "longest"),
    "priority": ("field", "order"),
}
"""The keys of each policy's table; `fair` is an array of fields."""

AGAIN: Final[tuple[Literal["drop", "last"], ...]] = ("drop", "last")
"""What may become of another job with the key of a unique one."""

_MOST: Final = 1_000_000_000
"""The largest limit and burst."""

MOST_LEVELS: Final = 4
"""How many levels of priority a queue may have."""

GATE_OPTIONS: Final = tuple(POLICY_OPTIONS)
"""The policies, as keys of a queue table."""

_REFUSED: Final = {
    **dict.fromkeys(
        ("key", "keys", "by"), (Code.UNKNOWN_KEY, "write `fields`, or `per`")
    ),
    **dict.fromkeys(("max", "count", "n"), (Code.UNKNOWN_KEY, "write `limit`")),
    **dict.fromkeys(
        ("period", "window", "interval", "seconds"),
        (Code.UNKNOWN_KEY, 'write `every = "1m"`'),
    ),
    **dict.fromkeys(("delay", "debounce"), (Code.UNKNOWN_KEY, 'write `wait = "5s"`')),
    **dict.fromkeys(
        ("ttl", "expires", "until", "states"),
        (Code.REFUSED_KEY, "a key is free as soon as its job has ended"),
    ),
    "levels": (Code.UNKNOWN_KEY, "write `order`"),
}


def read_gate(job: Job, owner: Table, scope: Scope) -> Gate | None:
    """Read the policies of a queue; faults are reported.

    Args:
        job: with its fields.
        owner: `[job.X]`.
        scope: with all enums.
    """
    table = owner.table("queue")
    reader = _Reader(job, table, scope, owner.table("fields").values)
    policies: dict[str, object] = {}
    for name, read in _READERS.items():
        if name not in table.values:
            continue
        before = len(table.report.faults)
        try:
            policies[name] = read(reader)
        except OptionError as error:
            # A fault that was reported may be the cause.
            if len(table.report.faults) == before:
                table.report(Code.GATE, table.at(name), str(error))
    try:
        return _built(Gate, policies) if policies else None
    except OptionError as error:
        # Two policies that exclude each other.
        policy = str(error.option).partition(".")[0]
        place = table.at(policy).key() if policy in policies else table.location
        rule = str(error).rpartition("; ")[2]
        table.report(Code.GATE, place, f"`{policy}` {rule}")
        return None


def _built(build: Callable[..., Gate], policies: Mapping[str, object]) -> Gate:
    return build(**policies)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the policies of one job.

    Attributes:
        job: with its fields.
        queue: `[job.X.queue]`.
        scope: with all enums.
        declared: the names of its fields, those with faults too.
    """

    job: Job
    queue: Table
    scope: Scope
    declared: Collection[str]

    def unique(self) -> Unique:
        table = self._table("unique", short="fields", example='["url"]')
        again: Literal["drop", "last"] = "drop"
        # An empty text counts as absent.
        if table.values.get("again") != "":
            again = table.choice("again", AGAIN, again, Code.GATE)
        fields = self._keys(table, "fields", required=True)
        return Unique(fields=fields, again=again)

    def concurrency(self) -> Concurrency:
        if isinstance(self.queue.values["concurrency"], int | bool):
            number = self.queue.values["concurrency"]
            self.queue.report(
                Code.WRONG_KIND,
                self.queue.at("concurrency"),
                "the limit of all workers is a table, not a number",
                f"write `{{ limit = {number} }}`; of one worker it is `Queue(concurrency=…)`",
            )
            return Concurrency(limit=1)
        table = self._table("concurrency", example="{ limit = 2 }")
        ordered = table.flag("ordered")
        limit = 1 if ordered and "limit" not in table.values else self._limit(table)
        if ordered and limit > 1:
            table.report(
                Code.GATE,
                table.at("limit"),
                "`ordered` jobs of a key run one at a time",
                "write `limit = 1`, or leave it out",
            )
        per = self._keys(table, "per")
        return Concurrency(limit=limit, per=per, ordered=ordered)

    def rate(self) -> Rate:
        table = self._table("rate", example='{ limit = 100, every = "1m" }')
        limit, every = self._limit(table), self._span(table, "every")
        burst = self._count(table, "burst") if "burst" in table.values else 1
        cost = self._field(table, "cost", cost_refusal)
        per = self._keys(table, "per")
        return Rate(
            limit=limit,
            every=every,
            per=per,
            burst=burst,
            cost=cost.key if cost else "",
        )

    def fair(self) -> Fair:
        per = self._keys(self.queue, "fair", required=True)
        return Fair(per=per)

    def debounce(self) -> Debounce:
        table = self._table("debounce", example='{ fields = ["id"], wait = "5s" }')
        fields, wait = (
            self._keys(table, "fields", required=True),
            self._span(table, "wait"),
        )
        longest = self._span(table, "longest") if "longest" in table.values else 0.0
        if 0.0 < longest < wait:
            message = "`longest` is shorter than `wait`"
            label = "it counts from the first job of a key, `wait` from the last one"
            table.report(Code.GATE, table.at("longest"), message, label)
        return Debounce(fields=fields, wait=wait, longest=longest)

    def priority(self) -> Priority:
        table = self._table("priority", example='{ order = ["high", "normal", "low"] }')
        field = self._field(table, "field", self._level_refusal)
        choices = level_choices(field, self.scope) if field else ()
        order = self._order(table, choices)
        if not order:
            return Priority()
        key = field.key if field else ""
        return Priority(order=order, field=key)

    def _order(self, table: Table, choices: Collection[str]) -> tuple[str, ...]:
        """The levels; empty when they are not given, or faults are reported."""
        values = table.values.get("order")
        if values is None:
            if choices:
                listed = ", ".join(map(written, choices))
                label = f"add `order = [{listed}]`, the most urgent first"
                message = "a priority by a field needs `order`"
                table.report(Code.MISSING_KEY, table.location.key(), message, label)
            return ()
        if not isinstance(values, list):
            table.wrong_kind("order", values, "an array", '["high", "normal", "low"]')
            return ()
        order: list[str] = []
        for index, value in enumerate(values):
            location = table.at("order").child(index)
            said = f"{value}" if isinstance(value, str | int) else ""
            if choices and said not in choices:
                message = f"{quoted(said)} is no value of the field"
                label = did_you_mean(said, choices)
                table.report(Code.GATE, location, message, label)
            elif not said or said in order:
                message = "a level is a text, and has one place in the order"
                table.report(Code.GATE, location, message)
            order.append(said)
        location = table.at("order")
        if missing := [one for one in choices if one not in order]:
            message = f"{quoted(missing[0])} has no level"
            table.report(Code.GATE, location, message, "add it to `order`")
        elif not 2 <= len(order) <= MOST_LEVELS:
            message = f"a queue has 2 to {MOST_LEVELS} levels, and not {len(order)}"
            label = (
                "one level alone orders nothing; leave `priority` out, or add a level"
                if len(order) < 2
                else "further levels would differ only in how long they wait"
            )
            table.report(Code.GATE, location, message, label)
        return tuple(order)

    def _level_refusal(self, field: Field) -> tuple[str, str] | None:
        if refusal := key_refusal(field):
            return refusal
        if field.secret:
            message = f"`{field.name}` is secret, and its level would be shown"
            return message, "take a field that may be shown"
        if not level_choices(field, self.scope):
            message = f"`{field.name}` may have any value, and a priority needs the few of its levels"
            return message, "give it `one_of`, or an enum as type"
        return None

    def _keys(
        self, table: Table, option: str, *, required: bool = False
    ) -> tuple[str, ...]:
        """The wire names of the fields that make a key."""
        if option not in table.values and required:
            self._missing(table, option, '["url"]')
        if required and table.values.get(option) == []:
            message = f"`{option}` names no field"
            table.report(Code.GATE, table.at(option), message, "name the key's fields")
        found: list[str] = []
        for location, name in table.texts(option):
            field = self._known(table, location, name)
            if field is None:
                continue
            if field.key in found:
                table.report(Code.GATE, location, f"{quoted(name)} is named twice")
            elif refusal := key_refusal(field):
                table.report(Code.GATE, location, *refusal)
            found.append(field.key)
        return tuple(found)

    def _field(
        self,
        table: Table,
        option: str,
        refuse: Callable[[Field], tuple[str, str] | None],
    ) -> Field | None:
        """The field that an option names, unless there is no such one, or it is refused."""
        name = table.text(option)
        field = self._known(table, table.at(option), name) if name is not None else None
        if field is None or not (refusal := refuse(field)):
            return field
        table.report(Code.GATE, table.at(option), *refusal)
        return None

    def _known(self, table: Table, location: SourceLocation, name: str) -> Field | None:
        fields = {field.name: field for field in self.job.fields}
        if name not in fields and name not in self.declared:
            message = f"{visible(self.job.name)} has no field {quoted(name)}"
            table.report(
                Code.UNKNOWN_NAME, location, message, did_you_mean(name, fields)
            )
        return fields.get(name)

    def _table(self, name: str, *, example: str, short: str = "") -> Table:
        """The table of a policy, or one with the array that stands in its place."""
        value = self.queue.values[name]
        if short and isinstance(value, list):
            return Table(
                {short: value}, self.queue.at(name), self.queue.report, short=True
            )
        if not isinstance(value, dict):
            wanted = "an array of fields, or a table" if short else "a table"
            self.queue.wrong_kind(name, value, wanted, example)
            raise OptionError(name, value, f"must be {wanted}")
        table = self.queue.table(name)
        table.refuse_others(POLICY_OPTIONS[name], f"{name} option", _REFUSED)
        return table

    def _limit(self, table: Table) -> int:
        return self._count(table, "limit")

    def _count(self, table: Table, option: str) -> int:
        """A number from 1 on; 1 in place of a fault."""
        if option not in table.values:
            self._missing(table, option, "1")
        number = table.integer(option)
        if number is not None and number < 1:
            message = f"`{option}` is at least 1"
            label = "`flowd limit` pauses a key; without the policy there is no limit"
            table.report(Code.GATE, table.at(option), message, label)
        if number is not None and number > _MOST:
            message = f"`{option}` is at most {_MOST:,}"
            label = "a policy that never holds is left out"
            table.report(Code.GATE, table.at(option), message, label)
        return min(max(number or 1, 1), _MOST)

    def _span(self, table: Table, option: str) -> float:
        """Seconds above 0; 1 in place of a fault."""
        if option not in table.values:
            self._missing(table, option, '"1m"')
            return 1.0
        location = table.at(option)
        milliseconds = read_duration(table.values[option], location, table.report)
        if milliseconds == 0:
            table.report(Code.GATE, location, f"`{option}` must be above 0")
        if milliseconds is not None and milliseconds > LONGEST * 1000:
            message = f"`{option}` is at most {LONGEST:,.0f} s, which is 31 years"
            table.report(Code.GATE, location, message)
            return LONGEST
        return (milliseconds or 1000) / 1000

    def _missing(self, table: Table, option: str, value: str) -> None:
        name = table.location.path[-1]
        label = f"add `{option} = {value}`"
        message = f"`{name}` needs `{option}`"
        table.report(Code.MISSING_KEY, table.location.key(), message, label)


_READERS: Final[dict[str, Callable[[_Reader], object]]] = {
    "unique": _Reader.unique,
    "concurrency": _Reader.concurrency,
    "rate": _Reader.rate,
    "fair": _Reader.fair,
    "debounce": _Reader.debounce,
    "priority": _Reader.priority,
}
