"""Generated classes read what they write, for values built from the schema itself."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowd
from flowd import DecodeError
from flowd_codegen.model.bounds import End, broken, ends, in_model, is_ranged, native
from flowd_codegen.model.declared import Declared
from flowd_codegen.model.kinds import (
    ANY,
    Bounds,
    DictOf,
    EnumRef,
    External,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
)
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Field, Job, Record, Schema
from flowd_codegen.model.walk import names_in
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read

_CASES: Final = Path(__file__).parents[1] / "cases"
_GOOD: Final = sorted(path.parent.name for path in _CASES.glob("*/expected"))

_DEEPEST: Final = 2
"""How many records that hold themselves are in each other, as far as it can be helped."""

_Values: TypeAlias = st.SearchStrategy[object]


class _Instance(flowd.Job, Protocol):
    """An object of a generated job class, which is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]


_ZONES: Final = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
_WHOLE_MS: Final = timedelta(milliseconds=1)
_DAY: Final = timedelta(days=1)
# Two days from either end: no offset leads out of the years there are.
_FIRST: Final = datetime(1, 1, 3)  # noqa: DTZ001 - the zone is drawn with it
_LAST: Final = datetime(9999, 12, 29)  # noqa: DTZ001 - the zone is drawn with it
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

    @cached_property
    def circular(self) -> Mapping[str, int]:
        """The records that hold themselves."""
        return Declared(self.schema).circular

    def instances(
        self, owner: Job | Record, level: int = 0
    ) -> st.SearchStrategy[_Instance]:
        """Objects of a generated class; those below `_DEEPEST` hold no more of their kind."""
        level += owner.name in self.circular
        values = {
            field.attribute: self._field(field, owner, level) for field in owner.fields
        }
        return st.builds(self.classes[owner.name], **values)

    def _field(self, field: Field, owner: Job | Record, level: int) -> _Values:
        if examples := self.examples.get(f"{owner.name}.{field.name}"):
            return st.sampled_from(examples)
        in_json = isinstance(owner, Record)
        return self._type(field.type, field, in_json=in_json, level=level)

    def _type(
        self,
        kind: Type,
        bounds: Bounds = ANY,
        *,
        in_json: bool = True,
        level: int = 0,
    ) -> _Values:
        most = bounds.max_len if bounds is not ANY else 5
        fewest = bounds.min_len or 0
        if level >= _DEEPEST and self.circular.keys() & names_in(kind):
            match kind:
                case Optional():
                    return st.none()
                case ListOf() if not fewest:
                    return st.just([])
                case DictOf() if not fewest:
                    return st.just({})
                case UnionOf(members, tag):
                    ends = (one for one in members if one[1] not in self.circular)
                    kind = UnionOf(tuple(ends), tag)
                case _:
                    pass
        match kind:
            case Scalar():
                return _scalar(kind, bounds, in_json=in_json)
            case ListOf(item, each):
                items = self._type(item, each, level=level)
                return st.lists(items, min_size=fewest, max_size=most)
            case DictOf(value, each):
                values = self._type(value, each, level=level)
                return st.dictionaries(
                    st.text(), values, min_size=fewest, max_size=most
                )
            case EnumRef(name):
                return st.sampled_from(
                    [one for one in self.enum(name) if one.name != self.unknown[name]]
                )
            case RecordRef(name):
                return self.instances(self.records[name], level)
            case UnionOf(members):
                records = [self.records[name] for _, name in members]
                return st.one_of([self.instances(record, level) for record in records])
            case OneOf(values):
                return st.sampled_from(values)
            case Optional(item):
                return st.none() | self._type(
                    item, bounds, in_json=in_json, level=level
                )
            case External():
                raise AssertionError(f"{self.name}: give EXAMPLES of {kind.name}")


def _scalar(kind: Scalar, bounds: Bounds, *, in_json: bool) -> _Values:
    encoding = bounds.encoding if isinstance(bounds, Field) else None
    fewest, most = bounds.min_len or 0, bounds.max_len
    match kind.name:
        case "str" if bounds.pattern is not None:
            texts = st.from_regex(bounds.pattern, fullmatch=True)
            return texts.filter(lambda text: most is None or len(text) <= most)
        case "str":
            return st.text(min_size=fewest, max_size=most)
        case "bytes":
            return st.binary(min_size=fewest, max_size=most)
        case _ if is_ranged(kind):
            values = _ranged(kind, bounds, in_json=in_json)
            values = values.map(_cut) if encoding == "unix_ms" else values
            return values.filter(
                lambda value: broken(value, kind, bounds, encoding) is None
            )
        case name:
            return _PLAIN[name]


def _ranged(kind: Scalar, bounds: Bounds, *, in_json: bool) -> _Values:
    """Values between the ends, those of open ones too."""
    low, high = (
        None if math.isinf(at) else _native(kind, at) for at, _ in ends(kind, bounds)
    )
    match kind.name:
        case "float":
            # JSON has no infinity, and what equals nothing cannot be compared.
            infinite = not in_json and low is None and high is None
            return st.floats(low, high, allow_nan=False, allow_infinity=infinite)
        case "decimal":
            return st.decimals(
                low, high, allow_nan=False, allow_infinity=False, places=bounds.places
            )
        case "datetime":
            start = _FIRST if low is None else low.replace(tzinfo=None) - _DAY
            stop = _LAST if high is None else high.replace(tzinfo=None) + _DAY
            return st.datetimes(start, stop, timezones=_ZONES)
        case "date":
            return st.dates(low or date.min, high or date.max)
        case "duration":
            spans = st.timedeltas(low or timedelta.min, high or timedelta.max)
            return spans.map(lambda value: value // _WHOLE_MS * _WHOLE_MS)
        case name:
            least, largest = INTEGERS.get(name, (None, None))
            return st.integers(
                least if low is None else low, largest if high is None else high
            )


def _native(kind: Scalar, at: End) -> Any:
    model = in_model(kind, at)
    return native(kind, model if isinstance(model, int | float) else str(model))


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
def test_encoded_job_decodes_to_the_same(
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
def test_undeclared_fields_are_ignored(
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
