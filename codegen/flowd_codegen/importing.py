"""Imports the classes of a schema, which are generated only for that and for a while.

This is the one place where the generator runs the user's code: generated classes import
the mappers that they use.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeGuard

from flowd.job import Job, JobSpec
from flowd_codegen.render import render, render_migrations
from flowd_codegen.schema import Module, Schema

__all__ = ["NotImportable", "imported"]

_PACKAGE: Final = "_flowd_live"


class NotImportable(Exception):
    """What a schema names in the user's code cannot be imported."""


@contextmanager
def imported(
    schema: Schema, app_dir: Path, out: Path
) -> Generator[Mapping[str, type[Job]]]:
    """The class of each job, by name.

    Args:
        schema: valid.
        out: the output folder, which has the user's migrations.
        app_dir: the folder that the modules of mappers are imported from.

    Raises:
        NotImportable: a mapper or class that a schema names is not there, or its module
            fails, or there is no such folder; or migrations are not written.
        OSError: no temporary folder can be written.
    """
    if not app_dir.is_dir():
        raise NotImportable(f"--app-dir {str(app_dir)!r} is not a folder")
    path = list(sys.path)
    with tempfile.TemporaryDirectory(prefix="flowd-gen-") as folder:
        migrations = {file: _written(out / file) for file in render_migrations(schema)}
        for file, text in {**render(schema), **migrations}.items():
            target = Path(folder, _PACKAGE, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        sys.path[:0] = [folder, str(app_dir.resolve())]
        try:
            yield {
                job.name: _class(module, job.name, app_dir)
                for module in schema.modules
                for job in module.jobs
            }
        finally:
            sys.path[:] = path
            for name in [n for n in sys.modules if n.partition(".")[0] == _PACKAGE]:
                del sys.modules[name]


def _written(path: Path) -> str:
    if not path.is_file():
        raise NotImportable(
            f"{path} is not there: flowd-gen writes it when it generates, and then it is"
            " yours to fill in; -o says in which folder"
        )
    return path.read_text("utf-8")


def _class(module: Module, name: str, app_dir: Path) -> type[Job]:
    try:
        found: object = getattr(
            importlib.import_module(".".join((_PACKAGE, *module.name))), name
        )
    except (Exception, SystemExit) as error:  # whatever the user's module does
        raise NotImportable(
            f"what {module.path} names in your code cannot be imported:"
            f" {_described(error)}\n--app-dir says which folder your modules are in"
            f" (now {app_dir.resolve()})"
        ) from error
    assert _is_job_class(found)
    return found


def _described(error: BaseException) -> str:
    """The error and, where it is the user's module that fails, the line."""
    text = f"{type(error).__name__}: {error}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
        and frame.filename not in (__file__, importlib.__file__)
        and _PACKAGE not in Path(frame.filename).parts
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


def _is_job_class(found: object) -> TypeGuard[type[Job]]:
    return isinstance(found, type) and isinstance(getattr(found, "SPEC", None), JobSpec)
