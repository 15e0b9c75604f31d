"""Lines are broken in pieces of a file, as black would break those of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import black
import pytest

from flowd_codegen.diagnostics.location import Source
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources, read
from flowd_codegen.python.layout import KEPT, format_with_black
from flowd_codegen.python.render import render, render_migrations
from flowd_codegen.python.source import WIDTH

_CASES: Final = Path(__file__).parents[1] / "cases"


@pytest.mark.parametrize(
    "case", sorted(path.parent.name for path in _CASES.glob("*/expected"))
)
def test_pieces_are_laid_out_as_the_whole(case: str) -> None:
    """Byte for byte, in modules, packages and files of migrations."""
    schema = parse(read(_CASES / case))
    sources = [*render(schema).values(), *render_migrations(schema).values()]
    for source in sources:
        first, _, rest = source.partition("\n")
        above = f"{first}\n{KEPT}" if rest.startswith(KEPT) else ""
        code = source.removeprefix(above)
        whole = black.format_str(code, mode=black.Mode(line_length=WIDTH))
        assert format_with_black(source) == above + whole


def test_empty_lines_in_a_text_are_no_border() -> None:
    """A docstring is never cut, however many empty lines it has."""
    source = (
        '# first\nX = """a\n\n\nb"""\n\n\n@f\n@g\nclass A:\n    """a\n\n\n    b"""\n\n\n'
        "# Why.\nclass B:\n    x: int\n\n\n\n    y: int\n\n\nA, B = 1, 2\n"
    )
    whole = black.format_str(source, mode=black.Mode(line_length=WIDTH))
    assert format_with_black(source) == whole


def test_black_gets_no_more_than_one_method_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its time grows with the square of what it gets, and twice where that changes."""
    given: list[str] = []

    def format_str(source: str, *, mode: object) -> str:
        given.append(source)
        return source

    monkeypatch.setattr(black, "format_str", format_str)
    largest: list[int] = []
    for count in (10, 80):
        given.clear()
        (_, source), _ = sorted(render(parse(_chain(count))).items(), reverse=True)
        format_with_black(source)
        assert sum(map(len, given)) <= len(source) + len(given) * len("class _:\n")
        assert max(piece.count("    def ") for piece in given) == 1
        assert all("SPEC:" not in piece for piece in given if "    def " in piece)
        largest.append(max(map(len, given)))
    # The imports and the names of a module are in one piece.
    assert largest[1] < largest[0] + 80 * len('"Record10", ')


def _chain(count: int) -> Sources:
    tables = [
        f'[record.Record{number}.fields]\nname = "str"\n'
        + f'a = "Record{number + 1}"\nb = "Record{number + 1}?"\n' * (number < 98)
        for number in range(99 - count, 99)
    ]
    text = f'[job.Job.fields]\na = "Record{99 - count}"\n' + "".join(tables)
    return Sources((Source("deep.toml", "deep.toml", text),))
