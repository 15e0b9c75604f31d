"""What the codecs do beyond single vectors: they lose nothing and refuse the rest."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowd import wire


class _Colour(StrEnum):
    RED = "red"
    GREEN = "dark green"


_CHOICES: Final[dict[bytes, int]] = {b"-1": -1, b"10": 10}
_DECODERS: Final[list[Callable[[bytes], object]]] = [
    *(
        getattr(wire, name)
        for name in wire.__all__
        if name.startswith("decode_")
        and name
        not in ("decode_enum", "decode_open_enum", "decode_one_of", "decode_json")
    ),
    lambda raw: wire.decode_open_enum(raw, _Colour.RED),
    lambda raw: wire.decode_enum(raw, _Colour),
    lambda raw: wire.decode_one_of(raw, _CHOICES),
    lambda raw: wire.decode_json(raw, wire.JSON),
    lambda raw: wire.decode_json(raw, wire.list_of(wire.optional(wire.U8))),
]


@given(st.floats(allow_nan=False))
@example(5e-324)
@example(1e300)
def test_every_double_survives(value: float) -> None:
    """The text has no exponent, as in Rust, and reads as the same double."""
    text = wire.encode_float(value)
    assert b"e" not in text
    assert math.copysign(1, wire.decode_float(text)) == math.copysign(1, value)
    assert wire.decode_float(text) == value


@pytest.mark.parametrize(("value", "length"), [(1e300, 301), (5e-324, 326)])
def test_a_double_is_as_long_as_in_rust(value: float, length: int) -> None:
    """Digits and zeros are spelt out."""
    assert len(wire.encode_float(value)) == length


def test_two_spellings_as_short_as_each_other_are_one_double() -> None:
    """Where Rust picks the other one of two shortest texts, the value is the same."""
    assert wire.encode_float(78815232062337.625) == b"78815232062337.62"
    assert wire.decode_float(b"78815232062337.63") == 78815232062337.625


@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
@example(b"9" * 5000)
@example(b"[" * 100_000)
@example(b"[" + b"9" * 5000 + b"]")
@example(b"[-1e400]")
@example(b"9999-12-31T23:59:59-23:59")
@settings(deadline=None)
def test_a_decoder_refuses_in_one_way(raw: bytes) -> None:
    """Whatever bytes come, a decoder gives a value or says no; nothing else escapes."""
    for decode in _DECODERS:
        with contextlib.suppress(wire.CodecError, UnicodeError):
            decode(raw)


@pytest.mark.parametrize(
    ("encode", "value"),
    [
        ("int", 1.0),
        ("int", "1"),
        ("u8", 256),
        ("u8", -1),
        ("u32", 1.5),
        ("i8", 128),
        ("i64", 2**63),
        ("float", "1"),
        ("float", Decimal(1)),
        *((name, Decimal(1)) for name in ("int", "u8", "i64")),
        *((name, Fraction(1)) for name in ("int", "u8", "i64", "float", "decimal")),
        ("unix_ms", 5),
        ("datetime", time(12, tzinfo=UTC)),
        ("datetime", date(2026, 1, 31)),
        ("bool", 1),
        ("bool01", None),
        ("decimal", Decimal("NaN")),
        ("decimal", 1.5),
        ("uuid", "01234567-89ab-cdef-0123-456789abcdef"),
        ("date", datetime(2026, 1, 31)),  # noqa: DTZ001 - it is about to be refused
        ("datetime", datetime(2026, 1, 31)),  # noqa: DTZ001 - it has no offset
        ("unix_ms", datetime(2026, 1, 31)),  # noqa: DTZ001 - it has no offset
        ("duration", 5),
        ("base64", "text"),
        ("hex", "text"),
        ("raw", "text"),
        ("raw", 5),
    ],
)
def test_a_value_of_another_type_is_refused(encode: str, value: object) -> None:
    """What the annotation forbids is not written as something else."""
    function = getattr(wire, f"encode_{encode}")
    with pytest.raises(wire.CodecError, match=r"expected|not in|finite"):
        function(value)


class _EqualsAll:
    """Prints like a choice and equals everything."""

    def __str__(self) -> str:
        return "10"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 10


@pytest.mark.parametrize(
    "value",
    [None, True, 10.0, Decimal(10), Fraction(10), "10", b"10", 10**5000, _EqualsAll()],
    ids=lambda value: type(value).__name__,
)
def test_a_choice_of_another_type_is_refused(value: object) -> None:
    """What only equals a choice, or prints as one, is none; in fields and inside JSON."""
    choices: dict[bytes, object] = {b"1": 1, b"10": 10}
    texts: dict[bytes, object] = {b"None": "None", b"True": "True", b"10.0": "10.0"}
    for known in (choices, texts if value != "10" else {}):
        with pytest.raises(wire.CodecError, match="expected one of"):
            wire.encode_one_of(value, known)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
        with pytest.raises(wire.CodecError, match="expected one of"):
            wire.one_of(known).dump(value)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


def test_a_choice_is_written_as_the_choice_itself() -> None:
    """A subclass that is equal, whatever it prints, as for a field without choices."""

    class _Step(IntEnum):
        TEN = 10

    class _Locale(str, Enum):  # noqa: UP042 - it prints another text than its value
        EN = "en"

    assert wire.encode_one_of(_Step.TEN, _CHOICES) == b"10"
    assert type(wire.one_of(_CHOICES).dump(_Step.TEN)) is int
    locales: dict[bytes, str] = {b"en": "en"}
    assert wire.encode_one_of(_Locale.EN, locales) == b"en"
    assert type(wire.one_of(locales).dump(_Locale.EN)) is str


_CHECKS: Final[list[Callable[[Any], object]]] = [
    lambda value: wire.bounded(value, min=1),
    lambda value: wire.within(value, max=Decimal(1)),
    lambda value: wire.sized(value, max_len=1),
    lambda value: wire.placed(value, 1),
    lambda value: wire.matching(value, re.compile("a")),
    wire.JSON.dump,
    lambda value: wire.JSON.dump([{"a": value}]),
]


@pytest.mark.parametrize("check", _CHECKS)
def test_a_check_refuses_another_type_in_words_of_its_own(
    check: Callable[[object], object],
) -> None:
    """No TypeError of Python's: it says what was expected, and never shows the value."""
    with pytest.raises(wire.CodecError, match=r"expected .*, not object"):
        check(object())


