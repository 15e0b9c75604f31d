"""Every error flowd raises, and the three that a handler raises.

All survive `pickle` and `copy`, with their attributes; equal ones are equal (`Portable`).

FlowdError
├── OptionError            an argument or a declared rule that cannot be
│   └── FormatError        a job class from another generation of flowd-gen
├── EncodeError            a value that has no form on the wire
│   └── PayloadTooLarge    a job above the size limit
├── DecodeError            an entry that is not this job
│   └── NewerVersion       an entry of a version that the class does not know yet
├── ServerError            Redis said no, or could not be asked
│   ├── Unreachable        no connection; nothing was sent
│   ├── OutcomeUnknown     sent, and the answer was lost
│   ├── CommandRefused     a refusal of another kind, of this command alone
│   ├── NotDurable         not proved to outlive the server
│   ├── NotReady           loading, read-only, disk full …: it may pass
│   │   └── QueueFull      Redis is out of memory; nothing was stored
│   ├── GroupMissing       the consumer group is not there
│   ├── IdNotIncreasing    an explicit id below the stream's last
│   ├── StreamShared       a second group reads the stream
│   └── FatalError         it will not pass by itself
│       ├── AccessDenied   wrong password, or a right that is missing
│       ├── WrongAddress   embedded:PATH, and PATH cannot be a folder
│       └── WrongKeyType   a key of flowd's holds something else
├── BulkError              a batch broke off; says what was sent
└── LetterNotFound         no dead letter under this id

HandlerSignal              not an error: how a handler ends its delivery
├── Retry                  try again later, spends a failure
├── Snooze                 come back later, spends nothing
└── Reject                 dead-letter at once
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flowd.errors.option import FlowdError, OptionError, wait
from flowd.errors.portable import Portable

__all__ = [
    "AccessDenied",
    "BulkError",
    "CommandRefused",
    "DecodeError",
    "EncodeError",
    "FatalError",
    "FlowdError",
    "FormatError",
    "GroupMissing",
    "HandlerSignal",
    "IdNotIncreasing",
    "LetterNotFound",
    "NewerVersion",
    "NotDurable",
    "NotReady",
    "OptionError",
    "OutcomeUnknown",
    "PayloadTooLarge",
    "QueueFull",
    "Reject",
    "Retry",
    "ServerError",
    "Snooze",
    "StreamShared",
    "Unreachable",
    "WrongAddress",
    "WrongKeyType",
]


class FormatError(OptionError):
    """A job class that this flowd cannot run: not generated, or by another format."""


class EncodeError(FlowdError, ValueError):
    """A job holds a value that has no form on the wire; nothing was sent.

    Attributes:
        job: the class's name.
        field: the field's wire name.
        reason: what is wrong with the value.
        value: its `repr`, cut; `<secret>` for a secret field.
    """

    def __init__(self, job: str, field: str, reason: str, value: str) -> None:
        super().__init__(f"{job}.{field}: {reason}, got {value}")
        self.job = job
        self.field = field
        self.reason = reason
        self.value = value


class PayloadTooLarge(EncodeError):
    """A job's fields are larger than a queue takes; nothing was sent.

    Attributes:
        field: the largest one.
        size: bytes of all names and values.
        limit: bytes that are allowed.
    """

    def __init__(self, job: str, field: str, size: int, limit: int) -> None:
        reason = (
            f"the job has more than {limit} bytes, most of them here; keep the data"
            " elsewhere and enqueue where it is"
        )
        super().__init__(job, field, reason, f"{size} bytes")
        self.size = size
        self.limit = limit


class DecodeError(FlowdError, ValueError):
    """An entry's fields cannot be read as this job.

    Attributes:
        job: the class's name.
        field: the field's wire name, empty when the entry as a whole is at fault.
        reason: what is wrong.
        value: the `repr` of the bytes found, cut; `<secret>` for a secret field,
            None when there is none.
    """

    def __init__(
        self, job: str, field: str, reason: str, value: str | None = None
    ) -> None:
        place = f"{job}.{field}" if field else job
        got = "" if value is None else f", got {value}"
        super().__init__(f"{place}: {reason}{got}")
        self.job = job
        self.field = field
        self.reason = reason
        self.value = value


class NewerVersion(DecodeError):
    """An entry of a version that the class does not know yet.

    A worker hands it back, and one with newer classes takes it.

    Attributes:
        version: of the entry.
        known: the newest that the class reads.
    """

    def __init__(self, job: str, version: int, known: int) -> None:
        reason = f"the job is of version {version}, and this class reads up to {known}"
        super().__init__(job, "_v", reason)
        self.version = version
        self.known = known


class ServerError(FlowdError):
    """Redis refused a command, or could not be asked."""


class Unreachable(ServerError, ConnectionError):
    """No connection to Redis, so nothing was sent."""


class OutcomeUnknown(ServerError, ConnectionError):
    """A command was sent and its answer was lost: it may have been carried out.

    An `enqueue` with a `key` is repeated instead, which is safe.
    """


class CommandRefused(ServerError):
    """Redis refused one command, for a reason that no other class names."""


class NotDurable(ServerError):
    """What a durable `enqueue` waits for was not proved.

    Attributes:
        ids: the jobs that are stored all the same, and will run; empty when the server
            cannot prove anything, and so nothing was sent.
    """

    def __init__(self, text: str, ids: Sequence[str]) -> None:
        super().__init__(text)
        self.ids = tuple(ids)


class NotReady(ServerError):
    """Redis cannot do it now (LOADING, READONLY, MISCONF, BUSY …); nothing was done."""


class QueueFull(NotReady):
    """Redis is at its memory limit; nothing was stored. Try again later."""


class GroupMissing(ServerError):
    """The stream or its consumer group is gone (NOGROUP); workers recreate it."""


class IdNotIncreasing(ServerError, ValueError):
    """An explicit `id` is not above the stream's last; nothing was sent."""


