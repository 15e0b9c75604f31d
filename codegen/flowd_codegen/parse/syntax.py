"""Faults of a text that is not TOML, in plain words and at the place of the mistake.

tomli reports where it stopped. The mistake is near that place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowd_codegen.diagnostics.location import (
    LONG_STRING,
    Source,
    SourceLocation,
    TextSpan,
)
from flowd_codegen.diagnostics.report import Code, Report, quoted, visible
from flowd_codegen.parse.table import written

__all__ = ["deepest", "longest_number", "report_syntax"]

_TOKEN: Final = re.compile(
    LONG_STRING + r'|"(?!"")(?:[^"\\\n]|\\.)*"'
    r"|'(?!'')[^'\n]*'"
    r"|#[^\n]*|\"{3}|'{3}|[\"'\[\]{}]",
    re.DOTALL,
)
_SAVE_LINES: Final = "save the file with line ends of LF, or of CR LF"
_NUMBER: Final = re.compile(r"[0-9][0-9a-fA-Fxob_]{99,}")
_BARE_TEXT: Final = re.compile(r"[^\W\d][\w.:\[\], -]*\??")
_KEY: Final = re.compile(r"[\w.\"'-]+\s*=")
_WORD: Final = re.compile(r"[\w-]+")
_NUMERAL: Final = re.compile(r"(?<![\w.-])\d[\w.:+-]*")
_IN_QUOTES: Final = re.compile(
    "[\u2018-\u201f\u00ab\u00bb\uff02\uff07\u00b4`]"
    "([^\u2018-\u201f\u00ab\u00bb\uff02\uff07\u00b4`\n]*)"
    "[\u2018-\u201f\u00ab\u00bb\uff02\uff07\u00b4`]?"
)
"""Quotes that a word processor writes."""

_FLAGS: Final = {"True": "true", "False": "false", "yes": "true", "no": "false"}
_NOTHING: Final = ("None", "null", "nil", "NULL", "undefined")


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is said, of which part of the text."""

    span: TextSpan
    message: str
    label: str = ""
    also: tuple[SourceLocation, str] | None = None


_Reader: TypeAlias = Callable[[Source, int], _Finding]


def report_syntax(reason: str, at: int, source: Source, report: Report) -> None:
    """Report a text that is no TOML.

    Args:
        reason: what tomli says.
        at: the offset where it stopped.
        source: the text.
        report: takes the fault.
    """
    text = source.text
    if (lone := text.find("\r", 0, at + 1)) >= 0:
        location = SourceLocation(source, exact=TextSpan(lone, lone + 1))
        message = "not TOML: a carriage return without a line feed"
        report(Code.SYNTAX, location, message, _SAVE_LINES)
        return
    # At a line's end there is nothing to see: its last character is meant.
    while at > 0 and (at >= len(text) or text[at] == "\n"):
        at -= 1
    for beginning, read in _READERS.items():
        if reason.startswith(beginning):
            found = read(source, at)
            break
    else:
        message = visible(reason[0].lower() + reason[1:])
        found = _Finding(TextSpan(at, at + 1), message)
    location = SourceLocation(source, exact=found.span)
    report(
        Code.SYNTAX,
        location,
        f"not TOML: {found.message}",
        found.label,
        also=found.also,
    )


def deepest(text: str) -> TextSpan:
    """The bracket that opens the innermost of all arrays and tables."""
    depth, most, found = 0, 0, TextSpan(0, 0)
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > most:
            most, found = depth, TextSpan(token.start(), token.end())
    return found


def longest_number(text: str) -> TextSpan:
    """The longest run of digits."""
    bare = _TOKEN.sub(lambda token: " " * len(token[0]), text)
    runs = [TextSpan(*match.span()) for match in _NUMBER.finditer(bare)]
    return max(runs, key=lambda span: span.end - span.start, default=TextSpan(0, 0))


def _value(source: Source, at: int) -> _Finding:
    text = source.text
    here = TextSpan(at, at + 1)
    message = "this is no value"
    if curly := _IN_QUOTES.match(text, at):
        label = f"quotes are straight: `{written(curly[1])}`"
        return _Finding(TextSpan(*curly.span()), message, label)
    if text[at] in "=: ,]}":
        return _Finding(here, "a value is missing", 'a key has a value: `to = "str"`')
    if text[at] in "(<":
        label = "a table of options stands in `{ }`, a list in `[ ]`, text in quotes"
        return _Finding(here, message, label)
    if not (bare := _BARE_TEXT.match(text, at)):
        return _Finding(here, message, 'text stands in quotes: `"text"`')
    word = bare[0].strip()
    if word.partition(",")[0] in _NOTHING:
        label = "TOML has no null: leave the key out, or end the type in `?`"
        return _Finding(TextSpan(at, at + len(word.partition(",")[0])), message, label)
    if flag := _FLAGS.get(word.partition(",")[0]):
        return _Finding(here, message, f"write `{flag}`")
    return _Finding(here, message, f"text stands in quotes: `{written(word)}`")