@pytest.mark.parametrize("text", ["1e400", "-1e309", "9" * 400, "+1.8E308"])
def test_digits_beyond_every_double_are_refused(text: str) -> None:
    """A field, an item and any JSON say the same; read as inf they were another value."""
    with pytest.raises(wire.CodecError, match="beyond every float"):
        wire.decode_float(text.encode())
    number = float(text)
    for load in (wire.FLOAT.load, wire.JSON.load, wire.optional(wire.FLOAT).load):
        with pytest.raises(wire.CodecError, match="beyond every float"):
            load(number)
    item = f'{{"a": [{text.removeprefix("+")}, 1.5]}}'.encode()
    with pytest.raises(wire.CodecError, match="beyond every float"):
        wire.decode_json(item, wire.dict_of(wire.list_of(wire.FLOAT)))
    for spelt in ("inf", "-Infinity", "NaN", "1e308", "-1.7976931348623157e308"):
        wire.encode_float(wire.decode_float(spelt.encode()))


def test_a_leap_second_is_refused_by_its_name() -> None:
    """RFC 3339 has them, and no datetime holds one; it is not moved to another second."""
    for text in ("2016-12-31T23:59:60Z", "2016-12-31T18:59:60.5-05:00"):
        with pytest.raises(wire.CodecError, match="a leap second"):
            wire.decode_datetime(text.encode())
    for text in ("2016-12-31T23:60:00Z", "2016-12-31T23:59:61Z", "2016-12-31T23:59:60"):
        with pytest.raises(wire.CodecError, match="RFC 3339"):
            wire.decode_datetime(text.encode())


def test_a_duration_is_cut_to_the_millisecond() -> None:
    """A finer part is lost, towards the past."""
    assert wire.encode_duration(timedelta(microseconds=1999)) == b"1"
    assert wire.encode_duration(timedelta(microseconds=-1)) == b"-1"


