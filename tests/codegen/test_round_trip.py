"""Generated classes read what they write, for values built from the schema itself."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Protocol, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowd
from flowd import DecodeError
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import (
    DictOf,
    EnumRef,
    External,
    Field,
    Job,
    ListOf,
    OneOf,
    Optional,
    Record,
    RecordRef,
    Scalar,
    Schema,
    Type,
    UnionOf,
)
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read

_CASES: Final = Path(__file__).parent / "cases"
_GOOD: Final = sorted(path.parent.name for path in _CASES.glob("*/expected"))

_Values: TypeAlias = st.SearchStrategy[object]


class _Instance(flowd.Job, Protocol):
    """An object of a generated job class, which is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]


_ZONES: Final = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
_WHOLE_MS: Final = timedelta(milliseconds=1)
_JSON: Final[_Values] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_PLAIN: Final[Mapping[str, _Values]] = {
    "bool": st.booleans(),
    "uuid": st.uuids(),
    "datetime": st.datetimes(
        # Two days from either end: no offset leads out of the years there are.
        datetime(1, 1, 3),  # noqa: DTZ001 - the zone is drawn beside it
        datetime(9999, 12, 29),  # noqa: DTZ001 - the zone is drawn beside it
        timezones=_ZONES,
    ),
    "date": st.dates(),
    "duration": st.timedeltas().map(lambda value: value // _WHOLE_MS * _WHOLE_MS),
    "json": _JSON,
}


@dataclass(frozen=True)
class _Case:
    """A case's model and the classes that were generated from it."""

    name: str

    @cached_property
    def schema(self) -> Schema:
        """The model."""
        return parse(read(_CASES / self.name))

    @cached_property
    def classes(self) -> Mapping[str, type]:
        """Every class of every expected module, by name."""
        return {
            name: getattr(self.module(*module.name), name)
            for module in self.schema.modules
            for name in module.names
        }

    @cached_property
    def unknown(self) -> Mapping[str, str]:
        """The member of each enum that is only read."""
        enums = (enum for module in self.schema.modules for enum in module.enums)
        return {enum.name: enum.unknown for enum in enums}

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """The records by name."""
        return {
            record.name: record
            for module in self.schema.modules
            for record in module.records
        }

    @cached_property
    def examples(self) -> Mapping[str, list[object]]:
        """What mapped fields may hold, by `Class.field`."""
        if not (_CASES / self.name / "mappers.py").exists():
            return {}
        module = importlib.import_module(f"cases.{self.name}.mappers")
        examples: dict[str, list[object]] = getattr(module, "EXAMPLES", {})
        return examples

    @property
    def jobs(self) -> list[Job]:
        """The jobs of all modules."""
        return [job for module in self.schema.modules for job in module.jobs]

    def module(self, *name: str) -> object:
        """A generated module."""
        return importlib.import_module(
            ".".join(["cases", self.name, "expected", *name])
        )

    def enum(self, name: str) -> type[StrEnum]:
        """A generated enum."""
        found = self.classes[name]
        assert issubclass(found, StrEnum)
        return found

    def instances(self, owner: Job | Record) -> st.SearchStrategy[_Instance]:
        """Objects of a generated class."""
        values = {field.attribute: self._field(field, owner) for field in owner.fields}
        return st.builds(self.classes[owner.name], **values)

    def _field(self, field: Field, owner: Job | Record) -> _Values:
        if examples := self.examples.get(f"{owner.name}.{field.name}"):
            return st.sampled_from(examples)
        return self._type(field.type, field, in_json=isinstance(owner, Record))

    def _type(
        self, kind: Type, field: Field | None = None, *, in_json: bool = True
    ) -> _Values:
        most = field.max_len if field else 5
        fewest = (field.min_len or 0) if field else 0
        match kind:
            case Scalar(name):
                return _scalar(name, field, in_json=in_json)
            case ListOf(item):
                return st.lists(self._type(item), min_size=fewest, max_size=most)
            case DictOf(value):
                values = self._type(value)
                return st.dictionaries(
                    st.text(), values, min_size=fewest, max_size=most
                )
            case EnumRef(name):
                return st.sampled_from(
                    [one for one in self.enum(name) if one.name != self.unknown[name]]
                )
            case RecordRef(name):
                return self.instances(self.records[name])
            case UnionOf(members):
                records = [self.records[name] for _, name in members]
                return st.one_of([self.instances(record) for record in records])
            case OneOf(values):
                return st.sampled_from(values)
            case Optional(item):
                return st.none() | self._type(item, field, in_json=in_json)
            case External():
                raise AssertionError(f"{self.name}: give EXAMPLES of {kind.name}")


def _scalar(name: str, field: Field | None, *, in_json: bool) -> _Values:
    low, high = (field.min, field.max) if field else (None, None)
    fewest = (field.min_len or 0) if field else 0
    most = field.max_len if field else None
    match name:
        case "str" if field and field.pattern is not None:
            texts = st.from_regex(field.pattern, fullmatch=True)
            return texts.filter(lambda text: most is None or len(text) <= most)
        case "str":
            return st.text(min_size=fewest, max_size=most)
        case "bytes":
            return st.binary(min_size=fewest, max_size=most)
        case "float":
            # JSON has no infinity, and what equals nothing cannot be compared.
            infinite = not in_json and low is None and high is None
            return st.floats(low, high, allow_nan=False, allow_infinity=infinite)
        case "decimal":
            ends = (None if end is None else str(end) for end in (low, high))
            return st.decimals(*ends, allow_nan=False, allow_infinity=False)
        case "datetime" if field and field.encoding == "unix_ms":
            return _PLAIN["datetime"].map(_cut)
        case _ if name in _PLAIN:
            return _PLAIN[name]
        case _:
            least, largest = INTEGERS.get(name, (None, None))
            return st.integers(
                least if low is None else int(low),
                largest if high is None else int(high),
            )


def _cut(value: object) -> object:
    assert isinstance(value, datetime)
    return value - timedelta(microseconds=value.microsecond % 1000)


def _parametrized(jobs: list[tuple[_Case, Job]]) -> pytest.MarkDecorator:
    ids = [f"{case.name}-{job.name}" for case, job in jobs]
    return pytest.mark.parametrize(("case", "job"), jobs, ids=ids)


_JOBS: Final = [(case, job) for case in map(_Case, _GOOD) for job in case.jobs]
_each_job: Final = _parametrized(_JOBS)
_each_job_with_aliases: Final = _parametrized(
    [(case, job) for case, job in _JOBS if any(one.aliases for one in job.fields)]
)
_few: Final = settings(max_examples=40, deadline=None)


@_each_job
@given(data=st.data())
@_few
def test_what_is_written_reads_the_same(
    case: _Case, job: Job, data: st.DataObject
) -> None:
    """Fields are bytes under the schema's wire names, in its order."""
    value = data.draw(case.instances(job))
    written = value.to_fields()
    assert type(value).from_fields(written) == value
    assert all(type(part) is bytes for pair in written.items() for part in pair)
    left_out = {
        field.key for field in job.fields if getattr(value, field.attribute) is None
    }
    optional = {field.key for field in job.fields if isinstance(field.type, Optional)}
    names = [field.key for field in job.fields if field.key not in left_out & optional]
    if job.version is not None and job.version > 1:
        # What is read as another version must say which one it is.
        names.insert(0, "_v")
    assert [key.decode() for key in written] == names


@_each_job
@given(data=st.data())
@_few
def test_fields_nobody_declared_are_ignored(
    case: _Case, job: Job, data: st.DataObject
) -> None:
    """Flowd's own fields, and those of a newer producer, change nothing."""
    value = data.draw(case.instances(job))
    more = {b"_id": b"1-0", b"a field of tomorrow": b"\xff", **value.to_fields()}
    assert type(value).from_fields(more) == value


@_each_job_with_aliases
@given(data=st.data())
@_few
def test_an_alias_stands_for_its_field(
    case: _Case, job: Job, data: st.DataObject
) -> None:
    """A field is read under each older name, and the newest name wins."""
    value = data.draw(case.instances(job))
    written = value.to_fields()
    for field in job.fields:
        key = field.key.encode()
        for alias in field.aliases if key in written else ():
            renamed = {k: v for k, v in written.items() if k != key}
            renamed[alias.encode()] = written[key]
            assert type(value).from_fields(renamed) == value
            assert type(value).from_fields({alias.encode(): b"?", **written}) == value


@_each_job
@given(data=st.data())
@_few
def test_a_field_that_is_missing_reads_as_its_default(
    case: _Case, job: Job, data: st.DataObject
) -> None:
    """None for an optional field; without a default the error names the field."""
    value = data.draw(case.instances(job))
    written = value.to_fields()
    defaults = {field.name: field for field in dataclasses.fields(value)}
    for field in job.fields:
        less = {k: v for k, v in written.items() if k != field.key.encode()}
        declared = defaults[field.attribute]
        if declared.default is not dataclasses.MISSING:
            expected = declared.default
        elif declared.default_factory is not dataclasses.MISSING:
            expected = declared.default_factory()
        else:
            with pytest.raises(DecodeError, match="required field is missing") as error:
                type(value).from_fields(less)
            assert error.value.field == field.key
            continue
        changed = dataclasses.replace(value, **{field.attribute: expected})
        assert type(value).from_fields(less) == changed
