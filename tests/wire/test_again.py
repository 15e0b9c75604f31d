"""What is read can be written again, and is read as the same: for every codec and shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowd import wire

T = TypeVar("T")


class _Colour(StrEnum):
    RED = "red"
    GREEN = "dark green"


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    encode: Callable[[object], bytes]
    decode: Callable[[bytes], object]


def _named(name: str) -> _Codec:
    return _Codec(
        name, getattr(wire, f"encode_{name}"), getattr(wire, f"decode_{name}")
    )


def _shaped(name: str, shape: wire.Shape[T]) -> _Codec:
    return _Codec(
        f"json {name}",
        lambda value: wire.encode_json(cast("T", value), shape),
        lambda raw: wire.decode_json(raw, shape),
    )


_CHOICES: Final[dict[bytes, int]] = {b"-1": -1, b"10": 10}
_SCALARS: Final = [
    name.removeprefix("encode_")
    for name in wire.__all__
    if name.startswith("encode_")
    and name not in ("encode_enum", "encode_open_enum", "encode_one_of", "encode_json")
]
_SHAPES: Final = [
    (name, getattr(wire, name))
    for name in wire.__all__
    if isinstance(getattr(wire, name), wire.Shape)
]
_CODECS: Final = [
    *map(_named, _SCALARS),
    _Codec("str", lambda value: str(value).encode(), bytes.decode),
    _Codec(
        "enum",
        lambda value: wire.encode_enum(_Colour(str(value)), _Colour),
        lambda raw: wire.decode_enum(raw, _Colour),
    ),
    _Codec(
        "one_of",
        lambda value: wire.encode_one_of(int(str(value)), _CHOICES),
        lambda raw: wire.decode_one_of(raw, _CHOICES),
    ),
    *(_shaped(name, shape) for name, shape in _SHAPES),
    *(_shaped(f"list[{name}]", wire.list_of(shape)) for name, shape in _SHAPES),
    *(
        _shaped(f"dict[{name}]", wire.dict_of(wire.optional(shape)))
        for name, shape in _SHAPES
    ),
]

_HARD: Final = [
    *(
        "1e400",
        "-1e400",
        "1e999999999",
        "1E-999999999",
        "0e999999999",
        "1e4290",
        "1e-4290",
    ),
    *(
        "9" * 4300,
        "9" * 4301,
        "-" + "9" * 4300,
        "0" * 4301,
        "1." + "0" * 5000,
        "1e4299",
    ),
    *(
        "NaN",
        "inf",
        "-0",
        "+1",
        "1_000",
        " 1",
        "1 ",
        "1\n",
        "\u0661",
        "\uff11",
        "1e1_0",
    ),
    *(
        "9007199254740993",
        "1e5",
        ".5",
        "5.",
        "0x10",
        "0e-5000",
        "-0e5000",
        "true",
        "01",
    ),
    *(
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.9999999-23:59",
        "0000-01-01T00:00:00Z",
    ),
    *("2026-01-31T12:00:60Z", "2026-01-31T24:00:00Z", "2026-01-31T12:00:00,5Z"),
    *("-62135596800000", "-62135596800001", "253402300799999", "253402300800000"),
    *("86399999999999999", "-86399999913600000", "-86399999913600001"),
    *(
        "QQ==",
        "QR==",
        "ff",
        "FF",
        "red",
        "-1",
        "10",
        "2F1C4D5E-0000-4000-8000-000000000000",
    ),
]
_DOCUMENTS: Final = [
    r'"\ud800"', r'"\uDC00x"', r'"\ud83d\ude00"', r'{"\ud800": 1}', r'[["\udfff"]]',
    "1e400", "[1e400]", '{"a": [-1e400]}', "NaN", "[Infinity]", "9" * 4301, "-0.0", "[]",
    "[" * 129 + "]" * 129, "[" * 130 + "]" * 130, "[" * 5000 + "]" * 5000, "null", "1.0",
    *(json.dumps(text) for text in _HARD), *(json.dumps([text]) for text in _HARD),
    *(json.dumps({"a": text}) for text in _HARD), *(f"[{text}]" for text in _HARD),
]  # fmt: skip
_TEXTS: Final = st.one_of(
    st.sampled_from([*_HARD, *_DOCUMENTS]),
    st.text(max_size=12),
    st.text("0123456789+-.eE_ :TZ\u0661", max_size=12),
    st.from_regex(
        r"[+-]?[0-9]{0,5}\.?[0-9]{0,5}([eE][+-]?[0-9]{1,10})?", fullmatch=True
    ),
    st.from_regex(
        r"[0-9]{4}-?(0[1-9]|1[0-2])-?[0-3][0-9][Tt ][0-2][0-9]:?[0-5][0-9]:?[0-6][0-9]?"
        r"([.,][0-9]{0,9})?(Z|z|[+-][0-2][0-9]:?[0-5][0-9])?",
        fullmatch=True,
    ),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters(codec=None, categories=["L", "N", "P", "Cs"])),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ).map(json.dumps),
)


def _read_again(codec: _Codec, text: str) -> bool:
    """Read a text, write what was read, and read that; whether there was a value."""
    try:
        value = codec.decode(text.encode())
    except (wire.CodecError, UnicodeError):
        return False
    written = codec.encode(value)
    again = codec.decode(written)
    assert (repr(again), type(again)) == (repr(value), type(value)) or again == value
    assert codec.encode(again) == written
    return True


@pytest.mark.parametrize("codec", _CODECS, ids=lambda codec: codec.name)
def test_extreme_values_are_refused_or_rewritten(codec: _Codec) -> None:
    """Numbers at their ends, half surrogates, spellings of other digits, deep nesting."""
    for text in [*_HARD, *_DOCUMENTS]:
        _read_again(codec, text)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_CODECS), _TEXTS.filter(str.isprintable))
@example(_named("decimal"), "1e999999999")
def test_decoded_value_can_be_encoded_again(codec: _Codec, text: str) -> None:
    """Whatever text comes: a value that was read is written, and read as the same."""
    _read_again(codec, text)


@pytest.mark.parametrize("name", [*_SCALARS, "str"])
def test_every_codec_reads_something(name: str) -> None:
    """The property of above is not empty."""
    codec = next(one for one in _CODECS if one.name == name)
    assert any(
        _read_again(codec, text)
        for text in [*_HARD, "2026-01-31", "2026-01-31T12:00:00Z"]
    )


@pytest.mark.parametrize(
    "text",
    [
        *("2026-W05-6T12:00:00Z", "20260131T120000Z", "2026-01-31x12:00:00Z"),
        *(
            "2026-01-31T12:00:00,5Z",
            "2026-01-31T12:00:00+0000",
            "2026-01-31T12:00:00+00",
        ),
        *("2026-01-31T12:00:00+00:00:01", "2026-01-31T12:00Z", "2026-01-31T12Z"),
        *("2026-01-31T12:00:00.Z", "2026-01-31T24:00:00Z", "2026-01-31T12:00:61Z"),
        *("2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00", "2026-01-31"),
        *(
            "2026-01-31T12:00:00Z ",
            "2026-01-31T12:00:00 Z",
            "202\u0666-01-31T12:00:00Z",
        ),
        *("2026-031T12:00:00Z", "-2026-01-31T12:00:00Z", "2026-01-31T12:00:00UTC"),
    ],
)
def test_a_datetime_is_rfc_3339_and_nothing_else(text: str) -> None:
    """The same on every Python, whatever its `fromisoformat` takes."""
    with pytest.raises(wire.CodecError, match="RFC 3339"):
        wire.decode_datetime(text.encode())


@pytest.mark.parametrize(
    "value",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)
def test_unix_ms_outside_of_the_years_is_not_written(value: datetime) -> None:
    """With its offset it is in a year before 1 or after 9999, which no reader has."""
    with pytest.raises(wire.CodecError, match="years 1 to 9999"):
        wire.encode_unix_ms(value)
    for end in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)):
        text = wire.encode_unix_ms(end)
        assert wire.encode_unix_ms(wire.decode_unix_ms(text)) == text


@pytest.mark.parametrize("name", ["int", "u8", "u64", "i8", "i64", "float"])
def test_a_bool_is_no_number(name: str) -> None:
    """Python takes True for 1; a field of numbers does not, nor does one inside JSON."""
    for value in (True, False):
        with pytest.raises(wire.CodecError, match=r"bool|integer|number"):
            getattr(wire, f"encode_{name}")(value)
        with pytest.raises(wire.CodecError, match=r"bool|integer|number"):
            wire.encode_json(value, getattr(wire, name.upper()))


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 10**400, 10**30], ids=str)
def test_an_integer_that_no_double_is_is_not_written_as_a_float(value: int) -> None:
    """It would be read as another number."""
    with pytest.raises(wire.CodecError):
        wire.encode_float(value)
    with pytest.raises(wire.CodecError):
        wire.encode_json(value, wire.FLOAT)
    assert wire.encode_float(2**53) == b"9007199254740992"
    assert wire.encode_json(2**60, wire.FLOAT) == b"1.152921504606847e+18"


@pytest.mark.parametrize(
    "value", [10**4300, -(10**4300), 10**9000], ids=["4301", "-4301", "9001"]
)
def test_an_integer_of_too_many_digits_is_refused_in_one_way(value: int) -> None:
    """As a field, inside JSON and as any JSON."""
    number: wire.Json = value
    with pytest.raises(wire.CodecError):
        wire.encode_int(value)
    with pytest.raises(wire.CodecError):
        wire.encode_json(value, wire.INT)
    with pytest.raises(wire.CodecError):
        wire.encode_json(number, wire.JSON)
    assert len(wire.encode_int(10**4300 - 1)) == 4300


@pytest.mark.parametrize(
    "text", ["1e999999999", "1e-999999999", "0e999999999", "1e4300", "-1e4300"]
)
def test_a_decimal_of_too_many_digits_is_refused_both_ways(text: str) -> None:
    """Written out, it would be gigabytes; neither side makes them."""
    with pytest.raises(wire.CodecError, match="digits"):
        wire.decode_decimal(text.encode())
    with pytest.raises(wire.CodecError, match="digits"):
        wire.encode_decimal(Decimal(text))
    with pytest.raises(wire.CodecError):
        wire.decode_json(json.dumps([text]).encode(), wire.list_of(wire.DECIMAL))


@pytest.mark.parametrize("raw", [r'["\ud800"]', r'{"\udc00":1}', r'[{"a":"x\uD83D"}]'])
def test_half_a_surrogate_pair_is_refused(raw: str) -> None:
    """UTF-8 cannot write it, whether it is a value, a key or deep inside."""
    codecs = [
        _shaped("any", wire.JSON),
        _shaped("items", wire.list_of(wire.JSON)),
        _shaped("texts", wire.list_of(wire.STR)),
        _shaped("values", wire.dict_of(wire.JSON)),
    ]
    for codec in codecs:
        with pytest.raises(wire.CodecError, match="surrogate"):
            codec.decode(raw.encode())
    value = json.loads(raw)
    with pytest.raises(wire.CodecError, match="surrogate"):
        wire.encode_json(value, wire.JSON)
    assert wire.decode_json(rb'["\ud83d\ude00"]', wire.list_of(wire.STR)) == [
        "\U0001f600"
    ]


@dataclass(frozen=True, slots=True)
class _Named:
    name: str

    def to_json(self) -> dict[str, wire.Json]:
        return {"name": self.name}

    @classmethod
    def from_json(cls, value: wire.Json) -> _Named:
        return cls(wire.STR.load(wire.items_of(value)["name"]))


@pytest.mark.parametrize("ignored", ["1e999", "-1e999", '[{"y":1e999}]'])
def test_a_number_beyond_floats_hides_no_surrogate(ignored: str) -> None:
    """A key that the record ignores does not end the look at the text of the others."""
    named: wire.Shape[_Named] = wire.record_of(_Named)
    raw = rf'{{"x":{ignored},"type":"a","name":"\ud800"}}'.encode()
    for shape in (named, wire.union_of("type", {"a": _Named})):
        with pytest.raises(wire.CodecError, match="surrogate"):
            wire.decode_json(raw, shape)
    pair = rf'{{"x":{ignored},"name":"\ud83d\ude00"}}'.encode()
    assert wire.decode_json(pair, named) == _Named("\U0001f600")


@pytest.mark.parametrize(
    "text",
    [
        *("QUJD=", "QUJD==", "QUJD====", "QUI==", "QUI====", "QQ===", "QQ======"),
        *("QR==", "Qf==", "QUJ=", "QUJDQR==", "Q", "QQ", "QQ=", "QUI", "=", "===="),
        *("QQ==QQ==", "QUI=QUJD", "QQ==\n", " QQ==", "Q=Q=", "Q==="),
    ],
)
def test_base64_has_one_spelling(text: str) -> None:
    """Padding too many and stray bits in the last letter are refused on every Python."""
    with pytest.raises(wire.CodecError, match="base64"):
        wire.decode_base64(text.encode())
    with pytest.raises(wire.CodecError, match="base64"):
        wire.decode_json(json.dumps(text).encode(), wire.BASE64)


@given(st.binary(max_size=20))
def test_base64_that_is_written_is_read(value: bytes) -> None:
    """The end of a text is judged by what its bytes are written as."""
    assert wire.decode_base64(wire.encode_base64(value)) == value
