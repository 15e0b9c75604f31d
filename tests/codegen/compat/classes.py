"""Generated classes without files: rendered and executed."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Final

from flowd_codegen.model.schema import Schema
from flowd_codegen.python.render import render

__all__ = ["classes"]

_NUMBER: Final = count()


@contextmanager
def classes(schema: Schema, migrations: str = "") -> Generator[dict[str, object]]:
    """The names of the module that a schema of one file becomes.

    Args:
        schema: of one file.
        migrations: what the user wrote for it.
    """
    ((path, source),) = (
        (path, text) for path, text in render(schema).items() if path.stem != "__init__"
    )
    package = f"evolved{next(_NUMBER)}"
    names = [package, f"{package}.{path.stem}", f"{package}.{path.stem}_migrations"]
    # A dataclass looks for the module that it is in, and an import for the package.
    modules = {name: ModuleType(name) for name in names}
    modules[package].__path__ = []
    sys.modules |= modules
    try:
        for name, text in zip(names[1:], (source, migrations), strict=True):
            modules[name].__package__ = package
            exec(compile(text, "generated", "exec"), modules[name].__dict__)
        yield modules[names[1]].__dict__
    finally:
        for name in names:
            del sys.modules[name]
