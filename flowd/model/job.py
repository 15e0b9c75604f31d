"""The contract between a generated class and everything that moves it.

A job class needs no base class: it has `SPEC`, `to_fields` and `from_fields`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, Self, TypeVar

from flowd.errors import DecodeError, EncodeError, FormatError, NewerVersion
from flowd.model.gate import Gate
from flowd.model.policy import Policy
from flowd.model.schedule import Schedule
from flowd.model.text import printable
from flowd.wire import CodecError, Json

__all__ = [
    "FORMAT",
    "MAX_JOB_BYTES",
    "SECRET",
    "Job",
    "JobSpec",
    "decode",
    "payload_size",
    "spec_of",
]

J = TypeVar("J", bound="Job")
N = TypeVar("N", bound="Job")

FORMAT: Final = 1
"""The generation of classes that this flowd runs; `flowd-gen` prints its own."""

MAX_JOB_BYTES: Final = 256 * 1024
"""How large a job's fields may be; refused by producers, not decoded by workers."""

SECRET: Final = "<secret>"  # noqa: S105 - the opposite of one
"""What is shown instead of a secret field's value."""

_SHOWN: Final = 120
_REASON: Final = 200
_LISTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the runtime knows of a job class."""

    name: str
    """The class's name, as in the schema."""

    fields: tuple[str, ...]
    """Wire names in declared order, as `fields()` of the Rust crate flowd."""

    policy: Policy
    """The rules of `[job.X.queue]` in the schema."""

    format: int
    """The `FORMAT` of the `flowd-gen` that wrote the class."""

    types: tuple[str, ...] = ()
    """The type of each field as the schema spells it, for example `u64?`; none in a class
    of an older flowd-gen. This and what follows up to `docs` is for people and tools."""

    optional: tuple[str, ...] = ()
    """Wire names that an entry may lack: the type ends in `?`, or there is a default."""

    encodings: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """How a value is written, by wire name, where that is not the type's own text:
    `01`, `hex`, `raw`, `unix_ms`; `mapper` for functions of the user."""

    choices: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]], hash=False
    )
    """The texts on the wire that a field may have, by wire name; lacking for others."""

    open: tuple[str, ...] = ()
    """Wire names with `choices` that are read with other texts too."""

    docs: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """What the schema says of a field, by wire name; lacking for others."""

    secrets: tuple[str, ...] = ()
    """Wire names whose values never reach a log, an error or a terminal."""

    labels: tuple[str, ...] = ()
    """Attributes, each an enum, whose values are labels of metrics."""

    version: int = 0
    """The declared `version`, which travels as `_v`; 0 if none is, which reads as 1."""

    oldest: int = 1
    """The oldest version that the class reads."""

    schedules: tuple[Schedule, ...] = ()
    """When it is enqueued by itself: `[job.X.cron.NAME]`."""

    gate: Gate | None = None
    """Which of its jobs may go next: limits, order and uniqueness; None: all may."""

    extra: Mapping[str, Json] = field(default_factory=dict[str, Json], hash=False)
    """The schema's own `x-…` keys of the job, for tools; flowd reads none of them."""

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            advice = "upgrade flowd" if self.format > FORMAT else "run flowd-gen again"
            raise FormatError(
                f"format of {self.name}",
                self.format,
                f"this flowd runs format {FORMAT}: {advice}",
            )

    def version_of(self, fields: Mapping[bytes, bytes]) -> int:
        """The version of an entry; 1 where it says none.

        Raises:
            NewerVersion: it is above the one that the class is of.
            DecodeError: it is below `oldest`, or not a number from 1 to 999999999.
        """
        raw = fields.get(b"_v", b"1")
        if not raw.isdigit() or len(raw) > 9 or not (version := int(raw)):
            raise DecodeError(self.name, "_v", "expected a number", repr(raw[:40]))
        if version > max(self.version, 1):
            raise NewerVersion(self.name, version, max(self.version, 1))
        if version < self.oldest:
            raise DecodeError(
                self.name,
                "_v",
                f"the job is of version {version}, and this class reads from"
                f" {self.oldest} on",
            )
        return version

    def migrate(self, step: Callable[[J], N], old: J) -> N:
        """What a migration makes of a job of an older version.

        Args:
            step: the user's function.
            old: of the class that it takes.

        Raises:
            DecodeError: the function raised; with its words, unless one of the two
                classes has secrets. Or it returned no job of this version.
        """
        spec = type(old).SPEC
        cause: Exception | None = None
        try:
            new = step(old)
        except Exception as error:  # a migration of the user's may raise anything
            secret = self.secrets or spec.secrets
            reason = _plain(error) if secret else _reason(error)
            cause = None if secret else error
        else:
            made: object = getattr(type(new), "SPEC", None)
            if made is self:
                return new
            returned = type(new).__name__
            reason = f"the migration returned {returned}, not {self.name}"
        failure = DecodeError(
            self.name,
            "",
            f"version {spec.version} cannot become {self.version}: {reason}",
        )
        failure.__cause__ = cause
        raise failure

    def encode_error(self, key: bytes, job: object, cause: Exception) -> EncodeError:
        """The error for a field whose value cannot be serialized."""
        name = key.decode()
        if name in self.secrets:
            return EncodeError(self.name, name, _plain(cause), SECRET)
        assert dataclasses.is_dataclass(job)
        attribute = dataclasses.fields(job)[self.fields.index(name)].name
        value = _cut(getattr(job, attribute))
        error = EncodeError(self.name, name, _reason(cause), value)
        error.__cause__ = cause
        return error

    def decode_error(
        self, key: bytes, fields: Mapping[bytes, bytes], cause: Exception
    ) -> DecodeError:
        """The error for a field that cannot be read from an entry."""
        name = key.decode()
        raw = fields.get(key)
        if isinstance(cause, KeyError) and cause.args == (key,):
            return DecodeError(self.name, name, _missing(fields))
        if name in self.secrets:
            return DecodeError(self.name, name, _plain(cause), SECRET)
        value = None if raw is None else _cut(raw)
        error = DecodeError(self.name, name, _reason(cause), value)
        error.__cause__ = cause
        return error


