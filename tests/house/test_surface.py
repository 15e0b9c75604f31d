"""What is exported is described and complete; ruff keeps it sorted."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import flowd
from flowd.testing import MemoryQueue, RecordingProducer
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (flowd.Queue, flowd.Producer),
        (flowd.Producer, flowd.SyncProducer),
        (MemoryQueue, RecordingProducer),
    ],
    ids=["queue", "sync", "memory"],
)
@pytest.mark.parametrize("name", ["enqueue", "enqueue_bulk", "cancel"])
def test_methods_of_one_name_are_described_alike(
    one: type, other: type, name: str
) -> None:
    """What both take and raise has the same words; `job` differs, as do the classes."""
    first, second = (_described(getattr(each, name)) for each in (one, other))
    shared = (first.keys() & second.keys()) - {"job"}
    assert shared
    assert {each: first[each] for each in shared} == {
        each: second[each] for each in shared
    }


def _described(method: object) -> dict[str, str]:
    """An argument, or an error -> its description."""
    doc = inspect.getdoc(method) or ""
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", doc, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
