"""Assertions on what was enqueued."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TypeGuard, TypeVar

from flowd.errors import OptionError
from flowd.errors.option import instance
from flowd.model.item import Item
from flowd.model.job import SECRET, Job, spec_of
from flowd.model.text import printable
from flowd.testing.memory import Memory

__all__ = ["Recorded"]

J = TypeVar("J", bound=Job)

_SHOWN: Final = 10
_LONGEST: Final = 200


class Recorded:
    """Has enqueued, or lets others enqueue, into a memory that can be asked about it."""

    def __init__(self, memory: Memory | None) -> None:
        if memory is not None:
            instance("memory", memory, Memory, "must be a Memory, or None")
        self.memory = memory or Memory()
        """What it shares with other producers and queues."""

    @property
    def items(self) -> list[Item[Job]]:
        """All that was enqueued into the memory, with what was said about each job."""
        return self.memory.items

    def jobs(self, job_class: type[J]) -> list[J]:
        """The jobs of one class that were enqueued, in order.

        Args:
            job_class: a generated class.
        """
        return [item.job for item in self.items if _is_of(item, job_class)]

    def assert_enqueued(self, wanted: J | type[J], /, **fields: object) -> Item[J]:
        """Assert that a job was enqueued; returns the first one, as an `Item`.

            producer.assert_enqueued(Email(to="a@b.c", subject="hi"))
            assert producer.assert_enqueued(Email, to="a@b.c").delay == 60

        Args:
            wanted: a job, or a class and, as `fields`, what its jobs have to equal.
            fields: by the names of the class's attributes.

        Raises:
            AssertionError: there is none; the message says how those differ that are.
            OptionError: the class has no such field.
        """
        __tracebackhide__ = True  # pytest shows the test's own line
        job_class, values = _wanted(wanted, fields)
        items = [item for item in self.items if _is_of(item, job_class)]
        for item in items:
            if not _differences(item.job, values):
                return item
        raise AssertionError(self._missing(job_class, values, items))

    def refute_enqueued(self, wanted: J | type[J], /, **fields: object) -> None:
        """Assert that no such job was enqueued.

        Args:
            wanted: a job, or a class and, as `fields`, what its jobs would have to equal.
            fields: by the names of the class's attributes.

        Raises:
            AssertionError: one was; the message shows the first.
        """
        __tracebackhide__ = True  # pytest shows the test's own line
        job_class, values = _wanted(wanted, fields)
        found = [j for j in self.jobs(job_class) if not _differences(j, values)]
        if found:
            raise AssertionError(
                f"{len(found)} {job_class.SPEC.name} {_were(found)} enqueued"
                f"{_with(job_class, values)}, the first as"
                f" {printable(repr(found[0]), _LONGEST)}"
            )

    def _missing(
        self, job_class: type[J], values: Mapping[str, object], items: list[Item[J]]
    ) -> str:
        name = job_class.SPEC.name
        if not items:
            count = Counter(type(item.job).SPEC.name for item in self.items)
            others = ", ".join(f"{count[each]} {each}" for each in sorted(count))
            return f"no {name} was enqueued, but {others or 'nothing at all'}"
        nearest = sorted((_differences(item.job, values) for item in items), key=len)
        what = f"{name} was enqueued{_with(job_class, values)}"
        lines = [f"no {what}; {len(items)} {_were(items)}, the nearest first:"]
        lines += [f"  - {'; '.join(each)}" for each in nearest[:_SHOWN]]
        if len(nearest) > _SHOWN:
            lines.append(f"  and {len(nearest) - _SHOWN} more")
        return "\n".join(lines)


def _is_of(item: Item[Job], job_class: type[J]) -> TypeGuard[Item[J]]:
    return isinstance(item.job, job_class)


def _wanted(
    wanted: J | type[J], fields: Mapping[str, object]
) -> tuple[type[J], Mapping[str, object]]:
    """The class, and the values to look for by attribute."""
    if not isinstance(wanted, type):
        if fields:
            rule = "a job has its fields already; give its class instead"
            raise OptionError("fields", dict(fields), rule)
        job_class = type(wanted)
        return job_class, {name: getattr(wanted, name) for name in _names(job_class)}
    names = _names(wanted)
    for name in fields:
        if name not in names:
            has = ", ".join(map(repr, names))
            rule = f"{wanted.SPEC.name} has no such field; it has {has}"
            raise OptionError("field", name, rule)
    return wanted, fields


def _names(job_class: type[Job]) -> list[str]:
    """The attributes of a class, one for each of its wire names."""
    spec_of(job_class)
    assert dataclasses.is_dataclass(job_class)
    return [field.name for field in dataclasses.fields(job_class)]


def _differences(job: Job, values: Mapping[str, object]) -> list[str]:
    """How a job is not what is wanted, in words."""
    found: list[str] = []
    for name, value in values.items():
        actual: object = getattr(job, name)
        if value != actual:
            shown = _shown(type(job), name, actual)
            found.append(f"{name} is {shown}, not {_shown(type(job), name, value)}")
    return found


def _shown(job_class: type[Job], name: str, value: object) -> str:
    spec = job_class.SPEC
    if spec.fields[_names(job_class).index(name)] in spec.secrets:
        return SECRET
    return printable(repr(value), _LONGEST)


def _with(job_class: type[Job], values: Mapping[str, object]) -> str:
    shown = [f"{name}={_shown(job_class, name, values[name])}" for name in values]
    return f" with {', '.join(shown)}" if shown else ""


def _were(found: Sequence[object]) -> str:
    return "was" if len(found) == 1 else "were"
