"""The names of `flowd` are lazy: what type checkers read and what runs must be one list."""

from __future__ import annotations

import ast

import pytest

import flowd
from tests.house.sources import ROOT


def test_type_checkers_see_the_names_that_are_there() -> None:
    """`TYPE_CHECKING` imports each name of `__all__` from the module that it comes from."""
    tree = ast.parse((ROOT / "flowd/__init__.py").read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == sorted(flowd.__all__)
    for name, module in seen.items():
        value = getattr(flowd, name)
        home = value.__name__ if name == "wire" else f"flowd.{name}"
        assert home in (f"flowd.{name}", "flowd.wire")
        if name != "wire":
            assert value is getattr(__import__(str(module), fromlist=[name]), name)
    assert set(flowd.__all__) <= set(dir(flowd))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """With the words of Python, so that `hasattr` and `getattr` work."""
    with pytest.raises(
        AttributeError, match="module 'flowd' has no attribute 'Nothing'"
    ):
        eval("flowd.Nothing", {"flowd": flowd})
