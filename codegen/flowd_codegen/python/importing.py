"""Imports the classes of a schema, which are generated only for that and for a while.

This is the one place where the generator runs the user's code: generated classes import
the mappers and migrations that they use.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, TypeGuard

from flowd.model.job import Job, JobSpec
from flowd_codegen.model.schema import Module, Schema
from flowd_codegen.python.render import render, render_migrations

__all__ = ["NotImportable", "imported"]

_PACKAGE: Final = "_flowd_live"


class NotImportable(Exception):
    """What a schema names in the user's code cannot be imported."""


@contextmanager
def imported(
    schema: Schema, app_dir: Path, out: Path | None = None
) -> Generator[Mapping[str, type[Job]]]:
    """The class of each job, by name.

    Args:
        schema: valid.
        app_dir: the folder that the modules of mappers are imported from.
        out: the folder that the schema is generated into, for its migrations.

    Raises:
        NotImportable: a mapper, class or migration that a schema needs is not there, or
            its module fails, or there is no such folder.
        OSError: no temporary folder can be written, or migrations cannot be read.
    """
    if not app_dir.is_dir():
        raise NotImportable(f"--app-dir {str(app_dir)!r} is not a folder")
    files = {**render(schema), **_migrations(schema, out)}
    path = list(sys.path)
    with tempfile.TemporaryDirectory(prefix="flowd-gen-") as folder:
        for file, text in files.items():
            target = Path(folder, _PACKAGE, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8", "surrogateescape")
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


def _migrations(schema: Schema, out: Path | None) -> Mapping[PurePosixPath, str]:
    """The user's files, as modules beside the generated ones."""
    files: dict[PurePosixPath, str] = {}
    for file in render_migrations(schema):
        if out is None:
            raise NotImportable(
                f"jobs are migrated by {file.name}: say with -o which folder it is in"
            )
        if not (out / file).exists():
            raise NotImportable(
                f"{out / file} is not there: flowd-gen SRC -o OUT begins it, you write it"
            )
        # What is no UTF-8 is for Python to refuse.
        files[file] = (out / file).read_text("utf-8", "surrogateescape")
    return files


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
