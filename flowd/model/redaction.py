"""Removes the values of a job's secret fields from errors and tracebacks.

A handler or a callback may put a value into an error. So each value is searched for as it
is on the wire, in its `repr`, and as JSON writes it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from flowd.model.job import SECRET, Job, JobSpec
from flowd.model.text import count_of

__all__ = ["redact", "redacted_fields"]

# Shorter values occur in every text, and are not secrets.
_SHORTEST: Final = 3


def redact(text: str, job_class: type[Job], fields: Mapping[bytes, bytes]) -> str:
    """The text without the values of secret fields.

    Args:
        text: of an error or a traceback.
        job_class: says which fields are secret.
        fields: of the entry that the text is about.
    """
    names = job_class.SPEC.secrets
    if not names:
        return text
    found = {
        spelling
        for name in names
        if (raw := fields.get(name.encode())) is not None
        for value in (raw, raw.decode("utf-8", "ignore"))
        for spelling in _spellings(value)
    }
    try:
        job: object = job_class.from_fields(fields)
    except Exception:  # what cannot be decoded has no values but those of the wire
        job = None
    found.update(
        one for value in _values(job, secret=False) for one in _spellings(value)
    )
    # A value may be a part of another one.
    for spelling in sorted(found, key=len, reverse=True):
        if len(spelling) >= _SHORTEST:
            text = text.replace(spelling, SECRET)
    return text


def redacted_fields(
    fields: Mapping[bytes, bytes], spec: JobSpec | None, *, raw: bool = False
) -> dict[bytes, str]:
    """What is shown instead of a value, by name, for the fields that are not shown.

    Whether a field is secret is known only of those that the class names. Of others,
    as of all without a class, the size is shown: a field may have been one once.

    Args:
        fields: of the entry.
        spec: of its job's class, where that is known.
        raw: show what no class names as well.
    """
    hidden: dict[bytes, str] = {}
    for name, value in fields.items():
        text = name.decode("utf-8", "backslashreplace")
        known = text.startswith("_") or (spec is not None and text in spec.fields)
        if spec is not None and text in spec.secrets:
            hidden[name] = SECRET
        elif not (known or raw):
            hidden[name] = f"<{count_of(len(value), 'byte')}>"
    return hidden


def _values(value: object, *, secret: bool) -> Iterator[object]:
    """The secret values in a job: those of fields that its `repr` leaves out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            inner: object = getattr(value, field.name)
            yield from _values(inner, secret=secret or not field.repr)
    elif _is_dict(value):
        for inner in (*value, *value.values()):
            yield from _values(inner, secret=secret)
    elif _is_list(value):
        for inner in value:
            yield from _values(inner, secret=secret)
    elif secret and value is not None and not isinstance(value, bool):
        yield value


def _is_dict(value: object) -> TypeGuard[dict[object, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list | tuple | set | frozenset)


def _spellings(value: object) -> Iterator[str]:
    """How a text may show a value."""
    match value:
        case str():
            yield value
            yield repr(value)[1:-1]
            for ascii_only in (True, False):
                yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]
            # The traceback of a group puts its margin in front of every line.
            yield from value.splitlines()
        case bytes():
            yield repr(value)[2:-1]
            yield value.hex()
            yield base64.b64encode(value).decode()
        case _:
            yield str(value)
            yield repr(value)
