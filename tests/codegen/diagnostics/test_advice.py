"""Advice is right: a schema in which it is followed, word for word, generates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from flowd_codegen.diagnostics.location import KeyValueSpan, Source
from flowd_codegen.diagnostics.report import Fault, SchemaErrors
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.python.render import render

_ROUNDS: Final = 4
_LABEL: Final = re.compile(
    r"(?:write|rename it to|did you mean|flowd spells this) `(.+?)`(?:[,;?:]|\Z)"
)


def _faults(text: str) -> tuple[Fault, ...]:
    """What is wrong with a schema; one without a fault becomes a module."""
    try:
        assert render(parse(Sources((Source("s.toml", "s.toml", text),))))
    except SchemaErrors as errors:
        return errors.faults
    return ()


def _followed(text: str) -> Iterator[Fault]:
    """Follow the advice of each fault, the last one first, until none is left."""
    for _ in range(_ROUNDS):
        faults = _faults(text)
        yield from faults
        if not faults:
            return
        for fault in reversed(faults):
            text = _with_advice(text, fault)
    raise AssertionError(f"the advice leads nowhere:\n{text}")


def _with_advice(text: str, fault: Fault) -> str:
    below = "".join(
        "\n" + note.partition("\n")[2]
        for note in fault.notes
        if "declare it as" in note
    )
    if "leave it out" in fault.label:
        pair = _pair(fault)
        cut = re.match(r",?\s*", text[pair.value.end :])
        end = pair.value.end + (len(cut[0]) if cut else 0)
        start = len(text[: pair.key.start].rstrip(", ")) if text[end] == "}" else end
        return text[: min(start, pair.key.start)] + text[end:]
    label = _LABEL.search(fault.label)
    assert label, fault
    advice, span = label[1], fault.location.span()
    if re.match(r"\w+ = ", advice) and fault.location.path:
        pair = _pair(fault)
        return text[: pair.key.start] + advice + text[pair.value.end :] + below
    if fault.label.startswith("flowd spells") and text[span.start] == '"':
        advice = f'"{advice}"'
    return text[: span.start] + advice + text[span.end :] + below


def _pair(fault: Fault) -> KeyValueSpan:
    return fault.location.source.spans[fault.location.path]


_JOB: Final = "[job.Order.fields]\n"
_TYPE: Final = "[job.A.fields]\na = { type = "


@pytest.mark.parametrize(
    ("schema", "advice"),
    [
        (f'{_JOB}addr = {{ street = "str", city = "string" }}\n', 'addr = "Addr"'),
        (
            f'{_JOB}addr = {{ type = "object", properties = {{ a = "str" }} }}\n',
            'addr = "Addr"',
        ),
        (f'{_JOB}lines = [{{ sku = "str" }}]\n', 'lines = "list[Lines]"'),
        (
            f'{_JOB}a = {{ geo = {{ lat = "float" }}, tag = "str", key = "u8" }}\n',
            'a = "A"',
        ),
        (
            f'[record.Addr.fields]\nx = "str"\n{_JOB}addr = {{ street = "str" }}\n',
            'addr = "OrderAddr"',
        ),
        (f'{_JOB}a = ["str"]\n', 'a = "list[str]"'),
        (f"{_JOB}a = 5\n", 'a = { type = "i64", default = 5 }'),
        (f"{_JOB}a = false\n", 'a = { type = "bool", default = false }'),
        (f"{_JOB}a = 2026-01-31\n", 'a = { type = "date", default = 2026-01-31 }'),
        (f'removed = "Notify"\n{_JOB}a = "str"\n', 'removed = ["Notify"]'),
        (f'{_JOB}a = "str"\n[removed]\nNotify = true\n', '"notify"'),
        (f'{_TYPE}"list[str]", one_of = ["a"] }}\n', 'items = { one_of = ["a"] }'),
        (f'{_TYPE}"dict[str, u8]", one_of = [1] }}\n', "values = { one_of = [1] }"),
        (f'{_TYPE}"u8", default = 5.0 }}\n', "5"),
        (f'{_TYPE}"u8", default = "007" }}\n', "7"),
        (f'{_TYPE}"i8", default = "-5" }}\n', "-5"),
        (f'{_TYPE}"i8", default = -5.0 }}\n', "-5"),
        (f'{_TYPE}"u8", default = true }}\n', "1"),
        (f'{_TYPE}"float", default = "1.5" }}\n', "1.5"),
        (f'{_TYPE}"str", default = true }}\n', '"true"'),
        (f'{_TYPE}"str", default = 2026-01-31 }}\n', '"2026-01-31"'),
        (f'{_TYPE}"str", default = ["a"] }}\n', '"a"'),
        (f'{_TYPE}"list[str]", default = "[]" }}\n', "[]"),
        (f"""{_TYPE}"list[u8]", default = '[1, 2]' }}\n""", "[1, 2]"),
        (f'{_TYPE}"list[str]", default = "a" }}\n', '["a"]'),
        (f'{_TYPE}"list[str]", default = {{}} }}\n', "[]"),
        (f'{_TYPE}"dict[str, str]", default = "{{}}" }}\n', "{}"),
        (f'{_TYPE}"dict[str, str]", default = [] }}\n', "{}"),
        (f'{_TYPE}"u8", max_items = 5 }}\n', "max"),
        (f'{_TYPE}"u8", minLength = 5 }}\n', "min"),
        (f'{_TYPE}"list[u8]", maxItems = 5 }}\n', "max_len"),
        (f'{_TYPE}"list[u8]", maximum = 5 }}\n', "max_len"),
        (f'{_TYPE}"str?", max_value = 5 }}\n', "max_len"),
        (f'{_TYPE}"list[str]", pattern = "a" }}\n', "items = { pattern = … }"),
        (f'{_TYPE}"list[u8]", above = 5 }}\n', "items = { above = … }"),
    ],
)
def test_schema_that_follows_the_advice_generates(schema: str, advice: str) -> None:
    """The advice names what the text has, and no step of it leads to another fault."""
    if "…" in advice:
        (fault,) = _faults(schema)
        assert f"write `{advice}`" in fault.label
        return
    first = next(_followed(schema))
    assert f"`{advice}`" in first.label
    assert [*_followed(schema)]


@pytest.mark.parametrize("kind", ["uuid", "bool", "json", "R"])
def test_a_limit_of_a_type_without_limits_is_left_out(kind: str) -> None:
    """Nothing is suggested that the next run would refuse."""
    record = '[record.R.fields]\nx = "str"\n'
    schema = f'{record}{_TYPE}"{kind}", max_items = 5 }}\n'
    (fault,) = _followed(schema)
    assert fault.label == f"leave it out: `{kind}` has no limits"


@pytest.mark.parametrize("digits", [1300, 4200, 5000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_huge_integer_is_reported_in_its_place(digits: int, sign: str) -> None:
    """No other run of digits is shown, and it is not advised to write a text."""
    text = f'{_JOB}a = "str" # {"8" * 6000}\nb = {{ type = "int", max = {sign}{"9" * digits} }}\n'
    (fault,) = _faults(text)
    assert fault.position[0] == 3
    assert fault.location.span().start in (text.index("9"), text.index("9") - len(sign))
    assert "string" not in fault.label
    assert "leave out" in fault.label


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (f'{_TYPE}"u8", default = 5.5 }}\n', "an integer has no decimal point"),
        (f'{_TYPE}"u8", one_of = [1, 300] }}\n', "`u8` is 0 to 255"),
        (f'{_TYPE}"bool", one_of = ["a"] }}\n', "a boolean has two values"),
        (f'{_TYPE}"str", one_of = [1] }}\n', 'write `"1"`'),
        (f'{_TYPE}"u8", one_of = ["1"] }}\n', "write `1`"),
        (f'{_TYPE}"u8", one_of = ["a"] }}\n', "leave `type` out"),
        (f'{_TYPE}"date", one_of = ["a", "b"] }}\n', "leave `type` out"),
    ],
)
def test_a_fault_is_reported_once_with_its_reason(schema: str, said: str) -> None:
    """A value that does not fit has one fault, whose advice is about that value."""
    (fault,) = _faults(schema)
    assert said in fault.label


_CRON: Final = '[job.A.fields]\na = "str?"\n[job.A.cron.n]\n'
_QUEUE: Final = '[job.A.fields]\na = "str?"\n[job.A.queue]\n'


@pytest.mark.parametrize(
    ("schema", "place", "advice"),
    [
        (f'{_TYPE}"str, doc = "x" }}\n', (2, 14), '"str"'),
        (f'{_JOB}a ＝ "str"\n', (2, 3), "="),
        (f"{_JOB}a = ＂str＂\n", (2, 5), '"str"'),
        (f"{_JOB}a = `str`\n", (2, 5), '"str"'),
        (f'{_JOB}a = "list(u8)"\n', (2, 5), "list[u8]"),
        (f'{_JOB}a = "list{{u8}}"\n', (2, 5), "list[u8]"),
        (f'{_JOB}a = "list of u8"\n', (2, 5), "list[u8]"),
        (f'{_JOB}a = "Array of string"\n', (2, 5), "list[str]"),
        (f'{_JOB}a = "maybe u8"\n', (2, 5), "u8?"),
        (f'{_JOB}a = "str?[]"\n', (2, 5), "list[str?]"),
        (f'{_CRON}at = "@daily"\n', (4, 7), '"0 0 * * *"'),
        (f'{_CRON}at = "@HOURLY"\n', (4, 7), '"0 * * * *"'),
        (f'{_CRON}at = "03:05"\n', (4, 7), '"5 3 * * *"'),
        (f'{_CRON}at = "every 5 minutes"\n', (4, 7), 'every = "5m"'),
        (f'{_CRON}at = "every 1h30m"\n', (4, 7), 'every = "1h30m"'),
        (f'{_CRON}every = "5"\n', (4, 9), '"5s"'),
        (f'{_CRON}every = "2 Hours"\n', (4, 9), '"2h"'),
        (f'{_CRON}every = "1500 milliseconds"\n', (4, 9), '"1500ms"'),
        (f'{_CRON}at = "0 3 * * *"\nzone = "UTC"\n', (5, 1), "tz"),
        (f'{_CRON}at = "0 3 * * *"\ntz = "Europe/Berln"\n', (5, 6), "Europe/Berlin"),
        (f"{_QUEUE}retry = 3\n", (4, 1), "max_retries"),
        (f'{_QUEUE}timeout = "5 minutes"\n', (4, 11), '"5m"'),
        (f'{_QUEUE}timeout = "2w"\n', (4, 11), '"14d"'),
        (f'{_QUEUE}timeout = "1 week"\n', (4, 11), '"7d"'),
        (f'{_QUEUE}timeout = "999999999 weeks"\n', (4, 11), '"250ms"'),
        (
            f'{_QUEUE}backoff = {{ kind = "exponental", max = "1 hour" }}\n',
            (4, 20),
            "exponential",
        ),
    ],
)
def test_beginner_is_led_to_a_schema_that_generates(
    schema: str, place: tuple[int, int], advice: str
) -> None:
    """The first fault is at the mistake, and following what is said ends without one."""
    first = next(_followed(schema))
    assert first.position == place
    assert f"`{advice}`" in first.label


@pytest.mark.parametrize(
    ("schema", "place", "said"),
    [
        ('(job.A.fields)\na = "str"\n', (1, 1), "a table begins as `[job.Email"),
        ('<job.A.fields>\na = "str"\n', (1, 1), "a table begins as `[job.Email"),
        ('[job.[A].fields]\na = "str"\n', (1, 6), "around the whole name"),
        ('[job.A.fields]]\na = "str"\n', (1, 15), "remove it"),
        (f'{_JOB}a = ( type = "str" )\n', (2, 5), "a table of options stands in"),
        (f'{_JOB}а = "str"\n', (2, 1), "names are ASCII letters"),
        (f'{_JOB}a = "ѕtr"\n', (2, 6), "it has a CYRILLIC SMALL LETTER DZE"),
        (f'{_JOB}a = "Сard"\n', (2, 6), "it has a CYRILLIC CAPITAL LETTER ES"),
        (f'{_JOB}a = "Optional"\n', (2, 5), "has a `?`"),
        (f'{_JOB}a = "dict[int, str]"\n', (2, 11), "write `str`, as in"),
        (f'{_CRON}at = "0 3 * * MONDAY"\n', (4, 15), "write `mon`"),
        ('[job.A]\ncron = "0 3 * * *"\n', (2, 8), 'nightly = { at = "0 3 * * *" }'),
        ('[[job.A.cron]]\nat = "0 3 * * *"\n', (1, 1), "`[job.A.cron.nightly]`"),
        ('[job.A.cron]\nat = "0 3 * * *"\n', (2, 1), "`[job.A.cron.nightly]`"),
        (f'{_QUEUE}stream = ""\n', (4, 10), "choose another name for the stream"),
        ('[enum.C]\nvalues = ["a", "a"]\n', (2, 16), "remove it"),
        ('[group.X]\ninclude = ["X"]\n[job.A]\n', (2, 12), "remove it"),
    ],
)
def test_mistake_has_one_fault_with_what_to_do(
    schema: str, place: tuple[int, int], said: str
) -> None:
    """No second fault follows from the first."""
    (fault,) = _faults(schema)
    assert fault.position == place
    assert said in fault.label


@pytest.mark.parametrize(
    "given", ['with = "b=3"', 'with = ["x", 3]', 'args = { a = "x", b = 3 }']
)
def test_arguments_that_are_not_read_are_not_missed(given: str) -> None:
    """What is required is asked for once it is known what `with` gives."""
    schema = f'[job.A.fields]\na = "str"\nb = "u8"\n[job.A.cron.n]\nat = "0 3 * * *"\n{given}\n'
    (fault,) = _faults(schema)
    assert fault.position[0] == 6
