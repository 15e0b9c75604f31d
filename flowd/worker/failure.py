"""What an attempt failed of: which signal it is, and how it is described.

Whatever a handler raises is the user's code, and so is its `__str__`. Nothing here raises,
and every text has a bound.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, TypeGuard

from flowd.errors import (
    DecodeError,
    HandlerSignal,
    Reject,
    Retry,
    Snooze,
)
from flowd.model.job import Job
from flowd.model.redaction import redact
from flowd.worker.handler import BoundHandler

__all__ = ["UNDESCRIBABLE", "Failure", "describe", "leaves", "signal_in"]

UNDESCRIBABLE: Final = "the handler failed, and what it raised cannot be shown"
"""The text of a failure about which nothing else can be said."""

_HIDDEN: Final = "not shown: its secret values could not be looked for"
_MOST: Final = 500_000
"""Characters of a text in which secrets are looked for; a job has half of them."""

_ERROR: Final = 2_000
_TRACEBACK: Final = 8_000
_LEAVES: Final = 1_000
_DESCRIBED: Final = 5

# The way to the handler says nothing about what went wrong in it.
_OWN: Final = (inspect.getfile(BoundHandler),)

_PRECEDENCE: Final[tuple[type[HandlerSignal], ...]] = (Reject, Retry, Snooze)


class Failure:
    """An error of a handler, or of what reads its job, as logs and letters show it.

    Args:
        error: what was raised.
        job_class: says which values are secret.
        fields: of the entry, with these values.
        own: files whose frames are left out at the top of the traceback.
    """

    def __init__(
        self,
        error: BaseException,
        job_class: type[Job],
        fields: Mapping[bytes, bytes],
        own: tuple[str, ...] = (),
    ) -> None:
        self._error = error
        self._job_class = job_class
        self._fields = fields
        self._frames = _frames(error, (*_OWN, *own))
        self.text = self._public(describe(error), _ERROR)
        """What went wrong, in one sentence, without secrets."""

    @property
    def traceback(self) -> str:
        """As Python prints it, from the handler's first line on, without secrets."""
        return self._public(_formatted(self._error, self._frames), -_TRACEBACK)

    @property
    def shown(self) -> BaseException:
        """The error for logs and error trackers, which read values out of its frames.

        Of a job with secrets it is a stand-in of the same name with the text alone; so it
        is, with its frames, of an error that no log file could encode.
        """
        if self._job_class.SPEC.secrets:
            return self._stand_in()
        if not _is_text(_formatted(self._error, self._frames)):
            return self._stand_in().with_traceback(self._frames)
        # Not its own `with_traceback`, which a class may override.
        return BaseException.with_traceback(self._error, self._frames)

    def _stand_in(self) -> Hidden:
        text = self.text.encode("utf-8", "backslashreplace").decode()
        return _stand_in(type(self._error))(text)

    def _public(self, text: str, most: int) -> str:
        try:
            secrets = bool(self._job_class.SPEC.secrets)
            if secrets and len(text) > _MOST:
                return f"a text of {len(text)} characters, {_HIDDEN}"
            if secrets:
                text = redact(text, self._job_class, self._fields)
        except KeyboardInterrupt:
            raise
        except BaseException:  # a class written by hand may raise anything
            return _HIDDEN
        return _cut(text, most)


class Hidden(Exception):
    """Stands in for an error of a job with secrets: its name, and a text without them."""


def _stand_in(kind: type[BaseException]) -> type[Hidden]:
    return type(kind.__name__, (Hidden,), {"__module__": str(kind.__module__)})


def signal_in(error: BaseException) -> HandlerSignal | None:
    """The signal that an error is: itself, or what all leaves of its group are.

    Of several kinds the gravest counts: `Reject` before `Retry` before `Snooze`. Of one
    kind the longest wait counts. A leaf that is no signal makes the group a failure.
    """
    if isinstance(error, HandlerSignal):
        return error
    if not _is_group(error):
        return None
    signals: list[HandlerSignal] = []
    for leaf in leaves(error):
        if not isinstance(leaf, HandlerSignal):
            return None
        signals.append(leaf)
    for kind in _PRECEDENCE:
        of_kind = [each for each in signals if isinstance(each, kind)]
        if of_kind:
            return max(of_kind, key=_after)
    return None


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """What a group holds, however deep; an error that is no group is its own leaf.

    Of one that holds too much, what is left at the end is a leaf, a group or not.
    """
    waiting, seen = [error], 0
    while waiting and seen < _LEAVES:
        each = waiting.pop()
        if _is_group(each):
            waiting.extend(reversed(each.exceptions))
        else:
            yield each
        seen += 1
    yield from waiting


def _after(signal: HandlerSignal) -> float:
    after: object = getattr(signal, "after", None)
    return after if isinstance(after, float) else -1.0


def describe(error: BaseException) -> str:
    """What went wrong, in one sentence; of a group, what its leaves say."""
    try:
        if not _is_group(error):
            return _one(error)
        # The group's own words ("unhandled errors in a TaskGroup") say nothing.
        texts = list(dict.fromkeys(_one(each) for each in leaves(error)))
        # All of it is looked for by operators, so none of it may be cut away later.
        rest = dict.fromkeys(type(each).__name__ for each in leaves(error))
        names = ", ".join(rest)[: _ERROR // 4]
        more = (
            f" and {len(texts) - _DESCRIBED} more; of {names}"
            if len(texts) > _DESCRIBED
            else ""
        )
        most = _ERROR * 2 // 3 // _DESCRIBED
        return "; ".join(text[:most] for text in texts[:_DESCRIBED]) + more
    except KeyboardInterrupt:
        raise
    except BaseException:  # out of the error's own methods
        return UNDESCRIBABLE


def _one(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        if isinstance(error, DecodeError | Retry | Reject):
            return str(error)
        if isinstance(error, SyntaxError):
            # Python would print the line that it is about, and say what is wrong last.
            return f"{kind}: {error}"
        return "".join(traceback.format_exception_only(error)).strip()
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # whatever its `__str__` raises
        return f"{kind} (it has no text: {type(fault).__name__})"


def _frames(error: BaseException, own: tuple[str, ...]) -> TracebackType | None:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in own:
        frames = frames.tb_next
    return frames


def _formatted(error: BaseException, frames: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # out of the error's own methods
        return f"the traceback cannot be shown: {type(fault).__name__}"


def _is_text(text: str) -> bool:
    """Whether it can be encoded: lone surrogates, as from file names, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cut(text: str, most: int) -> str:
    """Both ends of a text; of a traceback, whose error is last, the end."""
    if len(text) <= abs(most):
        return text
    if most < 0:
        return f"…{text[most:]}"
    head = most // 4  # what it is; a cause, or the place in a document, is often last
    return f"{text[:head]}…{text[head - most:]}"
