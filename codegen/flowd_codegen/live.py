"""Tries the classes of a schema on what their queues hold now, and says what came of it.

The one module of the generator that asks a server, so it is loaded only for that. How
queues are read is the business of `flowd.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowd.broker.connection import Link
from flowd.broker.url import Address
from flowd.errors import FatalError, ServerError
from flowd.model.job import Job as JobClass
from flowd.ops.everything import PLACES, Place
from flowd.ops.look import Look
from flowd.ops.trial import Fate, Misfit, Trial
from flowd_codegen.compat.contract import Contract
from flowd_codegen.diagnostics.location import Place as Spot
from flowd_codegen.diagnostics.report import Code, Fault, Severity, visible
from flowd_codegen.model.schema import Job

__all__ = ["Counter", "Finding", "Row", "findings", "jobs", "rows", "try_all"]


Counter: TypeAlias = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Opens with a total, and is then called with how many more were looked at."""

_VERDICTS: Final[Mapping[Fate, tuple[Code, Severity, str]]] = {
    "unreadable": (Code.UNREADABLE, "breaking", "cannot be read"),
    "newer": (Code.NEWER_VERSION, "note", "will wait for newer workers"),
    "dead": (
        Code.UNDECODABLE_BEFORE,
        "note",
        "died because nothing could read them, and still cannot be read",
    ),
    "mended": (
        Code.UNDECODABLE_BEFORE,
        "note",
        "died because nothing could read them, and can be read now",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Jobs that have something in common, and what JSON says of them beside the fault."""

    fault: Fault
    more: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Row:
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


async def try_all(
    classes: Sequence[type[JobClass]],
    url: str | None,
    *,
    limit: int,
    samples: int,
    counter: Counter,
) -> tuple[str, list[Trial]]:
    """Try each class on all that its queue holds; nothing is changed.

    Args:
        classes: of the schema.
        url: of the server; None: `FLOWD_URL`.
        limit: how many jobs of each place are looked at, at most; 0: all.
        samples: how many jobs are named for each reason.
        counter: is given how many jobs there are, about, and counts them.

    Returns:
        The server as it may be shown, and what became of each class.

    Raises:
        OptionError: the URL is none.
        ServerError: the server refused, or cannot be asked.
    """
    address = Address.of(url)
    link = Link(address, name="flowd-gen-live")
    trials = [Trial(each, samples=samples) for each in classes]
    try:
        looks = [_look(link, trial.job_class) for trial in trials]
        total = sum([await _size(look, limit) for look in looks])
        with counter(total) as told:
            for trial, look in zip(trials, looks, strict=True):
                with _naming(look):
                    await trial.run(look, limit=limit, told=told)
    finally:
        await link.aclose()
    return str(address), trials


def findings(trial: Trial, contract: Contract) -> Iterator[Finding]:
    """What a class cannot read, the most frequent first, and what else is to be said."""
    order: list[Fate] = [*_VERDICTS]
    found = sorted(
        trial.misfits.values(),
        key=lambda each: (order.index(each.fate), -each.places.total()),
    )
    if mended := trial.counts["dead letters", "mended"]:
        misfit = Misfit("mended", trial.job_class.SPEC.name, "", "")
        misfit.places["dead letters"] = mended
        found.append(misfit)
    for each in found:
        yield _finding(each, trial, contract)


def rows(trial: Trial) -> Iterator[Row]:
    """The numbers of each place in which there was something."""
    spec = trial.job_class.SPEC
    for place in PLACES:
        of: dict[Fate, int] = {
            fate: count
            for (where, fate), count in trial.counts.items()
            if where == place
        }
        if of:
            yield Row(
                job=spec.name,
                stream=spec.policy.stream,
                group=spec.policy.group,
                place=place,
                seen=sum(of.values()),
                readable=of.get("readable", 0),
                newer=of.get("newer", 0),
                unreadable=of.get("unreadable", 0),
                undecodable_before=of.get("dead", 0) + of.get("mended", 0),
            )


def _finding(misfit: Misfit, trial: Trial, contract: Contract) -> Finding:
    spec = trial.job_class.SPEC
    verdict, severity, text = _VERDICTS[misfit.fate]
    total = misfit.places.total()
    where = f"{misfit.job}.{misfit.field}" if misfit.field else misfit.job
    reason = f": {misfit.reason}" if misfit.reason else ""
    places = [
        f"{place} {count:,}" for place in PLACES if (count := misfit.places[place])
    ]
    notes = [f"in {spec.policy.stream}: {', '.join(places)}"]
    notes += [
        f"{sample.place} {sample.id} {sample.detail}".rstrip()
        for sample in misfit.samples
    ]
    if misfit.samples and (more := total - len(misfit.samples)):
        notes.append(f"and {more:,} more")
    if misfit.fate == "mended":
        notes.append("do: `flowd dlq redrive` them, after the deploy")
    return Finding(
        Fault(
            verdict,
            _spot(misfit, contract.jobs[spec.name], contract),
            visible(f"{where}: {jobs(total)} {text}{reason}"),
            notes=tuple(map(visible, notes)),
            severity=severity,
        ),
        {
            "job": spec.name,
            "stream": spec.policy.stream,
            "field": misfit.field,
            "reason": misfit.reason,
            "count": total,
            "places": misfit.places,
            "samples": [sample._asdict() for sample in misfit.samples],
        },
    )


def _spot(misfit: Misfit, job: Job, contract: Contract) -> Spot:
    """Where the schema declares what is not read, in the version that it is of."""
    owner = next((old for old in job.older if old.name == misfit.job), job)
    for field in owner.fields:
        if misfit.field in (field.key, *field.aliases):
            return contract.at(owner, "fields", field.name).key()
    return contract.at(owner)


def jobs(count: int) -> str:
    """So many jobs, in words."""
    return "1 job" if count == 1 else f"{count:,} jobs"


def _look(link: Link, job_class: type[JobClass]) -> Look:
    policy = job_class.SPEC.policy
    return Look(link, policy.stream, policy.group)


async def _size(look: Look, limit: int) -> int:
    """About how many jobs will be looked at."""
    with _naming(look):
        sizes = await look.sizes()
    places = (sizes.waiting + sizes.running, sizes.delayed, sizes.dead)
    return sum(min(place, limit or place) for place in places)


@contextmanager
def _naming(look: Look) -> Generator[None]:
    """Say of which queue a refusal is that will not pass by itself."""
    try:
        yield
    except FatalError as error:
        raise ServerError(f"the queue {look.keys.stream}: {error}") from error
