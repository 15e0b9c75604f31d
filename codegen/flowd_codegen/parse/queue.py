"""Queue tables: `[job.X.queue]` as a `flowd.model.policy.Policy`, which checks its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from flowd.errors import OptionError
from flowd.model.policy import Backoff, Policy
from flowd_codegen.diagnostics.foreign import QUEUE_WORDS
from flowd_codegen.diagnostics.report import Code, quoted
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.model.naming import CLASS_NAME, snake_case
from flowd_codegen.parse.durations import read_duration
from flowd_codegen.parse.gate import GATE_OPTIONS
from flowd_codegen.parse.table import Table

__all__ = [
    "BACKOFF_KINDS",
    "BACKOFF_OPTIONS",
    "QUEUE_OPTIONS",
    "parse_queue",
]

_Rules = TypeVar("_Rules", Policy, Backoff)
_Reader: TypeAlias = Callable[[Table, str], object]


def parse_queue(job: str, table: Table) -> Policy:
    """Read a queue table, which may be empty; faults are reported.

    Args:
        job: the job's name, which gives `stream` when the table does not.
        table: `[job.X.queue]`.
    """
    table.refuse_others((*_QUEUE, *GATE_OPTIONS), "queue option", _REFUSED)
    # A name that was refused may not be one that a stream can have.
    stream = snake_case(job) if CLASS_NAME.fullmatch(job) else quoted(job)
    return _filled(Policy, {"stream": stream}, table, _QUEUE)


def _filled(
    rules: Callable[..., _Rules],
    values: Mapping[str, object],
    table: Table,
    readers: Mapping[str, _Reader],
) -> _Rules:
    """Build rules of `values` and of all values of the table that they accept."""
    built = rules(**values)
    for key, read in readers.items():
        if key in table.values and (value := read(table, key)) is not None:
            trial = {**values, key: value}
            try:
                built = rules(**trial)
            except OptionError as error:
                table.report(
                    Code.POLICY, table.at(key), str(error), _advice(key, value)
                )
            else:
                values = trial
    return built


def _advice(key: str, value: object) -> str:
    """What to write for a text that is refused; numbers have their limits in the message."""
    if key == "kind" and isinstance(value, str):
        return did_you_mean(
            value, BACKOFF_KINDS, f"choose from {', '.join(BACKOFF_KINDS)}"
        )
    if key in ("stream", "group"):
        example = "emails" if key == "stream" else "senders"
        return f"choose another name for the {key}, as `{example}`"
    return ""


def _seconds(table: Table, key: str) -> float | None:
    milliseconds = read_duration(table.values[key], table.at(key), table.report)
    return None if milliseconds is None else milliseconds / 1000


def _backoff(table: Table, key: str) -> Backoff:
    options = table.table(key, example='{ kind = "exponential" }')
    options.refuse_others(_BACKOFF, "backoff option")
    return _filled(Backoff, {}, options, _BACKOFF)


_BACKOFF: Final[dict[str, _Reader]] = {
    "kind": Table.text,
    "base": _seconds,
    "max": _seconds,
    "jitter": Table.flag,
}
_QUEUE: Final[dict[str, _Reader]] = {
    "stream": Table.text,
    "group": Table.text,
    "starting_id": Table.text,
    "timeout": _seconds,
    "max_retries": Table.integer,
    "claim_after": _seconds,
    "expires_after": _seconds,
    "backoff": _backoff,
}

QUEUE_OPTIONS: Final = tuple(_QUEUE)
"""The keys of a queue table, which are the fields of `Policy`."""

BACKOFF_OPTIONS: Final = tuple(_BACKOFF)
"""The keys of its `backoff`."""

BACKOFF_KINDS: Final = ("fixed", "linear", "exponential")
"""The values of the `kind` of a `backoff`."""

_DEPLOYMENT: Final = (
    Code.REFUSED_KEY,
    "it belongs to a deployment: pass it to `Queue(…)`",
)
_REFUSED: Final = {
    **{word: (Code.UNKNOWN_KEY, advice) for word, advice in QUEUE_WORDS.items()},
    "maxlen": (Code.REFUSED_KEY, "trimming a stream deletes jobs that have not run"),
    "dead_letter": (Code.REFUSED_KEY, "dead letters are in `{stream}:GROUP:dlq`"),
    "url": _DEPLOYMENT,
    "redis": _DEPLOYMENT,
    "consumer": _DEPLOYMENT,
    "block": _DEPLOYMENT,
}
