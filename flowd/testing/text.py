"""Jobs as text, as they go over the wire; the test helpers of the Rust crate flowd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from flowd.model.job import SECRET, Job

__all__ = ["debug_map", "from_text", "round_trip"]

J = TypeVar("J", bound=Job)


def debug_map(job: Job) -> dict[str, str]:
    """A job's fields as text on the wire, as `debug_map` of the Rust crate flowd.

    Bytes that are not UTF-8 are written out; a secret field is `<secret>`.

    Args:
        job: an instance of a generated class.

    Returns:
        The texts by wire name.

    Raises:
        EncodeError: a value cannot be serialized.
    """
    secrets = type(job).SPEC.secrets
    return {
        name.decode(): (
            SECRET
            if name.decode() in secrets
            else value.decode("utf-8", "backslashreplace")
        )
        for name, value in job.to_fields().items()
    }


def round_trip(job: J) -> J:
    """A job as a worker would get it, as `round_trip` of the Rust crate flowd.

    Args:
        job: an instance of a generated class.

    Raises:
        EncodeError: a value cannot be serialized.
        DecodeError: what was written cannot be read, as with a mapper whose two
            functions do not fit.
    """
    return type(job).from_fields(job.to_fields())


def from_text(job_class: type[J], fields: Mapping[str, str]) -> J:
    """A job from wire names and texts, as the Rust crate flowd builds it from string pairs.

    Args:
        job_class: a generated class.
        fields: texts by wire name.

    Raises:
        DecodeError: a field is missing or cannot be read.
    """
    return job_class.from_fields({k.encode(): v.encode() for k, v in fields.items()})
