"""What is exported is described and complete; ruff keeps it sorted."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import flowd
from tests.house.sources import GENERATOR, RUNTIME, modules, tree

_NAMES = [
    ".".join((package.name, *path.relative_to(package).with_suffix("").parts))
    for package in (RUNTIME, GENERATOR)
    for path in modules(package)
    if path.name != "__main__.py"
]


def test_the_public_names_are_those_that_are_visible() -> None:
    """`flowd.__all__` names everything that `import flowd` shows."""
    # Names are imported when they are asked for, so `vars` has only those that were.
    visible = {name for name in dir(flowd) if not name.startswith("_")}
    assert visible == set(flowd.__all__)


@pytest.mark.parametrize("name", [n.removesuffix(".__init__") for n in _NAMES])
def test_exported_names_are_described(name: str) -> None:
    """A module, and each name in its `__all__`, says what it is."""
    module = importlib.import_module(name)
    assert module.__doc__
    exported: list[str] = getattr(module, "__all__", [])
    for each in exported:
        value: object = getattr(module, each)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{each} has no docstring"


@pytest.mark.parametrize("path", modules(RUNTIME), ids=lambda path: path.stem)
def test_public_methods_are_described(path: Path) -> None:
    """Every public method of a public class of the runtime has a docstring."""
    missing = [
        f"{node.name}.{item.name}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        and not item.name.startswith("_")
        and not ast.get_docstring(item)
        and not any(ast.unparse(each) == "overload" for each in item.decorator_list)
    ]
    assert not missing