def test_an_enum_is_its_text() -> None:
    """A member is written and read by its text, exactly; its name counts for nothing."""
    assert wire.encode_enum(_Colour.GREEN, _Colour) == b"dark green"
    assert wire.decode_enum(b"dark green", _Colour) is _Colour.GREEN
    for raw in (b"GREEN", b"Red", b"", b"red "):
        with pytest.raises(wire.CodecError, match="expected one of red, dark green"):
            wire.decode_enum(raw, _Colour)


def test_a_choice_is_its_text() -> None:
    """A literal is written as text and read only if the schema lists it."""
    assert wire.encode_one_of(10, _CHOICES) == b"10"
    assert wire.decode_one_of(b"-1", _CHOICES) == -1
    for raw in (b"+10", b"010", b"", b"11"):
        with pytest.raises(wire.CodecError, match="expected one of -1, 10"):
            wire.decode_one_of(raw, _CHOICES)
    with pytest.raises(wire.CodecError, match="expected one of -1, 10"):
        wire.encode_one_of(11, _CHOICES)


def test_a_long_list_of_choices_is_cut() -> None:
    """An error stays a line, however many values there are."""
    choices = {str(number).encode(): number for number in range(1000)}
    with pytest.raises(wire.CodecError) as caught:
        wire.decode_one_of(b"x", choices)
    assert str(caught.value).endswith("10, 11, …")


def test_bounds_hold_at_their_ends() -> None:
    """`min` and `max` are allowed values, and NaN is outside of every bound."""
    assert wire.bounded(1, min=1, max=1) == 1
    assert wire.bounded(Decimal("0.5"), max=0.5) == Decimal("0.5")
    with pytest.raises(wire.CodecError, match=r"^below 1$"):
        wire.bounded(0, min=1)
    with pytest.raises(wire.CodecError, match=r"^above 1$"):
        wire.bounded(1.1, max=1)
    for bound in ({"min": 0.0}, {"max": 0.0}):
        with pytest.raises(wire.CodecError):
            wire.bounded(math.nan, **bound)


def test_ends_that_are_outside_hold() -> None:
    """`above` and `below` are no allowed values themselves; NaN is outside of both."""
    assert wire.bounded(2, above=1, below=3) == 2
    with pytest.raises(wire.CodecError, match=r"^not above 1$"):
        wire.bounded(1, above=1)
    with pytest.raises(wire.CodecError, match=r"^not below 1$"):
        wire.bounded(1.0, below=1)
    for bound in ({"above": 0.0}, {"below": 0.0}):
        with pytest.raises(wire.CodecError):
            wire.bounded(math.nan, **bound)


def test_times_and_decimals_keep_to_their_bounds() -> None:
    """A refusal names the bound; a value of another kind is refused as one."""
    day, noon = date(2026, 1, 31), datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert wire.within(day, min=day, max=day) == day
    assert wire.within(Decimal("0.1"), max=Decimal("0.1")) == Decimal("0.1")
    with pytest.raises(wire.CodecError, match=r"^not above 2026-01-31$"):
        wire.within(day, above=day)
    with pytest.raises(wire.CodecError, match=r"^above 0:00:01$"):
        wire.within(timedelta(seconds=2), max=timedelta(seconds=1))
    with pytest.raises(wire.CodecError, match=r"^below 2026-01-31 12:00:00\+00:00$"):
        wire.within(noon - timedelta(seconds=1), min=noon)
    with pytest.raises(
        wire.CodecError, match=r"^expected a datetime with a time zone$"
    ):
        wire.within(noon.replace(tzinfo=None), below=noon)
    with pytest.raises(wire.CodecError, match=r"^expected a date, not datetime$"):
        wire.within(noon, below=day)


@pytest.mark.parametrize("text", ["1.25", "1.2500", "-1.25", "1E+3", "0.00", "125"])
def test_zeros_behind_the_last_place_are_none(text: str) -> None:
    """`places` counts the digits that say something."""
    assert wire.placed(Decimal(text), 2) == Decimal(text)


