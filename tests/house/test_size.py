"""Files and functions stay small enough to read."""

from __future__ import annotations

from tests.house.sources import GENERATOR, ROOT, RUNTIME, functions, modules


def test_no_file_is_long() -> None:
    """No source file has more than 400 lines; those above 300 are printed."""
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in modules(RUNTIME) + modules(GENERATOR)
    }
    for path, lines in sizes.items():
        if lines > 300:
            print(f"{path} has {lines} lines")
    assert not {path: lines for path, lines in sizes.items() if lines > 400}


def test_no_function_is_long() -> None:
    """No function's body has more than 80 lines; those above 60 are printed."""
    long = {}
    for path in modules(RUNTIME) + modules(GENERATOR):
        for name, lines in functions(path):
            if lines > 60:
                print(f"{path.relative_to(ROOT)}: {name} has {lines} lines")
            if lines > 80:
                long[f"{path.name}:{name}"] = lines
    assert not long