class Job(Protocol):
    """What `flowd-gen` writes, and all that flowd asks of a job class."""

    SPEC: ClassVar[JobSpec]

    def to_fields(self) -> dict[bytes, bytes]:
        """Encode as the fields of a stream entry; raises EncodeError."""
        ...

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> Self:
        """Decode an entry's fields, unknown ones ignored; raises DecodeError."""
        ...


def spec_of(job_class: type[Job]) -> JobSpec:
    """What a generated class says of itself.

    Raises:
        FormatError: `flowd-gen` did not write it, or it is an instance or no class.
    """
    spec: object = getattr(job_class, "SPEC", None)
    if isinstance(spec, JobSpec) and inspect.isclass(job_class):
        return spec
    raise _no_job_class(job_class, spec)


def _no_job_class(given: object, spec: object) -> FormatError:
    rule = "must be a class that flowd-gen wrote"
    if isinstance(given, type):
        rule += f", and has no SPEC: generate it with flowd-gen (format {FORMAT})"
    elif isinstance(spec, JobSpec):
        # Not its `repr`: it would show the fields.
        name = type(given).__name__
        rule += f": give the class {name} itself, not an instance of it"
        return FormatError("job_class", f"{name}(...)", rule)
    elif callable(given):
        rule += "; it comes first, and the handler second"
    return FormatError("job_class", given, rule)


def decode(job_class: type[J], fields: Mapping[bytes, bytes]) -> J:
    """The job that an entry is; raises what `version_of` and `from_fields` do."""
    if b"_v" in fields:
        job_class.SPEC.version_of(fields)
    return job_class.from_fields(fields)


def payload_size(fields: Mapping[bytes, bytes]) -> int:
    """How many bytes the names and values have."""
    return len(b"".join([*fields, *fields.values()]))


def _reason(cause: Exception) -> str:
    match cause:
        case CodecError():
            return str(cause)
        case UnicodeEncodeError():
            return "not encodable as UTF-8"
        case UnicodeDecodeError():
            return "expected UTF-8 text"
        case AttributeError(name="encode"):
            return f"expected a str, not {type(cause.obj).__name__}"
        case _:
            # A mapper's message may hold anything, and as much of it.
            return printable(f"{type(cause).__name__}: {cause}", _REASON)


def _plain(cause: Exception) -> str:
    """A reason that cannot hold the value, for secret fields."""
    if isinstance(cause, CodecError | UnicodeEncodeError | UnicodeDecodeError):
        return _reason(cause)
    return f"refused with {type(cause).__name__}"


def _missing(fields: Mapping[bytes, bytes]) -> str:
    names = ", ".join(_cut(name)[1:] for name in list(fields)[:_LISTED])
    if len(fields) > _LISTED:
        names += f" and {len(fields) - _LISTED} more"
    return f"required field is missing (fields present: {names or 'none'})"


def _cut(value: object) -> str:
    # Cut before `repr` too: a payload may have megabytes.
    try:
        shown = repr(value[:_SHOWN] if isinstance(value, str | bytes) else value)
    except Exception as error:
        # A record that holds itself without end; or the user's own `__repr__`.
        return f"a {type(value).__name__} ({type(error).__name__} in its repr)"
    whole = not isinstance(value, str | bytes) or len(value) <= _SHOWN
    return shown if whole and len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
