"""Generated classes without files: rendered and executed."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Final

from flowd_codegen.render import render
from flowd_codegen.schema import Schema

__all__ = ["classes"]

_NUMBER: Final = count()


@contextmanager
def classes(schema: Schema) -> Generator[dict[str, object]]:
    """The names of the module that a schema of one file becomes."""
    (source,) = (
        text for path, text in render(schema).items() if path.name != "__init__.py"
    )
    module = ModuleType(f"evolved{next(_NUMBER)}")
    # A dataclass looks for the module that it is in.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, "generated", "exec"), module.__dict__)
        yield module.__dict__
    finally:
        del sys.modules[module.__name__]
