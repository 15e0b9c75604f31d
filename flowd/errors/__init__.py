"""Every error that flowd raises, and the three signals that a handler raises.

All can be pickled and copied with their attributes, and compare equal (`Portable`).

FlowdError
├── OptionError            invalid option or schema rule
│   └── FormatError        a job class from an incompatible version of flowd-gen
├── EncodeError            a value that cannot be serialized
│   └── PayloadTooLarge    a job above the size limit
├── DecodeError            an entry that is not this job
│   └── NewerVersion       an entry of a version that the class does not know yet
├── ServerError            Redis refused a command, or cannot be reached
│   ├── Unreachable        no connection; nothing was sent
│   ├── OutcomeUnknown     sent, and the answer was lost
│   ├── CommandRefused     Redis refused this command, for another reason
│   ├── NotDurable         durability was not confirmed
│   ├── NotReady           loading, read-only, disk full …: temporary
│   │   └── QueueFull      Redis is out of memory; nothing was stored
│   ├── GroupMissing       the consumer group is not there
│   ├── IdNotIncreasing    an explicit id below the stream's last
│   ├── KeyTaken           another job has the unique key of a dead letter
│   ├── StreamShared       a second group reads the stream
│   └── FatalError         an operator must change something
│       ├── AccessDenied   wrong password, or a missing right
│       ├── WrongAddress   embedded:PATH, and PATH cannot be a folder
│       └── WrongKeyType   a key of flowd's holds something else
├── BulkError              a batch was interrupted; says what was stored
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
    "KeyTaken",
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
    """A job has a value that cannot be serialized; nothing was sent.

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

    A worker releases it, and a worker with newer classes runs it.

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
    """Redis refused a command, or cannot be reached."""


class Unreachable(ServerError, ConnectionError):
    """No connection to Redis, so nothing was sent."""


class OutcomeUnknown(ServerError, ConnectionError):
    """A command was sent and its answer was lost: it may have been carried out.

    With a `key`, `enqueue` is safe to repeat, and repeats itself first.
    """


class CommandRefused(ServerError):
    """Redis refused one command, for a reason that no other class names."""


class NotDurable(ServerError):
    """The durability of a job was not confirmed.

    Attributes:
        ids: the jobs that are stored nevertheless, and will run; empty if the server
            cannot confirm durability at all, so that nothing was sent.
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
    """Redis refuses, and an operator must change something."""


class AccessDenied(FatalError):
    """The password is wrong, or the user lacks a right (WRONGPASS, NOAUTH, NOPERM)."""


class WrongAddress(FatalError, OptionError):
    """The PATH of `embedded:PATH` cannot be a folder of this user's, or has other things in it."""


class WrongKeyType(FatalError):
    """A key that flowd uses holds a value of another type (WRONGTYPE)."""


class StreamShared(ServerError):
    """A second group reads the stream, and flowd would delete what it has not read.

    Destroy one of the two (`XGROUP DESTROY`); workers then continue by themselves.
    """


class KeyTaken(ServerError):
    """Dead letters are not put back: other jobs have their `unique` keys.

    Let those jobs end, or redrive with `when_free`: then these run afterwards.

    Attributes:
        job_id: of the job that has the key of the first letter.
        key: that key.
        letters: ids of the letters that stay, of `redrive_all`.
        moved: how many jobs `redrive_all` put back, from all other letters.
    """

    def __init__(
        self,
        message: str,
        *,
        job_id: str = "",
        key: str = "",
        letters: Sequence[str] = (),
        moved: int = 0,
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.key = key
        self.letters = tuple(letters)
        self.moved = moved


class BulkError(FlowdError):
    """`enqueue_bulk` was interrupted.

    Attributes:
        ids: the ids of the jobs that are stored, in order.
        unknown: how many more may be stored: their answer was lost, or their durability
            was not confirmed.
        cause: the error that interrupted it; it may come from the caller's iterable.
    """

    def __init__(self, ids: Sequence[str], unknown: int, cause: Exception) -> None:
        lost = f", {unknown} more may be" if unknown else ""
        super().__init__(f"{len(ids)} jobs are stored{lost}; then: {cause}")
        self.ids = tuple(ids)
        self.unknown = unknown
        self.cause = cause

    def after(self, ids: Sequence[str]) -> BulkError:
        """The same interruption of a batch in which these jobs were stored before."""
        return BulkError([*ids, *self.ids], self.unknown, self.cause)


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
    """Run the job again later; spends none of `max_retries`.

    Args:
        after: seconds until then, or a `timedelta`.

    Raises:
        OptionError: `after` is neither, or below 0.
    """

    def __init__(self, after: float | timedelta) -> None:
        self.after = wait("after", after)
        super().__init__(f"snoozed for {self.after:g} s")


class Reject(HandlerSignal):
    """Dead-letter the job at once, without further attempts.

    Args:
        reason: stored with the dead letter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
