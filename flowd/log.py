"""flowd's own lines in the log, which end nothing, whatever the application's logging does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Final, TypeAlias

__all__ = ["Raised", "is_wanted", "log"]

_log: Final = logging.getLogger("flowd")

Raised: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | None
)
"""An error with its frames, as `logging` takes it."""


def is_wanted(level: int) -> bool:
    """Whether a line as grave as this is written."""
    # `dictConfig` disables every logger that was there before it, by default. Who wants
    # no line sets the logger's level.
    _log.disabled = False
    return _log.isEnabledFor(level)


def log(
    level: int,
    template: str,
    *arguments: object,
    raised: Raised = None,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Write a line to the logger `flowd`; never raises.

    A filter, a record factory or a handler of the application may raise. Then a warning
    or an error is written as Python writes without any set-up.

    Args:
        level: as `logging` counts.
        template: the line, for `%`.
        arguments: what fills the template.
        raised: an error that belongs to the line.
        extra: fields of the record.
    """
    if not is_wanted(level):
        return
    try:
        _log.log(level, template, *arguments, exc_info=raised, extra=extra)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # a filter, a record factory, a field of its own
        with contextlib.suppress(Exception):
            _write_plainly(level, template % arguments, fault)


def _write_plainly(level: int, text: str, fault: BaseException) -> None:
    if level < logging.WARNING or logging.lastResort is None:
        return
    text = f"{text} (logging raised {type(fault).__name__})"
    record = logging.LogRecord("flowd", level, "", 0, text, None, None)
    logging.lastResort.handle(record)
