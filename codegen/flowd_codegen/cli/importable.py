"""Whether programs can import what is written into OUT, and all else as before."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from keyword import iskeyword
from pathlib import Path
from typing import Final

from flowd.model.text import printable

__all__ = ["hidden_modules", "no_package"]

_PACKAGE: Final = "__init__.py"
_OURS: Final = frozenset({"flowd", "flowd_codegen", "redis", "hiredis"})


def no_package(out: Path) -> str:
    """What to say of an OUT that no program can import; empty for one that it can."""
    # What stands inside of a package is imported through it.
    way = [out]
    for above in out.parents:
        if not (above / _PACKAGE).exists():
            break
        way.append(above)
    folder = next((one for one in way if not _is_name(one.name)), None)
    if folder is None:
        return ""
    name = re.sub(r"\W", "_", folder.name)
    name = f"{name}_" if iskeyword(name) else f"_{name}"[name[:1].isidentifier() :]
    better = folder.with_name(name) / out.relative_to(folder)
    return printable(
        f"`{folder}` cannot be imported: `{folder.name}` is no name of a Python package;"
        f" write `-o {better}`"
    )


def _is_name(name: str) -> bool:
    """Whether `import` takes it; a folder without a name, as `.`, is not imported."""
    return not name.strip(".") or (name.isidentifier() and not iskeyword(name))


def hidden_modules(out: Path, names: Iterable[str]) -> list[str]:
    """What would hide a module that flowd or others import from programs that run there.

    Args:
        out: the output folder.
        names: of what is written into it.

    Returns:
        A reason for each: of the names where `out` is a place that Python imports from,
        and else of the folder itself where it stands in one.
    """
    folder = Path(os.path.abspath(out))  # noqa: PTH100 - a link has its own name
    if _is_import_root(folder):
        base, places = out, {name: out / f"{name}.py" for name in names}
    elif _is_import_root(folder.parent):
        base, places = out.parent, {folder.name: out}
    else:
        return []
    return [
        f"{places[name]} would hide the module {name!r} that others import; a package"
        f" folder as -o {base / 'jobs'} keeps them apart"
        for name in sorted(places.keys() & (sys.stdlib_module_names | _OURS))
    ]


def _is_import_root(folder: Path) -> bool:
    """Whether Python imports from it: where one stands, or the root of a project."""
    is_root = folder.resolve() == Path.cwd() or (folder / "pyproject.toml").exists()
    return is_root and not (folder / _PACKAGE).exists()
