"""Change fields of a job by their text on the wire; its class checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, TypeVar

from flowd.errors import DecodeError, EncodeError
from flowd.model.job import Job, decode

__all__ = ["Refused", "checked", "current_fields", "with_fields"]

J = TypeVar("J", bound=Job)

Refused: TypeAlias = Mapping[str, str]
"""Why a class refuses a job, by the wire name of the field; empty for the whole job."""

_MOST: Final = 100


def current_fields(
    job_class: type[Job], fields: Mapping[bytes, bytes]
) -> Mapping[bytes, bytes]:
    """The fields of an entry under the names of the newest version.

    Raises:
        DecodeError: it is of another version, and the class cannot read it.
    """
    if fields.get(b"_v", b"1") != b"%d" % max(job_class.SPEC.version, 1):
        return decode(job_class, fields).to_fields()
    return fields


def with_fields(
    job_class: type[J],
    fields: Mapping[bytes, bytes],
    new: Mapping[bytes, bytes | None],
) -> J:
    """The job that an entry is once fields have new values.

    Args:
        job_class: checks it.
        fields: of the entry.
        new: by wire name; None leaves the field out.

    Raises:
        DecodeError: the class cannot read it.
    """
    # The names are those of the newest version, so the entry is migrated first.
    changed = dict(current_fields(job_class, fields))
    for name, value in new.items():
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = value
    return job_class.from_fields(changed)


def checked(
    job_class: type[J],
    fields: Mapping[bytes, bytes],
    new: Mapping[bytes, bytes | None],
) -> J | Refused:
    """The job as `with_fields`, or what its class says of each new value that is wrong.

    A class names the first wrong field only. So a value that it refused is taken back,
    and the others are tried without it.
    """
    refused: dict[str, str] = {}
    left = dict(new)
    for _ in range(_MOST):
        try:
            job = with_fields(job_class, fields, left)
            if refused:
                return refused
            # Bounds of what is written, and its size, are checked as it is encoded.
            job.to_fields()
            return job
        except (DecodeError, EncodeError) as error:
            if error.field in refused:
                return refused
            refused[error.field] = error.reason
            if left.pop(error.field.encode(), None) is None:
                return refused
    return refused