@pytest.mark.parametrize("text", ["1.255", "1.2501", "0.001", "1E-3"])
def test_a_digit_behind_the_last_place_is_refused(text: str) -> None:
    """However it is spelt."""
    with pytest.raises(wire.CodecError, match=r"^more than 2 decimal places$"):
        wire.placed(Decimal(text), 2)


def test_items_are_judged_both_ways() -> None:
    """What an item is refused for is said with its place."""
    shape = wire.list_of(
        wire.checked(wire.STR, lambda text: wire.sized(text, max_len=1))
    )
    assert wire.decode_json(b'["a"]', shape) == ["a"]
    for work in (
        lambda: wire.decode_json(b'["a","bb"]', shape),
        lambda: wire.encode_json(["a", "bb"], shape),
    ):
        with pytest.raises(wire.CodecError, match=r"^at \[1\]: longer than 1$"):
            work()


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.1)
@example(99.3)
def test_a_decimals_bound_is_what_the_schema_spells(bound: float) -> None:
    """The double that holds a bound is next to it; the decimal itself is the end."""
    end = Decimal(str(bound))
    tiny = Decimal((0, (1,), -2000))
    with localcontext(prec=3000):
        assert wire.bounded(end, min=bound, max=bound) == end
        with pytest.raises(wire.CodecError, match="below"):
            wire.bounded(end - tiny, min=bound)
        with pytest.raises(wire.CodecError, match="above"):
            wire.bounded(end + tiny, max=bound)


def test_lengths_hold_at_their_ends() -> None:
    """A text is counted in characters, bytes in bytes, a list in items."""
    assert wire.sized("héé", min_len=3, max_len=3) == "héé"
    assert wire.sized(b"", max_len=0) == b""
    with pytest.raises(wire.CodecError, match=r"^shorter than 1$"):
        wire.sized(list[int](), min_len=1)
    with pytest.raises(wire.CodecError, match=r"^longer than 2$"):
        wire.sized({"a": 1, "b": 2, "c": 3}, max_len=2)


def test_a_pattern_matches_the_whole_text() -> None:
    """Neither a part nor a line end more is a match."""
    assert wire.matching("ab1", r"[a-z]+\d") == "ab1"
    assert wire.matching("ab1", re.compile(r"[a-z]+\d")) == "ab1"
    for text in ("ab1\n", "xab12", ""):
        with pytest.raises(wire.CodecError, match=r"does not match \[a-z\]"):
            wire.matching(text, r"[a-z]+\d")


def test_the_first_key_that_is_there_is_found() -> None:
    """Where none is there, the first is what is missing."""
    assert wire.first_key({b"b": 1, b"c": 1}, b"a", b"b", b"c") == b"b"
    assert wire.first_key({}, "a", "b") == "a"


class _Method(StrEnum):
    CARD = "card"
    OTHER = "other"


def test_an_open_enum_reads_what_it_does_not_know() -> None:
    """Any text is the unknown member, inside JSON too; other bytes are refused."""
    shape = wire.open_enum_of(_Method.OTHER)
    for raw, member in ((b"card", _Method.CARD), (b"cash", _Method.OTHER)):
        assert wire.decode_open_enum(raw, _Method.OTHER) is member
        assert shape.load(raw.decode()) is member
    with pytest.raises(wire.CodecError, match="expected text in UTF-8"):
        wire.decode_open_enum(b"\xff", _Method.OTHER)
    with pytest.raises(wire.CodecError, match="expected a string, not null"):
        shape.load(None)


def test_the_unknown_member_is_never_written() -> None:
    """What it stood for is lost, so writing it would be another value."""
    assert wire.encode_open_enum(_Method.CARD, _Method.OTHER) == b"card"
    with pytest.raises(wire.CodecError, match="OTHER is only read"):
        wire.encode_open_enum(_Method.OTHER, _Method.OTHER)
    with pytest.raises(wire.CodecError, match="OTHER is only read"):
        wire.open_enum_of(_Method.OTHER).dump(_Method.OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    first: str
    second: int = 0


def test_setters_build_what_the_constructor_does() -> None:
    """They are in the order of the fields."""
    set_first, set_second = wire.setters(_Pair)
    made = wire.new(_Pair)
    set_first(made, "a")
    set_second(made, 2)
    assert made == _Pair(first="a", second=2)
