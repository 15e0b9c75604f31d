"""What a deploy asks: which jobs can the classes of a release not read?"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from flowd.broker.connection import Connection
from flowd.errors import FatalError, ServerError
from flowd.model.job import Job
from flowd.model.text import count_of
from flowd.ops.decode_check import DecodeCheck, DecodeFailure, DecodeStatus, Sample
from flowd.ops.queries import Queries
from flowd.ops.scan import PLACES, Place

__all__ = [
    "PreflightFinding",
    "PreflightRow",
    "check_classes",
    "declared",
    "findings",
    "rows",
]

_VERDICTS: Final[Mapping[DecodeStatus, tuple[str, str]]] = {
    "unreadable": ("UNREADABLE", "cannot be read"),
    "newer": ("NEWER_VERSION", "will wait for newer workers"),
    "dead_unreadable": (
        "UNDECODABLE_BEFORE",
        "died as undecodable, and still cannot be read",
    ),
    "dead_readable": (
        "UNDECODABLE_BEFORE",
        "died as undecodable, and can be read now",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFinding:
    """Jobs of one queue that are not read, all for the same reason."""

    path: str = ""
    """The file of the class that refused them, as seen from the current folder; empty if
    no class reads the queue."""

    line: int = 0
    """Of the field, or of the class where no field is at fault; 0 without a file."""

    severity: Literal["breaking", "warning", "note"]
    code: str
    message: str
    notes: Sequence[str] = ()
    job: str = ""
    """The class's name; empty if no class reads the queue."""

    stream: str
    group: str
    field: str = ""
    """The wire name; empty when the entry as a whole is at fault."""

    reason: str = ""
    count: int = 0
    places: Mapping[Place, int] = dataclasses.field(default_factory=dict[Place, int])
    samples: Sequence[Sample] = ()


@dataclass(frozen=True, slots=True)
class PreflightRow:
    """How many jobs a queue has in one place, by what becomes of them."""

    job: str
    stream: str
    group: str
    place: Place
    seen: int
    readable: int
    newer: int
    unreadable: int
    undecodable_before: int
    """Dead letters that died of it: in none of the three numbers before."""


async def check_classes(
    connection: Connection,
    classes: Sequence[type[Job]],
    *,
    limit: int,
    samples: int,
    progress: Callable[[int], AbstractContextManager[Callable[[int], object]]],
) -> list[DecodeCheck]:
    """Decode with each class all that its queue holds; nothing is changed.

    Args:
        connection: to the server.
        classes: of the release.
        limit: how many jobs of each place are decoded, at most; 0: all.
        samples: how many jobs are named for each reason.
        progress: is given how many jobs there are, about, and counts them.

    Raises:
        ServerError: as `Connection.call`; a refusal names the queue.
    """
    checks = [DecodeCheck(each, samples=samples) for each in classes]
    all_queries = [_queries(connection, each) for each in classes]
    total = sum([await _size(queries, limit) for queries in all_queries])
    with progress(total) as on_progress:
        for check, queries in zip(checks, all_queries, strict=True):
            with _naming(queries):
                await check.run(queries, limit=limit, on_progress=on_progress)
    return checks


def findings(check: DecodeCheck) -> list[PreflightFinding]:
    """What a class cannot read, the most frequent first, and what else is to be said."""
    order = [*_VERDICTS]
    failures = [*check.failures.values()]
    if count := check.counts["dead letters", "dead_readable"]:
        readable = DecodeFailure("dead_readable", check.job_class.SPEC.name, "", "")
        readable.places["dead letters"] = count
        failures.append(readable)
    failures.sort(key=lambda each: (order.index(each.status), -each.places.total()))
    return [_finding(each, check.job_class) for each in failures]


def rows(check: DecodeCheck) -> Iterator[PreflightRow]:
    """The numbers of each place in which there was something."""
    spec = check.job_class.SPEC
    for place in PLACES:
        counts: dict[DecodeStatus, int] = {
            status: check.counts[place, status] for status in ("readable", *_VERDICTS)
        }
        if seen := sum(counts.values()):
            yield PreflightRow(
                job=spec.name,
                stream=spec.policy.stream,
                group=spec.policy.group,
                place=place,
                seen=seen,
                readable=counts["readable"],
                newer=counts["newer"],
                unreadable=counts["unreadable"],
                undecodable_before=counts["dead_unreadable"] + counts["dead_readable"],
            )


def _finding(failure: DecodeFailure, job_class: type[Job]) -> PreflightFinding:
    spec = job_class.SPEC
    code, text = _VERDICTS[failure.status]
    total = failure.places.total()
    where = f"{failure.job}.{failure.field}" if failure.field else failure.job
    reason = f": {failure.reason}" if failure.reason else ""
    path, line = declared(job_class, failure.job, failure.field)
    return PreflightFinding(
        path=path,
        line=line,
        severity="breaking" if failure.status == "unreadable" else "note",
        code=code,
        message=f"{where}: {count_of(total, 'job')} {text}{reason}",
        notes=[*_notes(failure, spec.policy.stream)],
        job=spec.name,
        stream=spec.policy.stream,
        group=spec.policy.group,
        field=failure.field,
        reason=failure.reason,
        count=total,
        places=failure.places,
        samples=failure.samples,
    )


def _notes(failure: DecodeFailure, stream: str) -> Iterator[str]:
    places = [f"{each} {n:,}" for each in PLACES if (n := failure.places[each])]
    yield f"in {stream}: {', '.join(places)}"
    for sample in failure.samples:
        yield f"{sample.place} {sample.id} {sample.detail}".rstrip()
    if failure.samples and (more := failure.places.total() - len(failure.samples)):
        yield f"and {more:,} more"
    if failure.status == "dead_readable":
        yield "do: `flowd dlq redrive` them, after the deploy"


def declared(job_class: type[Job], name: str, field: str) -> tuple[str, int]:
    """Where the class of that name in the module of `job_class` declares the field."""
    owner: type[Job] = getattr(sys.modules[job_class.__module__], name, job_class)
    file = Path(inspect.getfile(owner))
    path = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    lines, first = inspect.getsourcelines(owner)
    assert dataclasses.is_dataclass(owner)
    attributes = [each.name for each in dataclasses.fields(owner)]
    names = dict(zip(owner.SPEC.fields, attributes, strict=True))
    start = f"    {names.get(field)}: "
    found = (number for number, each in enumerate(lines) if each.startswith(start))
    return str(path), first + next(found, 0)


def _queries(connection: Connection, job_class: type[Job]) -> Queries:
    policy = job_class.SPEC.policy
    return Queries(connection, policy.stream, policy.group)


async def _size(queries: Queries, limit: int) -> int:
    """About how many jobs will be decoded."""
    with _naming(queries):
        sizes = await queries.sizes()
    places = (sizes.entries, sizes.delayed, sizes.dead)
    return sum(min(place, limit or place) for place in places)


@contextmanager
def _naming(queries: Queries) -> Generator[None]:
    """Say of which queue a refusal is that will not pass by itself."""
    try:
        yield
    except FatalError as error:
        raise ServerError(f"the queue {queries.keys.stream}: {error}") from error
