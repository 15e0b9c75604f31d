"""What one job costs to write and to read: the generated class and other ways.

Prints nanoseconds and ratios, the fastest of several interleaved rounds each. The first
row of each table is what flowd-gen writes; the others are what it might have written.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import tempfile
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Final, Protocol, Self, TypeAlias, get_type_hints

from flowd import Job, wire
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.python.render import render

__all__ = ["compare", "generate_module"]

_SCHEMA: Final = """
[job.Mail.fields]
to       = "str"
subject  = "str"
cc       = "str?"
attempts = "u32"
urgent   = "bool"
score    = "float"
"""
_ENTRY: Final = {
    b"to": b"someone@example.org",
    b"subject": b"The subject of a letter",
    b"cc": b"nobody@example.org",
    b"attempts": b"3",
    b"urgent": b"true",
    b"score": b"0.25",
}
_ROUNDS: Final = 300
_CALLS: Final = 300

_Fields: TypeAlias = Mapping[bytes, bytes]


class _Mail(Job, Protocol):
    """What the generated class has, for type checkers."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]
    to: str
    subject: str
    cc: str | None
    attempts: int
    urgent: bool
    score: float

    def __init__(
        self,
        *,
        to: str,
        subject: str,
        cc: str | None = None,
        attempts: int,
        urgent: bool,
        score: float,
    ) -> None: ...

    @classmethod
    def from_fields(cls, fields: _Fields) -> Self:
        """As generated."""
        ...


def generate_module(name: str, schema: str) -> ModuleType:
    """Generate the module of a schema into a throw-away folder, and import it."""
    source = Source(f"{name}.toml", f"{name}.toml", schema)
    files = render(parse(Sources((source,))))
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            Path(folder, path).write_text(text, encoding="utf-8")
        sys.path.insert(0, folder)
        return importlib.import_module(name)


def _decoders(mail: type[_Mail]) -> dict[str, Callable[[], object]]:
    """Ways to read the same entry."""
    names = dataclasses.fields(mail.from_fields(_ENTRY))
    slots = vars(mail)
    new = object.__new__
    set_to, set_subject, set_cc, set_attempts, set_urgent, set_score = (
        slots[field.name].__set__ for field in names
    )
    attribute = object.__setattr__
    text = {name.decode(): value.decode() for name, value in _ENTRY.items()}
    decoders: dict[str, Callable[[bytes], object]] = {
        "to": bytes.decode,
        "subject": bytes.decode,
        "cc": bytes.decode,
        "attempts": wire.decode_u32,
        "urgent": wire.decode_bool,
        "score": wire.decode_float,
    }

    def unchecked() -> object:
        f = _ENTRY
        return mail(
            to=f[b"to"].decode(),
            subject=f[b"subject"].decode(),
            cc=f[b"cc"].decode() if b"cc" in f else None,
            attempts=wire.decode_u32(f[b"attempts"]),
            urgent=wire.decode_bool(f[b"urgent"]),
            score=wire.decode_float(f[b"score"]),
        )

    def descriptors() -> object:
        f, one = _ENTRY, new(mail)
        set_to(one, f[b"to"].decode())
        set_subject(one, f[b"subject"].decode())
        set_cc(one, f[b"cc"].decode() if b"cc" in f else None)
        set_attempts(one, wire.decode_u32(f[b"attempts"]))
        set_urgent(one, wire.decode_bool(f[b"urgent"]))
        set_score(one, wire.decode_float(f[b"score"]))
        return one

    def setattr_() -> object:
        f, one = _ENTRY, new(mail)
        attribute(one, "to", f[b"to"].decode())
        attribute(one, "subject", f[b"subject"].decode())
        attribute(one, "cc", f[b"cc"].decode() if b"cc" in f else None)
        attribute(one, "attempts", wire.decode_u32(f[b"attempts"]))
        attribute(one, "urgent", wire.decode_bool(f[b"urgent"]))
        attribute(one, "score", wire.decode_float(f[b"score"]))
        return one

    def text_first() -> object:
        f = {name.decode(): value.decode() for name, value in _ENTRY.items()}
        return mail(
            to=f["to"],
            subject=f["subject"],
            cc=f.get("cc"),
            attempts=int(f["attempts"]),
            urgent=f["urgent"] == "true",
            score=float(f["score"]),
        )

    def loop() -> object:
        values: dict[str, object] = {}
        for field in names:
            if (raw := _ENTRY.get(field.name.encode())) is not None:
                values[field.name] = decoders[field.name](raw)
        return _build(mail, values)

    def hints() -> object:
        values: dict[str, object] = {}
        for name, kind in get_type_hints(mail, vars(sys.modules["mail"])).items():
            if name in text:
                value = text[name]
                values[name] = kind(value) if kind in (int, float) else value
        return _build(mail, values)

    return {
        "generated": lambda: mail.from_fields(_ENTRY),
        "the keyword constructor, errors unexplained": unchecked,
        "__new__ and slot descriptors, errors unexplained": descriptors,
        "__new__ and object.__setattr__, errors unexplained": setattr_,
        "the entry as text first, nothing checked": text_first,
        "a loop over dataclasses.fields": loop,
        "get_type_hints at each call, nothing checked": hints,
    }


def _encoders(mail: type[_Mail]) -> dict[str, Callable[[], object]]:
    """Ways to write the same job."""
    job = mail.from_fields(_ENTRY)

    def literal() -> object:
        fields = {
            b"to": job.to.encode(),
            b"subject": job.subject.encode(),
            b"attempts": wire.encode_u32(job.attempts),
            b"urgent": wire.encode_bool(job.urgent),
            b"score": wire.encode_float(job.score),
        }
        if job.cc is not None:
            fields[b"cc"] = job.cc.encode()
        return fields

    def loop() -> object:
        fields: dict[bytes, bytes] = {}
        for field in dataclasses.fields(job):
            value = getattr(job, field.name)
            if value is not None:
                fields[field.name.encode()] = str(value).encode()
        return fields

    def asdict() -> object:
        values = dataclasses.asdict(job)
        return {name.encode(): str(value).encode() for name, value in values.items()}

    return {
        "generated": job.to_fields,
        "one literal, errors unexplained": literal,
        "a loop over dataclasses.fields, str() for each": loop,
        "dataclasses.asdict, str() for each": asdict,
    }


def _build(mail: Callable[..., object], values: Mapping[str, object]) -> object:
    return mail(**values)


def compare(
    title: str, ways: Mapping[str, Callable[[], object]], *, calls: int = _CALLS
) -> None:
    """Print what each way takes, and its ratio to the first.

    Args:
        title: what they all do.
        ways: by their names.
        calls: how often each is called in a round.
    """
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            took = timeit.timeit(way, number=calls) / calls
            best[name] = min(best[name], took)
    first = next(iter(best.values()))
    print(f"{title:<52} {'ns':>7} {'ratio':>6}")
    for name, took in best.items():
        print(f"  {name:<50} {took * 1e9:7.0f} {took / first:6.2f}")


def main() -> None:
    """Print both tables."""
    mail: type[_Mail] = generate_module("mail", _SCHEMA).Mail
    compare("read six fields", _decoders(mail))
    compare("write six fields", _encoders(mail))


if __name__ == "__main__":
    main()
