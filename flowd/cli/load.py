"""Find what `MODULE:NAME` names in the user's own code."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import TypeGuard

from flowd.errors import FlowdError
from flowd.model.job import Job, JobSpec

__all__ = ["UsageError", "load", "load_job_class", "users_code"]


class UsageError(Exception):
    """What the command line names is not there; the message says what to do."""


@contextlib.contextmanager
def users_code() -> Generator[None]:
    """Run code of the user's: its failure is shown as its own, from its first line on.

    Raises:
        UsageError: it uses flowd wrongly; the message has the line.
        SystemExit: it failed otherwise; its traceback was printed.
    """
    try:
        yield
    except UsageError:
        raise
    except FlowdError as error:
        raise UsageError(f"{_place(error)}: {error}") from None
    except Exception as error:
        raise _failed(error) from None


def load(reference: str, app_dir: Path) -> object:
    """The object that `MODULE:NAME` names; `app_dir` is importable from now on.

    Raises:
        UsageError: the reference, the module or the name is not there.
        SystemExit: the module itself fails on import; its traceback was printed.
    """
    module_name, colon, name = reference.partition(":")
    parts = (*module_name.split("."), name)
    if not colon or not all(part.isidentifier() for part in parts):
        raise UsageError(f"{reference!r} must be MODULE:NAME, as in app.workers:queues")
    if not app_dir.is_dir():
        raise UsageError(f"--app-dir {str(app_dir)!r} is not a folder")
    sys.path.insert(0, str(app_dir.resolve()))
    with users_code():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Also raised by a module that is there and imports one that is not.
            if error.name and f"{module_name}.".startswith(f"{error.name}."):
                raise UsageError(
                    f"there is no module {error.name!r} in {str(app_dir.resolve())!r};"
                    " --app-dir names another folder"
                ) from None
            raise
    try:
        found: object = getattr(module, name)
    except AttributeError:
        raise UsageError(f"the module {module_name!r} has no {name!r}") from None
    return found


def load_job_class(reference: str, app_dir: Path) -> type[Job]:
    """The generated class that `MODULE:NAME` names.

    Raises:
        UsageError: as `load`, or it is something else.
    """
    found = load(reference, app_dir)
    if not _is_job_class(found):
        raise UsageError(f"{reference!r} is not a class that flowd-gen wrote")
    return found


def _is_job_class(found: object) -> TypeGuard[type[Job]]:
    return isinstance(found, type) and isinstance(getattr(found, "SPEC", None), JobSpec)


def _failed(error: BaseException) -> SystemExit:
    """Show the user's traceback from the user's first line on."""
    frames = traceback.extract_tb(error.__traceback__)
    outer = next(
        (i for i, frame in enumerate(frames) if not _is_machinery(frame)), len(frames)
    )
    for _ in range(outer):
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
    traceback.print_exception(error)
    return SystemExit(3)


def _place(error: BaseException) -> str:
    """The user's line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parents[1])
    own = [
        frame
        for frame in frames
        if not _is_machinery(frame) and not frame.filename.startswith(package)
    ]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "on import"


def _is_machinery(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(
        ("<frozen importlib", str(Path(__file__).parent))
    ) or frame.filename in (importlib.__file__, contextlib.__file__)
