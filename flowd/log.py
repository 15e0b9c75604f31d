"""flowd's log lines; an error in the application's logging never ends a worker."""

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
"""An exception with its traceback, as `exc_info` of `logging`."""


def is_wanted(level: int) -> bool:
    """Whether a line of this level is written."""
    # `dictConfig` disables all existing loggers by default. To silence flowd, set the
    # logger's level.
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

    A filter, a record factory or a handler of the application may raise. Then warnings
    and errors are written to standard error, as Python does without configuration.

    Args:
        level: a level of `logging`.
        template: the line, a template for `%`.
        arguments: the values for the template.
        raised: an exception to log with the line.
        extra: attributes of the log record.
    """
    if not is_wanted(level):
        return
    try:
        _log.log(level, template, *arguments, exc_info=raised, extra=extra)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # from a filter, a record factory, an argument
        with contextlib.suppress(Exception):
            _write_plainly(level, template % arguments, fault)


def _write_plainly(level: int, text: str, fault: BaseException) -> None:
    if level < logging.WARNING or logging.lastResort is None:
        return
    text = f"{text} (logging raised {type(fault).__name__})"
    record = logging.LogRecord("flowd", level, "", 0, text, None, None)
    logging.lastResort.handle(record)
