"""The limits of a field and the policy of a job, as English text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from flowd.model.policy import Backoff, Policy
from flowd.model.schedule import MOST_MISSED, Schedule
from flowd_codegen.model.duration import duration_text, seconds_text
from flowd_codegen.model.kinds import Bounds, DictOf, ListOf, OneOf, Scalar, Type, base
from flowd_codegen.model.schema import Field, Job

__all__ = [
    "deprecation",
    "gate_lines",
    "limits",
    "policy_lines",
    "schedule_lines",
    "with_deprecation",
]


def limits(field: Field) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The limits of a value: each a word, and its texts.

    The texts come from the schema; the caller escapes them.
    """
    yield from _limits(base(field.type), field)


def _limits(kind: Type, bounds: Bounds) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(kind, OneOf):
        yield "one of", tuple(map(str, kind.values))
    for word, bound in (
        ("at least", bounds.min),
        ("at most", bounds.max),
        ("more than", bounds.above),
        ("less than", bounds.below),
    ):
        if bound is not None:
            spelt = kind == Scalar("duration")
            yield word, (duration_text(int(bound)) if spelt else str(bound),)
    for word, limit in (
        ("digits behind the point at most", bounds.places),
        ("length at least", bounds.min_len),
        ("length at most", bounds.max_len),
    ):
        if limit is not None:
            yield word, (str(limit),)
    if bounds.pattern is not None:
        yield "matches", (bounds.pattern,)
    match kind:
        case ListOf(item, each):
            inside = "each item"
        case DictOf(item, each):
            inside = "each value"
        case _:
            return
    for word, texts in _limits(base(item), each):
        yield f"{inside} {word}", texts


def policy_lines(policy: Policy) -> Iterator[str]:
    """The rules of a job as sentences."""
    if policy.max_retries:
        times = (
            "once" if policy.max_retries == 1 else f"up to {policy.max_retries} times"
        )
        yield f"After a failure it is tried again {times}, {_wait(policy.backoff)}."
    else:
        yield "After a failure it is not tried again."
    if policy.timeout is not None:
        yield f"An attempt may take {seconds_text(policy.timeout)}."
    lease = seconds_text(policy.claim_after)
    yield f"Another worker takes it over when its lease has not been renewed for {lease}."
    if policy.expires_after is not None:
        yield (
            f"No attempt starts later than {seconds_text(policy.expires_after)} after the"
            " job might have started: then it expires."
        )
    if policy.starting_id == "$":
        yield "A new group reads only what comes after it."
    elif policy.starting_id != "0":
        yield f"A new group reads what comes after the entry {policy.starting_id}."


def gate_lines(job: Job, quote: Callable[[str], str]) -> Iterator[str]:
    """The policies of a job's queue as sentences.

    Args:
        job: with its gate.
        quote: shows the name of a field, or another text of the schema.
    """
    if job.gate is None:
        return
    names = {field.key: field.name for field in job.fields}

    def of(keys: Iterable[str], start: str = "of one ") -> str:
        named = " and ".join(quote(names[key]) for key in keys)
        return f" {start}{named}" if named else ""

    gate = job.gate
    if (unique := gate.unique) is not None:
        again = "the last one runs afterwards"
        if unique.again == "drop":
            again = "another one is not stored"
        yield f"One job{of(unique.fields)} is queued or runs at a time: {again}."
    if (limit := gate.concurrency) is not None:
        jobs, run = f"{limit.limit} jobs", "run"
        if limit.limit == 1:
            jobs, run = "one job", "runs"
        order = ", in the order of enqueue" if limit.ordered else ""
        yield f"At most {jobs}{of(limit.per)} {run} at once{order}."
    if (rate := gate.rate) is not None:
        burst = f", {rate.burst} of them at once" if rate.burst > 1 else ""
        cost = f"; each counts for its {quote(names[rate.cost])}" if rate.cost else ""
        yield (
            f"At most {rate.limit}{of(rate.per)} start in {seconds_text(rate.every)}{burst}{cost}."
        )
    if gate.fair is not None:
        yield f"Jobs{of(gate.fair.per, 'of each ')} take turns."
    if (debounce := gate.debounce) is not None:
        most = debounce.longest
        end = f", {seconds_text(most)} after the first at the latest" if most else ""
        wait = seconds_text(debounce.wait)
        yield f"Of jobs{of(debounce.fields)} the last runs, {wait} after it{end}."
    if (priority := gate.priority) is not None:
        levels = ", ".join(map(quote, priority.order))
        by = f" by {quote(names[priority.field])}" if priority.field else ""
        yield f"Some go first{by}: {levels}."


_MISSED: Final = {
    "skip": "Ticks that no worker was there for do not run.",
    "once": "Of ticks that no worker was there for, the last runs.",
    "all": f"Ticks that no worker was there for run, the last {MOST_MISSED} of them.",
}


def schedule_lines(schedule: Schedule) -> Iterator[str]:
    """When a schedule ticks and by what rules, as sentences."""
    when = (
        f"`{schedule.at}`" if schedule.at else f"Every {seconds_text(schedule.every)}"
    )
    yield f"{when}, {schedule.tz}."
    yield _MISSED[schedule.missed]
    if schedule.overlap == "skip":
        yield "A tick is skipped while the run before it has not ended."


def _wait(backoff: Backoff) -> str:
    first, most = seconds_text(backoff.base), seconds_text(backoff.max)
    match backoff.kind:
        case "fixed":
            wait = f"each time after {seconds_text(min(backoff.base, backoff.max))}"
        case "linear":
            wait = f"after {first} more each time, at most {most}"
        case "exponential":
            wait = f"after {first}, doubled each time, at most {most}"
    return f"{wait}, and shortened at random" if backoff.jitter else wait


def deprecation(deprecated: str | bool) -> str:
    """The deprecation and its reason as a sentence; empty without one."""
    if not deprecated:
        return ""
    return "Deprecated." if deprecated is True else f"Deprecated: {deprecated}"


def with_deprecation(doc: str, deprecated: str | bool) -> str:
    """The text with a last paragraph that gives the deprecation and its reason."""
    return "\n\n".join(filter(None, (doc, deprecation(deprecated))))