def _text(source: Source, at: int) -> _Finding:
    """A string that is not closed is meant from its first quote on."""
    text, span = source.text, TextSpan(at, at + 1)
    for token in _TOKEN.finditer(text):
        if token[0] in ('"', "'", '"""', "'''"):
            end = text.find("\n", token.start())
            span = TextSpan(token.start(), len(text) if end < 0 else end)
            quotes = token[0]
            label = f"its last {quotes} is missing"
            if len(quotes) == 1 and text.count(quotes, span.end):
                label += f"; a text of several lines stands in {quotes * 3}"
            return _Finding(span, "a string is not closed", label)
    return _Finding(span, "a string is not closed", "its last quote is missing")


def _pair(source: Source, at: int) -> _Finding:
    """A key without `=` behind it."""
    text = source.text
    here = TextSpan(at, at + 1)
    start = text.rfind("\n", 0, at) + 1
    line = text[start:].partition("\n")[0]
    if foreign := _foreign_letter(text, at):
        return foreign
    if text[at] == ":":
        return _Finding(here, "`:` stands where `=` belongs", "write `=`")
    if "=" not in line and ("[" in line or "]" in line):
        label = "a table begins as `[job.Email.fields]`"
        return _Finding(here, "this is neither a key nor a table", label)
    message = "`=` is missing behind the key"
    label = 'a line is a key and its value: `to = "str"`'
    word = _WORD.match(text, at)
    if word and text[at - 1] in " \t" and "=" in line:
        words = [*text[start:at].split(), word[0]]
        label = f"a name has no blanks: {quoted('_'.join(words))}"
    return _Finding(here, message, label)


def _header(source: Source, at: int) -> _Finding:
    if foreign := _foreign_letter(source.text, at):
        return foreign
    message = "the name of the table is not closed"
    return _Finding(TextSpan(at, at + 1), message, "`]` is missing")


def _foreign_letter(text: str, at: int) -> _Finding | None:
    if text[at].isascii():
        return None
    start = at
    while start and (text[start - 1].isalnum() or text[start - 1] in "_-"):
        start -= 1
    word = _WORD.match(text, start)
    end = word.end() if word else at + 1
    plain = unicodedata.normalize("NFKC", text[at])
    if plain in ("=", "[", "]", "{", "}", ",", ".", "#"):
        message = f"{quoted(text[at])} is another character than `{plain}`"
        return _Finding(TextSpan(at, at + 1), message, f"write `{plain}`")
    # A letter with an accent is seen; one of another alphabet may look like ASCII.
    is_seen = unicodedata.normalize("NFKD", text[at])[0].isascii()
    name = "" if is_seen else unicodedata.name(text[at], "")
    message = f"{quoted(text[at])} in a name" + (f", which is {name}" if name else "")
    return _Finding(
        TextSpan(start, max(end, at + 1)),
        message,
        "names are ASCII letters, digits and `_`",
    )


def _closing(closing: str) -> _Reader:
    """For an array or table, which ends with that bracket."""

    def read(source: Source, at: int) -> _Finding:
        text = source.text
        here = TextSpan(at, at + 1)
        opened = "array" if closing == "]" else "table"
        before = text[:at].rstrip()
        if text[at] in ";:|/":
            label = "write `=`" if text[at] == ":" else "write `,`"
            return _Finding(
                here, f"{quoted(text[at])} stands where a comma belongs", label
            )
        is_last = at + 1 >= len(text.rstrip())
        next_line = "\n" in text[len(before) : at] and _KEY.match(text, at)
        if is_last or next_line or text[at] == "[":
            end = len(text.rstrip()) if is_last else len(before)
            label = f"`{closing}` is missing, or a comma"
            return _Finding(
                TextSpan(end - 1, end), f"the {opened} is not closed", label
            )
        if swallowed := _swallowed(text, at):
            return swallowed
        word = _WORD.match(text, at)
        span = TextSpan(at, word.end()) if word else here
        return _Finding(span, "a comma is missing", "put `,` before this")

    return read


def _swallowed(text: str, at: int) -> _Finding | None:
    """A string that ends where the next one was meant to begin: `"str, doc = "x"`."""
    quote = text[at - 1]
    start = text.rfind(quote, 0, at - 1)
    if quote not in "\"'" or start < 0:
        return None
    next_key = re.search(r"\s*,\s*[\w-]+\s*=\s*\Z", text[start + 1 : at - 1])
    if next_key is None:
        return None
    end = start + 1 + next_key.start()
    meant = text[start:end] + quote
    return _Finding(TextSpan(start, end), "a string is not closed", f"write `{meant}`")


