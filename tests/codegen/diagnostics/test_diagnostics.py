"""How faults are shown: all of them, in order, and safely on a terminal."""

from __future__ import annotations

import pytest

from flowd_codegen.diagnostics.location import Source, SourceLocation, TextSpan
from flowd_codegen.diagnostics.report import Code, Fault, SchemaErrors
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources


def _errors(*texts: str) -> SchemaErrors:
    """The faults of files a.toml, b.toml …, which must have some."""
    files = tuple(
        Source(f"{name}.toml", f"{name}.toml", text)
        for name, text in zip("abcdefgh", texts, strict=False)
    )
    with pytest.raises(SchemaErrors) as caught:
        parse(Sources(files))
    return caught.value


def _shown(text: str, start: int, end: int) -> list[str]:
    """The two lines that are drawn for a span of a text."""
    location = SourceLocation(
        Source("a.toml", "a.toml", text), exact=TextSpan(start, end)
    )
    return str(Fault(Code.NAME, location, "wrong", "right")).splitlines()[2:]


def test_faults_come_by_file_line_and_column() -> None:
    """The order is the reader's, not that of the checks."""
    errors = _errors(
        '[job.A.fields]\nz = "foo"\na = { type = "bar", x = 1 }\n[jobs]\n',
        "[job.b]\n",
    )
    places = [(fault.path, *fault.position) for fault in errors.faults]
    assert places == [
        ("a.toml", 2, 6),
        ("a.toml", 3, 15),
        ("a.toml", 3, 21),
        ("a.toml", 4, 2),
        ("b.toml", 1, 6),
    ]


def test_fifty_faults_are_shown_and_all_are_kept() -> None:
    """The text ends with how many there are, and the exception has every one."""
    fields = "".join(f'f{number} = "nothing"\n' for number in range(60))
    errors = _errors(f"[job.A.fields]\n{fields}")
    text = str(errors)
    assert len(errors.faults) == 60
    assert text.count("error[E201]") == 50
    assert text.endswith("\n60 errors; the first 50 are shown")


def test_a_wide_character_has_a_caret_for_each_cell() -> None:
    """East Asian wide characters take two cells, combining marks none."""
    assert _shown("漢字 = e\u0301é", 0, 2) == ["1 | 漢字 = e\u0301é", "  | ^^^^ right"]
    assert _shown("漢 e\u0301 x", 5, 6) == ["1 | 漢 e\u0301 x", "  |      ^ right"]


def test_tabs_are_kept_in_front_of_the_caret() -> None:
    """However wide a tab is on the terminal, the caret stays under its place."""
    assert _shown("\ta =\t1", 5, 6) == ["1 | \ta =\t1", "  | \t   \t^ right"]


def test_a_span_of_several_lines_is_drawn_on_its_first() -> None:
    """Only the line where it begins is shown."""
    assert _shown("a = [\n1,\n]\n", 4, 10) == ["1 | a = [", "  |     ^ right"]


def test_a_place_at_the_end_has_a_caret() -> None:
    """An empty span gets one caret, behind the last character too."""
    assert _shown("a = ", 4, 4) == ["1 | a =", "  |     ^ right"]


def test_control_characters_are_escaped() -> None:
    """Control characters and bidi marks never reach the terminal as they are."""
    hostile = "\x1b[31m\u202e\u2066\x9b\x7f\u200b\x00"
    errors = _errors("[job.A.fields]\na = '\u202e\u2066 \u200b\x9b'\n")
    escaped = hostile.encode("unicode_escape").decode()
    written = _errors(
        f'[job.A]\n"{escaped.replace(chr(92) + "x", chr(92) + "u00")}" = 1\n'
    )
    fault = Fault(
        Code.NAME, SourceLocation(Source("a.toml", hostile, hostile)), "wrong", ""
    )
    for text in (str(errors), str(written), str(fault)):
        assert text.replace("\n", "").isprintable()


def test_a_long_line_is_cut_to_a_window() -> None:
    """A line of 1 MB around the fault takes no more room than a screen's line."""
    doc = "x" * 1_000_000
    errors = _errors(f'[job.A.fields]\na = {{ doc = "{doc}", type = "sting" }}\n')
    line, carets = str(errors).splitlines()[2:4]
    assert len(line) < 200
    assert '"sting"' in line
    assert line.index('"sting"') == carets.index("^")
    assert len(str(errors)) < 500


def test_a_key_of_1_mb_is_cut_in_the_message() -> None:
    """Neither the message nor the advice repeats a name of any length."""
    errors = _errors(f'[job.A]\n{"k" * 1_000_000} = 1\n')
    assert len(str(errors)) < 800


def test_more_than_1000_fields_are_refused() -> None:
    """A job has at most 1,000 fields."""
    fields = "".join(f'f{number} = "str"\n' for number in range(1001))
    errors = _errors(f"[job.A.fields]\n{fields}")
    assert str(errors) == (
        "a.toml:1:8: error[E106]: 1,001 fields, where at most 1,000 are allowed\n"
        "  |\n"
        "1 | [job.A.fields]\n"
        "  |        ^^^^^^ put some of them into a `[record.…]`"
    )


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("a = " + "[" * 3000 + "]" * 3000, 3004),
        ("a = " + "[" * 100 + "]" * 100, 104),
        ("a = { b = '[[[', c = " + "[" * 100 + "]" * 100 + " }", 121),
        (".".join("a" * 200) + " = 1", 1),
        ("b = 1\na = " + "9" * 5000, 5),
        ("b = 1\na = 0x" + "f" * 5000, 5),
    ],
    ids=[
        "deep arrays",
        "deeper than the limit",
        "in a table",
        "deep keys",
        "digits",
        "hex",
    ],
)
def test_a_document_beyond_all_measure_is_refused(text: str, column: int) -> None:
    """What would exhaust a later step ends here, as a fault at its place."""
    (fault,) = _errors(text).faults
    assert fault.code == Code.SYNTAX
    assert fault.position == (text.count("\n") + 1, column)
    assert fault.label


def test_a_part_of_a_string_is_shown_only_where_it_is_written() -> None:
    """Where escapes have moved the text, the whole value gets the carets."""
    plain, escaped, block = _errors(
        '[job.A.fields]\na = "list[frobnic]"\n'
        'b = "list[\\u0066robnic]"\n'
        "c = '''list[frobnic]'''\n"
    ).faults
    assert plain.position == (2, 11)
    assert escaped.position == (3, 5)
    assert block.position == (4, 13)


def test_warnings_are_printed_and_change_nothing() -> None:
    """An unused mapper and a file without a declaration give a schema and a warning."""
    warnings: list[Fault] = []
    files = (
        Source("a.toml", "a.toml", "# nothing yet\n"),
        Source("b.toml", "b.toml", '[mapper.tags]\nserialize = "a:b"\n'),
    )
    schema = parse(Sources(files), warnings.append)
    assert [module.path for module in schema.modules] == ["a.toml", "b.toml"]
    assert [str(warning).splitlines()[0] for warning in warnings] == [
        "a.toml:1:1: warning[W101]: this file declares nothing",
        "b.toml:1:9: warning[W102]: no field uses the mapper `tags`",
    ]


def test_warnings_wait_until_there_is_no_fault() -> None:
    """Errors are printed without the warnings."""
    warnings: list[Fault] = []
    files = (
        Source("a.toml", "a.toml", ""),
        Source("b.toml", "b.toml", "[jobs]\n"),
    )
    with pytest.raises(SchemaErrors):
        parse(Sources(files), warnings.append)
    assert warnings == []