class FatalError(ServerError):
    """Redis refuses, and will until somebody changes something."""


class AccessDenied(FatalError):
    """The password is wrong, or the user lacks a right (WRONGPASS, NOAUTH, NOPERM)."""


class WrongAddress(FatalError, OptionError):
    """The PATH of `embedded:PATH` cannot be a folder of this user's."""


class WrongKeyType(FatalError):
    """A key that flowd uses holds a value of another type (WRONGTYPE)."""


class StreamShared(ServerError):
    """A second group reads the stream, and flowd would delete what it has not read.

    Destroy one of the two (`XGROUP DESTROY`); workers then go on by themselves.
    """


class BulkError(FlowdError):
    """`enqueue_bulk` broke off.

    Attributes:
        ids: the job ids that are certainly stored, in order.
        unknown: how many more were sent, with their answer lost or their durability
            not proved.
        cause: what broke it off; an error of the caller's iterable as well.
    """

    def __init__(self, ids: Sequence[str], unknown: int, cause: Exception) -> None:
        lost = f", {unknown} more may be" if unknown else ""
        super().__init__(f"{len(ids)} jobs are stored{lost}; then: {cause}")
        self.ids = tuple(ids)
        self.unknown = unknown
        self.cause = cause


class LetterNotFound(FlowdError, LookupError):
    """No dead letter has this id: it was redriven or purged, or never was."""


class HandlerSignal(Portable):
    """What a handler raises to say how its delivery ends.

    Not a FlowdError, so that a handler that catches those does not catch these.
    """


class Retry(HandlerSignal):
    """Run the job again later; spends one of `max_retries`.

    Args:
        after: seconds until then, or a `timedelta`; None means the policy's backoff.
        reason: kept with the dead letter when this was the last try.

    Raises:
        OptionError: `after` is neither, or below 0; in a handler, a failure like others.
    """

    def __init__(
        self, reason: str = "", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(reason or "the handler asked for a retry")
        self.after = None if after is None else wait("after", after)


class Snooze(HandlerSignal):
    """Run the job again in `after` seconds, or after a `timedelta`; spends nothing.

    Raises:
        OptionError: as `Retry`.
    """

    def __init__(self, after: float | timedelta) -> None:
        self.after = wait("after", after)
        super().__init__(f"snoozed for {self.after:g} s")


class Reject(HandlerSignal):
    """Dead-letter the job at once, whatever tries are left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