def _rest(source: Source, at: int) -> _Finding:
    """Something behind a value, where a line ends."""
    text = source.text
    here = TextSpan(at, at + 1)
    message = "text follows the value on its line"
    if text.startswith("//", at):
        return _Finding(here, message, "a comment begins with `#`")
    if text[at] in ",;])}":
        if text[at] not in ",;":
            return _Finding(here, f"{quoted(text[at])} closes nothing", "remove it")
        return _Finding(here, message, f"remove `{text[at]}`: a line ends by itself")
    line = text[text.rfind("\n", 0, at) + 1 :].partition("\n")[0]
    if text[at - 1].isdigit() and (number := _NUMERAL.search(line)):
        start = at - len(text[:at].rpartition("\n")[2]) + number.start()
        label = "a number has no zeros in front, a date is one of the calendar"
        span = TextSpan(start, start + len(number[0]))
        return _Finding(span, "this is no number and no date", label)
    return _Finding(here, message, "each key has a line of its own")


def _statement(source: Source, at: int) -> _Finding:
    text = source.text
    here = TextSpan(at, at + 1)
    if foreign := _foreign_letter(text, at):
        return foreign
    match text[at]:
        case "," | "}" | "]":
            return _Finding(
                here, f"{quoted(text[at])} stands where a key belongs", "remove it"
            )
        case "=":
            label = 'write `to = "str"`'
            return _Finding(here, "a key is missing before `=`", label)
        case "/" | ";":
            label = "a comment begins with `#`"
        case "[":
            label = (
                "one pair of brackets is around the whole name: `[job.Email.fields]`"
            )
            return _Finding(here, "a bracket inside of the name of a table", label)
        case "(" | "<":
            label = "a table begins as `[job.Email.fields]`"
        case "{":
            label = "a schema is TOML, not JSON: it begins with `[job.Email.fields]`"
        case _:
            label = 'a line is a key and its value: `to = "str"`'
    return _Finding(here, f"a line cannot begin with {quoted(text[at])}", label)


def _escape(source: Source, at: int) -> _Finding:
    end = source.text.find("\n", at)
    rest = source.text[at : end if end > 0 else None]
    closed = re.match(r'[^"]*', rest)
    start = source.text.rfind('"', 0, at) + 1
    whole = source.text[start : at + len(closed[0] if closed else "")]
    label = "write `\\\\`"
    if "'" not in whole and "\n" not in whole:
        label = f"single quotes take it as it is: `'{visible(whole)}'`"
    return _Finding(
        TextSpan(at, at + 1), "a backslash means something in this string", label
    )


def _twice(source: Source, at: int) -> _Finding:
    text = source.text
    start = text.rfind("\n", 0, at) + 1
    message, label = "a key is given twice", "remove one"
    if key := _KEY.match(text, start):
        span = TextSpan(start, start + len(key[0].rstrip(" =")))
        return _Finding(span, message, label, _first(source, key[0], start))
    return _Finding(TextSpan(at, at + 1), message, label)


def _table_twice(source: Source, at: int) -> _Finding:
    start = source.text.rfind("\n", 0, at) + 1
    first = _first(source, source.text[start : at + 1], start)
    message, label = "a table is declared twice", "put both into one"
    return _Finding(TextSpan(start, at + 1), message, label, first)


def _first(source: Source, line: str, before: int) -> tuple[SourceLocation, str] | None:
    """Where a line began in the same way, as a key or header given twice does."""
    at = source.text.rfind(f"\n{line}", 0, before) + 1
    if at == 0 and not source.text.startswith(line):
        return None
    return (
        SourceLocation(source, exact=TextSpan(at, at + len(line.rstrip(" =")))),
        "first here",
    )


def _illegal(source: Source, at: int) -> _Finding:
    message = f"{quoted(source.text[at])} is not allowed in a text"
    escape = f"\\u{ord(source.text[at]):04x}"
    label = f"remove it, or write `{escape}` in double quotes"
    return _Finding(TextSpan(at, at + 1), message, label)


_READERS: Final[dict[str, _Reader]] = {
    "Invalid value": _value,
    "Illegal character '\\n'": _text,
    "Illegal character": _illegal,
    "Unterminated string": _text,
    "Expected \"'": _text,
    "Expected '\"": _text,
    "Expected '='": _pair,
    "Expected ']'": _header,
    "Unclosed array": _closing("]"),
    "Unclosed inline table": _closing("}"),
    "Expected newline": _rest,
    "Invalid statement": _statement,
    "Invalid initial character for a key part": _statement,
    "Unescaped '\\'": _escape,
    "Cannot overwrite a value": _twice,
    "Cannot declare": _table_twice,
}
"""By the first words of tomli's reason."""
